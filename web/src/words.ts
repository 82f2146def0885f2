// How a reading is said to a person: a number, or the reason why there is none. Never a zero, never a guess.
import { hubSays, lang, tr } from './lang'
import { absentTexts } from './words-absent'
import { auditTexts } from './words-audit'
import { wardFindings, wardTexts } from './words-ward'
import type { FailedSignIn, Kind, Quality, Reading } from './api'

// A number older than this is not live and must not look so.
export const STALE_SECONDS = 5

// After this long an old number is no longer shown at all.
export const FORGET_SECONDS = 120

const names: Record<Kind, string> = {
  heart_rate_bpm: tr('Heart rate'),
  spo2_percent: tr('SpO₂'),
  perfusion_index_percent: tr('Perfusion index'),
  pressure_kpa: tr('Cuff pressure'),
  systolic_mmhg: tr('Systolic'),
  diastolic_mmhg: tr('Diastolic'),
  mean_arterial_mmhg: tr('Mean pressure'),
  respiratory_rate_per_min: tr('Breathing rate'),
  die_temperature_celsius: tr('Sensor temperature'),
}

export const nameOf = (k: Kind): string => names[k]

export function whyAbsent(k: Kind, q: Quality): string {
  switch (q) {
    case 'probe_off':
      return tr('probe off')
    case 'motion':
      return tr('no value: motion')
    case 'low_perfusion':
      return tr('no value: weak pulse')
    case 'saturated':
      return tr('no value: sensor saturated')
    case 'settling':
      return tr('measuring, please wait')
    case 'out_of_range':
      return tr('no value: not plausible')
    case 'unavailable':
      return k === 'spo2_percent' ? tr('SpO2 not available') : tr('not available')
    case 'device_fault':
      return tr('sensor fault')
    default:
      return tr('no value')
  }
}

// Why a number that is shown has a mark.
export const uncertainties: Partial<Record<Quality, string>> = { questionable: tr('uncertain'), asserted: tr('says a legacy device') }

