// Readings that stand under the wrong patient: what would be moved is shown before it is, with what the other patient has of that time.
import { useEffect, useRef, useState } from 'preact/hooks'
import { ask, type Kind } from './api'
import { AskedDialog, type AskedFor } from './approvals'
import { Failed, words } from './dialog'
import { Questions, useMeant } from './place'
import { clock, day, hubFinds, locale, nameOf, say } from './words'

// Lying is a patient, and where.
export interface Lying {
  id: string
  name: string
  bed: string // its name
}

// Wrong is a span of readings of which it is in question whose they are. Times are RFC 3339.
export interface Wrong {
  from: string
  to: string
  sensor: string // empty: all at the patient's bed
  begin: string
  end: string
}

interface Found {
  count: number
  first: string | null
  last: string | null
  more: boolean
  kinds?: Kind[] // what was counted, and by which sensors; absent: an older hub
  sensors?: string[]
}

interface Preview {
  from: Found
  to: Found
}

// moment is a time to the second, with its day unless that is today.
export const moment = (iso: string): string => (day(iso) === day(new Date().toISOString()) ? clock(iso, true) : `${day(iso)} ${clock(iso, true)}`)

// local is a time as an input of the kind datetime-local has it, to the second.
export const local = (iso: string): string => (iso ? `${day(iso)}T${clock(iso, true)}` : '')

// ofLocal is the time of such an input, RFC 3339; empty for none.
export const ofLocal = (value: string): string => {
  const t = new Date(value)
  return Number.isNaN(t.getTime()) ? '' : t.toISOString()
}

// The hub moves what was measured before the end of a span. A person's "until" holds all of that second, as the times of the preview do:
// what is shown is what is moved.
export const wholeSecond = (iso: string): string => (iso ? new Date((Math.floor(Date.parse(iso) / 1000) + 1) * 1000).toISOString() : '')

// lastOf is the last moment in a span with that end.
export const lastOf = (end: string): string => (end ? new Date(Date.parse(end) - 1).toISOString() : '')

// How far before and after a span that was moved the page looks for what is left.
const AROUND_MS = 5000

const who = (l: Lying | undefined): string => (l ? `${l.name} (${l.bed})` : '')

