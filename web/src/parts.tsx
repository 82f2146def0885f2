// The pieces that several pages share: a reading, a pulse wave, the frame around a page.
import { chooseLang, lang, tr, type Lang } from './lang'
import type { ComponentChildren } from 'preact'
import { useEffect, useReducer, useRef } from 'preact/hooks'
import { absentNote, attemptWords, bedLine, hubGone, pressureNote, pressureOf, type Seen } from './absent'
import type { Asked, Kind, Reading, Session } from './api'
import { TwoPersonsBanner } from './approvals'
import { EmergencyBanner } from './emergency'
import { FailedSignIns } from './notice'
import { Split, cuffs, refusedFor, rivalsOf } from './rivals'
import { SecurityBanner } from './security'
import type { Heard, LinkState, Live, Vitals } from './live'
import { FORGET_SECONDS, STALE_SECONDS, clock, doubt, hasValue, roleWords, say, sourceOf, span } from './words'

export function useTick(live: Live | undefined): void {
  const [, again] = useReducer<number, void>((n) => n + 1, 0)
  useEffect(() => live?.onChange(() => again()), [live])
}

// absent: the sensor speaks, and has neither a heart rate nor a saturation.
export type Freshness = 'live' | 'absent' | 'stale' | 'none'

// freshness of a patient's oximeter: what a nurse means by "is this live?"
export function freshness(live: Live, v: Vitals): { state: Freshness; seconds: number } {
  const both = [v.readings.heart_rate_bpm, v.readings.spo2_percent]
  const seconds = Math.min(...both.map((r) => live.ageSeconds(r)))
  if (!Number.isFinite(seconds)) return { state: 'none', seconds }
  if (seconds > STALE_SECONDS || live.link !== 'live') return { state: 'stale', seconds }
  return { state: both.some((r) => hasValue(r) && live.ageSeconds(r) <= STALE_SECONDS) ? 'live' : 'absent', seconds }
}

// seenOf is what this screen knows of a patient's bed now.
export function seenOf(live: Live, v: Vitals, unreadable?: boolean | undefined): Seen {
  const state = live.link === 'live' || live.link === 'late' || live.link === 'lost' ? live.link : 'connecting'
  return { hub: { state, heard: live.heard }, now: live.now(), readings: v.readings, seconds: (r) => live.ageSeconds(r as Heard | undefined), at: v.at, unreadable }
}

// BedLine is the one line of a bed whose numbers are missing.
export function BedLine({ seen, testid }: { seen: Seen; testid: string }) {
  const l = bedLine(seen)
  if (!l) return null
  return (
    <p class="bed-line" data-testid={testid} data-state={l.state}>
      <strong>{l.what}</strong> {l.todo}
    </p>
  )
}

// Beds counts those of the patients on the screen: an empty bed is none of them.
export interface Beds {
  live: number // with a live heart rate or saturation
  of: number
}

// countBeds counts the beds with a live number, among all on the screen.
export function countBeds(live: Live, patients: string[]): Beds {
  return { live: patients.filter((id) => freshness(live, live.of(id)).state === 'live').length, of: patients.length }
}

// linkWords says how the connection to the hub is, and nothing of the beds.
function linkWords(link: LinkState): string {
  switch (link) {
    case 'live':
      return tr('Connection live')
    case 'late':
      return tr('Connection late')
    case 'lost':
      return tr('Hub not reached')
    case 'connecting':
      return tr('Connecting')
    default:
      return tr('Not live')
  }
}

// bedWords says of how many beds there are live numbers.
function bedWords(b: Beds): string {
  if (b.of > 1) return tr('{0} of {1} patients with live numbers', b.live, b.of)
  return b.live === 1 ? tr('Live numbers from this bed') : tr('No live number from this bed')
}

// State is the header's word of the connection, and apart from it the one of the beds: a connection
// that lives says nothing of a patient.
function State({ link, beds }: { link: LinkState; beds: Beds | undefined }) {
  if (!beds || beds.of === 0) return null
  const state = beds.live === beds.of ? 'all' : beds.live === 0 ? 'none' : 'some'
  return (
    <span class="states" role="status">
      {link !== 'connecting' && (
        <span class={`link beds-${state}`} data-testid="beds-live" data-beds={state}>
          {bedWords(beds)}
        </span>
      )}
      <span class={`link link-${link}`} data-testid="link" data-link={link}>
        {linkWords(link)}
      </span>
    </span>
  )
}