// doubt is that word, or '' for a number that needs none; refused says whose it is not, after a nurse's "no".
export const doubt = (r: Reading | undefined, refused?: string | false): string =>
  [r && uncertainties[r.quality], r?.time_not_sure && timeNotSure(), r?.not_confirmed && (refused || tr('patient not confirmed'))].filter(Boolean).join(', ')

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
  movedHere: { en: 'Values from {0} to {1} were moved here from another patient by {2}, {3}.', de: 'Werte von {0} bis {1} standen bei einem anderen Patienten und wurden diesem zugeordnet, durch {2}, {3}.' },
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
  replaceTitle: { en: 'Replace {0}', de: '{0} ersetzen' },
  addTitle: { en: 'Sensors for {0}', de: 'Sensoren für {0}' },
  makeTicket: { en: 'Make the ticket', de: 'Ticket erzeugen' },
  cancel: { en: 'Cancel', de: 'Abbrechen' },
  change: { en: 'Change', de: 'Ändern' },
  approvals: { en: 'Approvals', de: 'Freigaben' },
  approvalsLead: {
    en: 'What gives a person or a screen access to patients, or moves readings to another ward, takes two persons of different duties. Approve only what you know to be right: it is carried out at once, exactly as it stands here, and both names stay in the audit log.',
    de: 'Was einer Person oder einem Bildschirm Zugriff auf Patienten gibt oder Messwerte einem Patienten einer anderen Station zuordnet, braucht zwei Personen mit verschiedenen Aufgaben. Geben Sie nur frei, was Sie als richtig kennen: Es wird sofort genau so ausgeführt, wie es hier steht, und beide Namen bleiben im Prüfprotokoll.',
  },
  nothingWaits: { en: 'Nothing waits for approval.', de: 'Nichts wartet auf Freigabe.' },
  requestOf: { en: 'Request of {0}', de: 'Antrag von {0}' },
  personGone: { en: 'A person who is gone', de: 'Eine gelöschte Person' },
  askedOn: { en: 'Asked for on {0}, from {1}. Expires {2}.', de: 'Beantragt am {0}, von {1}. Läuft ab am {2}.' },
  approve: { en: 'Approve', de: 'Freigeben' },
  refuse: { en: 'Refuse', de: 'Ablehnen' },
  takeBack: { en: 'Take back', de: 'Zurückziehen' },
  whyRefused: { en: 'Why not, for the requester (may stay empty)', de: 'Warum nicht, für die antragstellende Person (darf leer bleiben)' },
  waitsForOther: { en: 'You asked for this: another person of another duty decides.', de: 'Ihr eigener Antrag: Eine andere Person mit anderer Aufgabe entscheidet.' },
  notAdministrators: { en: 'An administrator asked for this: a person of another duty decides.', de: 'Antrag der Administration: Eine Person mit anderer Aufgabe entscheidet.' },
  approvedNow: { en: 'Approved and carried out.', de: 'Freigegeben und ausgeführt.' },
  refusedNow: { en: 'Refused. Nothing was changed.', de: 'Abgelehnt. Nichts wurde geändert.' },
  itWas: { en: 'It was: {0}.', de: 'Es ging um: {0}.' },
  unknownAct: { en: 'an act that this hub does not know; a newer hub does', de: 'ein Vorgang, den dieser Hub nicht kennt; ein neuerer kennt ihn' },
  takenBackNow: { en: 'Taken back. Nothing was changed.', de: 'Zurückgezogen. Nichts wurde geändert.' },
  last30: { en: 'The last 30 days', de: 'Die letzten 30 Tage' },
  outcomeBy: { en: '{0} by {1}', de: '{0} von {1}' },
  waiting: { en: 'waits', de: 'wartet' },
  expired: { en: 'expired; nothing was changed', de: 'abgelaufen; nichts wurde geändert' },
  approved: { en: 'approved; not carried out to the end', de: 'freigegeben; nicht zu Ende ausgeführt' },
  done: { en: 'approved and carried out', de: 'freigegeben und ausgeführt' },
  failed: { en: 'approved, but what it was about had changed; nothing was done', de: 'freigegeben, aber der Gegenstand hatte sich geändert; nichts wurde getan' },
  refused: { en: 'refused', de: 'abgelehnt' },
  withdrawn: { en: 'taken back', de: 'zurückgezogen' },
  secondHalf: { en: 'The second half of the password', de: 'Die zweite Hälfte des Passworts' },
  secondHalfLead: {
    en: 'Give it to {0} in person; the requester gives the first half. The password is both, with a hyphen between them. It is shown now and never again.',
    de: 'Persönlich an {0} geben; die erste Hälfte gibt die antragstellende Person. Das Passwort ist beides, mit einem Bindestrich dazwischen. Es wird nur jetzt gezeigt.',
  },
  theLogin: { en: 'the person', de: 'die Person' },
  ticketTitle: { en: 'The ticket of the wall screen', de: 'Das Ticket des Wandbildschirms' },
  ticketLead: { en: 'Save it and give it to the requester. It is shown now and never again.', de: 'Speichern und der antragstellenden Person geben. Es wird nur jetzt gezeigt.' },
  saveTicket: { en: 'Save the ticket', de: 'Ticket speichern' },
  close: { en: 'Done', de: 'Fertig' },
  askedTitle: { en: 'Waits for a second person', de: 'Wartet auf eine zweite Person' },
  nothingYet: { en: 'Nothing has changed yet.', de: 'Noch ist nichts geändert.' },
  askedLead: { en: 'Another person of another duty has to approve this by {0}:', de: 'Eine andere Person mit anderer Aufgabe muss dies bis {0} freigeben:' },
  whoCould: { en: 'Who could: {0}.', de: 'Freigeben könnten: {0}.' },
  noPerson: { en: 'no person at the moment', de: 'zurzeit keine Person' },
  firstHalfLead: {
    en: 'The first half of the one-time password. The approver gets the second; each of you hands over one, with a hyphen between them.',
    de: 'Die erste Hälfte des Einmalpassworts. Die zweite bekommt, wer freigibt; Sie geben je eine Hälfte weiter, dazwischen ein Bindestrich.',
  },
  onePerson: {
    en: 'One administrator alone can make clinicians, auditors, patients’ logins and wall screens.',
    de: 'Ein Administrator allein kann klinisches Personal, Auditoren, Patientenzugänge und Wandbildschirme anlegen.',
  },
  onePersonOff: { en: 'The hub’s configuration says so (two_persons: off).', de: 'So steht es in der Konfiguration des Hubs (two_persons: off).' },
  couldApprove: { en: 'These could approve from now on: {0}.', de: 'Freigeben könnten dann: {0}.' },
  takeTwo: { en: 'Let it take two persons', de: 'Zwei Personen verlangen' },
  tooFew: {
    en: 'It takes {0} auditors, doctors or staff with a password of their own to change that; there are {1}. Make them on the page People; they choose a password at their first sign-in.',
    de: 'Um das zu ändern, braucht es {0} Auditoren, Ärzte oder technische Mitarbeiter mit eigenem Passwort; es gibt {1}. Auf der Seite Personen anlegen; das Passwort wählen sie bei der ersten Anmeldung.',
  },
  security: { en: 'Security', de: 'Sicherheit' },
  since: { en: 'since {0}', de: 'seit {0}' },
  lastly: { en: '{0} times, last {1}', de: '{0}-mal, zuletzt {1}' },
  at: { en: 'at {0}', de: 'an {0}' },
  acknowledge: { en: 'I have seen to it', de: 'Ich habe mich darum gekümmert' },
  goesOn: { en: 'acknowledged before; it goes on', de: 'schon quittiert; besteht weiter' },
  showAll: { en: 'Show all {0}', de: 'Alle {0} zeigen' },
  showWhole: { en: 'Show all of it', de: 'Ganz zeigen' },
  securityNothing: { en: 'Security: nothing waits for you.', de: 'Sicherheit: Nichts wartet auf Sie.' },
  showFewer: { en: 'Show fewer', de: 'Weniger zeigen' },
  andMore: { en: 'and {0} more', de: 'und {0} weitere' },
  securityAway: { en: 'Security events cannot be fetched now: {0}', de: 'Sicherheitsmeldungen sind gerade nicht abrufbar: {0}' },
  fetching: { en: 'Fetching…', de: 'Wird geladen…' },
  quotaTitle: { en: 'Quotas', de: 'Kontingente' },
  quotaLead: {
    en: 'What each person and workstation uses, and of how much. A limit holds from the next entry or view on; no limit lets a person see a patient.',
    de: 'Was jede Person und jeder Arbeitsplatz nutzt, und wie viel erlaubt ist. Ein Limit gilt ab dem nächsten Eintrag oder der nächsten Ansicht; kein Limit gibt Einsicht in Patientendaten.',
  },
  quotaPersons: { en: 'People', de: 'Personen' },
  quotaStations: { en: 'Workstations', de: 'Arbeitsplätze' },
  quotaStation: { en: 'Workstation', de: 'Arbeitsplatz' },
  quotaLogin: { en: 'Login', de: 'Anmeldename' },
  quotaEntries: { en: 'Channel entries', de: 'Kanaleinträge' },
  quotaBytes: { en: 'On disk', de: 'Auf der Platte' },
  quotaLive: { en: 'Live views', de: 'Live-Ansichten' },
  quotaSessions: { en: 'Sessions', de: 'Sitzungen' },
  quotaKeys: { en: 'API keys', de: 'API-Schlüssel' },
  quotaRefused: { en: 'Refused', de: 'Abgelehnt' },
  quotaHospital: { en: "hospital's own", de: 'Klinik selbst' },
  quotaOf: { en: '{0} of {1}', de: '{0} von {1}' },
  quotaSet: { en: 'set here', de: 'hier gesetzt' },
  quotaNear: { en: 'nearly full', de: 'fast voll' },
  quotaFull: { en: 'full', de: 'voll' },
  quotaLiveAll: {
    en: 'Live views beyond the first {2} of each workstation: {0} of {1}. The first ones are always kept free.',
    de: 'Live-Ansichten über die ersten {2} jedes Arbeitsplatzes hinaus: {0} von {1}. Die ersten bleiben immer frei.',
  },
  quotaChange: { en: 'Change…', de: 'Ändern…' },
  quotaChangeOf: { en: 'Change a limit of {0}', de: 'Limit ändern: {0}' },
  quotaWhich: { en: 'Which limit', de: 'Welches Limit' },
  quotaLimit: { en: 'New limit', de: 'Neues Limit' },
  quotaHint: { en: 'What is there already stays. The audit log keeps the old and the new limit.', de: 'Was schon da ist, bleibt. Das Prüfprotokoll hält altes und neues Limit fest.' },
  quotaWhole: { en: 'A limit is a whole number of at least 1.', de: 'Ein Limit ist eine ganze Zahl ab 1.' },
  quotaSave: { en: 'Set the limit', de: 'Limit setzen' },
  quotaDefault: { en: "The configuration's again", de: 'Wieder wie in der Konfiguration' },
  quotaDone: { en: '{0}: {1} now has the limit {2}.', de: '{0}: {1}, neues Limit {2}.' },
  quotaBack: { en: "{0}: {1} has the configuration's limit again.", de: '{0}: {1}, wieder das Limit der Konfiguration.' },
  auditLog: { en: 'Audit log', de: 'Prüfprotokoll' },
  auditLead: { en: 'The newest {0} entries.', de: 'Die neuesten {0} Einträge.' },
  proofProven: { en: 'Proven in this browser', de: 'In diesem Browser bewiesen' },
  proofShown: {
    en: 'Entries {0} to {1} are signed as the end of the log of {2}: none was changed, left out or cut off.',
    de: 'Die Einträge {0} bis {1} sind als Ende des Protokolls von {2} signiert: keiner wurde geändert, ausgelassen oder abgeschnitten.',
  },
  proofSinceBrowser: { en: 'The log continues the {0} entries that this browser saw before.', de: 'Das Protokoll setzt die {0} Einträge fort, die dieser Browser früher gesehen hat.' },
  proofFirst: { en: 'This browser sees this log for the first time, and remembers it from now on.', de: 'Dieser Browser sieht dieses Protokoll zum ersten Mal und merkt es sich von jetzt an.' },
  proofSinceWorkstation: {
    en: 'It continues the {0} entries that this workstation’s own program (vitalseal connect) has seen.',
    de: 'Es setzt die {0} Einträge fort, die das eigene Programm dieses Arbeitsplatzes (vitalseal connect) gesehen hat.',
  },
  proofStationFirst: { en: 'This workstation’s own program has not seen this hub’s log yet.', de: 'Das eigene Programm dieses Arbeitsplatzes hat das Protokoll dieses Hubs noch nicht gesehen.' },
  proofAlone: {
    en: 'This workstation’s own program did not say what it has seen (an older version of vitalseal connect?).',
    de: 'Das eigene Programm dieses Arbeitsplatzes hat nicht gesagt, was es gesehen hat (eine ältere Version von vitalseal connect?).',
  },
  proofWorth: {
    en: 'This page comes from the hub, and a hub that lies could serve one that lies. vitalseal connect checks the same by itself on this workstation; vitalseal audit verify checks all of the log on another machine.',
    de: 'Diese Seite kommt vom Hub; ein Hub, der lügt, könnte auch eine Seite liefern, die lügt. vitalseal connect prüft dasselbe selbst auf diesem Arbeitsplatz; vitalseal audit verify prüft das ganze Protokoll auf einem anderen Rechner.',
  },
  proofNone: { en: 'Nothing on this page is proven', de: 'Auf dieser Seite ist nichts bewiesen' },
  proofUnsupported: {
    en: 'This browser cannot check the log’s signature (Ed25519: Chrome and Edge 137, Firefox 130, Safari 17 or later). Use another, or vitalseal audit verify.',
    de: 'Dieser Browser kann die Signatur des Protokolls nicht prüfen (Ed25519: ab Chrome und Edge 137, Firefox 130, Safari 17). Nehmen Sie einen anderen oder vitalseal audit verify.',
  },
  proofFailed: { en: 'NOT PROVEN: do not rely on these entries', de: 'NICHT BEWIESEN: verlassen Sie sich nicht auf diese Einträge' },
  proofForm: { en: 'What the hub sent is no proof.', de: 'Was der Hub geschickt hat, ist kein Beweis.' },
  proofSignature: { en: 'The end of the log is not signed by the log’s key.', de: 'Das Ende des Protokolls ist nicht mit dem Schlüssel des Protokolls signiert.' },
  proofEntries: {
    en: 'The entries shown are not those that were signed: one was changed, left out or added, or the end was cut off.',
    de: 'Die gezeigten Einträge sind nicht die signierten: Einer wurde geändert, ausgelassen oder hinzugefügt, oder das Ende wurde abgeschnitten.',
  },
  proofBrowser: {
    en: 'The log does not continue what this browser saw before: it was rewritten, or entries at its end were cut off.',
    de: 'Das Protokoll setzt nicht fort, was dieser Browser früher gesehen hat: Es wurde neu geschrieben, oder Einträge am Ende wurden abgeschnitten.',
  },
  proofWorkstation: {
    en: 'The log does not continue what this workstation’s own program has seen: it was rewritten, cut off, or others are shown another one.',
    de: 'Das Protokoll setzt nicht fort, was das eigene Programm dieses Arbeitsplatzes gesehen hat: Es wurde neu geschrieben, abgeschnitten, oder anderen wird ein anderes gezeigt.',
  },
  proofKey: { en: 'The log is signed by another key than before.', de: 'Das Protokoll ist mit einem anderen Schlüssel signiert als früher.' },
  proofHub: { en: 'The hub itself says: {0}', de: 'Der Hub selbst meldet: {0}' },
  proofDo1: { en: 'Tell the security officer now. Care of patients goes on; only this log is in doubt.', de: 'Informieren Sie jetzt die oder den Sicherheitsbeauftragten. Die Versorgung geht weiter; nur dieses Protokoll ist zweifelhaft.' },
  proofDo2: {
    en: 'Delete nothing, here or at the hub: the files beside witness.note and this browser’s memory are evidence.',
    de: 'Löschen Sie nichts, weder hier noch am Hub: Die Dateien neben witness.note und der Speicher dieses Browsers sind Beweise.',
  },
  proofDo3: {
    en: 'On another machine: vitalseal audit verify with the witness.note files of several workstations and gateways.',
    de: 'Auf einem anderen Rechner: vitalseal audit verify mit den witness.note-Dateien mehrerer Arbeitsplätze und Gateways.',
  },
  proofBefore: { en: 'On {0} this log could not be proven here', de: 'Am {0} ließ sich dieses Protokoll hier nicht beweisen' },
  proofReported: { en: 'It was reported: remove this note', de: 'Es wurde gemeldet: diesen Hinweis entfernen' },
} as const

