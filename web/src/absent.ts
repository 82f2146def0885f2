// What is said where a bed has no number. Each text names what is silent (sensor, gateway or hub),
// since when, and what to do; a state that could be taken for a harmless one is said apart from it.
import { hubSays, tr } from './lang'
import { clock, day, hasValue, say, span, whyAbsent, FORGET_SECONDS, STALE_SECONDS } from './words'
import type { AtBed, BedSensor, Cause, Kind, Quality, Reading, Readings } from './api'

// Hub is how well the screen hears the hub: while it does not, nothing is said of sensors as of now.
export interface Hub {
  state: 'live' | 'late' | 'connecting' | 'lost'
  heard?: string | undefined // the hub's time in its newest word
}

// Seen is what a screen knows of a bed now. seconds is how old a reading is on this screen.
export interface Seen {
  hub: Hub
  now: number
  readings: Readings
  seconds: (r: Reading | undefined) => number
  at: AtBed | undefined
  unreadable?: boolean | undefined // what the hub has stored cannot be read
}

// when is a time to the second, with its day unless that is today.
const when = (iso: string, now: number): string =>
  day(iso) === day(new Date(now).toISOString()) ? clock(iso, true) : `${day(iso)} ${clock(iso, true)}`

// minutes is one to the minute.
const minutes = (iso: string, now: number): string => (day(iso) === day(new Date(now).toISOString()) ? clock(iso) : `${day(iso)} ${clock(iso)}`)

const called = (s: BedSensor): string => say(s.purpose === 'legacy' ? 'legacyNamed' : 'oximeterNamed', s.sensor)

// oximeters are the sensors that a heart rate or a saturation can come from.
const oximeters = (at: AtBed | undefined): BedSensor[] => (at?.sensors ?? []).filter((s) => s.purpose !== 'cuff')

// silentOne names what the numbers of a bed are of, or would be: of one that is at another bed now
// nothing is said.
function silentOne(s: Seen): string {
  const source = s.readings.heart_rate_bpm?.source ?? s.readings.spo2_percent?.source
  const all = oximeters(s.at)
  const one = all.find((x) => x.sensor === source) ?? all.find((x) => !x.state) ?? all[0]
  return one ? called(one) : source ? say('oximeterNamed', source) : say('anOximeter')
}

// ageWords is the badge of a bed without a live heart rate and saturation.
export function ageWords(s: Seen, seconds: number): string {
  if (s.hub.state !== 'live') return say(s.hub.state === 'lost' ? 'hubGoneBadge' : s.hub.state === 'late' ? 'hubLateBadge' : 'hubNotYetBadge')
  if (seconds <= STALE_SECONDS) return say('noLiveNumber') // the sensor speaks: the line says why it has none
  if (s.at && oximeters(s.at).length === 0) return say('noOximeterBadge')
  return Number.isFinite(seconds) ? say('noDataFor', silentOne(s), span(seconds)) : say('noDataSoFar', silentOne(s))
}

// unknown is what is said of a number that is not there while the hub is not heard: that is no
// finding about the patient or the sensor.
const unknown = (hub: Hub): string => say(hub.state === 'lost' ? 'unknownNow' : hub.state === 'late' ? 'unknownLate' : 'unknownYet')

// hubGone says that the hub is not reached, since when: one text on every page.
export const hubGone = (heard: string | undefined, now: number): string => (heard ? say('hubGoneSince', when(heard, now)) : say('hubGone'))

// absentNote is why a number that is measured every second is not there.
export function absentNote(s: Seen, kind: Kind, r: Reading | undefined): string {
  const age = s.seconds(r)
  if (!r || !Number.isFinite(age)) return s.hub.state === 'live' ? tr('no data') : unknown(s.hub)
  if (age >= FORGET_SECONDS) return s.hub.state === 'live' ? say('noDataSince', minutes(r.at, s.now)) : say('lastWas', unknown(s.hub), minutes(r.at, s.now))
  // Of what is not heard now nothing is said as if it went on.
  if (age > STALE_SECONDS || s.hub.state !== 'live')
    return say('oldWord', clock(r.at, true), hasValue(r) || r.quality === 'settling' ? say('wasSettling') : whyAbsent(kind, r.quality))
  const why = whyAbsent(kind, r.quality)
  return r.since ? say('whySince', why, minutes(r.since, s.now)) : why
}

// What to do about a number that is not there.
const todo: Partial<Record<Quality, () => string>> = {
  probe_off: () => say('todoProbe'),
  motion: () => say('todoMotion'),
  low_perfusion: () => say('todoPulse'),
  saturated: () => say('todoLight'),
  out_of_range: () => say('todoPulse'),
  device_fault: () => say('todoFault'),
  settling: () => say('todoWait'),
}

export interface BedLine {
  state: 'hub' | 'gateway' | 'sensor' | 'none' | 'no-value'
  what: string
  todo: string
}

