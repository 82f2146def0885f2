// The hub's JSON, and one function to ask for it. Names end in their unit; times are RFC 3339 in UTC.

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

// One value of one kind. Without a value, quality says why.
export interface Reading {
  at: string
  quality: Quality
  value?: number
}

export type Readings = Partial<Record<Kind, Reading>>

export interface Session {
  login: string
  display_name: string
  role: 'patient' | 'nurse' | 'doctor' | 'staff' | 'auditor' | 'admin'
  self_patient?: string
  workstation: string
  server_time: string
}

export interface Bed {
  bed: string
  bed_name: string
  ward: string
  ward_name: string
  occupied: boolean
  // Only for someone who may see this patient:
  patient?: string
  patient_name?: string
  numerics?: Readings
}

export interface Beds {
  server_time: string
  beds: Bed[]
}

export interface Patient {
  server_time: string
  patient: string
  patient_name: string
  bed: string
  bed_name: string
  ward: string
  ward_name: string
  numerics: Readings
}

export interface TrendPoint {
  at: string
  min: number
  mean: number
  max: number
  count: number
}

export interface Trends {
  from: string
  to: string
  step_seconds: number
  series: { kind: Kind; points: TrendPoint[] }[]
}

export interface WaveChunk {
  start: string
  rate_hz: number
  gap_samples: number
  // Infrared, turned over so that a beat is a peak: 65535 minus the converter's code.
  pulse: number[]
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
  allowed: boolean
  policies: string[] | null
  reason: string
}

// What the hub says over the live connection.
export type LiveMessage =
  | { type: 'hello'; server_time: string; patients: string[] }
  | { type: 'alive'; server_time: string }
  | { type: 'numerics'; patient: string; sensor: string; numerics: Readings }
  | ({ type: 'waveform'; patient: string; sensor: string } & WaveChunk)
  | { type: 'lagged' }
  | { type: 'ended'; reason: 'signed_out' | 'permission' | 'stopping' }

// An answer other than success. Status 0 means that there was no answer.
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
  }
}

// background is for what a page asks by itself: it does not keep the session alive.
export async function ask<T>(method: string, path: string, body?: unknown, background = false): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json', 'X-Vitalseal-Request': '1' }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (background) headers['X-Vitalseal-Background'] = '1'
  let answer: Response
  try {
    answer = await fetch(path, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch {
    throw new Refused(0, 'The hub does not answer.')
  }
  const text = await answer.text()
  let json: unknown
  try {
    json = text === '' ? undefined : JSON.parse(text)
  } catch {
    json = undefined
  }
  if (!answer.ok) {
    const said = (json as { error?: unknown } | undefined)?.error
    throw new Refused(answer.status, typeof said === 'string' ? said : `The hub answered ${answer.status}.`)
  }
  return json as T
}
