// Acts that take two persons: what waits, with exactly what it will change, and what every administration page says about it.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Beds } from './api'
import { Dialog, Failed, words } from './dialog'
import type { PageProps } from './office'
import { Frame } from './parts'
import { lang } from './lang'
import { concerned, inGerman, named, type ActFields } from './words-approval'
import { clock, day, roleWords, say } from './words'

// How often the pages look for what others have asked for or decided.
const ASK_MS = 5000

export interface Waiting {
  id: string
  kind: string
  what: string[]
  fields?: ActFields
  requester_name: string
  role: string
  workstation: string
  requested: string
  expires: string
  outcome: 'waiting' | 'expired' | 'approved' | 'done' | 'failed' | 'refused' | 'withdrawn'
  decider_name?: string
  note?: string
  mine: boolean
}

// What the hub answers to an act that waits.
export interface AskedFor {
  waiting?: Waiting
  approvers?: string[]
  password_first_half?: string
}

interface TwoPersons {
  on: boolean
  off_by_configuration: boolean
  approvers: string[]
  needed: number
  waiting: number
}

type Names = Map<string, string>
const noNames: Names = new Map()

// sentences are what an act will change, in the language of the page: said from its fields, else as the hub says it in English. Of
// components they have the names, and of patients those that the reader may see.
function sentences(w: Waiting, names: Names): { said: string[]; lang: 'de' | 'en' } {
  const german = inGerman(w.kind, w.fields)
  const said = (german ?? w.what).map((x) => named(x.replace(/spiffe:\/\/[^/\s"]*\//g, ''), names))
  return { said: said.length > 0 ? said : [say('unknownAct')], lang: german || said.length === 0 ? lang : 'en' }
}

function What({ w, plain, names = noNames }: { w: Waiting; plain?: boolean; names?: Names }) {
  const s = sentences(w, names)
  return (
    <ul class={plain ? 'plain' : ''} lang={s.lang}>
      {s.said.map((x) => (
        <li key={x}>{x}</li>
      ))}
    </ul>
  )
}

// useNames are the names of patients whom the reader sees on the first page too: those in a doctor's care. They are asked for when a list
// concerns a patient of whom that is not known yet, and not each time that the list is asked for.
function useNames(role: string, list: Waiting[] | undefined): Names {
  const [names, setNames] = useState<Names>(noNames)
  const asked = useRef(new Set<string>())
  useEffect(() => {
    const more = role === 'doctor' ? (list ?? []).flatMap((w) => concerned(w.fields)).filter((id) => !asked.current.has(id)) : []
    if (more.length === 0) return
    more.forEach((id) => asked.current.add(id))
    ask<Beds>('GET', '/api/beds', undefined, true).then(
      (b) => setNames(new Map(b.beds.flatMap((x): [string, string][] => (x.patient && x.patient_name ? [[x.patient, x.patient_name]] : [])))),
      () => more.forEach((id) => asked.current.delete(id)), // with the next list again
    )
  }, [list])
  return names
}

const moment = (iso: string) => `${day(iso)} ${clock(iso)}`

// What was heard of it stays while an administrator goes from page to page.
let heard: TwoPersons | undefined

// TwoPersonsBanner stands in the place of the Security banner, on every page of an administrator while one administrator alone is enough.
export function TwoPersonsBanner() {
  const [state, take] = useState(heard)
  const setState = (s: TwoPersons) => {
    heard = s
    take(s)
  }
  const [failed, setFailed] = useState('')
  useEffect(() => {
    const load = () => ask<TwoPersons>('GET', '/api/admin/two-persons', undefined, true).then(setState, () => {})
    void load()
    const t = window.setInterval(load, 2 * ASK_MS)
    return () => window.clearInterval(t)
  }, [])
  if (!state || state.on) return null
  const enough = state.approvers.length >= state.needed
  const on = () => {
    setFailed('')
    ask<TwoPersons>('PUT', '/api/admin/two-persons', { on: true }).then(setState, (e: unknown) => setFailed(words(e)))
  }
  return (
    <div class="slot-one" role="status" data-testid="one-person">
      <strong>{say('onePerson')}</strong>{' '}
      {state.off_by_configuration ? (
        <span>{say('onePersonOff')}</span>
      ) : enough ? (
        <>
          <span>{say('couldApprove', state.approvers.join(', '))} </span>
          <button type="button" class="quiet small-button" data-testid="two-persons-on" onClick={on}>
            {say('takeTwo')}
          </button>
        </>
      ) : (
        <span>{say('tooFew', state.needed, state.approvers.length)}</span>
      )}{' '}
      {failed && <span role="alert">{failed}</span>}
    </div>
  )
}

// AskedDialog says that an act waits, and for whom.
export function AskedDialog({ asked, onClose }: { asked: AskedFor; onClose: () => void }) {
  if (!asked.waiting) return null
  return (
    <Dialog title={say('askedTitle')} onClose={onClose} testid="asked">
      <p>
        <strong>{say('nothingYet')}</strong> {say('askedLead', moment(asked.waiting.expires))}
      </p>
      <What w={asked.waiting} plain />
      <p class="quietly">{say('whoCould', asked.approvers?.join(', ') || say('noPerson'))}</p>
      {asked.password_first_half && (
        <>
          <p>{say('firstHalfLead')}</p>
          <p class="codes">
            <code data-testid="first-half">{asked.password_first_half}</code>
          </p>
        </>
      )}
      <div class="actions">
        <button type="button" class="main" data-testid="asked-kept" onClick={onClose}>
          {say('close')}
        </button>
      </div>
    </Dialog>
  )
}

export function ApprovalsPage(p: PageProps) {
  const [list, setList] = useState<Waiting[]>()
  const [failed, setFailed] = useState('')
  const [done, setDone] = useState('')
  const [result, setResult] = useState<{ password_second_half?: string; login?: string; ticket?: string }>()
  const names = useNames(p.session.role, list)
  const load = (background: boolean) => {
    ask<Waiting[]>('GET', '/api/admin/approvals', undefined, background).then(setList, (e: unknown) => {
      if (e instanceof Refused && e.signedOut) p.onGone()
      else setFailed(words(e))
    })
  }
  useEffect(() => {
    load(false)
    const t = window.setInterval(() => load(true), ASK_MS)
    return () => window.clearInterval(t)
  }, [])
  const decide = (w: Waiting, what: 'approve' | 'refuse', reason = '') => {
    setFailed('')
    setDone('')
    ask<{ password_second_half?: string; login?: string; secret?: string } | undefined>(
      'POST',
      `/api/admin/approvals/${encodeURIComponent(w.id)}/${what}`,
      what === 'refuse' ? { reason } : {},
    ).then(
      (a) => {
        if (a?.password_second_half) setResult({ password_second_half: a.password_second_half, ...(a.login ? { login: a.login } : {}) })
        else if (a?.secret) setResult({ ticket: JSON.stringify(a) })
        // The first sentence says what it was about, and of whom.
        setDone(`${say(what === 'approve' ? 'approvedNow' : w.mine ? 'takenBackNow' : 'refusedNow')} ${say('itWas', sentences(w, names).said[0] ?? '')}`)
        load(false)
      },
      (e: unknown) => {
        setFailed(words(e))
        load(false)
      },
    )
  }
  const waiting = list?.filter((w) => w.outcome === 'waiting')
  const over = list?.filter((w) => w.outcome !== 'waiting')
  return (
    <Frame {...p}>
      <h1>{say('approvals')}</h1>
      <p class="lead">{say('approvalsLead')}</p>
      <Failed text={failed} testid="approval-failed" />
      <p class="done" role="status" data-testid="approval-done">
        {done}
      </p>
      {waiting?.length === 0 && (
        <p class="quietly" data-testid="no-approvals">
          {say('nothingWaits')}
        </p>
      )}
      <div class="cards">
        {waiting?.map((w) => (
          <Card key={w.id} w={w} names={names} admin={p.session.role === 'admin'} decide={decide} />
        ))}
      </div>
      {over && over.length > 0 && (
        <>
          <h2>{say('last30')}</h2>
          <ul class="plain" data-testid="approvals-over">
            {over.map((w) => (
              <li key={w.id}>
                {moment(w.requested)}, {w.requester_name || say('personGone')}: <span lang={sentences(w, names).lang}>{sentences(w, names).said.join('; ')}</span>.{' '}
                <strong>{w.decider_name ? say('outcomeBy', say(w.outcome), w.decider_name) : say(w.outcome)}</strong>
                {w.note && `: ${w.note}`}
              </li>
            ))}
          </ul>
        </>
      )}
      {result && (
        <Dialog title={say(result.ticket ? 'ticketTitle' : 'secondHalf')} onClose={() => setResult(undefined)} testid="approved">
          {result.ticket ? (
            <p>
              {say('ticketLead')}{' '}
              <a class="link-button" download="display.ticket" href={`data:application/json,${encodeURIComponent(result.ticket)}`}>
                {say('saveTicket')}
              </a>
            </p>
          ) : (
            <>
              <p>{say('secondHalfLead', result.login || say('theLogin'))}</p>
              <p class="codes">
                <code data-testid="second-half">{result.password_second_half}</code>
              </p>
            </>
          )}
          <div class="actions">
            <button type="button" class="main" data-testid="approved-kept" onClick={() => setResult(undefined)}>
              {say('close')}
            </button>
          </div>
        </Dialog>
      )}
    </Frame>
  )
}

// Card is one request that waits. Who may not decide reads why, instead of missing a button.
function Card({ w, names, admin, decide }: { w: Waiting; names: Names; admin: boolean; decide: (w: Waiting, what: 'approve' | 'refuse', reason?: string) => void }) {
  const [asking, setAsking] = useState(false)
  const reason = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (asking) reason.current?.focus()
  }, [asking])
  return (
    <section class="panel card" data-testid="approval" aria-label={`${say('requestOf', w.requester_name)}, ${w.id}`}>
      <h2>
        {w.requester_name || say('personGone')} <span class="unit">{roleWords[w.role] ?? w.role}</span>
      </h2>
      <p class="quietly">{say('askedOn', moment(w.requested), w.workstation.replace(/^spiffe:\/\/[^/]*\//, ''), moment(w.expires))}</p>
      <What w={w} names={names} />
      {(w.mine || admin) && <p class="quietly">{say(w.mine ? 'waitsForOther' : 'notAdministrators')}</p>}
      {asking ? (
        <form
          class="form"
          onSubmit={(e) => {
            e.preventDefault()
            decide(w, 'refuse', reason.current?.value ?? '')
          }}
        >
          <label>
            {say('whyRefused')}
            <input ref={reason} maxLength={300} data-testid="refuse-reason" />
          </label>
          <div class="actions">
            <button type="button" class="quiet" onClick={() => setAsking(false)}>
              {say('cancel')}
            </button>
            <button type="submit" class="main main-small" data-testid="refuse-now">
              {say('refuse')}
            </button>
          </div>
        </form>
      ) : (
        <div class="actions actions-left">
          {!w.mine && !admin && (
            <>
              <button type="button" class="main main-small" data-testid="approve" onClick={() => decide(w, 'approve')}>
                {say('approve')}
              </button>
              <button type="button" class="quiet danger-text" data-testid="refuse" onClick={() => setAsking(true)}>
                {say('refuse')}
              </button>
            </>
          )}
          {w.mine && (
            <button type="button" class="quiet danger-text" data-testid="take-back" onClick={() => decide(w, 'refuse')}>
              {say('takeBack')}
            </button>
          )}
        </div>
      )}
    </section>
  )
}