// bedLine is the one line of a bed whose heart rate or saturation is missing: what is lost, since
// when, and what to do; undefined while there is nothing to say.
export function bedLine(s: Seen): BedLine | undefined {
  const { hub, at, readings } = s
  if (hub.state === 'lost') return { state: 'hub', what: hubGone(hub.heard, s.now), todo: say('bedside') }
  if (hub.state === 'late') return { state: 'hub', what: hub.heard ? say('hubLate', when(hub.heard, s.now)) : say('hubLateYet'), todo: say('bedside') }
  if (hub.state === 'connecting') return undefined // for a moment: then it is one of the above
  const both = [readings.heart_rate_bpm, readings.spo2_percent]
  if (Math.min(...both.map(s.seconds)) <= STALE_SECONDS) {
    const fresh = both.filter((r): r is Reading => s.seconds(r) <= STALE_SECONDS)
    if (fresh.some(hasValue)) return undefined
    const r = fresh.find((x) => todo[x.quality]) ?? fresh[0]!
    const why = whyAbsent('heart_rate_bpm', r.quality)
    return { state: 'no-value', what: say('noValueNow', silentOne(s), r.since ? say('whySince', why, minutes(r.since, s.now)) : why), todo: (todo[r.quality] ?? (() => say('sensorTodo')))() }
  }
  if (s.unreadable) return { state: 'hub', what: say('unreadable'), todo: say('unreadableTodo') }
  if (!at) return undefined
  const all = oximeters(at)
  const active = all.filter((x) => !x.state)
  const last = both.map((r) => (r && (!r.source || active.some((x) => x.sensor === r.source)) ? r.at : '')).sort().at(-1)
  if (all.length === 0) return { state: 'none', what: left(s), todo: say('noOximeterTodo') }
  if (active.length === 0) return { state: 'sensor', what: say(all[0]!.state === 'invited' ? 'sensorInvited' : 'sensorDisabled', called(all[0]!)), todo: say('disabledTodo') }
  if (active.every((x) => x.gateway_silent)) {
    const x = active[0]!
    return {
      state: 'gateway',
      what: x.gateway_heard ? say('gatewaySince', x.gateway ?? '', when(x.gateway_heard, s.now)) : say('gatewayNever', x.gateway ?? ''),
      todo: say('gatewayTodo'),
    }
  }
  return { state: 'sensor', what: last ? say('sensorSince', silentOne(s), when(last, s.now)) : say('sensorNever', silentOne(s)), todo: say('sensorTodo') }
}

// place is a bed in words, as the reader may know it.
const place = (l: { bed_name?: string; ward_name?: string }): string => [hubSays(l.bed_name ?? ''), l.ward_name].filter(Boolean).join(', ')

// left says that a bed has no oximeter, and where its last one is.
function left(s: Seen): string {
  const l = s.at?.left?.find((x) => x.purpose !== 'cuff')
  if (!l) return say('noOximeter')
  const at = minutes(l.at, s.now)
  if (l.off) return l.by ? say('noOximeterOff', l.sensor, at, l.by) : say('noOximeterOffAt', l.sensor, at)
  if (!l.bed_name) return say('noOximeterAway', l.sensor, at)
  return l.by ? say('noOximeterMoved', l.sensor, place(l), at, l.by) : say('noOximeterMovedTo', l.sensor, place(l), at)
}

type Fail = { why: string; todo: string }

// Why a cuff's attempt gave no value, and what to do: one text a cause.
const causes: Record<Cause, () => Fail> = {
  movement: () => ({ why: say('failMotion'), todo: say('todoMeasureStill') }),
  not_deflated: () => ({ why: say('failDeflate'), todo: say('todoDeflate') }),
  no_pulse: () => ({ why: say('failPulse'), todo: say('todoNoPulse') }),
  deflated_too_fast: () => ({ why: say('failTooFast'), todo: say('todoLeak') }),
  not_inflated_enough: () => ({ why: say('failTooLow'), todo: say('todoInflate') }),
  emptied_too_soon: () => ({ why: say('failTooSoon'), todo: say('todoToTheEnd') }),
  not_plausible: () => ({ why: say('failPlausible'), todo: say('todoFit') }),
  cuff_off: () => ({ why: say('failOff'), todo: say('todoCuffOn') }),
  sensor_failed: () => ({ why: say('failSensor'), todo: say('todoCuffSensor') }),
  samples_lost: () => ({ why: say('failSamples'), todo: say('todoSamples') }),
}

// Where only the quality is known: a chart counts by it, and a gateway of an older version says no
// more. Two of these qualities have several causes.
const failedBy: Partial<Record<Quality, () => Fail>> = {
  motion: causes.movement,
  low_perfusion: causes.no_pulse,
  out_of_range: () => ({ why: say('failRange'), todo: say('todoCuff') }),
  probe_off: causes.cuff_off,
  saturated: causes.sensor_failed,
  device_fault: () => ({ why: say('failFault'), todo: say('todoCuffSensor') }),
}