const all = { ...texts, ...wardTexts, ...auditTexts, ...absentTexts }

export function say(key: keyof typeof all, ...values: (string | number)[]): string {
  const text: string = all[key][document.documentElement.lang.startsWith('de') ? 'de' : 'en']
  return text.replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''))
}

// What each kind of security event means, and what to do: in short sentences.
const security: Record<string, { en: [string, string]; de: [string, string] }> = {
  forgery: {
    en: ['Forged or damaged data from a device was refused', 'Look at the device. If it was not serviced just now, disable it on the page Devices and look for who had access to it.'],
    de: ['Gefälschte oder beschädigte Daten eines Geräts wurden abgewiesen', 'Gerät ansehen. Wurde es nicht gerade gewartet: auf der Seite Geräte sperren und klären, wer Zugriff hatte.'],
  },
  'gateway-copy': {
    en: ['A gateway delivers twice: a copy, or one restored from a backup', 'Find out which of the two is real. Switch the other one off, and give it a new ticket before it is used again.'],
    de: ['Ein Gateway liefert doppelt: eine Kopie oder ein zurückgespieltes Backup', 'Klären, welches der beiden das echte ist. Das andere ausschalten und vor der nächsten Nutzung neu einladen.'],
  },
  'nonce-reused': {
    en: ['Another content came under a number that is taken', 'The gateway’s disk was probably copied or a snapshot started twice. Rotate its keys (page Devices) and look for the copy. Nothing that was stored has changed.'],
    de: ['Unter einer vergebenen Nummer kam ein anderer Inhalt', 'Vermutlich wurde die Platte des Gateways kopiert oder ein Abbild zweimal gestartet. Schlüssel wechseln (Seite Geräte) und die Kopie suchen. Gespeichertes ist unverändert.'],
  },
  'number-jump': {
    en: ['A gateway counted further than it can have', 'Forged numbers would silence the device. If this comes again, disable it, give it a new ticket, and run vitalseal identity reset-numbers.'],
    de: ['Ein Gateway hat weiter gezählt, als es kann', 'Gefälschte Nummern würden das Gerät stumm schalten. Bei Wiederholung: sperren, neu einladen, vitalseal identity reset-numbers ausführen.'],
  },
  trouble: {
    en: ['A gateway says that its disk is full or fails', 'It goes on measuring from memory. Make room or replace the disk before it is restarted: readings are lost otherwise.'],
    de: ['Ein Gateway meldet eine volle oder defekte Platte', 'Es misst aus dem Arbeitsspeicher weiter. Vor einem Neustart Platz schaffen oder die Platte ersetzen, sonst gehen Messwerte verloren.'],
  },
  'hub-disk': {
    en: ['The hub’s own disk is full or nearly full', 'Make room on the disk of the hub’s folder now, or give it a larger one. Once it is full, readings are live but not stored, and gateways keep them only as long as their disks last.'],
    de: ['Die Platte des Hubs ist voll oder fast voll', 'Sofort Platz auf der Platte des Hub-Ordners schaffen oder sie vergrößern. Ist sie voll, sind Messwerte live, aber nicht gespeichert; Gateways behalten sie nur, solange deren Platte reicht.'],
  },
  clock: {
    en: ['A gateway’s clock is wrong', 'Set its clock. Until then its numbers are live but on no chart, and are marked “time not sure”.'],
    de: ['Die Uhr eines Gateways geht falsch', 'Uhr stellen. Bis dahin sind die Werte live, aber in keiner Kurve, und tragen „Zeit nicht sicher“.'],
  },
  guessing: {
    en: ['Passwords or codes are being guessed', 'Ask the person. If it was not them, look who is at the workstation, and disable it if need be.'],
    de: ['Passwörter oder Codes werden geraten', 'Die Person fragen. War sie es nicht: nachsehen, wer am Arbeitsplatz sitzt, und ihn nötigenfalls sperren.'],
  },
  'password-spray': {
    en: ['A few passwords are being tried on many people', 'Look who is at the workstation, and disable it if need be. If none is named, several are used: the audit log names them with each refused sign-in.'],
    de: ['Wenige Passwörter werden bei vielen Personen probiert', 'Nachsehen, wer am Arbeitsplatz sitzt, und ihn nötigenfalls sperren. Ist keiner genannt, sind es mehrere: Das Prüfprotokoll nennt sie bei jeder abgewiesenen Anmeldung.'],
  },
  'token-reuse': {
    en: ['A sign-in was used twice: a copied session', 'The session has ended. The person changes the password; look for malware at the workstation.'],
    de: ['Eine Anmeldung wurde doppelt benutzt: eine kopierte Sitzung', 'Die Sitzung ist beendet. Die Person ändert das Passwort; den Arbeitsplatz auf Schadsoftware prüfen.'],
  },
  'many-emergencies': {
    en: ['Unusually many patients were opened in emergencies', 'Judge them on the page Emergencies, and ask the person.'],
    de: ['Ungewöhnlich viele Notfallzugriffe', 'Auf der Seite Notfälle beurteilen und die Person fragen.'],
  },
  'break-glass-refused': {
    en: ['An emergency access was refused', 'Ask the person what it was for. The audit log names the patient.'],
    de: ['Ein Notfallzugriff wurde abgewiesen', 'Die Person nach dem Grund fragen. Das Prüfprotokoll nennt den Patienten.'],
  },
  drift: {
    en: ['The overlay was changed behind the hub’s back, and put right', 'Find out who has access to the OpenZiti controller. The detail says what was changed.'],
    de: ['Das Overlay wurde am Hub vorbei geändert und berichtigt', 'Klären, wer Zugriff auf den OpenZiti-Controller hat. Das Detail nennt die Änderung.'],
  },
  recovery: {
    en: ['An operator made a way in while the hub was stopped', 'Ask the operator. If none of you did it, the root key is in the wrong hands: stop the hub.'],
    de: ['Bei gestopptem Hub wurde ein Zugang wiederhergestellt', 'Den Betreiber fragen. War er es nicht, ist der Wurzelschlüssel in falschen Händen: Hub stoppen.'],
  },
  'split-view': {
    en: ['An audit log was shown to witnesses in two forms', 'Keep the hub’s folder and the files beside witness.note: they are evidence. Compare with the witnesses (vitalseal audit verify).'],
    de: ['Ein Prüfprotokoll wurde Zeugen in zwei Fassungen gezeigt', 'Den Ordner des Hubs und die Dateien neben witness.note aufbewahren: sie sind Beweismittel. Mit den Zeugen vergleichen (vitalseal audit verify).'],
  },
  'false-witness': {
    en: ['A component shows a checkpoint that no log signed', 'Look at that component: its folder was changed, or another program runs there.'],
    de: ['Eine Komponente zeigt einen Prüfpunkt, den kein Prüfprotokoll signiert hat', 'Diese Komponente prüfen: ihr Ordner wurde geändert, oder dort läuft ein anderes Programm.'],
  },
  'audit-tampered': {
    en: ['The audit log on the hub’s disk is not what was signed', 'Stop the hub and keep its folder: it is evidence. Compare with the witnesses (vitalseal audit verify).'],
    de: ['Das Prüfprotokoll auf der Platte des Hubs ist nicht das signierte', 'Hub stoppen und den Ordner aufbewahren: er ist Beweismittel. Mit den Zeugen vergleichen (vitalseal audit verify).'],
  },
  'audit-unproven': {
    en: ['No gateway or workstation has asked the audit log for a proof', 'See that gateways and workstations reach this hub. Until one does, a changed log would not be noticed.'],
    de: ['Kein Gateway und kein Arbeitsplatz hat einen Beweis des Prüfprotokolls angefordert', 'Prüfen, ob Gateways und Arbeitsplätze diesen Hub erreichen. Bis dahin fiele eine Änderung des Protokolls nicht auf.'],
  },
  'witness-gone': {
    en: ['A workstation works here but no longer watches the audit log', 'Restart vitalseal connect there. If that does not help, look who changed it.'],
    de: ['Ein Arbeitsplatz arbeitet hier, überwacht aber das Prüfprotokoll nicht mehr', 'Dort vitalseal connect neu starten. Hilft das nicht: klären, wer es verändert hat.'],
  },
  'emergency-uncounted': {
    en: ['A patient was opened in an emergency, and the hub could not count how many were', 'Look at the hub’s log for the cause. Until it is mended, emergency access has no limit: look at the reviews.'],
    de: ['Ein Patient wurde im Notfall geöffnet, und der Hub konnte nicht zählen, wie viele es waren', 'Ursache im Log des Hubs suchen. Bis sie behoben ist, hat der Notfallzugriff keine Grenze: die Prüfungen ansehen.'],
  },
  'display-let-in': {
    en: ['A wall display got a ticket or was enabled', 'See that the screen hangs where it belongs and is the only one of this name. If you did not expect it, disable it (Devices).'],
    de: ['Ein Wandbildschirm hat ein Ticket erhalten oder wurde wieder zugelassen', 'Prüfen, dass der Bildschirm an seinem Ort hängt und der einzige dieses Namens ist. Unerwartet: sperren (Geräte).'],
  },
  'one-person': {
    en: ['One administrator alone can give access to patients and move readings to another ward', 'Switch approvals on (administrator, or vitalseal approval switch on). It takes two auditors, doctors or staff with passwords of their own.'],
    de: ['Ein Administrator allein kann Zugriff auf Patienten geben und Messwerte einem Patienten einer anderen Station zuordnen', 'Freigaben einschalten (Administrator oder vitalseal approval switch on). Nötig sind zwei Auditoren, Ärzte oder technische Mitarbeiter mit eigenem Passwort.'],
  },
  'readings-moved': {
    en: ['One person alone moved readings to a patient of another ward', 'Ask the person, and compare both charts. Switch approvals on, so that it takes two (vitalseal approval switch on).'],
    de: ['Eine Person allein hat Messwerte einem Patienten einer anderen Station zugeordnet', 'Die Person fragen und beide Kurven vergleichen. Freigaben einschalten, damit es zwei braucht (vitalseal approval switch on).'],
  },
  'audit-alarm': {
    en: ['This workstation cannot trust the hub’s audit log', 'Tell those responsible for the system now. Delete nothing here: the files of vitalseal connect are evidence.'],
    de: ['Dieser Arbeitsplatz kann dem Prüfprotokoll des Hubs nicht trauen', 'Sofort die Systemverantwortlichen informieren. Hier nichts löschen: die Dateien von vitalseal connect sind Beweismittel.'],
  },
}