const notOf = (name: string | undefined): string => (name ? tr('not of {0}?', name) : tr('whose?'))

export function NumberBox({
  live,
  v,
  kind,
  reading,
  label,
  unit,
  colour,
  testid,
  asked,
  name,
}: {
  live: Live
  v: Vitals
  kind: Kind
  reading: Heard | undefined
  label: string
  unit: string
  colour: string
  testid: string
  asked: Asked // what the bed asks, of the patient of that name
  name: string | undefined
}) {
  const age = live.ageSeconds(reading)
  const stale = age > STALE_SECONDS || live.link !== 'live'
  const shown = hasValue(reading) && age < FORGET_SECONDS
  const refused = shown && refusedFor(asked, reading)
  const uncertain = shown && doubt(reading, refused && notOf(name))
  const rivals = shown ? rivalsOf(asked, reading) : []
  let note = ''
  if (!shown) note = absentNote(seenOf(live, v), kind, reading)
  else if (stale) note = [tr('old: {0} ago', span(age)), refused && notOf(name)].filter(Boolean).join(', ')
  else if (uncertain) note = uncertain
  if (rivals.length > 0) note = [note, say('disagree')].filter(Boolean).join(', ')
  return (
    <div class={`number ${colour} ${stale ? 'is-stale' : ''} ${shown ? '' : 'is-absent'} ${refused ? 'is-refused' : ''}`} data-testid={testid}
      data-state={shown ? (stale ? 'stale' : 'live') : 'absent'} data-disagree={rivals.length > 0}>
      <span class="number-label">
        {label} <span class="unit">{unit}</span>
      </span>
      {shown && rivals.length > 0 ? (
        <Split reading={reading} rivals={rivals} seconds={seenOf(live, v).seconds} testid={`${testid}-value`} />
      ) : (
        <span class="number-value" data-testid={`${testid}-value`}>
          {shown ? Math.round(reading.value) : <span aria-label={tr('no value')}>– –</span>}
          {uncertain && <sup aria-hidden="true">?</sup>}
        </span>
      )}
      <span class="number-note">{note || '\u00a0'}</span>
      <span class={`number-source ${reading?.unverified ? 'is-unverified' : ''}`} data-testid={`${testid}-source`}>
        {age < FORGET_SECONDS && rivals.length === 0 && sourceOf(reading)}
      </span>
    </div>
  )
}

// The hub gives the cuff's pressure in kPa; a tile is in mmHg throughout.
const MMHG_PER_KPA = 7.50062

// Pressure is measured now and then: what matters is when.
export function BloodPressure({ live, v, big, asked, name, unreadable }: { live: Live; v: Vitals; big?: boolean; unreadable?: boolean | undefined; asked?: Asked; name?: string | undefined }) {
  const doubtOf = (r: Reading | undefined) => doubt(r, refusedFor(asked, r) && notOf(name))
  const both = pressureOf(v.readings)
  const sys = v.readings.systolic_mmhg
  const age = live.ageSeconds(sys)
  const cuff = v.readings.pressure_kpa
  const cuffAge = live.ageSeconds(cuff)
  const measuring = hasValue(cuff) && cuffAge <= STALE_SECONDS && live.link === 'live' && cuff.value >= 2
  const seen = seenOf(live, v, unreadable)
  const tried = attemptWords(seen)
  const old = both && (age > 3600 || tried !== '')
  const note = pressureNote(seen)
  const uncertain = both && (doubtOf(both.sys) || doubtOf(both.dia) || (both.mean && doubtOf(both.mean)))
  const refused = both && [both.sys, both.dia, both.mean].some((r) => refusedFor(asked, r))
  return (
    <div class={`bp ${big ? 'bp-big' : ''} ${old || live.link !== 'live' ? 'is-stale' : ''} ${both ? '' : 'is-absent'} ${tried ? 'is-tried' : ''} ${refused ? 'is-refused' : ''}`} data-testid="bp">
      <span class="number-label">
        {tr('BP')}{' '}<span class="unit">mmHg</span>
      </span>
      <span class="bp-value" data-testid="bp-value">
        {both ? `${Math.round(both.sys.value)}/${Math.round(both.dia.value)}` : <span aria-label={tr('no value')}>– / –</span>}
        {both?.mean && <span class="bp-mean"> ({Math.round(both.mean.value)})</span>}
        {uncertain && <sup aria-hidden="true">?</sup>}
      </span>
      <span class="number-note">
        {measuring ? (
          <span class="cuff" data-testid="cuff">
            {tried && `${tried}; `}{both && tr('from {0}; ', clock(both.sys.at))}{tr('cuff')}{' '}{Math.round(cuff.value * MMHG_PER_KPA)} mmHg{doubtOf(cuff) && ` (${doubtOf(cuff)})`}{tr(', measuring')}
          </span>
        ) : (
          <>
            {note}
            {uncertain ? `, ${uncertain}` : ''}
            {both && sourceOf(sys) && age < 4 * 3600 ? `, ${sourceOf(sys)}` : ''}
            {cuffs(v.readings) && <strong data-testid="cuffs">{`, ${cuffs(v.readings)}`}</strong>}
          </>
        )}
      </span>
    </div>
  )
}

