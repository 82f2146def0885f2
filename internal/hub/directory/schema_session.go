package directory

// SessionStep is the part of the directory's schema about sign-ins and second factors.
const SessionStep = `
DROP TABLE sessions;
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), workstation TEXT NOT NULL, started INTEGER NOT NULL,
  used INTEGER NOT NULL, expires INTEGER NOT NULL, proven INTEGER NOT NULL, second INTEGER NOT NULL, methods TEXT NOT NULL,
  generation INTEGER NOT NULL, rotated INTEGER NOT NULL, sealed_key BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX sessions_by_person ON sessions (person);
CREATE INDEX sessions_by_end ON sessions (expires);
ALTER TABLE persons ADD COLUMN one_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE persons ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE persons ADD COLUMN subject TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX persons_linked ON persons (issuer, subject) WHERE issuer <> '';
CREATE TABLE factors (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), kind TEXT NOT NULL, name TEXT NOT NULL, sealed BLOB NOT NULL,
  created INTEGER NOT NULL, used INTEGER) WITHOUT ROWID;
CREATE INDEX factors_by_person ON factors (person);
CREATE INDEX api_keys_by_person ON api_keys (person);
`
