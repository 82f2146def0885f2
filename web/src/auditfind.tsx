// Finding entries of the audit log, page by page back to the first, each proven by this browser; and showing them with what their ids mean.
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { ask, type AuditEntry } from './api'
import { Failed } from './dialog'
import { local, ofLocal } from './move'
import { Table } from './office'
import { isIn, NotProven, type Proven } from './proof'
import { actionWords, actionsBeside, answerOf, reasonWords } from './words-audit'
import { clock, day, roleIn, roleWords, say } from './words'
import { tr } from './lang'

export interface Query {
  person: string
  patient: string
  action: string
  answer: string
  from: string // RFC 3339; empty: no bound
  to: string
}

export const everything: Query = { person: '', patient: '', action: '', answer: '', from: '', to: '' }

export const filtered = (q: Query): boolean => Object.values(q).some((v) => v !== '')

export interface Names {
  persons: { id: string; login: string; name: string; role: string; self?: string }[]
  patients: { id: string; bed_name: string; ward_name: string; forgotten?: boolean }[]
  wards: Record<string, string>
  beds: Record<string, string>
  actions: string[]
}

export interface Line {
  entry: AuditEntry
  line: string
}

interface Answer {
  entries: { seq: number; line: string; proof: string[] }[]
  next: number
  looked: string | null
}

export interface Results {
  rows: Line[]
  next: number // the number before which to go on; 0: the first entry has been looked at
  looked: string
}

const page = 100
// How many questions one search puts to the hub before it asks the person whether to go on: each looks at up to 131,072 entries.
const most = 25

// find asks the hub for entries below before, until a page is full, the log's beginning or the span's is reached, and proves each. Without
// proven nothing is proven. looked is told how far back it is; stop ends it.
export async function find(q: Query, before: number | undefined, proven: Proven | undefined, looked: (iso: string) => void, stop: () => boolean): Promise<Results> {
  const out: Results = { rows: [], next: before ?? Number.MAX_SAFE_INTEGER, looked: '' }
  for (let i = 0; i < most && out.next > 0 && out.rows.length < page && !stop(); i++) {
    const ends = new URLSearchParams({ n: String(page - out.rows.length), ...(out.next < Number.MAX_SAFE_INTEGER ? { before: String(out.next) } : {}), ...(proven ? { size: String(proven.size) } : {}) })
    for (const [k, v] of Object.entries(q)) if (v) ends.set(k, v)
    const got = await ask<Answer>('GET', `/api/admin/audit/search?${ends}`, undefined, i > 0)
    for (const e of got.entries) {
      if (proven && !(await isIn(e.line, e.seq, e.proof, proven.size, proven.root))) throw new NotProven('entries')
      const last = out.rows.at(-1)?.entry.seq
      // Without a filter no number may be missing.
      if (proven && !filtered(q) && e.seq !== (last ?? Math.min(before ?? proven.size, proven.size)) - 1) throw new NotProven('entries')
      if (last !== undefined && e.seq >= last) throw new NotProven('entries')
      out.rows.push({ entry: JSON.parse(e.line) as AuditEntry, line: e.line })
    }
    if (got.next >= out.next) throw new NotProven('form') // it would go on for ever
    out.next = got.next
    if (got.looked) {
      out.looked = got.looked
      looked(got.looked)
    }
  }
  return out
}

// answerIn is an entry's outcome in words, with how many it stands for.
function answerIn(e: AuditEntry): string {
  const times = e.count ?? 0
  switch (answerOf(e)) {
    case 'allowed':
      return say('allowed')
    case 'undecided':
      return times > 1 ? say('undecidedTimes', times) : say('undecidedAnswer')
    default:
      return times > 1 ? say('refusedTimes', times) : say('refusedAnswer')
  }
}

const moment = (iso: string): string => `${day(iso)} ${clock(iso, true)}`