// securityWords are what an event of this kind means, and what to do.
export function securityWords(kind: string): { what: string; todo: string } {
  const w = security[kind] ?? { en: [kind, 'Look at the hub’s log.'], de: [kind, 'Das Log des Hubs ansehen.'] }
  const [what, todo] = w[document.documentElement.lang.startsWith('de') ? 'de' : 'en'] as [string, string]
  return { what, todo }
}

// What the hub finds, in German: with the parts of a finding in their places.
const findings: [RegExp, string][] = [
  [/^(\S+): the model "(.*)" is not known here; known are (.*) and legacy$/, '$1: Das Modell „$2“ ist hier nicht bekannt; bekannt sind $3 und legacy'],
  [/^(\S+): (\S+) has the serial number "(.*)" already$/, '$1: $2 hat die Seriennummer „$3“ schon'],
  [/^(\S+): bed (\S+) has (\S+) already, a second oximeter; one of the two is shown, or both where they disagree$/, '$1: An Bett $2 ist schon $3, ein zweites Oximeter; eines von beiden wird angezeigt, oder beide, wenn sie sich widersprechen'],
  [/^(\S+): bed (\S+) has (\S+) already, a second cuff; the one that measured last is shown$/, '$1: An Bett $2 ist schon $3, eine zweite Manschette; die zuletzt gemessen hat, wird angezeigt'],
  [/^(\S+): bed (\S+) has (\S+) already, a second legacy device; one of the two is shown, or both where they disagree$/, '$1: An Bett $2 ist schon $3, ein zweites Altgerät; eines von beiden wird angezeigt, oder beide, wenn sie sich widersprechen'],
  [/^(\S+): bed (\S+) has (\S+) already \(.*\); what the legacy device says is shown only while the other is silent$/, '$1: An Bett $2 ist schon $3; was das Altgerät sagt, wird nur angezeigt, solange das andere schweigt'],
  [/^the gateway's clock is (\S+) s ahead of the hub's$/, 'die Uhr des Gateways geht $1 s vor der des Hubs'],
  [/^the gateway's clock is (\S+) s behind the hub's$/, 'die Uhr des Gateways geht $1 s nach der des Hubs'],
  ...wardFindings,
]