const calm = window.matchMedia('(prefers-reduced-motion: reduce)')

export function WaveCanvas({ live, patient, seconds, big }: { live: Live; patient: string; seconds: number; big?: boolean }) {
  const ref = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    let frame = 0
    let last = 0
    const pause = calm.matches ? 500 : big ? 0 : 30 // many small waves need no more than ~30 frames a second
    const paint = (t: number) => {
      frame = requestAnimationFrame(paint)
      if (t - last < pause || !ref.current) return
      last = t
      const v = live.of(patient)
      const said = v.readings.heart_rate_bpm?.quality
      const lit = ['live', 'absent'].includes(freshness(live, v).state) && said !== 'probe_off' && said !== 'device_fault'
      v.wave.draw(ref.current, live.now(), seconds, lit ? '#35d6f0' : '#5d6b7c', big ? 2.2 : 1.5)
    }
    frame = requestAnimationFrame(paint)
    return () => cancelAnimationFrame(frame)
  }, [live, patient, seconds, big])
  return <canvas ref={ref} class={big ? 'wave wave-big' : 'wave'} data-testid="wave" role="img" aria-label={tr('Pulse wave')} />
}

const leaveTo = (e: Event, go: (to: string) => void) => {
  const a = e.currentTarget as HTMLAnchorElement
  const m = e as MouseEvent
  if (m.metaKey || m.ctrlKey || m.shiftKey || m.button > 0) return
  e.preventDefault()
  go(a.pathname)
}

export function Link({ to, go, children, ...rest }: {
  to: string
  go: (to: string) => void
  children: ComponentChildren
  class?: string
  'aria-label'?: string
  'data-testid'?: string
}) {
  return (
    <a href={to} onClick={(e) => leaveTo(e, go)} {...rest}>
      {children}
    </a>
  )
}

function Clock({ now }: { now: () => number }) {
  const [, again] = useReducer<number, void>((n) => n + 1, 0)
  useEffect(() => {
    const t = window.setInterval(() => again(), 1000)
    return () => window.clearInterval(t)
  }, [])
  return (
    <time class="clock" aria-label={tr('Time')}>
      {clock(new Date(now()).toISOString(), true)}
    </time>
  )
}

// Pages are the links in the header, for those who have more than one page.
const pages: Partial<Record<Session['role'], [string, string][]>> = {
  auditor: [
    ['/', tr('Audit log')],
    ['/reviews', tr('Emergencies')],
    ['/approvals', tr('Approvals')],
    ['/explain', tr('Explain')],
  ],
  doctor: [
    ['/', tr('Patients')],
    ['/approvals', tr('Approvals')],
  ],
  nurse: [
    ['/', tr('Beds')],
    ['/sensors', say('sensors')],
  ],
  staff: [
    ['/', tr('Beds')],
    ['/sensors', say('sensors')],
    ['/approvals', tr('Approvals')],
  ],
  admin: [
    ['/', tr('Devices')],
    ['/people', tr('People')],
    ['/quotas', tr('Quotas')],
    ['/approvals', tr('Approvals')],
    ['/explain', tr('Explain')],
  ],
}

// testids name the links, whatever the language.
const testids: Record<string, string> = { '/': 'start', '/reviews': 'emergencies', '/approvals': 'approvals', '/explain': 'explain', '/people': 'people', '/quotas': 'quotas', '/sensors': 'sensors' }

