// The hub's JSON, and one function to ask for it. Names end in their unit; times are RFC 3339 in UTC.

import { hubClock } from './clock'
import { hubGone } from './absent'
import { hubSays, tr } from './lang'
import { say } from './words'

export type Kind =
  | 'heart_rate_bpm'
  | 'spo2_percent'
  | 'perfusion_index_percent'
  | 'pressure_kpa'
  | 'systolic_mmhg'
  | 'diastolic_mmhg'
  | 'mean_arterial_mmhg'
  | 'respiratory_rate_per_min'
  | 'die_temperature_celsius'

export type Quality =
  | 'unknown'
  | 'good'
  | 'questionable'
  | 'probe_off'
  | 'motion'
  | 'low_perfusion'
  | 'saturated'
  | 'settling'
  | 'out_of_range'
  | 'unavailable'
  | 'device_fault'
  | 'asserted'

// One value of one kind. Without a value, quality says why.
export interface Reading {
  at: string
  quality: Quality
  time_not_sure?: boolean // the gateway’s clock is off: shown, but on no chart
  not_confirmed?: boolean // the sensor was silent for long, and it was not confirmed that it is still on this patient
  value?: number
  source?: string // short name of the sensor that counts for this kind
  unverified?: boolean // it is a legacy device: nothing has measured what it says
  others?: Other[] // what other sensors say of this kind at the same time
  disagree?: boolean // one of them differs by more than the hub's bound: none is shown as the right one
  attempt?: Attempt // of the systolic pressure: a cuff's try after at that gave no value
  since?: string | undefined // of one without a value: the time of the last that had one
}

// A cuff's try that gave no value.
export interface Attempt {
  at: string
  why: Quality
  cause?: Cause // what ended it; a gateway of an older version does not say
  source: string // short name of the cuff
}

// What ends a cuff's attempt without a value.
export type Cause =
  | 'movement'
  | 'not_deflated'
  | 'no_pulse'
  | 'deflated_too_fast'
  | 'not_inflated_enough'
  | 'emptied_too_soon'
  | 'not_plausible'
  | 'cuff_off'
  | 'sensor_failed'
  | 'samples_lost'

// What is at a bed, and what was taken off it lately.
export interface AtBed {
  sensors: BedSensor[]
  left?: LeftSensor[]
}

export type Purpose = 'oximeter' | 'cuff' | 'legacy'

export interface BedSensor {
  sensor: string // short name
  purpose: Purpose
  state?: string // where it is not active
  gateway?: string // short name
  gateway_silent?: boolean // it is not heard any more
  gateway_heard?: string // when it last was, if ever
}

// Where it is now and who moved it is there for those who may know of that bed.
export interface LeftSensor {
  sensor: string
  purpose: Purpose
  at: string
  bed_name?: string
  ward_name?: string
  off?: boolean // it is at no bed
  by?: string
}

// What a sensor says that is not the source of its kind.
export interface Other extends Reading {
  disagree?: boolean // with the source's value
  silent?: boolean // it disagreed, and has given no value since
  why?: Quality // a silent one that still speaks has no value for this reason
}

// A question that a bed asks: is this still the right patient?
export interface Question {
  id: string
  sensor: string // short name
  silent: string // the last value before
  spoke: string // the first one after
  no?: boolean // a nurse said no, and the sensor is still at the bed
  by?: string
}

export interface Asked {
  questions?: Question[]
  may_answer?: boolean
}

// A stretch of a sensor's readings of which it was, or is, in question whose they are.
export interface TrendQuestion {
  sensor: string
  from: string
  to?: string
  answer?: 'yes' | 'no'
  by?: string
  at?: string
}

export type Readings = Partial<Record<Kind, Reading>>

export interface Session {
  login: string
  display_name: string
  role: 'patient' | 'nurse' | 'doctor' | 'staff' | 'auditor' | 'admin'
  self_patient?: string
  workstation: string
  second_factor: boolean
  must_change_password?: boolean
  server_time: string
  // Failed sign-ins with this login since the sign-in before this one, the newest first.
  failed_sign_ins?: FailedSignIn[]
}

export interface FailedSignIn {
  workstation: string // SPIFFE id; empty: several others
  count: number
  first: string
  last: string
}