function Select({ label, value, options, testid, onPick }: { label: string; value: string; options: [string, string][]; testid: string; onPick: (v: string) => void }) {
  return (
    <label>
      {label}
      <select value={value} data-testid={testid} onChange={(e) => onPick(e.currentTarget.value)}>
        <option value="">{say('auditAny')}</option>
        {options.map(([id, name]) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}

const bedOf = (p: { bed_name: string; ward_name: string; forgotten?: boolean } | undefined): string => (!p ? say('auditGone') : p.forgotten ? say('auditForgotten') : p.bed_name ? `${p.bed_name}, ${p.ward_name}` : say('auditNoBed'))

// Find is the form.
export function Find({ names, onFind, onClear }: { names: Names | undefined; onFind: (q: Query) => void; onClear: () => void }) {
  const [q, setQ] = useState(everything)
  const [wrong, setWrong] = useState('')
  const set = (x: Partial<Query>) => setQ({ ...q, ...x })
  const byName = (a: [string, string], b: [string, string]) => a[1].localeCompare(b[1])
  return (
    <form
      class="panel find"
      aria-label={say('auditFilter')}
      data-testid="audit-find"
      onSubmit={(e) => {
        e.preventDefault()
        const bad = q.from !== '' && q.to !== '' && Date.parse(q.to) <= Date.parse(q.from)
        setWrong(bad ? say('auditSpan') : '')
        if (!bad) onFind(q)
      }}
    >
      <Select label={say('auditPerson')} value={q.person} testid="find-person" onPick={(person) => set({ person })}
        options={(names?.persons ?? []).map((p): [string, string] => [p.id, p.login ? `${p.name || p.login} (${p.login})` : `${roleWords.patient} ${p.self ?? p.id}`]).sort(byName)} />
      <Select label={say('auditPatient')} value={q.patient} testid="find-patient" onPick={(patient) => set({ patient })}
        options={(names?.patients ?? []).map((p): [string, string] => [p.id, `${bedOf(p)} (${p.id})`]).sort(byName)} />
      <Select label={say('auditAction')} value={q.action} testid="find-action" onPick={(action) => set({ action })}
        options={[...(names?.actions ?? []), ...actionsBeside].map((a): [string, string] => [a, actionWords(a)]).sort(byName)} />
      <Select label={say('auditAnswer')} value={q.answer} testid="find-answer" onPick={(answer) => set({ answer })} options={[['allowed', say('allowed')], ['refused', say('refusedAnswer')], ['undecided', say('undecidedAnswer')]]} />
      <label>
        {say('auditFrom')}
        <input type="datetime-local" step={1} value={local(q.from)} data-testid="find-from" onInput={(e) => set({ from: ofLocal(e.currentTarget.value) })} />
      </label>
      <label>
        {say('auditTo')}
        <input type="datetime-local" step={1} value={local(q.to)} data-testid="find-to" onInput={(e) => set({ to: ofLocal(e.currentTarget.value) })} />
      </label>
      <div class="actions actions-left">
        <button type="submit" class="main main-small" data-testid="find">
          {say('auditFind')}
        </button>
        <button type="button" class="quiet" data-testid="find-clear" onClick={() => {
          setQ(everything)
          setWrong('')
          onClear()
        }}>
          {say('auditClear')}
        </button>
      </div>
      <Failed text={wrong} testid="find-failed" />
    </form>
  )
}

// Entries is the table of them.
export function Entries({ rows, names }: { rows: Line[]; names: Names | undefined }) {
  // A patient's login is called by where the patient lies: the name is not the reader's to see.
  const called = (p: Names['persons'][number]): string => p.name || p.login || (p.self ? `${roleWords.patient}, ${bedOf(patients.get(p.self))}` : '')
  const persons = new Map(names?.persons.map((p) => [p.id, p]))
  const patients = new Map(names?.patients.map((p) => [p.id, p]))
  const who = (e: AuditEntry): ComponentChildren => {
    const p = persons.get(e.person)
    return (
      <>
        {p ? called(p) : e.person.startsWith('engine:') ? say('engineOf') : ''} <span class="unit id">{e.person}{e.role && `, ${roleIn(e.role)}`}</span>
      </>
    )
  }
  const named = (kind: string, id: string): string => {
    switch (kind) {
      case 'patient':
        return names ? bedOf(patients.get(id)) : ''
      case 'person': {
        const p = persons.get(id)
        return p ? called(p) : ''
      }
      case 'ward':
        return names?.wards[id] ? say('wardOf', names.wards[id]) : ''
      case 'bed':
        return names?.beds[id] ? say('bedOf', names.beds[id]) : ''
      default:
        return ''
    }
  }
  const on = (e: AuditEntry): ComponentChildren => {
    if (e.patients && e.patients.length > 0)
      return (
        <>
          {say('auditPatients', e.patients.length)}: <span class="unit">{e.patients.map((id) => `${id} (${named('patient', id)})`).join(', ')}</span>
        </>
      )
    const [kind = '', id = ''] = e.resource.split(':')
    const name = named(kind, id)
    const beside = e.patient && e.resource !== `patient:${e.patient}` ? `, ${e.patient} (${named('patient', e.patient)})` : ''
    return (
      <>
        {name} <span class="unit id">{e.resource.replace(/spiffe:\/\/[^/]*\//, '')}{beside}</span>
      </>
    )
  }
  // What the hub wrote is signed as it stands: ids in it get what they mean beside them, and it is English.
  const why = (e: AuditEntry): ComponentChildren => {
    const { said, rest } = reasonWords(e.reason)
    const text = rest.replace(/\b[pu]-[a-z2-7]{8}\b/g, (id) => {
      const name = named(id.startsWith('u-') ? 'person' : 'patient', id)
      return name ? `${id} (${name})` : id
    })
    return (
      <>
        <span class="unit">{(e.policies ?? []).join(', ')}</span> {said} {text && <span lang="en">{text}</span>}
      </>
    )
  }
  return (
    <Table head={[tr('No.'), tr('Time'), tr('Person'), tr('Workstation'), tr('Action'), say('onWhat'), tr('Answer'), say('decidedBy')]} testid="audit" label={say('auditLog')}>
      {rows.map(({ entry: e }) => (
        <tr key={e.seq} class={answerOf(e) === 'refused' ? 'refused-row' : ''} data-testid={`entry-${e.seq}`}>
          <td class="num">{e.seq}</td>
          <td>
            <time dateTime={e.time}>{moment(e.time)}</time>
          </td>
          <td class="wrap">{who(e)}</td>
          <td>{e.workstation.replace(/^spiffe:\/\/[^/]*\/workstation\//, '')}</td>
          <td class="wrap">
            {actionWords(e.action)} {actionWords(e.action) !== e.action && <span class="unit id">{e.action}</span>}
          </td>
          <td class="wrap">{on(e)}</td>
          <td>
            <span class={{ allowed: 'mark-ok', refused: 'mark-no', undecided: 'mark-none' }[answerOf(e)]} data-testid="answer">{answerIn(e)}</span>
          </td>
          <td class="wrap">{why(e)}</td>
        </tr>
      ))}
    </Table>
  )
}

// Save offers the lines, exactly as they stand in the log, and says the command that finds all of them where the hub runs.
export function Save({ rows, q }: { rows: Line[]; q: Query }) {
  const [href, setHref] = useState('')
  const text = rows.map((r) => r.line + '\n').join('')
  useEffect(() => {
    const u = URL.createObjectURL(new Blob([text], { type: 'application/jsonl' }))
    setHref(u)
    return () => URL.revokeObjectURL(u)
  }, [text])
  const flags = Object.entries(q).filter(([, v]) => v).map(([k, v]) => ` --${k} ${v.replace(/\.000Z$/, 'Z')}`)
  return (
    <p class="quietly">
      <a class="back" href={href} download="audit.jsonl" data-testid="audit-save">
        {say('auditSave')}
      </a>{' '}
      {say('auditExport')}
      <code data-testid="audit-export">{`vitalseal audit export --text${flags.join('')} DIR`}</code>
    </p>
  )
}
