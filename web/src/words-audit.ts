// The texts of the auditor's page.
export const auditTexts = {
  auditNewest: { en: 'The newest {0} entries. Filter, or page on, to reach older ones.', de: 'Die neuesten {0} Einträge. Ältere zeigen ein Filter oder die nächste Seite.' },
  auditFilter: { en: 'Find entries', de: 'Einträge suchen' },
  auditPerson: { en: 'Person', de: 'Person' },
  auditPatient: { en: 'Patient, by bed now', de: 'Patient, nach Bett jetzt' },
  auditAction: { en: 'Action', de: 'Vorgang' },
  auditAnswer: { en: 'Answer', de: 'Antwort' },
  auditFrom: { en: 'From', de: 'Von' },
  auditTo: { en: 'Until', de: 'Bis' },
  auditAny: { en: 'any', de: 'alle' },
  allowed: { en: 'allowed', de: 'erlaubt' },
  refusedAnswer: { en: 'refused', de: 'abgelehnt' },
  refusedTimes: { en: 'refused {0} times', de: '{0}-mal abgelehnt' },
  undecidedAnswer: { en: 'not decided', de: 'nicht entschieden' },
  undecidedTimes: { en: 'not decided {0} times', de: '{0}-mal nicht entschieden' },
  auditFind: { en: 'Search', de: 'Suchen' },
  auditClear: { en: 'Show the newest', de: 'Die neuesten zeigen' },
  auditOlder: { en: 'Older entries', de: 'Ältere Einträge' },
  auditNewer: { en: 'Newer entries', de: 'Neuere Einträge' },
  auditLooking: { en: 'Searching… looked back to {0}.', de: 'Suche läuft… zurück bis {0}.' },
  auditNone: { en: 'No entry fits.', de: 'Kein Eintrag passt.' },
  auditStopped: { en: 'Looked back to {0} so far, not to the first entry.', de: 'Bisher zurück bis {0} gesucht, nicht bis zum ersten Eintrag.' },
  auditGoOn: { en: 'Search further back', de: 'Weiter zurück suchen' },
  auditEnd: { en: 'The log begins here.', de: 'Hier beginnt das Protokoll.' },
  auditFound: { en: '{0} entries, from No. {1} back to No. {2}.', de: '{0} Einträge, von Nr. {1} zurück bis Nr. {2}.' },
  auditEach: {
    en: 'Each entry shown is proven to be in the signed log. That a filtered list leaves none out is the hub’s word; vitalseal audit export finds the same offline.',
    de: 'Jeder gezeigte Eintrag steht bewiesen im signierten Protokoll. Dass eine gefilterte Liste keinen auslässt, sagt der Hub; vitalseal audit export findet dasselbe offline.',
  },
  auditWhole: { en: 'Each entry shown is proven to be in the signed log, and none between them is left out.', de: 'Jeder gezeigte Eintrag steht bewiesen im signierten Protokoll, und keiner dazwischen fehlt.' },
  auditUnproven: { en: 'What this page shows is not proven by this browser.', de: 'Was diese Seite zeigt, ist in diesem Browser nicht bewiesen.' },
  auditSave: { en: 'Save these entries (JSON lines)', de: 'Diese Einträge speichern (JSON-Zeilen)' },
  auditExport: { en: 'All of them, where the hub runs: ', de: 'Alle, auf dem Rechner des Hubs: ' },
  auditNoBed: { en: 'at no bed now', de: 'jetzt an keinem Bett' },
  auditForgotten: { en: 'forgotten', de: 'gelöscht' },
  auditGone: { en: 'not known any more', de: 'nicht mehr bekannt' },
  auditPatients: { en: '{0} patients', de: '{0} Patienten' },
  auditSpan: { en: 'The end must be after the beginning.', de: 'Das Ende muss nach dem Anfang liegen.' },
  onWhat: { en: 'On', de: 'Worauf' },
  decidedBy: { en: 'Why', de: 'Warum' },
  engineOf: { en: 'part of the hub', de: 'Teil des Hubs' },
  wardOf: { en: 'ward {0}', de: 'Station {0}' },
  bedOf: { en: 'bed {0}', de: 'Bett {0}' },
} as const

