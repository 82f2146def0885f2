// The details of security events, which the hub keeps as fixed words and numbers, in German.
const details: [RegExp, string][] = [
  [/^(\d+) different logins failed here within an hour$/, '$1 verschiedene Anmeldenamen scheiterten hier innerhalb einer Stunde'],
  [/^(\d+) different logins failed within an hour, over all workstations$/, '$1 verschiedene Anmeldenamen scheiterten innerhalb einer Stunde, über alle Arbeitsplätze'],
  [/^(\d+) wrong proofs of identity$/, '$1 falsche Identitätsnachweise'],
  [/^(\d+) in an hour$/, '$1 in einer Stunde'],
  [/^a used refresh token was shown again$/, 'ein schon benutztes Erneuerungs-Token wurde erneut vorgezeigt'],
  [/^a token was shown by another workstation$/, 'ein Token wurde von einem anderen Arbeitsplatz vorgezeigt'],
  [/^not permitted$/, 'nicht erlaubt'],
  [/^without a valid reason: not opened$/, 'ohne gültigen Grund: nicht geöffnet'],
  [/^nearly full$/, 'fast voll'],
  [/^full: readings are shown live, not stored; gateways keep them$/, 'voll: Messwerte werden live gezeigt, aber nicht gespeichert; Gateways behalten sie'],
  [/^full: the audit log lives on the reserve$/, 'voll: das Prüfprotokoll nutzt den reservierten Platz'],
  [/^(\d+) could approve, (\d+) are needed$/, '$1 könnten freigeben, $2 sind nötig'],
  [/^the hub's configuration says two_persons: off$/, 'die Konfiguration des Hubs sagt two_persons: off'],
  [/^no witness asked for (\d+) minutes$/, 'seit $1 Minuten hat kein Zeuge gefragt'],
  [/^for (\d+) minutes, while it works at the hub$/, 'seit $1 Minuten, während er am Hub arbeitet'],
  [/^the gateway's clock is (\S+) s ahead of the hub's$/, 'die Uhr des Gateways geht $1 s vor der des Hubs'],
  [/^the gateway's clock is (\S+) s behind the hub's$/, 'die Uhr des Gateways geht $1 s nach der des Hubs'],
  [/^from (\S+) to (\S+): (.*) to (.*) UTC$/, 'von $1 zu $2: $3 bis $4 UTC'],
  [/^wards: (.*)$/, 'Stationen: $1'],
  [/^does not open$/, 'lässt sich nicht öffnen'],
  [/^malformed$/, 'nicht in der erwarteten Form'],
  [/^header and chunk disagree$/, 'Kopf und Datenblock widersprechen sich'],
  [/^epoch number reused \(restored backup or clone\?\)$/, 'Epochennummer doppelt benutzt (zurückgespieltes Backup oder Kopie?)'],
  [/^a newer start of this gateway delivers \(restored backup or clone\?\)$/, 'ein neuerer Start dieses Gateways liefert (zurückgespieltes Backup oder Kopie?)'],
  [/^epoch number beyond what the gateway can have counted to$/, 'Epochennummer höher, als das Gateway gezählt haben kann'],
  [/^boot counter beyond what the gateway can have counted to$/, 'Startzähler höher, als das Gateway gezählt haben kann'],
  [/^another chunk is stored under this number \(snapshot started twice, or forged\?\)$/, 'unter dieser Nummer ist ein anderer Datenblock gespeichert (Abbild zweimal gestartet, oder gefälscht?)'],
]

// securityDetail is a detail in the language of the page, and the language in which it is.
export function securityDetail(text: string): { said: string; lang: 'en' | 'de' } {
  if (!document.documentElement.lang.startsWith('de')) return { said: text, lang: 'en' }
  const known = details.find(([like]) => like.test(text))
  return known ? { said: text.replace(...known), lang: 'de' } : { said: text, lang: 'en' }
}