// How a person may sign in at this workstation.
export interface Ways {
  passkey_host: string
  hospital: boolean
  display: boolean
  idle_seconds: number
}

// What is asked for before a sign-in or a dangerous act goes on.
export interface Pending {
  id: string
  methods: ('password' | 'totp' | 'recovery' | 'passkey')[]
  passkey_options?: unknown
}

export interface Emergency {
  patient: string
  bed_name: string
  ward_name: string
  person: string
  opened: string
  expires: string
  mine: boolean
}

// Something about security that a person must know of until one has acknowledged it.
export interface SecurityEvent {
  id: string
  kind: string
  place: string // SPIFFE id of the component or workstation; empty: none in particular
  person: string
  detail: string
  beds: { bed: string; bed_name: string; ward: string; ward_name: string }[]
  first: string
  last: string
  times: number
  lasts: boolean // it is so now
  again?: boolean // acknowledged before, and goes on
}

export interface Security {
  server_time: string
  may_acknowledge: boolean
  events: SecurityEvent[]
  more?: number
}

export interface Bed extends Asked {
  bed: string
  bed_name: string
  ward: string
  ward_name: string
  occupied: boolean
  // Only for someone who may see this patient:
  patient?: string
  patient_name?: string
  numerics?: Readings
  at_bed?: AtBed
  unreadable?: boolean // what is stored of the patient cannot be read now
}

export interface Beds {
  server_time: string
  beds: Bed[]
}

export interface Patient extends Asked {
  server_time: string
  patient: string
  patient_name: string
  bed: string
  bed_name: string
  ward: string
  ward_name: string
  numerics: Readings
  at_bed?: AtBed
}

export interface TrendPoint {
  at: string
  min: number
  mean: number
  max: number
  count: number
  uncertain?: number // of count: questionable, or said by a legacy device
  asserted?: boolean // legacy devices said all of count
  source?: string // the sensor that the values are of
  sensors: number // how many had values; 0: not known, an older hub summed up all
  others?: TrendOther[]
  disagree?: boolean // the mean of one of them lies too far off
}

// What a sensor that is not the source of a point gave in the same step; without a source an older hub summed it up.
export interface TrendOther {
  source?: string
  min: number
  mean: number
  max: number
  count: number
  disagree?: boolean
}

export interface Trends {
  from: string
  to: string
  step_seconds: number
  series: { kind: Kind; points: TrendPoint[] }[]
  gaps: Gap[]
  moves: Moved[]
  not_confirmed: TrendQuestion[]
  attempts: TrendAttempt[]
}

// Attempts of a cuff that gave no value, in one step.
export interface TrendAttempt {
  at: string
  why: Quality
  source: string
  count: number
}

// A span of which readings were moved to another patient (away), or came from one.
export interface Moved {
  from: string
  to: string
  away: boolean
  by: string
  at: string
  done: boolean
}

// What will never come: a gateway had to drop it, or lost it.
export interface Gap {
  from: string
  to: string
  signal: string
  reason: string
}

export interface WaveChunk {
  start: string
  rate_hz: number
  gap_samples: number
  // Infrared, turned over so that a beat is a peak: 65535 minus the converter's code.
  pulse: number[]
  // The sensor that it is of.
  source?: string
}

export interface AuditEntry {
  seq: number
  time: string
  person: string
  role: string
  workstation: string
  action: string
  resource: string
  patient: string
  patients?: string[]
  allowed: boolean
  policies: string[] | null
  reason: string
  count?: number // so many refusals like it
}

// What the hub says over the live connection.
export type LiveMessage =
  | { type: 'hello'; server_time: string; patients: string[] }
  | { type: 'alive'; server_time: string }
  | { type: 'numerics'; patient: string; sensor: string; numerics: Readings }
  | ({ type: 'waveform'; patient: string; sensor: string } & WaveChunk)
  | { type: 'bedside'; patient: string; at_bed: AtBed }
  | { type: 'lagged' }
  | { type: 'ended'; reason: EndReason; patient?: string } // who was discharged or moved

export type EndReason = 'signed_out' | 'permission' | 'emergency_over' | 'consent' | 'discharged' | 'moved' | 'undecided' | 'stopping'

