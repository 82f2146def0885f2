// Proves the end of the audit log in this browser, with nothing but the log's public key: the signature of its checkpoint, that the entries shown
// are the signed ones to the last, and that the log continues what this browser and the workstation's own program saw before.
// doc/formats/audit.md describes the formats; RFC 6962 the tree.

export interface Tail {
  key: string
  checkpoint: string
  origin?: string
  also: { from: number; proof: string[] | null }[] | null
  first: number
  left: string[] | null
  entries: string[] | null
  alarm?: string
}

interface Checkpoint {
  size: number
  root: Uint8Array
}

// Seen is a state of a log that was seen before.
export interface Seen {
  key: string
  checkpoint: string
}

// What of it failed. 'unsupported' proves nothing either way.
export type Failed = 'form' | 'signature' | 'entries' | 'browser' | 'workstation' | 'key' | 'unsupported'

export class NotProven extends Error {
  constructor(
    readonly what: Failed,
    detail = '',
  ) {
    super(detail || what)
  }
}

const bytes = (s: string) => new TextEncoder().encode(s)

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    out.set(p, at)
    at += p.length
  }
  return out
}

const sha256 = async (b: Uint8Array<ArrayBuffer>) => new Uint8Array(await crypto.subtle.digest('SHA-256', b))
const leaf = (line: string) => sha256(join(Uint8Array.of(0), bytes(line)))
const node = (left: Uint8Array, right: Uint8Array) => sha256(join(Uint8Array.of(1), left, right))

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((x, i) => x === b[i])
}

function base64(s: string, length?: number): Uint8Array<ArrayBuffer> {
  let text: string
  try {
    text = atob(s)
  } catch {
    throw new NotProven('form')
  }
  const out = Uint8Array.from(text, (c) => c.charCodeAt(0))
  if (length !== undefined && out.length !== length) throw new NotProven('form')
  return out
}

const hash = (s: string): Uint8Array => base64(s, 32)

function whole(s: string | undefined): number {
  const n = Number(s)
  if (!s || !/^(0|[1-9][0-9]*)$/.test(s) || !Number.isSafeInteger(n)) throw new NotProven('form')
  return n
}

// openNote checks the one signature of a signed note and gives its text.
async function openNote(signed: string, key: string): Promise<string> {
  const k = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(key.trim())
  const n = /^([^]*\n)\n— (\S+) ([A-Za-z0-9+/=]+)\n$/.exec(signed)
  if (!k || !n || signed.length > 4096) throw new NotProven('form')
  const pub = base64(k[3]!, 33)
  const sig = base64(n[3]!, 68)
  const id = (await sha256(join(bytes(`${k[1]}\n`), pub))).slice(0, 4)
  const hex = [...id].map((b) => b.toString(16).padStart(2, '0')).join('')
  if (hex !== k[2] || n[2] !== k[1] || pub[0] !== 1 || !same(sig.slice(0, 4), id)) throw new NotProven('signature')
  let good: boolean
  try {
    const imported = await crypto.subtle.importKey('raw', pub.slice(1), { name: 'Ed25519' }, false, ['verify'])
    good = await crypto.subtle.verify({ name: 'Ed25519' }, imported, sig.slice(4), bytes(n[1]!))
  } catch {
    throw new NotProven('unsupported') // a browser of before Ed25519, or no secure page
  }
  if (!good) throw new NotProven('signature')
  return n[1]!
}

async function readCheckpoint(s: Seen): Promise<Checkpoint> {
  const lines = (await openNote(s.checkpoint, s.key)).split('\n')
  if (lines.length !== 4 || lines[0] !== 'vitalseal.internal/audit/v1' || lines[3] !== '') throw new NotProven('form')
  return { size: whole(lines[1]), root: hash(lines[2]!) }
}

const bit = (n: number, level: number) => Math.floor(n / 2 ** level) % 2 === 1

// rootOf is the root of the tree of what stands left of the entries, and of them.
async function rootOf(first: number, left: string[], entries: string[]): Promise<Uint8Array> {
  const tops: { level: number; hash: Uint8Array }[] = []
  let at = 0
  for (let level = 52; level >= 0; level--) if (bit(first, level)) tops.push({ level, hash: hash(left[at++] ?? '') })
  if (at !== left.length) throw new NotProven('entries')
  for (const line of entries) {
    let n = { level: 0, hash: await leaf(line) }
    for (let top = tops.at(-1); top && top.level === n.level; top = tops.at(-1)) {
      tops.pop()
      n = { level: n.level + 1, hash: await node(top.hash, n.hash) }
    }
    tops.push(n)
  }
  let root: Uint8Array = tops.pop()?.hash ?? new Uint8Array(32)
  for (let top = tops.pop(); top; top = tops.pop()) root = await node(top.hash, root)
  return root
}

