// What an act that waits will change, in German: from its fields, all that the hub's English sentences say.
import type { Kind } from './api'
import { nameOf, roleWords } from './words'

interface Relations {
  role: string
  wards: string[] | null
  patients: string[] | null
}

export interface ActFields {
  name?: string
  login?: string
  role?: string
  self?: string
  before?: Relations
  after?: Relations
  display?: { id: string; wards: string[] | null }
  move?: { from: string; to: string; sensor?: string; begin: string; end: string; numbers: number; others: number; others_of?: string }
  ward_names: Record<string, string>
  lie: Record<string, { bed: string; ward: string }>
}

const role = (r: string | undefined): string => roleWords[r ?? ''] ?? r ?? ''
// A name stands in quotes, escaped: it is what a person chose, and must not look like words of the hub.
const quoted = (s: string | undefined): string => JSON.stringify(s ?? '')
const short = (id: string): string => id.replace(/^spiffe:\/\/[^/]*\//, '')
const list = (ids: string[] | null | undefined): string => (ids && ids.length > 0 ? ids.join(', ') : 'keine')
const same = (a: string[] | null | undefined, b: string[] | null | undefined): boolean => [...(a ?? [])].sort().join(' ') === [...(b ?? [])].sort().join(' ')
const numbers = (n: number): string => (n === 1 ? '1 Wert' : n >= 10000 ? `${n} Werte oder mehr` : `${n} Werte`)
// What a patient has already, in the names of kinds that people use: the hub says "heart_rate_bpm by oxi-1".
const plainly = (kinds: string): string => {
  const [what = '', by = ''] = kinds.split(' by ')
  const names = what.split(', ').map((k) => nameOf(k as Kind) ?? k)
  return by ? `${names.join(', ')} von ${by}` : names.join(', ')
}
const utc = (iso: string): string => iso.replace('T', ' ').replace(/(\.\d+)?Z$/, '')

// legend says what ids mean.
function legend(f: ActFields, patients: string[]): string[] {
  return [
    ...Object.entries(f.ward_names).map(([id, name]) => `${id} ist die Station ${name}`),
    ...patients.map((id) => {
      const at = f.lie[id]
      return !at ? `${id} ist ein Patient, der nicht mehr bekannt ist` : at.bed ? `${id} ist der Patient, der jetzt an Bett ${at.bed} liegt` : `${id} ist ein Patient, der jetzt an keinem Bett liegt`
    }),
  ]
}

const kinds: Record<string, (f: ActFields) => string[]> = {
  'person.create': (f) => [
    `legt ${quoted(f.name)} (Anmeldename ${f.login}) an, mit Anmeldung als: ${role(f.role)}`,
    ...(f.after?.wards?.length ? [`sieht jeden Patienten der Stationen ${list(f.after.wards)}`] : []),
    ...(f.after?.patients?.length ? [`behandelt die Patienten ${list(f.after.patients)}`] : []),
    ...(f.self ? [`ist der Patient ${f.self}: sieht dessen Werte und erteilt dessen Einwilligung`] : []),
    ...legend(f, [...(f.after?.patients ?? []), ...(f.self ? [f.self] : [])]),
    'wer freigibt, bekommt die zweite Hälfte des Einmalpassworts und übergibt sie persönlich',
  ],
  'person.relations': (f) => {
    const who = `${quoted(f.name)} (Anmeldename ${f.login})`
    const both = [...(f.before?.patients ?? []), ...(f.after?.patients ?? [])]
    const changed = [...new Set(both)].filter((id) => !(f.before?.patients ?? []).includes(id) || !(f.after?.patients ?? []).includes(id))
    return [
      ...(f.before?.role !== f.after?.role ? [`${who}: Rolle ${role(f.before?.role)} → ${role(f.after?.role)}`] : []),
      ...(same(f.before?.wards, f.after?.wards) ? [] : [`${who}: Stationen ${list(f.before?.wards)} → ${list(f.after?.wards)}`]),
      ...(same(f.before?.patients, f.after?.patients) ? [] : [`${who}: Patienten ${list(f.before?.patients)} → ${list(f.after?.patients)}`]),
      ...legend(f, changed),
    ]
  },
  'person.enable': (f) => [`lässt ${person(f)} wieder zu`],
  'person.disable': (f) => [`sperrt ${person(f)}, eine der wenigen Personen, die freigeben können`],
  'person.password': (f) => [`erzeugt ein Einmalpasswort für ${person(f)}, in zwei Hälften`],
  'person.factors': (f) => [`nimmt ${person(f)} die zweiten Faktoren und Passkeys weg`],
  'display.invite': (f) => [
    `erzeugt den Wandbildschirm ${short(f.display?.id ?? '')}, der allen davor die Live-Werte jedes Betts der Stationen ${list(f.display?.wards)} zeigt`,
    'Sie bekommen das Ticket, mit dem er registriert wird, und geben es der antragstellenden Person',
    ...legend(f, []),
  ],
  'display.ticket': (f) => [
    `erzeugt ein neues Ticket für den Wandbildschirm ${short(f.display?.id ?? '')}: Was sich damit registriert, zeigt die Live-Werte jedes Betts der Stationen ${list(f.display?.wards)}; der jetzige Bildschirm wird dunkel`,
    'Sie bekommen das Ticket, mit dem er registriert wird, und geben es der antragstellenden Person',
    ...legend(f, []),
  ],
  'display.enable': (f) => [
    `lässt den gesperrten Wandbildschirm ${short(f.display?.id ?? '')} wieder zu, der allen davor die Live-Werte jedes Betts der Stationen ${list(f.display?.wards)} zeigt`,
    ...legend(f, []),
  ],
  'readings.move': (f) => {
    const m = f.move
    if (!m) return []
    const what = m.sensor ? `was der Sensor ${quoted(short(m.sensor))} gemessen hat` : 'was alle Sensoren gemessen haben'
    const from = m.from === 'unassigned' ? 'bei keinem Patienten' : `beim Patienten ${quoted(m.from)}`
    return [
      `ordnet dem Patienten ${quoted(m.to)} zu, ${what} von ${utc(m.begin)} bis ${utc(m.end)} UTC, bisher ${from}: ${numbers(m.numbers)}`,
      ...(m.others > 0 ? [`${quoted(m.to)} hat ${numbers(m.others)} eigene aus dieser Zeit${m.others_of ? ` (${plainly(m.others_of)})` : ''}: Die Kurve enthielte die Werte von zwei Menschen`] : []),
      `wer ${quoted(m.to)} sieht, sieht sie von da an; wer nur den bisherigen Patienten sieht, nicht mehr; beide Kurven sagen es`,
      ...[m.from, m.to].flatMap((id) => (f.lie[id]?.ward ? [`${quoted(id)} liegt jetzt auf der Station ${f.lie[id].ward}`] : [])),
      ...legend(f, [m.from, m.to].filter((id) => id !== 'unassigned')),
    ]
  },
  'two-persons.off': () => ['von da an legt eine Administratorin oder ein Administrator allein klinisches Personal, Auditoren, Patientenzugänge und Wandbildschirme an und ordnet Messwerte einem Patienten einer anderen Station zu'],
}

const person = (f: ActFields): string => `${quoted(f.name)} (${role(f.role)}, Anmeldename ${f.login})`

// concerned are the ids of patients of whom an act says something.
export const concerned = (f: ActFields | undefined): string[] => [
  ...new Set([...Object.keys(f?.lie ?? {}), ...(f?.after?.patients ?? []), ...(f?.before?.patients ?? []), f?.self ?? '', f?.move?.from ?? '', f?.move?.to ?? '']),
].filter((id) => id !== '' && id !== 'unassigned')

// named puts a patient's name behind each id that is known by name: quoted, as all that a person chose.
export function named(said: string, names: Map<string, string>): string {
  return [...names].reduce((text, [id, name]) => text.replace(new RegExp(`"${id}"|\\b${id}\\b(?!-)`, 'g'), (as) => `${as} (${quoted(name)})`), said)
}

// inGerman are the sentences, on a German page and of a kind that it knows; undefined otherwise.
export function inGerman(kind: string, f: ActFields | undefined): string[] | undefined {
  if (!f || !document.documentElement.lang.startsWith('de')) return undefined
  const said = kinds[kind]?.(f)
  return said && said.length > 0 ? said : undefined
}