// What a workstation's own address answers while the hub is away, or a proxy before it: try again.
const AWAY = [0, 502, 503, 504]
// How long a page waits before it asks again while the hub is away.
export const AGAIN_MS = 2000

// An answer other than success. Status 0 means that there was no answer.
export class Refused extends Error {
  // away reports whether the hub was not reached: nothing was refused, and the same request may succeed later.
  get away(): boolean {
    return AWAY.includes(this.status)
  }

  constructor(
    readonly status: number,
    message: string,
    readonly stepUp = false,
    readonly signedOut = false,
    readonly retryAfter = 0,
    readonly questions: string[] = [], // what looks like a mistake: with meant it is done all the same
    readonly heard: string | undefined = undefined, // when this workstation last heard the hub, where it says so
  ) {
    super(message)
  }
}

// auditAlarm is what this workstation itself says: the hub's audit log does not continue the one that it remembers.
export let auditAlarm = false

async function once<T>(method: string, path: string, body: unknown, background: boolean): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json', 'X-Vitalseal-Request': '1' }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (background) headers['X-Vitalseal-Background'] = '1'
  let answer: Response
  const told = hubClock.begin()
  try {
    answer = await fetch(path, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch {
    throw new Refused(0, say('hubGone'))
  }
  auditAlarm = answer.headers.get('X-Vitalseal-Audit-Alarm') === '1'
  const text = await answer.text()
  let json: unknown
  try {
    json = text === '' ? undefined : JSON.parse(text)
  } catch {
    json = undefined
  }
  if (answer.ok) told((json as { server_time?: unknown } | undefined)?.server_time)
  if (!answer.ok) {
    const said = (json ?? {}) as { error?: unknown; step_up?: unknown; signed_out?: unknown; retry_after?: unknown; questions?: unknown; hub_heard?: unknown }
    const heard = typeof said.hub_heard === 'string' ? said.hub_heard : undefined
    throw new Refused(
      answer.status,
      'hub_heard' in said ? hubGone(heard, Date.now()) : typeof said.error === 'string' ? hubSays(said.error) : tr('The hub answered {0}.', answer.status),
      said.step_up === true,
      said.signed_out === true,
      typeof said.retry_after === 'number' ? said.retry_after : 0,
      Array.isArray(said.questions) ? said.questions.map(String) : [],
      heard,
    )
  }
  return json as T
}

const refreshedKey = 'vitalseal.refreshed'
const refreshedAt = () => Number(window.localStorage.getItem(refreshedKey) ?? 0)

// refresh changes the refresh token for a new access token: in one tab at a time, because a refresh token used twice ends
// the session. What another tab has just done counts.
export async function refresh(): Promise<boolean> {
  const began = Date.now()
  const work = async () => {
    if (refreshedAt() >= began) return true
    try {
      await once('POST', '/api/session/refresh', undefined, true)
    } catch (e) {
      if (!(e instanceof Refused) || e.status !== 409) return false
    }
    window.localStorage.setItem(refreshedKey, String(Date.now()))
    return true
  }
  return 'locks' in navigator ? navigator.locks.request('vitalseal-refresh', work) : work()
}

// prove is asked when a dangerous act needs a fresh proof of identity; the page's step-up dialog sets it.
let prove: (() => Promise<boolean>) | undefined
export function onProofNeeded(f: (() => Promise<boolean>) | undefined): void {
  prove = f
}

// ask sends a request. It refreshes an expired access token, and asks for a fresh proof of identity where one is missing, and
// then repeats the request, once each. background is for what a page asks by itself: it does not keep the session alive, and
// no question is asked.
export async function ask<T>(method: string, path: string, body?: unknown, background = false): Promise<T> {
  let refreshed = false
  let proven = false
  for (;;) {
    try {
      return await once<T>(method, path, body, background)
    } catch (e) {
      if (!(e instanceof Refused)) throw e
      if (e.status === 401 && e.signedOut && !refreshed && (await refresh())) {
        refreshed = true
        continue
      }
      if (e.stepUp && !background && !proven && prove && (await prove())) {
        proven = true
        continue
      }
      throw e
    }
  }
}