// What the actions of the audit log are, in words.
const actions: Record<string, { en: string; de: string }> = {
  'patient:view': { en: 'see a patient', de: 'Patient ansehen' },
  'patient:break-glass': { en: 'open in an emergency', de: 'Im Notfall öffnen' },
  'consent:manage': { en: 'change consent', de: 'Einwilligung ändern' },
  'patient:accesses': { en: 'see who opened the patient', de: 'Zugriffe einsehen' },
  'patient:confirm': { en: 'say whether it is the right patient', de: 'Richtigen Patienten bestätigen' },
  'bed:list': { en: 'list beds', de: 'Betten auflisten' },
  'display:view': { en: 'show on a wall screen', de: 'Auf Wandbildschirm zeigen' },
  'channel:read': { en: 'read a channel', de: 'Kanal lesen' },
  'channel:write': { en: 'write to a channel', de: 'In Kanal schreiben' },
  'channel:manage': { en: 'manage a channel', de: 'Kanal verwalten' },
  'channel:forward': { en: 'forward a channel', de: 'Kanal weiterleiten' },
  'channel:create': { en: 'make a channel', de: 'Kanal anlegen' },
  'channel:list': { en: 'list channels', de: 'Kanäle auflisten' },
  'talkback:use': { en: 'use a TalkBack', de: 'TalkBack benutzen' },
  'key:manage': { en: 'manage own API keys', de: 'Eigene API-Schlüssel verwalten' },
  'directory:manage': { en: 'manage wards, beds, patients', de: 'Stationen, Betten, Patienten verwalten' },
  'people:manage': { en: 'manage people', de: 'Personen verwalten' },
  'identity:manage': { en: 'manage devices', de: 'Geräte verwalten' },
  'audit:read': { en: 'read the audit log', de: 'Prüfprotokoll lesen' },
  'access:review': { en: 'judge an emergency', de: 'Notfall beurteilen' },
  'approval:give': { en: 'approve or refuse', de: 'Freigeben oder ablehnen' },
  'approval:read': { en: 'see approvals', de: 'Freigaben einsehen' },
  'policy:explain': { en: 'ask why', de: 'Nach dem Warum fragen' },
  'delivery:read': { en: 'read delivery and devices', de: 'Zustellung und Geräte einsehen' },
  'sensor:move': { en: 'move a sensor', de: 'Sensor umsetzen' },
  'readings:move': { en: 'move readings', de: 'Messwerte zuordnen' },
  'sensor:read': { en: 'see which sensors can be moved', de: 'Sensoren zum Umsetzen ansehen' },
  'readings:read': { en: 'see what a move of readings takes', de: 'Messwerte vor dem Übertragen ansehen' },
  'directory:read': { en: 'see wards, patients and people', de: 'Stationen, Patienten und Personen ansehen' },
  'review:read': { en: 'see emergencies to judge', de: 'Notfälle zur Beurteilung ansehen' },
  'vitals:append': { en: 'store readings', de: 'Messwerte speichern' },
  'session:sign-in': { en: 'sign in', de: 'Anmelden' },
  'session:sign-out': { en: 'sign out', de: 'Abmelden' },
  'session:use': { en: 'use a session', de: 'Sitzung benutzen' },
  'session:refresh': { en: 'renew a session', de: 'Sitzung erneuern' },
  'session:step-up': { en: 'prove identity again', de: 'Identität erneut nachweisen' },
}

// actionsBeside are those that no policy decides.
export const actionsBeside = Object.keys(actions).filter((a) => a.startsWith('session:'))

export const actionWords = (action: string): string => actions[action]?.[document.documentElement.lang.startsWith('de') ? 'de' : 'en'] ?? action

// Why something was refused, as the hub writes it.
const reasons: Record<string, string> = {
  'no policy permits it': 'Keine Regel erlaubt es',
  'a policy forbids it': 'Eine Regel verbietet es',
  'a fresh proof of identity is needed': 'Ein frischer Identitätsnachweis ist nötig',
  'unknown person': 'Unbekannte Person',
  'unknown resource': 'Unbekannter Gegenstand',
  'by API key': 'Mit API-Schlüssel',
  'the directory could not be asked': 'Das Verzeichnis war nicht erreichbar',
  'not a question of this system': 'Keine Frage dieses Systems',
  'not decided: the directory could not be asked': 'Nicht entschieden: Das Verzeichnis war nicht erreichbar',
  'not done: the requester was asked whether it is meant': 'Nicht ausgeführt: Es wurde nachgefragt, ob das gemeint ist',
  'not done: a mistake in the request': 'Nicht ausgeführt: Fehler in der Anfrage',
  'not decided: the time for it was over': 'Nicht entschieden: Die Zeit dafür war abgelaufen',
}

// What begins the reason of an entry that is no refusal, in this version and in earlier ones.
const notDecided = /^(not decided: |the directory could not be asked($|; ))/

// answerOf is an entry's outcome. What the hub could not decide is no refusal of the person.
export const answerOf = (e: { allowed: boolean; reason: string }): 'allowed' | 'refused' | 'undecided' =>
  e.allowed ? 'allowed' : notDecided.test(e.reason) ? 'undecided' : 'refused'

// What the hub writes, at the end of a reason, of a view whose page connected again and again (the
// second is of earlier versions), and of one that is open for an hour and longer.
const sinceEntry: [RegExp, (m: string[]) => string][] = [
  [/^(the page|the client) connected again (once|\d+ times) since entry (\d+) of (\S+), the last time at (.*)$/, (m) =>
    `${m[1] === 'the page' ? 'Die Seite' : 'Das Programm'} hat sich ${m[2] === 'once' ? 'einmal' : `${m[2]!.split(' ')[0]}-mal`} neu verbunden seit Eintrag ${m[3]} von ${m[4]}, zuletzt um ${m[5]}`],
  [/^opened again (\d+) times since entry (\d+) of (.*)$/, (m) => `${m[1]}-mal wieder geöffnet seit Eintrag ${m[2]} von ${m[3]}`],
  [/^still open since entry (\d+) of (.*)$/, (m) => `Noch offen seit Eintrag ${m[1]} von ${m[2]}`],
]

// reasonWords is the beginning of a reason that the page knows, in its language, and the rest as it stands in the log.
export function reasonWords(reason: string): { said: string; rest: string } {
  if (!document.documentElement.lang.startsWith('de')) return { said: '', rest: reason }
  const parts = reason.split('; ')
  for (const [pattern, words] of sinceEntry) {
    const at = parts.findIndex((part) => pattern.test(part))
    const found = pattern.exec(parts[at] ?? '')
    if (found) return { said: words(found), rest: parts.filter((_, i) => i !== at).join('; ') }
  }
  const [first = '', ...more] = parts
  const german = reasons[first]
  return german ? { said: german, rest: more.join('; ') } : { said: '', rest: reason }
}
