// The auditor's page: the newest entries of the audit log, proven in this browser.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type AuditEntry } from './api'
import { Entries, Find, Save, everything, filtered, find, type Line, type Names, type Query, type Results } from './auditfind'
import { Asked, type PageProps } from './office'
import { Frame } from './parts'
import { NotProven, prove, sizeOf, type Failed, type Proven, type Seen, type Tail } from './proof'
import { clock, day, say } from './words'

const entries = 100
const seenKey = 'vitalseal.audit.seen'
const failedKey = 'vitalseal.audit.failed'

interface Failure {
  what: Failed
  time: string
  checkpoint: string
}

function stored<T>(key: string): T | undefined {
  try {
    return (JSON.parse(localStorage.getItem(key) ?? 'null') as T | null) ?? undefined
  } catch {
    return undefined // a browser that keeps nothing, or something else's text
  }
}

function store(key: string, value: unknown) {
  try {
    if (value === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, JSON.stringify(value))
  } catch {
    // a browser that keeps nothing: each page is its first
  }
}

// ofWorkstation is what the workstation's own program remembers, which the hub cannot change on its way.
async function ofWorkstation(): Promise<Record<string, Seen> | undefined> {
  try {
    const got = await fetch('/connect/logs', { cache: 'no-store', headers: { 'X-Vitalseal-Background': '1' } })
    if (!got.ok || !got.headers.get('Content-Type')?.startsWith('application/json')) return undefined
    const all = ((await got.json()) as { logs: (Seen & { hub: string })[] }).logs
    return Object.fromEntries(all.map((l) => [l.hub, { key: l.key, checkpoint: l.checkpoint }]))
  } catch {
    return undefined
  }
}

interface Shown {
  rows: Line[]
  first: number
  hub?: string // what the hub itself says is wrong
  proven?: Proven
  failure?: Failure
  alone?: boolean // the workstation's own program did not answer
}

async function look(): Promise<Shown> {
  const mine = stored<Record<string, Seen>>(seenKey) ?? {}
  const station = await ofWorkstation()
  const sizes = new Set<number>()
  for (const s of [...Object.values(mine), ...Object.values(station ?? {})]) {
    try {
      if (sizeOf(s) > 0 && sizes.size < 8) sizes.add(sizeOf(s))
    } catch {
      // it fails below, with what it is of
    }
  }
  const tail = await ask<Tail>('GET', `/api/admin/audit/proven?n=${entries}&also=${[...sizes].join(',')}`, undefined, true)
  const shown: Shown = { rows: [], first: tail.first, alone: !station, ...(tail.alarm ? { hub: tail.alarm } : {}) }
  try {
    shown.rows = (tail.entries ?? []).map((line) => ({ line, entry: JSON.parse(line) as AuditEntry })).reverse()
    shown.proven = await prove(tail, mine, station ?? {})
    store(seenKey, { ...mine, [shown.proven.hub]: { key: tail.key, checkpoint: tail.checkpoint } })
  } catch (e) {
    shown.failure = { what: e instanceof NotProven ? e.what : 'form', time: new Date().toISOString(), checkpoint: tail.checkpoint }
    if (shown.failure.what !== 'unsupported' && !stored<Failure>(failedKey)) store(failedKey, shown.failure)
  }
  return shown
}

const why: Record<Failed, Parameters<typeof say>[0]> = {
  form: 'proofForm',
  signature: 'proofSignature',
  entries: 'proofEntries',
  browser: 'proofBrowser',
  workstation: 'proofWorkstation',
  key: 'proofKey',
  unsupported: 'proofUnsupported',
}

const oops = (e: unknown): Refused => (e instanceof Refused ? e : new Refused(0, say('hubGone')))