const failed = (q: Quality, cause: Cause | undefined): Fail => (cause && causes[cause] ? causes[cause]() : (failedBy[q]?.() ?? { why: tr('no value'), todo: say('todoCuff') }))

// whyFailed is why attempts of a cuff gave no value, by their quality alone.
export const whyFailed = (q: Quality): string => failed(q, undefined).why

// cuffTrouble is why no cuff could measure now, or ''.
function cuffTrouble(s: Seen): string {
  if (s.hub.state !== 'live' || !s.at) return ''
  const cuffs = s.at.sensors.filter((x) => x.purpose === 'cuff')
  const asserts = s.readings.systolic_mmhg?.unverified || s.at.sensors.some((x) => x.purpose === 'legacy')
  if (cuffs.length === 0) {
    const l = s.at.left?.find((x) => x.purpose === 'cuff')
    if (l) return l.bed_name ? say('noCuffMoved', l.sensor, place(l), minutes(l.at, s.now)) : say('noCuffAway', l.sensor, minutes(l.at, s.now))
    return asserts ? '' : say('noCuff')
  }
  const word = s.readings.pressure_kpa
  const said = (c: BedSensor): string => {
    if (c.state) return say(c.state === 'invited' ? 'cuffInvited' : 'cuffDisabled', c.sensor)
    const mine = word?.source === c.sensor ? word : undefined
    if (mine && s.seconds(mine) <= STALE_SECONDS) {
      if (hasValue(mine)) return ''
      return say('cuffWhy', c.sensor, mine.quality === 'unavailable' ? say('cuffUncalibrated') : whyAbsent('pressure_kpa', mine.quality))
    }
    if (word && s.seconds(word) <= STALE_SECONDS) return '' // of two cuffs the other one's word counts
    if (c.gateway_silent) return c.gateway_heard ? say('cuffGateway', c.sensor, c.gateway ?? '', minutes(c.gateway_heard, s.now)) : say('cuffGatewayNever', c.sensor, c.gateway ?? '')
    return mine ? say('cuffSince', c.sensor, minutes(mine.at, s.now)) : say('cuffNever', c.sensor)
  }
  const all = cuffs.map(said)
  return all.every(Boolean) ? all[0]! : ''
}

// attemptWords is a cuff's newest attempt that gave no value, its cause first, or ''.
export function attemptWords(s: Seen): string {
  const a = s.readings.systolic_mmhg?.attempt
  return a ? say('attempt', minutes(a.at, s.now), failed(a.why, a.cause).why) : ''
}

// What is of one measurement has times no farther apart (vitals.PairWithin).
const PAIR_MS = 30_000

type Valued = Reading & { value: number }

// pressureOf is the systolic pressure with what was measured with it: a diastolic or mean pressure
// of another time never stands beside it.
export function pressureOf(readings: Readings): { sys: Valued; dia: Valued; mean: Valued | undefined } | undefined {
  const { systolic_mmhg: sys, diastolic_mmhg: dia, mean_arterial_mmhg: mean } = readings
  const beside = (r: Reading | undefined): r is Valued => hasValue(r) && Math.abs(Date.parse(r.at) - Date.parse(sys!.at)) <= PAIR_MS
  if (!hasValue(sys) || !beside(dia)) return undefined
  return { sys, dia, mean: beside(mean) ? mean : undefined }
}

// pressureNote says when the blood pressure was measured, what became of an attempt since, and why
// there is none.
export function pressureNote(s: Seen): string {
  const sys = s.readings.systolic_mmhg
  const both = pressureOf(s.readings) !== undefined
  const tried = sys?.attempt
  const attempt = tried ? `${attemptWords(s)}; ${failed(tried.why, tried.cause).todo}` : ''
  const age = s.seconds(sys)
  const ago = age < 60 ? tr('just now') : tr('{0} ago', span(age))
  const trouble = cuffTrouble(s)
  if (both && sys) return [attempt ? `${attempt}; ${say('lastValue', minutes(sys.at, s.now), ago)}` : tr('measured {0}, {1}', minutes(sys.at, s.now), ago), trouble].filter(Boolean).join('; ')
  if (attempt) return [attempt, s.hub.state === 'live' ? say('noValue4h') : unknown(s.hub), trouble].filter(Boolean).join('; ')
  if (s.hub.state !== 'live') return unknown(s.hub)
  if (s.unreadable) return say('unreadableShort')
  if (hasValue(sys)) return [say('systolicAlone', Math.round(sys.value), minutes(sys.at, s.now)), trouble].filter(Boolean).join('; ')
  if (sys && sys.quality !== 'unknown') return [say('oldWord', clock(sys.at), whyAbsent('systolic_mmhg', sys.quality)), trouble].filter(Boolean).join('; ')
  return [sys ? say('lastMeasured', minutes(sys.at, s.now)) : say('notMeasured'), trouble].filter(Boolean).join('; ')
}