// hubFinds is what the hub found, in the language of the page where the page knows it, else as it came.
export function hubFinds(text: string): string {
  const known = lang === 'de' ? findings.find(([like]) => like.test(text)) : undefined
  return known ? text.replace(...known) : hubSays(text)
}

// sourceOf says which sensor a reading is of, or '' while there is none.
export function sourceOf(r: Reading | undefined): string {
  if (!r?.source) return ''
  return say(r.unverified || r.quality === 'asserted' ? 'unverified' : 'source', r.source)
}

// locale is the one that numbers are written in.
export const locale = (): string => (document.documentElement.lang.startsWith('de') ? 'de' : 'en')

// bytes says a size in units that a person reads.
export function bytes(n: number): string {
  let i = 0
  for (; n >= 1024 && i < 4; i++) n /= 1024
  return `${(i === 0 || n >= 100 ? Math.round(n) : Math.round(n * 10) / 10).toLocaleString(locale())} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][i]}`
}

// span says a duration in words short enough for a tile.
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return tr('{0} min', Math.floor(s / 60))
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`
  return tr('{0} days', Math.floor(s / 86400))
}

export function clock(iso: string, seconds = false): string {
  const t = new Date(iso)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${two(t.getHours())}:${two(t.getMinutes())}${seconds ? ':' + two(t.getSeconds()) : ''}`
}

