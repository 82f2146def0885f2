// One patient: the pulse wave, the numbers, the last hour.
import { absentNote } from './absent'
import { tr } from './lang'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { AGAIN_MS, Refused, ask, type EndReason, type Patient, type Session, type Trends, type WaveChunk } from './api'
import { AskPatient, marked } from './confirm'
import { BreakGlass, OwnSay, mayBreakGlass } from './emergency'
import { Live } from './live'
import { BedLine, BloodPressure, Frame, Gone, Link, Message, NumberBox, WaveCanvas, countBeds, freshness, seenOf, useTick } from './parts'
import { Rivals } from './rivals'
import { Age } from './station'
import { TrendCharts } from './trends'
import { doubt, hasValue, say } from './words'

// What the charts can show: minutes, and what that is called.
const RANGES: [number, string][] = [[60, tr('hour')], [24 * 60, tr('day')], [7 * 24 * 60, tr('week')], [30 * 24 * 60, tr('30 days')]]
const TRENDS_AGAIN_MS = 60_000
// How often the patient is asked for while a live reading and what is known differ in what is in question.
const DIFFER_MS = 3_000

export function PatientPage({ id, session, go, onSignOut, onGone }: {
  id: string
  session: Session
  go: (to: string) => void
  onSignOut: () => void
  onGone: () => void
}) {
  const [patient, setPatient] = useState<Patient>()
  const [trends, setTrends] = useState<Trends>()
  const [minutes, setMinutes] = useState(60)
  const wanted = useRef(minutes)
  wanted.current = minutes // an answer for another range comes too late
  const [failed, setFailed] = useState<Refused>()
  const [ended, setEnded] = useState<EndReason>()
  const [emergency, setEmergency] = useState(false)
  const path = `/api/patients/${encodeURIComponent(id)}`

  const fail = (e: unknown) => {
    if (e instanceof Refused && e.status === 401) onGone()
    else setFailed(e instanceof Refused ? e : new Refused(0, say('hubGone')))
  }
  const load = useRef<(background: boolean) => void>(() => {})
  load.current = (background) => {
    ask<Patient>('GET', path, undefined, background).then((p) => {
      setFailed(undefined)
      setEnded(undefined)
      setPatient(p)
    }, fail)
  }
  const loadTrends = useRef<() => void>(() => {})
  loadTrends.current = () => {
    const kinds = ['heart_rate_bpm', 'spo2_percent', 'systolic_mmhg', 'diastolic_mmhg'].map((k) => `kind=${k}`).join('&')
    ask<Trends>('GET', `${path}/trends?${kinds}&minutes=${minutes}`, undefined, true).then((t) => wanted.current === minutes && setTrends(t), (e: unknown) => {
      if (e instanceof Refused && e.status === 401) onGone()
    })
  }

  useEffect(() => {
    load.current(false)
  }, [id])
  const live = useMemo(
    () =>
      patient
        ? new Live([id], true, () => {
            load.current(true)
            loadTrends.current()
          })
        : undefined,
    [id, patient !== undefined],
  )
  useEffect(() => () => live?.close(), [live])
  useEffect(() => {
    if (!live || !patient) return
    live.take(id, patient.numerics, false)
    live.bedside(id, patient.at_bed)
  }, [live, patient])
  useEffect(() => {
    if (!live) return
    ask<{ source?: string; chunks: WaveChunk[] }>('GET', `${path}/waveform?seconds=12`, undefined, true).then(
      (w) => live.of(id).wave.fill(w.chunks.map((c) => ({ ...c, source: w.source ?? '' }))),
      () => {}, // the live wave will fill the screen without it
    )
    loadTrends.current()
    const t = window.setInterval(() => loadTrends.current(), TRENDS_AGAIN_MS)
    return () => window.clearInterval(t)
  }, [live])
  useEffect(() => {
    if (!live) return
    setTrends(undefined)
    loadTrends.current()
  }, [minutes])
  useTick(live)
  const looked = useRef(0)
  const differs = live && patient ? marked(live.of(id).readings) !== (patient.questions ?? []).length > 0 : false
  useEffect(() => {
    if (!differs || Date.now() - looked.current < DIFFER_MS) return
    looked.current = Date.now()
    load.current(true)
    loadTrends.current()
  })
  useEffect(() => {
    if (live?.link === 'signed-out') onGone()
    if (live?.link === 'changed') {
      setEnded(live.why)
      setPatient(undefined)
      setTrends(undefined)
      load.current(true)
    }
  }, [live, live?.link])
  useEffect(() => {
    if (!failed?.away || patient) return
    const t = window.setTimeout(() => load.current(true), AGAIN_MS)
    return () => window.clearTimeout(t)
  }, [failed, patient])

  const frame = { session, go, onSignOut, ...(live && patient ? { link: live.link, late: live.lateSeconds, heard: live.heard, now: () => live.now(), beds: countBeds(live, [id]) } : {}) }
  if (!patient || !live) {
    return (
      <Frame {...frame}>
        {failed?.status === 403 ? (
          <Message title={refusedTitle(ended)} testid="refused">
            {ended === 'emergency_over' ? (
              <p data-testid="ended-emergency">
                {tr('The 15 minutes are over, so this patient is closed again. An auditor will review the access, and the patient can read your reason. If you go on caring for this patient, ask the ward to add you.')}
              </p>
            ) : ended === 'consent' ? (
              <p>{tr('The patient has asked that you no longer see the numbers. Speak with the patient or the ward. In an emergency you may still open them.')}</p>
            ) : ended === 'discharged' || ended === 'moved' ? (
              <p data-testid={`ended-${ended}`}>{say(ended === 'moved' ? 'movedWardOne' : 'dischargedOne')}</p>
            ) : ended === 'permission' ? (
              <p>{tr('You are no longer on this patient’s ward or care team, so the numbers are closed. If that is wrong, ask an administrator.')}</p>
            ) : (
              <>
                <p>
                  {tr('You are not on this patient’s ward or care team, so nothing about the patient is shown. This attempt has been written to the audit log.')}
                </p>
                <p>{tr('If you are caring for this patient, ask the ward to add you.')}</p>
              </>
            )}
            {mayBreakGlass(session) && (
              <p>
                <button type="button" class="quiet danger-text" data-testid="emergency" onClick={() => setEmergency(true)}>
                  {tr('Emergency: open this patient for 15 minutes…')}
                </button>
              </p>
            )}
            <Home session={session} go={go} />
            {emergency && (
              <BreakGlass
                patient={id}
                go={() => load.current(false)}
                onClose={() => setEmergency(false)}
              />
            )}
          </Message>
        ) : failed ? (
          <Message title={tr('This page cannot be shown')} testid="failed">
            {failed.away ? <Gone failed={failed} /> : <p>{failed.message}</p>}
            <Home session={session} go={go} />
          </Message>
        ) : (
          <p class="quietly">{tr('Opening…')}</p>
        )}
      </Frame>
    )
  }
  const v = live.of(id)
  const f = freshness(live, v)
  const seen = seenOf(live, v)
  const perfusion = v.readings.perfusion_index_percent
  return (
    <Frame {...frame}>
      <div class="patient-head">
        {session.role !== 'patient' && (
          <Link to="/" go={go} class="back" data-testid="back">
            {tr('← All beds')}
          </Link>
        )}
        <h1>
          <span class="patient-name">{patient.patient_name}</span>
          <span class="where">
            {patient.bed_name}
            {patient.ward_name && `, ${patient.ward_name}`}
          </span>
        </h1>
        <Age state={f.state} seconds={f.seconds} seen={seen} prefix={`${tr('last number')} `} />
      </div>
      <BedLine seen={seen} testid="bed-line" />
      <Rivals asked={patient} readings={v.readings} session={session} go={go} testid={`rivals-${id}`} />
      <AskPatient patient={id} name={patient.patient_name} asked={patient} go={go} onAnswered={() => {
        load.current(true)
        loadTrends.current()
      }} />
      <div class={`monitor tile-${f.state}`} data-testid="monitor">
        <section class="panel wave-panel" aria-label={tr('Pulse wave')}>
          <span class="panel-label">
            {tr('Pulse wave')}{' '}<span class="unit">{tr('infrared, height follows the signal')}</span>{' '}
            {v.wave.source && (
              <span class="unit" data-testid="wave-source">
                {say('source', v.wave.source)}
              </span>
            )}
          </span>
          <WaveCanvas live={live} patient={id} seconds={8} big />
        </section>
        <section class="panel numbers-panel" aria-label={tr('Numbers')}>
          <NumberBox live={live} v={v} kind="heart_rate_bpm" reading={v.readings.heart_rate_bpm} label={tr('Heart rate')} unit="bpm" colour="hr" testid="hr" asked={patient} name={patient.patient_name} />
          <NumberBox live={live} v={v} kind="spo2_percent" reading={v.readings.spo2_percent} label={tr('SpO₂')} unit="%" colour="spo2" testid="spo2" asked={patient} name={patient.patient_name} />
          <BloodPressure live={live} v={v} big asked={patient} name={patient.patient_name} />
          <div class={`small ${live.ageSeconds(perfusion) > 5 || live.link !== 'live' ? 'is-stale' : ''}`}>
            <span class="number-label">
              {tr('Perfusion')}{' '}<span class="unit">%</span>
            </span>
            <span class="small-value" data-testid="perfusion">
              {hasValue(perfusion) && live.ageSeconds(perfusion) < 120 ? perfusion.value.toFixed(1) + (doubt(perfusion) ? '?' : '') : '– –'}
            </span>
            {!(hasValue(perfusion) && live.ageSeconds(perfusion) < 120) && <span class="number-note">{absentNote(seen, 'perfusion_index_percent', perfusion)}</span>}
          </div>
        </section>
      </div>
      <section aria-label={tr('Trends')} class="trends" data-testid="trends">
        <h2>
          {tr('The last')}{' '}
          {RANGES.map(([m, name]) => (
            <button key={m} type="button" class="range" data-testid={`range-${m}`} aria-pressed={m === minutes} onClick={() => setMinutes(m)}>
              {name}
            </button>
          ))}
        </h2>
        {trends ? <TrendCharts key={trends.step_seconds + minutes} trends={trends} /> : <p class="quietly">{tr('Fetching…')}</p>}
        {Object.values(v.readings).some((r) => r?.time_not_sure) && (
          <p class="gaps" data-testid="chart-not-sure">
            {tr('Values whose time is not sure are on no chart until the clock of their gateway is right, or an administrator says when they were measured.')}
          </p>
        )}
      </section>
      {session.role === 'patient' && session.self_patient === id && <OwnSay patient={id} />}
    </Frame>
  )
}

function refusedTitle(ended: EndReason | undefined): string {
  switch (ended) {
    case 'emergency_over':
      return tr('Your emergency access has ended')
    case 'consent':
      return tr('This patient does not share the numbers with you')
    case 'discharged':
      return say('dischargedTitle')
    case 'moved':
      return say('movedWardTitle')
    case 'permission':
      return tr('You no longer see this patient')
    default:
      return tr('You may not open this patient')
  }
}

function Home({ session, go }: { session: Session; go: (to: string) => void }) {
  if (session.role === 'patient') return null
  return (
    <p>
      <Link to="/" go={go} class="back">
        {tr('← Back to your beds')}
      </Link>
    </p>
  )
}
