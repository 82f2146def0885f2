// The central station: every bed that this person may see, by ward.
import { hubSays, tr } from './lang'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { AGAIN_MS, Refused, ask, type Bed, type Beds, type Session } from './api'
import { ageWords, type Seen } from './absent'
import { AskPatient, marked } from './confirm'
import { BreakGlass, mayBreakGlass } from './emergency'
import { Live } from './live'
import { BedLine, BloodPressure, Frame, Gone, Link, Message, NumberBox, WaveCanvas, countBeds, freshness, seenOf, useTick, type Freshness } from './parts'
import { Rivals } from './rivals'
import { BedSecurity } from './security'
import { say, span } from './words'

// How long an admission, or a patient's move to another bed of the ward, may take to be seen. Live values do not come this way.
const BEDS_AGAIN_MS = 15_000
// How often the beds are asked for while a live reading and the list differ in what is in question.
const BEDS_DIFFER_MS = 3_000

export function Station({ session, go, onSignOut, onGone }: {
  session: Session
  go: (to: string) => void
  onSignOut: () => void
  onGone: () => void
}) {
  const [beds, setBeds] = useState<Beds>()
  const [failed, setFailed] = useState<Refused>()
  const [emergency, setEmergency] = useState(false)
  const [changed, setChanged] = useState('')
  const load = useRef<(background: boolean) => void>(() => {})
  load.current = (background) => {
    ask<Beds>('GET', '/api/beds', undefined, background).then(
      (b) => {
        setFailed(undefined)
        setBeds(b)
      },
      (e: unknown) => {
        if (e instanceof Refused && e.status === 401) onGone()
        else setFailed(e instanceof Refused ? e : new Refused(0, say('hubGone')))
      },
    )
  }
  useEffect(() => {
    load.current(false)
    const t = window.setInterval(() => load.current(true), BEDS_AGAIN_MS)
    return () => window.clearInterval(t)
  }, [])
  useEffect(() => {
    if (!failed || beds) return
    const t = window.setTimeout(() => load.current(true), AGAIN_MS)
    return () => window.clearTimeout(t)
  }, [failed, beds])

  const ids = beds?.beds.flatMap((b) => (b.patient ? [b.patient] : [])) ?? []
  const key = ids.slice().sort().join(' ')
  const live = useMemo(() => (beds ? new Live(ids, true, () => load.current(true)) : undefined), [beds !== undefined, key])
  useEffect(() => () => live?.close(), [live])
  useEffect(() => {
    if (!live || !beds) return
    beds.beds.forEach((b) => {
      if (!b.patient) return
      if (b.numerics) live.take(b.patient, b.numerics, false)
      live.bedside(b.patient, b.at_bed)
    })
  }, [live, beds])
  useTick(live)
  // What a live reading says of a question, and the list of beds does not, or the other way round: the list is old.
  const looked = useRef(0)
  const differs = live && beds ? beds.beds.some((b) => b.patient && marked(live.of(b.patient).readings) !== (b.questions ?? []).length > 0) : false
  useEffect(() => {
    if (!differs || Date.now() - looked.current < BEDS_DIFFER_MS) return
    looked.current = Date.now()
    load.current(true)
  })
  // whom names a patient as the list last had them.
  const whom = (patient: string | undefined): string => {
    const b = beds?.beds.find((x) => x.patient === patient)
    return b?.patient_name ? `${b.patient_name} (${hubSays(b.bed_name)})` : say('onePatient')
  }
  useEffect(() => {
    if (live?.link === 'signed-out') onGone()
    if (live?.link === 'changed') {
      setChanged(
        live.why === 'emergency_over'
          ? tr('Your emergency access has ended; that patient is closed again.')
          : live.why === 'consent'
            ? tr('A patient has asked that you no longer see their values.')
            : live.why === 'discharged'
              ? say('discharged', whom(live.whom))
              : live.why === 'moved'
                ? say('movedWard', whom(live.whom))
                : tr('Your ward or care team has changed. These are the beds in your care now. If that is wrong, ask an administrator.'),
      )
      load.current(true)
    }
  }, [live, live?.link])

  const wards = new Map<string, Bed[]>()
  beds?.beds.forEach((b) => wards.set(b.ward, [...(wards.get(b.ward) ?? []), b]))
  return (
    <Frame session={session} go={go} onSignOut={onSignOut} {...(live ? { link: live.link, late: live.lateSeconds, heard: live.heard, now: () => live.now(), beds: countBeds(live, ids) } : {})}>
      <h1 class="sr">{tr('Central station')}</h1>
      {changed && (
        <div class="notice" role="status" data-testid="changed">
          <span>{changed}</span>
          <button type="button" class="quiet small-button" onClick={() => setChanged('')}>
            {tr('Understood')}
          </button>
        </div>
      )}
      {!beds && !failed && <p class="quietly">{tr('Fetching the beds…')}</p>}
      {!beds && failed && (
        <Message title={tr('No beds to show')} testid="failed">
          {failed.away ? <Gone failed={failed} /> : <p>{failed.message}{' '}{tr('Trying again.')}</p>}
        </Message>
      )}
      {beds && beds.beds.length === 0 && (
        <Message title={tr('No beds to show')} testid="empty">
          <p>{tr('No admitted patient is in your care. If that is wrong, ask an administrator to correct your ward or care team.')}</p>
        </Message>
      )}
      {live &&
        [...wards].map(([ward, list]) => (
          <section key={ward} class="ward" aria-label={list[0]!.ward_name}>
            <h2>
              {hubSays(list[0]!.ward_name)} <span class="count">{list.length === 1 ? tr('1 bed') : tr('{0} beds', list.length)}</span>
            </h2>
            <div class="grid">
              {list.map((b) =>
                b.patient ? (
                  <div key={b.bed || b.patient} class="cell">
                    <Tile bed={b} patient={b.patient} live={live} go={go} />
                    <Rivals asked={b} readings={live.of(b.patient).readings} session={session} go={go} testid={`rivals-${b.patient}`} />
                    <AskPatient patient={b.patient} name={b.patient_name} asked={b} go={go} onAnswered={() => load.current(true)} />
                  </div>
                ) : (
                  <EmptyTile key={b.bed} bed={b} />
                ),
              )}
            </div>
          </section>
        ))}
      {beds && mayBreakGlass(session) && (
        <p class="emergency-row">
          <button type="button" class="quiet danger-text" data-testid="emergency" onClick={() => setEmergency(true)}>
            {tr('Emergency: open a patient outside your care…')}
          </button>
        </p>
      )}
      {emergency && <BreakGlass go={go} onClose={() => setEmergency(false)} />}
    </Frame>
  )
}