// day is the local date, in an order that cannot be misread.
export function day(iso: string): string {
  const t = new Date(iso)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`
}

// gapReason says why readings will never come, and which.
export function gapReason(signal: string, reason: string): string {
  const what = ({ ppg: tr('the pulse wave'), numerics: tr('numbers'), pressure: tr('the cuff’s pressure'), events: tr('events') } as Record<string, string>)[signal] ?? signal
  switch (reason) {
    case 'outbox_full':
      return tr('{0} dropped; the gateway had no room left while the hub was away', what)
    case 'disk_damage':
      return tr('{0} lost; the gateway’s disk was damaged', what)
  }
  return tr('{0} lost ({1})', what, reason)
}

export const roleWords: Record<string, string> = {
  patient: tr('Patient'),
  nurse: tr('Nurse'),
  doctor: tr('Doctor'),
  staff: tr('Staff'),
  auditor: tr('Auditor'),
  admin: tr('Administrator'),
}

// roleIn is a role within a sentence: German writes it large there too.
export function roleIn(role: string): string {
  const word = roleWords[role] ?? role
  return lang === 'de' ? word : word.toLowerCase()
}

// failedSignIns says what was tried with a person's login, and what to do.
export function failedSignIns(failed: FailedSignIn[]): string {
  const total = failed.reduce((n, f) => n + f.count, 0)
  const first = failed.map((f) => f.first).sort()[0] ?? ''
  const since = new Date(first).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
  const places = failed.map((f) => f.workstation.split('/workstation/')[1] ?? '').filter((n) => n !== '')
  const named = places.length > 0 ? places.slice(0, 3).join(', ') : tr('several workstations')
  const more = failed.length > Math.min(places.length, 3) && places.length > 0 ? ` ${tr('and others')}` : ''
  const what = total === 1 ? tr('1 failed sign-in') : tr('{0} failed sign-ins', total)
  return tr('{0} with your login since {1}, from workstation {2}{3}. If that was not you, change your password and tell the security officer.', what, since, named, more)
}
