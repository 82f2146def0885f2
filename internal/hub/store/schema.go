package store

import (
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
)

// Times are microseconds since 1970 UTC. "sealed" columns are seal.Key.Seal output, "wrapped" ones seal.KeyStore.Wrap output.
// Steps are only ever appended: a file's user_version is how many of them it has seen.

var directorySteps = []string{`
CREATE TABLE keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE secrets (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE wards (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE beds (id TEXT PRIMARY KEY, ward TEXT NOT NULL REFERENCES wards(id), name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE patients (id TEXT PRIMARY KEY, sealed_name BLOB NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stays (
  patient TEXT NOT NULL REFERENCES patients(id), bed TEXT NOT NULL REFERENCES beds(id),
  begins INTEGER NOT NULL, ends INTEGER, PRIMARY KEY (patient, begins)) WITHOUT ROWID;
CREATE INDEX stays_by_bed ON stays (bed, begins);
CREATE UNIQUE INDEX stays_open_bed ON stays (bed) WHERE ends IS NULL;
CREATE UNIQUE INDEX stays_open_patient ON stays (patient) WHERE ends IS NULL;
CREATE TABLE persons (
  id TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE, password TEXT NOT NULL, sealed_name BLOB NOT NULL, role TEXT NOT NULL,
  wards TEXT NOT NULL, patients TEXT NOT NULL, self TEXT REFERENCES patients(id), disabled INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
  hash BLOB PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), workstation TEXT NOT NULL,
  started INTEGER NOT NULL, used INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX sessions_by_person ON sessions (person);
CREATE TABLE channels (
  id INTEGER PRIMARY KEY AUTOINCREMENT, patient TEXT UNIQUE REFERENCES patients(id), created INTEGER NOT NULL,
  last_entry INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE entries (
  channel INTEGER NOT NULL REFERENCES channels(id), id INTEGER NOT NULL, created INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (channel, id)) WITHOUT ROWID;
CREATE INDEX entries_by_time ON entries (channel, created, id);
CREATE TABLE api_keys (
  hash BLOB PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), channel INTEGER NOT NULL REFERENCES channels(id),
  writes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE devices (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, serial TEXT NOT NULL, gateway TEXT NOT NULL,
  ziti TEXT NOT NULL, state TEXT NOT NULL, enrolled_by TEXT NOT NULL, seen INTEGER) WITHOUT ROWID;
CREATE TABLE placements (
  device TEXT NOT NULL REFERENCES devices(id), bed TEXT NOT NULL REFERENCES beds(id),
  begins INTEGER NOT NULL, ends INTEGER, PRIMARY KEY (device, begins)) WITHOUT ROWID;
CREATE UNIQUE INDEX placements_open ON placements (device) WHERE ends IS NULL;
CREATE TABLE tickets (hash BLOB PRIMARY KEY, ids TEXT NOT NULL, expires INTEGER NOT NULL, redeemed INTEGER) WITHOUT ROWID;
CREATE TABLE announcements (
  sensor TEXT NOT NULL, epoch BLOB NOT NULL, signal INTEGER NOT NULL, number INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (sensor, epoch)) WITHOUT ROWID;
CREATE TABLE newest_epochs (
  sensor TEXT NOT NULL, signal INTEGER NOT NULL, number INTEGER NOT NULL, epoch BLOB NOT NULL, PRIMARY KEY (sensor, signal)) WITHOUT ROWID;
CREATE INDEX announcements_by_number ON announcements (sensor, number);
CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sensor TEXT NOT NULL, signal INTEGER NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  start INTEGER NOT NULL, received INTEGER NOT NULL, reason TEXT NOT NULL, sealed BLOB NOT NULL,
  UNIQUE (sensor, signal, epoch, seq, start));
`, directory.GlassStep, directory.SessionStep, directory.DeviceStep, archive.GapStep, directory.ForgetStep, channel.ThingspeakStep, channel.SinkStep, directory.MQTTStep, archive.WaitingStep, channel.ApartStep, directory.StartStep, directory.TroubleStep, directory.ApprovalStep, directory.TriesStep, attribution.MoveStep, channel.FindStep, channel.NoticesStep, directory.SecurityStep, attribution.SilenceStep, directory.ToldStep, directory.MoverStep, directory.KeptOutStep}