export function AuditorPage(p: PageProps) {
  const [got, set] = useState<Shown>()
  const [failed, fail] = useState<Refused>()
  const [before, setBefore] = useState(stored<Failure>(failedKey))
  const [names, setNames] = useState<Names>()
  // What is searched for, and the numbers before which its pages begin; undefined: the newest entries, as they come.
  const [search, setSearch] = useState<{ q: Query; pages: (number | undefined)[] }>()
  const [found, setFound] = useState<Results>()
  const [looked, setLooked] = useState('')
  const [busy, setBusy] = useState(false)
  const turn = useRef(0)
  const gone = useRef(p.onGone)
  gone.current = p.onGone
  const refused = (e: unknown) => {
    if (e instanceof Refused && e.status === 401) gone.current()
    else fail(oops(e))
  }
  const searching = search !== undefined
  useEffect(() => {
    ask<Names>('GET', '/api/admin/audit/names', undefined, true).then(setNames, refused)
  }, [])
  useEffect(() => {
    if (searching) return // what stands here is proven against the state that was seen last
    let over = false
    const load = () =>
      look().then(
        (s) => {
          if (over) return
          set(s)
          fail(undefined)
          setBefore(stored<Failure>(failedKey))
        },
        (e: unknown) => over || refused(e),
      )
    void load()
    const t = window.setInterval(load, 10_000)
    return () => {
      over = true
      window.clearInterval(t)
    }
  }, [searching])
  // run finds the page of a search that begins below a number; more adds to what was found.
  const run = (q: Query, at: number | undefined, more?: Results) => {
    const mine = ++turn.current
    setBusy(true)
    setLooked('')
    fail(undefined)
    if (!more) setFound(undefined)
    find(q, at, got?.failure ? undefined : got?.proven, (iso) => turn.current === mine && setLooked(iso), () => turn.current !== mine)
      .then(
        (r) => turn.current === mine && setFound(more ? { ...r, rows: [...more.rows, ...r.rows] } : r),
        (e: unknown) => {
          if (turn.current !== mine) return
          if (!(e instanceof NotProven)) {
            refused(e)
            return
          }
          const failure = { what: e.what, time: new Date().toISOString(), checkpoint: '' }
          if (!stored<Failure>(failedKey)) store(failedKey, failure)
          if (got) set({ ...got, failure })
        },
      )
      .finally(() => turn.current === mine && setBusy(false))
  }
  const open = (q: Query, pages: (number | undefined)[]) => {
    setSearch({ q, pages })
    run(q, pages.at(-1))
  }
  const clear = () => {
    turn.current++
    setSearch(undefined)
    setFound(undefined)
    setBusy(false)
  }
  const rows = search ? (found?.rows ?? []) : (got?.rows ?? [])
  const older = search ? (found?.next ?? 0) : (got?.first ?? 0)
  const full = search ? rows.length >= entries : true
  return (
    <Frame {...p}>
      <h1>{say('auditLog')}</h1>
      <p class="lead">{say('auditNewest', entries)}</p>
      {got && <Verdict got={got} />}
      {before && !got?.failure && (
        <section class="panel proof proof-no" data-testid="proof-before">
          <h2>{say('proofBefore', `${day(before.time)} ${clock(before.time, true)}`)}</h2>
          <p>{say(why[before.what])}</p>
          <button
            type="button"
            data-testid="proof-reported"
            onClick={() => {
              store(failedKey, undefined)
              setBefore(undefined)
            }}
          >
            {say('proofReported')}
          </button>
        </section>
      )}
      <Find names={names} onFind={(q) => open(q, [undefined])} onClear={clear} />
      <Asked failed={failed} waiting={!got && !search} />
      <p class="quietly" role="status" data-testid="audit-status">
        {busy
          ? say('auditLooking', looked ? `${day(looked)} ${clock(looked, true)}` : '…')
          : search && found
            ? rows.length === 0
              ? say('auditNone')
              : say('auditFound', rows.length, rows[0]!.entry.seq, rows.at(-1)!.entry.seq)
            : ''}
        {!busy && search && found && ` ${say(got?.proven && !got.failure ? (filtered(search.q) ? 'auditEach' : 'auditWhole') : 'auditUnproven')}`}
      </p>
      {rows.length > 0 && <Entries rows={rows} names={names} />}
      {(got || search) && !busy && (
        <div class="actions actions-left pager" data-testid="audit-pager">
          {search && search.pages.length > 1 && (
            <button type="button" class="quiet" data-testid="audit-newer" onClick={() => open(search.q, search.pages.slice(0, -1))}>
              {say('auditNewer')}
            </button>
          )}
          {older > 0 && full && (
            <button type="button" class="quiet" data-testid="audit-older" onClick={() => open(search?.q ?? everything, [...(search?.pages ?? []), older])}>
              {say('auditOlder')}
            </button>
          )}
          {search && found && found.next > 0 && !full && (
            <>
              <span>{say('auditStopped', found.looked ? `${day(found.looked)} ${clock(found.looked, true)}` : '…')}</span>
              <button type="button" class="quiet" data-testid="audit-on" onClick={() => run(search.q, found.next, found)}>
                {say('auditGoOn')}
              </button>
            </>
          )}
          {older === 0 && (found || !search) && <span class="quietly">{say('auditEnd')}</span>}
        </div>
      )}
      {rows.length > 0 && <Save rows={rows} q={search?.q ?? everything} />}
    </Frame>
  )
}

// Verdict says in words what was proven, or what was not and what to do.
function Verdict({ got }: { got: Shown }) {
  if (got.failure?.what === 'unsupported')
    return (
      <section class="panel proof proof-unknown" role="status" data-testid="proof" data-state="unsupported">
        <h2>{say('proofNone')}</h2>
        <p>{say('proofUnsupported')}</p>
      </section>
    )
  if (got.failure || got.hub)
    return (
      <section class="panel proof proof-no" role="alert" data-testid="proof" data-state="failed" data-what={got.failure?.what ?? 'hub'}>
        <h2>{say('proofFailed')}</h2>
        <p>{got.failure ? say(why[got.failure.what]) : say('proofHub', got.hub ?? '')}</p>
        <ol>
          <li>{say('proofDo1')}</li>
          <li>{say('proofDo2')}</li>
          <li>{say('proofDo3')}</li>
        </ol>
      </section>
    )
  const proven = got.proven!
  return (
    <section class="panel proof proof-yes" role="status" data-testid="proof" data-state="proven">
      <h2>{say('proofProven')}</h2>
      <ul>
        <li>{say('proofShown', got.first, proven.size - 1, proven.hub || '?')}</li>
        <li>{proven.browser === undefined ? say('proofFirst') : say('proofSinceBrowser', proven.browser)}</li>
        <li>{proven.workstation === undefined ? say(got.alone ? 'proofAlone' : 'proofStationFirst') : say('proofSinceWorkstation', proven.workstation)}</li>
      </ul>
      <p class="quietly">{say('proofWorth')}</p>
    </section>
  )
}