function Pages({ session, go }: { session: Session; go: (to: string) => void }) {
  const list = pages[session.role]
  if (!list) return null
  const here = window.location.pathname === '/devices' ? '/' : window.location.pathname
  return (
    <nav class="pages" aria-label={tr('Pages')}>
      {list.map(([to, name]) => (
        <Link key={to} to={to} go={go} class={here === to ? 'page-link page-here' : 'page-link'} data-testid={`page-${testids[to] ?? 'start'}`}>
          {name}
        </Link>
      ))}
    </nav>
  )
}

// LateBanner is said while the connection stands and its words come too late to be live.
export function LateBanner({ seconds }: { seconds: number }) {
  return (
    <div class="banner" role="region" aria-label={tr('Not live')} data-testid="late">
      <span class="sr" role="alert">
        {tr('Nothing below is live. Look at the bedside.')}
      </span>
      <strong>{tr('The connection to the hub is {0} late.', span(seconds))}</strong>{' '}{tr('Nothing below is live. Look at the bedside.')}
    </div>
  )
}

// LostBanner is said while the hub is not reached.
export function LostBanner({ heard, now }: { heard: string | undefined; now: number }) {
  return (
    <div class="banner" role="alert" data-testid="lost">
      <strong>{hubGone(heard, now)}</strong>{' '}{tr('Nothing below is live. Look at the bedside.')}{' '}{say('againByItself')}
    </div>
  )
}

export function Frame({
  session,
  link,
  late,
  heard,
  now,
  beds,
  go,
  onSignOut,
  children,
}: {
  session: Session
  link?: LinkState
  heard?: string | undefined // the hub's time in its newest word
  late?: number // seconds that the connection's words are late
  now?: () => number
  beds?: Beds
  go: (to: string) => void
  onSignOut: () => void
  children: ComponentChildren
}) {
  return (
    <div class="frame">
      <a class="skip" href="#main">
        {tr('Skip to the content')}
      </a>
      <header class="top">
        <Link to="/" go={go} class="brand" aria-label={tr('Vitalseal, start page')}>
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <path d="M2 17h8l3-9 5 16 3-10 2 3h7" />
          </svg>
          Vitalseal
        </Link>
        <Pages session={session} go={go} />
        {link && <State link={link} beds={beds} />}
        <span class="top-space" />
        <Clock now={now ?? Date.now} />
        <Link to="/account" go={go} class="who" data-testid="who">
          <span class="who-name">{session.display_name || session.login}</span> <span class="who-role">{roleWords[session.role] ?? session.role}</span>{' '}
          <span class="sr">{tr('your account')}</span>
        </Link>
        <button type="button" class="quiet" data-testid="signout" onClick={onSignOut}>
          {tr('Sign out')}
        </button>
      </header>
      <EmergencyBanner session={session} go={go} />
      <SecurityBanner session={session}>{session.role === 'admin' && <TwoPersonsBanner />}</SecurityBanner>
      <FailedSignIns session={session} />
      {link === 'late' && <LateBanner seconds={late ?? 0} />}
      {link === 'lost' && <LostBanner heard={heard} now={(now ?? Date.now)()} />}
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      <Foot />
    </div>
  )
}

// The languages of the pages, each by its own name.
const languages: [Lang, string][] = [['en', 'English'], ['de', 'Deutsch']]

export function Foot() {
  return (
    <footer class="foot">
      {tr('Research use, not a cleared medical device. No alarm sounds here.')}{' '}
      <span class="langs" role="group" aria-label={tr('Language')}>
        {languages.map(([l, name]) => (
          <button key={l} type="button" class="lang" lang={l} data-testid={`lang-${l}`} aria-pressed={l === lang} onClick={() => chooseLang(l)}>
            {name}
          </button>
        ))}
      </span>
    </footer>
  )
}

// Gone is what stands on a page that has nothing to show because the hub is not reached: that this
// is no finding about a patient, and what to do.
export function Gone({ failed }: { failed: { message: string } | undefined }) {
  return (
    <>
      <p>
        <strong>{failed?.message ?? say('hubGone')}</strong>{' '}{say('notLiveHere')}{' '}{say('notOfPatients')}{' '}{say('bedside')}
      </p>
      <p>{say('hubGoneTodo')}{' '}{say('againByItself')}</p>
    </>
  )
}

export function Message({ title, children, testid }: { title: string; children: ComponentChildren; testid: string }) {
  return (
    <section class="message" data-testid={testid} role="status">
      <h1>{title}</h1>
      {children}
    </section>
  )
}
