// How a reading is said to a person: a number, or the reason why there is none. Never a zero, never a guess.
import type { FailedSignIn, Kind, Quality, Reading } from './api'

// A number older than this is not live and must not look so.
export const STALE_SECONDS = 5

// After this long an old number is no longer shown at all.
export const FORGET_SECONDS = 120

const names: Record<Kind, string> = {
  heart_rate_bpm: 'Heart rate',
  spo2_percent: 'SpO₂',
  perfusion_index_percent: 'Perfusion index',
  pressure_kpa: 'Cuff pressure',
  systolic_mmhg: 'Systolic',
  diastolic_mmhg: 'Diastolic',
  mean_arterial_mmhg: 'Mean pressure',
  respiratory_rate_per_min: 'Breathing rate',
  die_temperature_celsius: 'Sensor temperature',
}

export const nameOf = (k: Kind): string => names[k]

export function whyAbsent(k: Kind, q: Quality): string {
  switch (q) {
    case 'probe_off':
      return 'probe off'
    case 'motion':
      return 'no value: motion'
    case 'low_perfusion':
      return 'no value: weak pulse'
    case 'saturated':
      return 'no value: sensor saturated'
    case 'settling':
      return 'measuring, please wait'
    case 'out_of_range':
      return 'no value: not plausible'
    case 'unavailable':
      return k === 'spo2_percent' ? 'SpO2 not available' : 'not available'
    case 'device_fault':
      return 'sensor fault'
    default:
      return 'no value'
  }
}

// Why a number that is shown has a mark.
export const uncertainties: Partial<Record<Quality, string>> = { questionable: 'uncertain', asserted: 'says a legacy device' }

// doubt is that word, or '' for a number that needs none.
export const doubt = (r: Reading | undefined): string =>
  [r && uncertainties[r.quality], r?.time_not_sure && timeNotSure()].filter(Boolean).join(', ')

// The gateway's clock is off: the number is of now and of this bed, but it is on no chart yet.
const timeNotSureIn: Record<string, string> = { en: 'time not sure', de: 'Zeit nicht sicher' }
export const timeNotSure = (): string => timeNotSureIn[document.documentElement.lang.slice(0, 2)] ?? timeNotSureIn.en!

// A chart's values hold some that are questionable, or that a legacy device says.
const someUncertainIn: Record<string, string> = { en: 'some uncertain', de: 'teils unsicher' }
export const someUncertain = (): string => someUncertainIn[document.documentElement.lang.slice(0, 2)] ?? someUncertainIn.en!

export const hasValue = (r: Reading | undefined): r is Reading & { value: number } =>
  r !== undefined && r.value !== undefined && (r.quality === 'good' || doubt(r) !== '')

// say is a text in the language of the page (the lang of its root element): English, or German where it says "de". Texts that came
// later than the first pages are kept in both.
const texts = {
  source: { en: 'from {0}', de: 'von {0}' },
  unverified: { en: 'unverified (legacy device {0})', de: 'ungeprüft (Altgerät {0})' },
  movedAway: { en: 'Values from {0} to {1} were moved to another patient by {2}, {3}.', de: 'Werte von {0} bis {1} wurden einem anderen Patienten zugeordnet, durch {2}, {3}.' },
  movedHere: { en: 'Values from {0} to {1} were moved here from another patient by {2}, {3}.', de: 'Werte von {0} bis {1} stammen aus der Zuordnung zu einem anderen Patienten, geändert durch {2}, {3}.' },
  moving: { en: 'This is under way.', de: 'Das läuft noch.' },
  bed: { en: 'Bed', de: 'Bett' },
  noBed: { en: 'at no bed', de: 'an keinem Bett' },
  moveSensor: { en: 'Move it to this bed', de: 'An dieses Bett umsetzen' },
  sensorMoved: { en: 'moved to {0}.', de: 'umgesetzt: {0}.' },
  addSensors: { en: 'Add sensors to this gateway…', de: 'Sensoren zu diesem Gateway hinzufügen…' },
  replaceSensor: { en: 'Replace it by another one…', de: 'Durch einen anderen ersetzen…' },
  replaceHint: {
    en: 'The new sensor gets the bed and the gateway of {0}, which measures on until you delete it.',
    de: 'Der neue Sensor bekommt Bett und Gateway von {0}; dieser misst weiter, bis Sie ihn löschen.',
  },
  meant: { en: 'This may be a mistake:', de: 'Das ist vielleicht ein Versehen:' },
  doIt: { en: 'It is meant: do it', de: 'Es ist so gemeint: ausführen' },
  sensorLines: { en: 'Its sensors, one a line: name, model, serial number, bed', de: 'Seine Sensoren, je Zeile einer: Name, Modell, Seriennummer, Bett' },
  sensorLine: { en: 'The new sensor: name, model, serial number', de: 'Der neue Sensor: Name, Modell, Seriennummer' },
  addTitle: { en: 'Sensors for {0}', de: 'Sensoren für {0}' },
  makeTicket: { en: 'Make the ticket', de: 'Ticket erzeugen' },
  cancel: { en: 'Cancel', de: 'Abbrechen' },
} as const

export function say(key: keyof typeof texts, ...values: (string | number)[]): string {
  const text: string = texts[key][document.documentElement.lang.startsWith('de') ? 'de' : 'en']
  return text.replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''))
}

// sourceOf says which sensor a reading is of, or '' while there is none.
export function sourceOf(r: Reading | undefined): string {
  if (!r?.source) return ''
  return say(r.unverified || r.quality === 'asserted' ? 'unverified' : 'source', r.source)
}

// span says a duration in words short enough for a tile.
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`
  return `${Math.floor(s / 86400)} days`
}

export function clock(iso: string, seconds = false): string {
  const t = new Date(iso)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${two(t.getHours())}:${two(t.getMinutes())}${seconds ? ':' + two(t.getSeconds()) : ''}`
}

// day is the local date, in the one order that nobody misreads.
export function day(iso: string): string {
  const t = new Date(iso)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`
}

// gapReason says why readings will never come, and which.
export function gapReason(signal: string, reason: string): string {
  const what = ({ ppg: 'the pulse wave', numerics: 'numbers', pressure: 'the cuff\u2019s pressure', events: 'events' } as Record<string, string>)[signal] ?? signal
  switch (reason) {
    case 'outbox_full':
      return `${what} dropped; the gateway had no room left while the hub was away`
    case 'disk_damage':
      return `${what} lost; the gateway\u2019s disk was damaged`
  }
  return `${what} lost (${reason})`
}

export const roleWords: Record<string, string> = {
  patient: 'Patient',
  nurse: 'Nurse',
  doctor: 'Doctor',
  staff: 'Staff',
  auditor: 'Auditor',
  admin: 'Administrator',
}

// failedSignIns says what was tried with a person's login, and what to do.
export function failedSignIns(failed: FailedSignIn[]): string {
  const total = failed.reduce((n, f) => n + f.count, 0)
  const first = failed.map((f) => f.first).sort()[0] ?? ''
  const since = new Date(first).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
  const places = failed.map((f) => f.workstation.split('/workstation/')[1] ?? '').filter((n) => n !== '')
  const named = places.length > 0 ? places.slice(0, 3).join(', ') : 'several workstations'
  const more = failed.length > Math.min(places.length, 3) && places.length > 0 ? ' and others' : ''
  const what = total === 1 ? '1 failed sign-in' : `${total} failed sign-ins`
  return `${what} with your login since ${since}, from workstation ${named}${more}. If that was not you, change your password and tell the security officer.`
}
