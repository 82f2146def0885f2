// Emergencies: opening one patient for fifteen minutes, saying so loudly, and telling the patient.
import { tr } from './lang'
import { useEffect, useReducer, useState } from 'preact/hooks'
import { Refused, ask, type Emergency, type Session } from './api'
import { hubClock } from './clock'
import { Dialog, Failed, words } from './dialog'
import { Link } from './parts'
import { clock, day, roleIn, roleWords, say } from './words'

const ASK_MS = 3000

interface EmergencyBed {
  patient: string
  bed: string
  bed_name: string
  ward_name: string
}

export const mayBreakGlass = (s: Session): boolean => s.role === 'nurse' || s.role === 'doctor'

function left(expires: string, now: number): string {
  const s = Math.max(0, Math.ceil((Date.parse(expires) - now) / 1000))
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`
}

// What was heard stays while a person goes from page to page, so that no page begins without it.
let kept: { login: string; open: Emergency[] } = { login: '', open: [] }

// EmergencyBanner is on every page of a clinician, for as long as an emergency lasts that concerns them.
export function EmergencyBanner({ session, go }: { session: Session; go: (to: string) => void }) {
  const [open, setOpen] = useState<Emergency[]>(kept.login === session.login ? kept.open : [])
  const [, again] = useReducer<number, void>((n) => n + 1, 0)
  const clinician = mayBreakGlass(session)
  useEffect(() => {
    if (!clinician) return
    let over = false
    const load = () =>
      ask<{ server_time: string; open: Emergency[] }>('GET', '/api/emergency', undefined, true).then(
        (a) => {
          if (over) return
          setOpen(a.open)
          kept = { login: session.login, open: a.open }
        },
        () => {}, // the page itself says when the hub does not answer
      )
    void load()
    const t = window.setInterval(load, ASK_MS)
    const tick = window.setInterval(() => again(), 1000)
    return () => {
      over = true
      window.clearInterval(t)
      window.clearInterval(tick)
    }
  }, [clinician])
  const now = hubClock.now()
  const lasting = open.filter((e) => Date.parse(e.expires) > now)
  return (
    <>
      {lasting.map((e) => (
        <div key={e.patient + e.opened} class={e.mine ? 'glass glass-mine' : 'glass'} role="region" aria-label={tr('Emergency access')} data-testid={e.mine ? 'glass-mine' : 'glass-other'}>
          <span class="sr" role="alert">
            {e.mine ? tr('Emergency access to {0} is open until {1}.', e.bed_name, clock(e.expires)) : tr('{0} has opened {1} in an emergency.', e.person, e.bed_name)}
          </span>
          {e.mine ? (
            <>
              <strong>{tr('Emergency access to')}{' '}{e.bed_name}.</strong>{' '}
              <span>
                {tr('Ends in')}{' '}
                <span class="glass-left" data-testid="glass-left">
                  {left(e.expires, now)}
                </span>
                {tr('. An auditor will review it, and the patient is told.')}
              </span>{' '}
              <Link to={`/patient/${encodeURIComponent(e.patient)}`} go={go} class="glass-link">
                {tr('Open')}
              </Link>
            </>
          ) : (
            <>
              <strong>
                {e.person}{' '}{tr('has opened')}{' '}{e.bed_name}{' '}{tr('in an emergency')}
              </strong>{' '}
              <span>
                {tr('at')}{' '}{clock(e.opened)}{tr(', until')}{' '}{clock(e.expires)}{tr('. If you do not know why, ask.')}
              </span>
            </>
          )}
        </div>
      ))}
    </>
  )
}

// BreakGlass lets a clinician choose a bed (unless patient is given) and type a reason.
export function BreakGlass({ patient, go, onClose }: {
  patient?: string
  go: (to: string) => void
  onClose: () => void
}) {
  const [beds, setBeds] = useState<EmergencyBed[]>()
  const [chosen, setChosen] = useState(patient ?? '')
  const [search, setSearch] = useState('')
  const [reason, setReason] = useState('')
  const [failed, setFailed] = useState('')
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    ask<{ beds: EmergencyBed[] }>('GET', '/api/emergency/beds').then(
      (a) => setBeds(a.beds),
      (e: unknown) => patient || setFailed(words(e)),
    )
  }, [patient])
  const here = beds?.find((b) => b.patient === patient)
  const submit = async (e: Event) => {
    e.preventDefault()
    if (busy) return
    if (!chosen) {
      setFailed(tr('Choose the bed first.'))
      return
    }
    setBusy(true)
    setFailed('')
    try {
      await ask('POST', `/api/patients/${encodeURIComponent(chosen)}/break-glass`, { reason })
      onClose()
      go(`/patient/${encodeURIComponent(chosen)}`)
    } catch (err) {
      setFailed(err instanceof Refused && err.stepUp ? tr('Nothing was opened: this needs a fresh proof of who you are.') : words(err))
      setBusy(false)
    }
  }
  const found = beds?.filter((b) => `${b.bed_name} ${b.ward_name}`.toLowerCase().includes(search.trim().toLowerCase())) ?? []
  const enough = reason.trim().length >= 10
  if (!patient && beds?.length === 0)
    return (
      <Dialog title={tr('Open a patient in an emergency')} onClose={onClose} testid="break-glass">
        <p data-testid="glass-none">{say('glassNone')}</p>
        <p>{say('glassNoneTodo')}</p>
        <div class="actions">
          <button type="button" class="main" data-testid="glass-back" autoFocus onClick={() => {
            onClose()
            go('/')
          }}>
            {say('glassBack')}
          </button>
        </div>
      </Dialog>
    )
  return (
    <Dialog title={tr('Open a patient in an emergency')} onClose={onClose} testid="break-glass">
      <form class="form" onSubmit={submit}>
        <ul class="means">
          <li>{tr('You see this one patient for')}{' '}<strong>{tr('15 minutes')}</strong>{tr(', although you are not on the ward or care team.')}</li>
          <li>{tr('The nurses of the ward see at once that you did.')}</li>
          <li>{tr('Your reason is recorded, an auditor reviews it, and')}{' '}<strong>{tr('the patient is told')}</strong>.</li>
        </ul>
        {patient ? (
          <p>
            {tr('Patient:')}{' '}<strong data-testid="glass-where">{here ? `${here.bed_name}, ${here.ward_name}` : beds ? tr('{0} (lies in no bed)', patient) : patient}</strong>
          </p>
        ) : (
          <fieldset class="pick">
            <legend>{tr('Which bed?')}</legend>
            <label class="sr" for="bed-search">
              {tr('Search by bed or ward')}
            </label>
            <input id="bed-search" type="search" data-testid="glass-search" placeholder={tr('Search by bed or ward')} value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
            <div class="pick-list" role="radiogroup" aria-label={tr('Beds')}>
              {beds && found.length === 0 && <p class="quietly">{tr('No bed fits.')}</p>}
              {found.map((b) => (
                <label key={b.patient} class={chosen === b.patient ? 'pick-one picked' : 'pick-one'} data-testid={`glass-bed-${b.bed}`}>
                  <input type="radio" name="bed" value={b.patient} checked={chosen === b.patient} onChange={() => setChosen(b.patient)} />
                  <span>{b.bed_name}</span>
                  <span class="unit">{b.ward_name}</span>
                </label>
              ))}
            </div>
          </fieldset>
        )}
        <label>
          {tr('Why now? In a few words, at least 10 characters')}
          <textarea data-testid="glass-reason" rows={3} minLength={10} maxLength={500} required value={reason} onInput={(e) => setReason(e.currentTarget.value)} />
        </label>
        <Failed text={failed} testid="glass-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {tr('Cancel')}
          </button>
          <button type="submit" class="main danger" data-testid="glass-open" disabled={busy || !enough || !chosen}>
            {busy ? tr('Opening…') : tr('Open for 15 minutes')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

interface Accessed {
  person: string
  role: string
  reason: string
  opened: string
  expires: string
  reviewed: boolean
  outcome?: string
}

interface Carer {
  id: string
  name: string
  role: string
  excluded: boolean
}

interface Notice {
  at: string
  kind: 'login' | 'login-reset' | 'treats' | 'ward'
  person: string
  login: string
  role: string
}

// told says a notice to the patient.
function told(n: Notice): string {
  const who = n.person || n.login || tr('A person who no longer works here')
  switch (n.kind) {
    case 'login':
      return tr('A sign-in for your numbers was made: “{0}”. Only you should have it.', n.login)
    case 'login-reset':
      return tr('The hospital gave your sign-in “{0}” a new password, took its second factors away, or let it in again. If you did not ask for that, tell the ward.', n.login)
    case 'treats':
      return tr('{0} treats you since then, and may see your numbers.', who)
    default:
      return tr('{0} works on your ward since then, and may see your numbers.', who)
  }
}

// OwnSay is what a patient finds below the own numbers: who looked in an emergency, and who may look at all.
export function OwnSay({ patient }: { patient: string }) {
  const path = `/api/patients/${encodeURIComponent(patient)}`
  const [accesses, setAccesses] = useState<Accessed[]>()
  const [carers, setCarers] = useState<Carer[]>()
  const [notices, setNotices] = useState<Notice[]>()
  const [failed, setFailed] = useState('')
  const load = () => {
    ask<Accessed[]>('GET', `${path}/accesses`, undefined, true).then(setAccesses, () => {})
    ask<Carer[]>('GET', `${path}/consent`, undefined, true).then(setCarers, () => {})
    ask<Notice[]>('GET', `${path}/notices`, undefined, true).then(setNotices, () => {})
  }
  useEffect(load, [patient])
  const set = (c: Carer) => {
    setFailed('')
    ask('PUT', `${path}/consent`, { person: c.id, excluded: !c.excluded }).then(load, (e: unknown) => {
      setFailed(words(e))
      load()
    })
  }
  return (
    <div class="own-say">
      <section class="panel card" aria-label={tr('Emergencies')} data-testid="accesses">
        <h2>{tr('Who opened your numbers in an emergency')}</h2>
        {accesses?.length === 0 && <p class="quietly">{tr('No one so far. If that changes, it stands here.')}</p>}
        {accesses && accesses.length > 0 && (
          <ul class="plain">
            {accesses.map((a) => (
              <li key={a.opened + a.person}>
                <strong>{a.person || tr('A former member of the staff')}</strong> ({roleIn(a.role)}{tr(') opened them on')}{' '}{day(a.opened)}{' '}{tr('at')}{' '}{clock(a.opened)}{tr(', until')}{' '}
                {clock(a.expires)}{' '}{tr('at the latest. The reason given: “')}{a.reason}”.{' '}
                <span class="quietly">
                  {!a.reviewed ? tr('It is still to be reviewed.') : a.outcome === 'justified' ? tr('It was reviewed and found justified.') : tr('It was reviewed and found not justified.')}
                </span>
              </li>
            ))}
          </ul>
        )}
      </section>
      <section class="panel card" aria-label={tr('What is new')} data-testid="notices">
        <h2>{tr('What is new about who may see your numbers')}</h2>
        {notices?.length === 0 && <p class="quietly">{tr('Nothing. If that changes, it stands here.')}</p>}
        <ul class="plain">
          {notices?.map((n) => (
            <li key={n.at + n.kind + n.login}>
              <strong>
                {day(n.at)} {clock(n.at)}
              </strong>{' '}
              {told(n)}
            </li>
          ))}
        </ul>
      </section>
      <section class="panel card" aria-label={tr('Consent')} data-testid="consent">
        <h2>{tr('Who may see your numbers')}</h2>
        <p class="quietly">
          {tr('These people care for you. You can keep single persons out. In an emergency they may still look; then it stands on the left. Your bed’s safety is never affected.')}
        </p>
        <Failed text={failed} testid="consent-failed" />
        {carers?.length === 0 && <p class="quietly">{tr('No one at the moment.')}</p>}
        <ul class="plain">
          {carers?.map((c) => (
            <li key={c.id} class="switch-row">
              <span>
                {c.name} <span class="unit">{roleWords[c.role] ?? c.role}</span>
              </span>
              <button type="button" role="switch" aria-checked={!c.excluded} class={c.excluded ? 'switch' : 'switch switch-on'} data-testid={`consent-${c.id}`}
                aria-label={tr('{0} may see my numbers', c.name)} onClick={() => set(c)}>
                {c.excluded ? tr('May not see') : tr('May see')}
              </button>
            </li>
          ))}
        </ul>
      </section>
    </div>
  )
}