function Choice({ label, value, all, none, testid, onPick }: {
  label: string
  value: string
  all: [string, string][]
  none: string
  testid: string
  onPick: (id: string) => void
}) {
  return (
    <label>
      {label}
      <select value={value} data-testid={testid} required={testid !== 'wrong-sensor'} onChange={(e) => onPick(e.currentTarget.value)}>
        <option value="">{none}</option>
        {all.map(([id, name]) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}

// MoveReadings is the form. start fills it in; look says that it looks at once what would be moved.
export function MoveReadings({ lying, sensors, start, look, onDone, onClose }: {
  lying: Lying[]
  sensors: string[]
  start: Wrong
  look?: boolean
  onDone: (said: string) => void
  onClose?: () => void
}) {
  const [w, setW] = useState(start)
  const [preview, setPreview] = useState<Preview>()
  const [failed, setFailed] = useState('')
  const [busy, setBusy] = useState(false)
  const [asked, setAsked] = useState<AskedFor>()
  const m = useMeant()
  const alive = useRef(true)
  useEffect(
    () => () => {
      alive.current = false
    },
    [],
  )
  const change = (x: Partial<Wrong>) => {
    setW({ ...w, ...x })
    setPreview(undefined)
    setFailed('')
    m.clear()
  }
  const from = lying.find((l) => l.id === w.from)
  const to = lying.find((l) => l.id === w.to)
  const previewOf = (begin: string, end: string) => ask<Preview>('GET', `/api/admin/readings?${new URLSearchParams({ ...w, begin, end })}`)
  // left says what of the seconds around a span that was moved still stands under the old patient.
  const left = async (): Promise<string> => {
    const begin = new Date(Date.parse(w.begin) - AROUND_MS).toISOString()
    const wide = new Date(Date.parse(w.end) + AROUND_MS).toISOString()
    // The hub refuses what is still to come, and spans that are too long: then less is looked at.
    for (const [b, e] of [[begin, wide], [begin, w.end], [w.begin, wide], [w.begin, w.end]] as const) {
      try {
        const f = (await previewOf(b, e)).from
        return f.count === 0 ? '' : say('readingsLeft', count(f), who(from), ...span(f))
      } catch {
        continue
      }
    }
    return say('readingsLeftUnknown', who(from))
  }
  const see = () => {
    setBusy(true)
    setFailed('')
    previewOf(w.begin, w.end)
      .then(
        (p) => alive.current && setPreview(p),
        (e: unknown) => alive.current && setFailed(hubFinds(words(e))),
      )
      .finally(() => alive.current && setBusy(false))
  }
  useEffect(() => {
    if (look && w.from && w.to) see()
  }, [])
  const move = () => {
    void m.run<{ done?: boolean } & AskedFor>('/api/admin/readings/move', { ...w }).then(async (got) => {
      if (!got) return
      if (got.waiting) setAsked(got)
      else if (!got.done) onDone(say('readingsNoted', who(from), who(to)))
      else onDone(`${say('readingsMoved', who(from), who(to))} ${await left()}`.trim())
    })
  }
  if (asked)
    return (
      <AskedDialog
        asked={asked}
        onClose={() => {
          setAsked(undefined)
          onDone(say('askedTitle'))
        }}
      />
    )
  const named = lying.map((l): [string, string] => [l.id, who(l)])
  return (
    <form
      class="form"
      data-testid="move-readings"
      onSubmit={(e) => {
        e.preventDefault()
        if (preview) move()
        else see()
      }}
    >
      <div class="two">
        <Choice label={say('readingsFrom')} value={w.from} all={named} none={say('choose')} testid="wrong-from" onPick={(id) => change({ from: id })} />
        <Choice label={say('readingsTo')} value={w.to} all={named.filter(([id]) => id !== w.from)} none={say('choose')} testid="wrong-to" onPick={(id) => change({ to: id })} />
        <label>
          {say('readingsBegin')}
          <input type="datetime-local" step={1} required value={local(w.begin)} data-testid="wrong-begin" onInput={(e) => change({ begin: ofLocal(e.currentTarget.value) })} />
        </label>
        <label>
          {say('readingsEnd')}
          <input type="datetime-local" step={1} required value={local(lastOf(w.end))} data-testid="wrong-end" onInput={(e) => change({ end: wholeSecond(ofLocal(e.currentTarget.value)) })} />
        </label>
        <Choice label={say('readingsSensor')} value={w.sensor} all={sensors.map((s) => [s, s])} none={say('readingsAll')} testid="wrong-sensor" onPick={(s) => change({ sensor: s })} />
      </div>
      {preview && (
        <div class="preview" role="status" data-testid="preview">
          <p>{preview.from.count === 0 ? say('previewNone', who(from)) : <strong>{say(preview.from.more ? 'previewMany' : 'preview', count(preview.from), who(from), ...span(preview.from))}</strong>}</p>
          <p class={preview.to.count > 0 ? 'preview-two' : ''}>{preview.to.count === 0 ? say('previewFree', who(to)) : say('previewTwo', count(preview.to), who(to), ...span(preview.to), by(preview.to))}</p>
        </div>
      )}
      <Questions found={m.questions.map((q) => inNames(q, who(from), who(to), preview ? by(preview.to) : ''))} />
      <Failed text={failed || (m.failed && hubFinds(m.failed))} testid="readings-failed" />
      <div class={onClose ? 'actions' : 'actions actions-left'}>
        {onClose && (
          <button type="button" class="quiet" data-testid="readings-leave" onClick={onClose}>
            {say('readingsLeave')}
          </button>
        )}
        {preview ? (
          <button type="submit" class="main main-small" data-testid="readings-move" disabled={m.busy}>
            {m.questions.length > 0 ? say('doIt') : say('readingsMove', to?.name ?? '')}
          </button>
        ) : (
          <button type="submit" class="main main-small" data-testid="readings-look" disabled={busy}>
            {say('readingsLook')}
          </button>
        )}
      </div>
    </form>
  )
}

const count = (f: Found): string => f.count.toLocaleString(locale())
const span = (f: Found): [string, string] => [moment(f.first ?? ''), moment(f.last ?? '')]

// by is of which kinds values are and by which sensors, in parentheses.
const by = (f: Found): string => (f.kinds?.length ? ` (${f.kinds.map(nameOf).join(', ')}; ${say('source', (f.sensors ?? []).join(', '))})` : '')

// inNames says what the hub questions with the names of the patients, which it does not put into texts.
function inNames(question: string, from: string, to: string, of: string): string {
  if (question.startsWith('no number of ')) return say('previewNone', from)
  if (/ numbers of their own of /.test(question)) return say('questionTwo', to, of)
  return question
}