// continues proves that the log in state now begins with all of the log in state then (RFC 9162, 2.1.4.2).
async function continues(then: Checkpoint, now: Checkpoint, proof: string[]): Promise<boolean> {
  if (then.size === 0) return true
  if (then.size > now.size) return false
  if (then.size === now.size) return same(then.root, now.root)
  const path: Uint8Array[] = proof.map(hash)
  if (Number.isInteger(Math.log2(then.size))) path.unshift(then.root)
  let fn = then.size - 1
  let sn = now.size - 1
  const half = () => {
    fn = Math.floor(fn / 2)
    sn = Math.floor(sn / 2)
  }
  while (fn % 2 === 1) half()
  const start = path.shift()
  if (!start) return false
  let fr = start
  let sr = start
  for (const c of path) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      fr = await node(c, fr)
      sr = await node(c, sr)
      while (fn % 2 === 0 && fn !== 0) half()
    } else sr = await node(sr, c)
    half()
  }
  return sn === 0 && same(fr, then.root) && same(sr, now.root)
}

// nameOf is the hub that the log names as its own, '' from one that names none.
async function hubOf(tail: Tail, now: Checkpoint): Promise<string> {
  if (!tail.origin) return ''
  const lines = (await openNote(tail.origin, tail.key)).split('\n')
  if (lines.length !== 5 || lines[0] !== 'vitalseal.internal/audit-origin/v1' || whole(lines[2]) !== now.size || !same(hash(lines[3]!), now.root))
    throw new NotProven('signature')
  return lines[1]!.split('/').at(-1) ?? ''
}

// isIn proves that a line is the entry with this number in a log of a size and root that are proven (RFC 9162, 2.1.3.2).
export async function isIn(line: string, seq: number, proof: string[], size: number, root: Uint8Array): Promise<boolean> {
  if (seq < 0 || seq >= size || (JSON.parse(line) as { seq: number }).seq !== seq) return false
  let fn = seq
  let sn = size - 1
  let r: Uint8Array = await leaf(line)
  const half = () => {
    fn = Math.floor(fn / 2)
    sn = Math.floor(sn / 2)
  }
  for (const c of proof.map(hash)) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      r = await node(c, r)
      while (fn % 2 === 0 && fn !== 0) half()
    } else r = await node(r, c)
    half()
  }
  return sn === 0 && same(r, root)
}

export interface Proven {
  hub: string
  size: number
  root: Uint8Array
  browser?: number // entries that this browser saw before
  workstation?: number // entries that the workstation's own program remembers
}

// sizeOf is how many entries a checkpoint says that it covers, before anything is proven.
export const sizeOf = (s: Seen): number => whole(s.checkpoint.split('\n')[1])

// prove proves a tail. browser and workstations are what was seen before, of any log: those of the same hub must be continued, and by the same key.
export async function prove(tail: Tail, browser: Record<string, Seen>, workstation: Record<string, Seen>): Promise<Proven> {
  const now = await readCheckpoint(tail)
  const hub = await hubOf(tail, now)
  const entries = tail.entries ?? []
  if (whole(String(tail.first)) + entries.length !== now.size) throw new NotProven('entries')
  entries.forEach((line, i) => {
    if ((JSON.parse(line) as { seq: number }).seq !== tail.first + i) throw new NotProven('entries')
  })
  if (!same(await rootOf(tail.first, tail.left ?? [], entries), now.root)) throw new NotProven('entries')
  const out: Proven = { hub, size: now.size, root: now.root }
  for (const [who, seen] of [
    ['browser', browser[hub]],
    ['workstation', workstation[hub]],
  ] as const) {
    if (!seen) continue
    if (seen.key.trim() !== tail.key.trim()) throw new NotProven('key', who)
    const then = await readCheckpoint(seen)
    const proof = tail.also?.find((a) => a.from === then.size)?.proof ?? []
    if (!(await continues(then, now, proof))) throw new NotProven(who)
    out[who] = then.size
  }
  return out
}
