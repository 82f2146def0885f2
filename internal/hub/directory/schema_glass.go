package directory

// GlassStep is the part of the directory's schema about emergency access and consent.
const GlassStep = `
CREATE TABLE glasses (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), patient TEXT NOT NULL REFERENCES patients(id),
  workstation TEXT NOT NULL, session TEXT NOT NULL, sealed_reason BLOB NOT NULL, opened INTEGER NOT NULL, expires INTEGER NOT NULL,
  reviewer TEXT, reviewed INTEGER, outcome TEXT NOT NULL DEFAULT '', sealed_note BLOB) WITHOUT ROWID;
CREATE INDEX glasses_by_time ON glasses (opened);
CREATE INDEX glasses_open ON glasses (opened) WHERE reviewed IS NULL;
CREATE INDEX glasses_by_person ON glasses (person, opened);
CREATE INDEX glasses_by_patient ON glasses (patient, opened);
CREATE TABLE exclusions (
  patient TEXT NOT NULL REFERENCES patients(id), person TEXT NOT NULL REFERENCES persons(id), since INTEGER NOT NULL,
  PRIMARY KEY (patient, person)) WITHOUT ROWID;
`