function EmptyTile({ bed }: { bed: Bed }) {
  return (
    <div class="tile tile-empty" data-testid={`bed-${bed.bed}`}>
      <span class="bed-name">{bed.bed_name}</span>
      <BedSecurity bed={bed.bed} />
      <span class="number-note">{bed.occupied ? tr('This patient does not share the numbers with you.') : tr('no patient')}</span>
    </div>
  )
}

function Tile({ bed, patient, live, go }: { bed: Bed; patient: string; live: Live; go: (to: string) => void }) {
  const v = live.of(patient)
  const f = freshness(live, v)
  return (
    <Link to={`/patient/${encodeURIComponent(patient)}`} go={go} class={`tile tile-${f.state}`} data-testid={`bed-${bed.bed}`}
      aria-label={tr('{0}, {1}: open', bed.bed_name, bed.patient_name ?? 'patient')}>
      <div class="tile-head">
        <span class="bed-name">{hubSays(bed.bed_name)}</span>
        <Age state={f.state} seconds={f.seconds} seen={seenOf(live, v)} />
      </div>
      <div class="patient-name">{bed.patient_name}</div>
      <div class="tile-numbers">
        <NumberBox live={live} v={v} kind="heart_rate_bpm" reading={v.readings.heart_rate_bpm} label={tr('HR')} unit="bpm" colour="hr" testid="hr" asked={bed} name={bed.patient_name} />
        <NumberBox live={live} v={v} kind="spo2_percent" reading={v.readings.spo2_percent} label={tr('SpO₂')} unit="%" colour="spo2" testid="spo2" asked={bed} name={bed.patient_name} />
      </div>
      <BedLine seen={seenOf(live, v, bed.unreadable)} testid="bed-line" />
      <WaveCanvas live={live} patient={patient} seconds={6} />
      <BloodPressure live={live} v={v} unreadable={bed.unreadable} asked={bed} name={bed.patient_name} />
      <BedSecurity bed={bed.bed} />
    </Link>
  )
}

export function Age({ state, seconds, seen, prefix = '' }: { state: Freshness; seconds: number; seen: Seen; prefix?: string }) {
  if (state === 'live')
    return (
      <span class="age age-live" data-testid="age">
        {prefix}
        {tr('{0} ago', span(seconds))}
      </span>
    )
  return (
    <strong class="age age-stale" data-testid="age">
      {ageWords(seen, seconds)}
    </strong>
  )
}
