// The auditor's pages: emergencies to judge, and why a rule decides as it does.
import { tr } from './lang'
import { useEffect, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { Failed, words } from './dialog'
import { Table, type PageProps } from './office'
import { Frame, Message } from './parts'
import { clock, day, roleWords, say } from './words'

interface Review {
  id: string
  person_name: string
  role: string
  patient: string
  bed_name: string
  ward_name: string
  workstation: string
  reason: string
  opened: string
  expires: string
  reviewed: string | null
  outcome: string
  note: string
}

export function ReviewsPage(p: PageProps) {
  const [all, setAll] = useState(false)
  const [list, setList] = useState<Review[]>()
  const [failed, setFailed] = useState<unknown>()
  const load = () => {
    ask<Review[]>('GET', `/api/admin/reviews${all ? '' : '?open=1'}`).then(
      (l) => {
        setFailed(undefined)
        setList(l)
      },
      (e: unknown) => {
        if (e instanceof Refused && e.signedOut) p.onGone()
        else setFailed(e)
      },
    )
  }
  useEffect(load, [all])
  return (
    <Frame {...p}>
      <h1>{tr('Emergency accesses')}</h1>
      <p class="lead">{tr('A member of the staff opened a patient without being on the ward or care team, and gave this reason. Was it justified? The patient reads your verdict; the note stays inside the hospital.')}</p>
      <div class="tabs" role="group" aria-label={tr('Which')}>
        <button type="button" class="quiet" aria-pressed={!all} onClick={() => setAll(false)}>
          {tr('To review')}
        </button>
        <button type="button" class="quiet" aria-pressed={all} onClick={() => setAll(true)}>
          {tr('The last 90 days')}
        </button>
      </div>
      {failed !== undefined && (
        <Message title={tr('Not shown')} testid="refused">
          <p>{words(failed)}</p>
        </Message>
      )}
      {list?.length === 0 && (
        <p class="quietly" data-testid="no-reviews">
          {all ? tr('There was none.') : tr('Nothing waits for a review.')}
        </p>
      )}
      <div class="cards">
        {list?.map((r) => (
          <ReviewCard key={r.id} review={r} onDone={load} />
        ))}
      </div>
    </Frame>
  )
}

function ReviewCard({ review: r, onDone }: { review: Review; onDone: () => void }) {
  const [note, setNote] = useState('')
  const [failed, setFailed] = useState('')
  const judge = (outcome: string) => {
    setFailed('')
    ask('POST', `/api/admin/reviews/${encodeURIComponent(r.id)}`, { outcome, note }).then(onDone, (e: unknown) => setFailed(words(e)))
  }
  return (
    <section class="panel card" aria-label={tr('Emergency access of {0}', r.person_name)} data-testid="review">
      <h2>
        {r.person_name || tr('A member of the staff')} <span class="unit">{roleWords[r.role] ?? r.role}</span>
      </h2>
      <p>
        {tr('opened the patient')}{' '}{r.bed_name ? tr('of {0}, {1}', r.bed_name, r.ward_name) : tr('who has left')} <span class="unit">({r.patient})</span>{' '}{tr('on')}{' '}{day(r.opened)}{' '}{tr('at')}{' '}{clock(r.opened)}{tr(', until')}{' '}
        {clock(r.expires)}{' '}{tr('at the latest, from')}{' '}{r.workstation.replace(/^spiffe:\/\/[^/]*\//, '')}.
      </p>
      <blockquote>{r.reason}</blockquote>
      {r.reviewed ? (
        <p>
          <span class={r.outcome === 'justified' ? 'mark-ok' : 'mark-no'}>{r.outcome === 'justified' ? tr('Justified') : tr('Not justified')}</span>, {day(r.reviewed)}
          {r.note && `: ${r.note}`}
        </p>
      ) : (
        <>
          <label>
            {tr('Note, for the hospital')}
            <textarea rows={2} maxLength={500} value={note} onInput={(e) => setNote(e.currentTarget.value)} data-testid="review-note" />
          </label>
          <Failed text={failed} testid="review-failed" />
          <div class="actions actions-left">
            <button type="button" class="quiet" data-testid="justified" onClick={() => judge('justified')}>
              {tr('Justified')}
            </button>
            <button type="button" class="quiet danger-text" data-testid="unjustified" onClick={() => judge('unjustified')}>
              {tr('Not justified')}
            </button>
          </div>
        </>
      )}
    </section>
  )
}

interface Choices {
  persons: { login: string; name: string; role: string }[]
  actions: string[]
  patients: { id: string; bed_name: string; ward_name: string }[]
  wards: { id: string; name: string }[]
}

interface Explained {
  allowed: boolean
  step_up: boolean
  reason: string
  deciding: string[]
  rules: { id: string; line: number; forbid: boolean; holds: boolean; failed: string }[]
}

const onSystem = ['directory:manage', 'people:manage', 'identity:manage', 'audit:read', 'access:review', 'policy:explain', 'delivery:read', 'bed:list']

export function ExplainPage(p: PageProps) {
  const [choices, setChoices] = useState<Choices>()
  const [who, setWho] = useState('')
  const [what, setWhat] = useState('patient:view')
  const [on, setOn] = useState('')
  const [got, setGot] = useState<Explained>()
  const [failed, setFailed] = useState('')
  const fail = (e: unknown) => {
    setGot(undefined)
    if (e instanceof Refused && e.signedOut) p.onGone()
    else setFailed(words(e))
  }
  useEffect(() => {
    ask<Choices>('GET', '/api/admin/explain/choices').then((c) => {
      setChoices(c)
      setWho(c.persons[0]?.login ?? '')
      setOn(c.patients[0] ? `patient:${c.patients[0].id}` : 'system')
    }, fail)
  }, [])
  const submit = (e: Event) => {
    e.preventDefault()
    setFailed('')
    ask<Explained>('GET', `/api/admin/explain?${new URLSearchParams({ who, what, on })}`).then(setGot, fail)
  }
  return (
    <Frame {...p}>
      <h1>{tr('Why may a person, or not?')}</h1>
      <p class="lead">{tr('Asks the policies without doing anything, as if the person had just signed in at this workstation. Names of patients are not shown here.')}</p>
      {choices && (
        <form class="panel ask" onSubmit={submit}>
          <label>
            {tr('Who')}
            <select value={who} onChange={(e) => setWho(e.currentTarget.value)} data-testid="explain-who">
              {choices.persons.map((x) => (
                <option key={x.login} value={x.login}>
                  {x.name || x.login} ({roleWords[x.role] ?? x.role})
                </option>
              ))}
            </select>
          </label>
          <label>
            {tr('Does what')}
            <select
              value={what}
              data-testid="explain-what"
              onChange={(e) => {
                setWhat(e.currentTarget.value)
                if (onSystem.includes(e.currentTarget.value)) setOn('system')
              }}
            >
              {choices.actions.map((a) => (
                <option key={a}>{a}</option>
              ))}
            </select>
          </label>
          <label>
            {tr('On')}
            <select value={on} onChange={(e) => setOn(e.currentTarget.value)} data-testid="explain-on">
              <option value="system">{tr('the system')}</option>
              {choices.patients.map((x) => (
                <option key={x.id} value={`patient:${x.id}`}>
                  {tr('patient')}{' '}{x.bed_name ? tr('of {0}, {1}', x.bed_name, x.ward_name) : tr('{0}, not admitted', x.id)}
                </option>
              ))}
              {choices.wards.map((x) => (
                <option key={x.id} value={`ward:${x.id}`}>
                  {tr('ward')}{' '}{x.name}
                </option>
              ))}
            </select>
          </label>
          <button type="submit" class="main" data-testid="explain-ask">
            {tr('Ask')}
          </button>
        </form>
      )}
      <Failed text={failed} testid="explain-failed" />
      {got && (
        <div data-testid="explained">
          <p class="verdict">
            <span class={got.allowed ? 'mark-ok' : 'mark-no'}>{got.allowed ? tr('Allowed') : tr('Refused')}</span>
            {got.deciding.length > 0 ? tr(' by {0}', got.deciding.join(', ')) : tr(': no rule permits it')}
            {got.step_up && ` ${tr('(a fresh proof of identity would change that)')}`}
          </p>
          <Table head={[tr('Rule'), tr('Line'), tr('Kind'), tr('Holds'), tr('What does not hold')]} testid="rules">
            {[...got.rules]
              .sort((a, b) => Number(b.holds) - Number(a.holds))
              .map((r) => (
                <tr key={r.id} class={r.holds && r.forbid ? 'refused-row' : ''}>
                  <td>{r.id}</td>
                  <td>{r.line}</td>
                  <td>{say(r.forbid ? 'forbid' : 'permit')}</td>
                  <td>{r.holds ? <span class={r.forbid ? 'mark-no' : 'mark-ok'}>{tr('yes')}</span> : say('no')}</td>
                  <td class="wrap">
                    <code>{r.failed}</code>
                  </td>
                </tr>
              ))}
          </Table>
        </div>
      )}
    </Frame>
  )
}
