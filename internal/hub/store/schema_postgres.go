package store

import (
	"strings"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
)

// postgresSteps is the schema in PostgreSQL. Ids sort by their bytes, as in SQLite, whatever the database's collation.
var postgresSteps = []sealdb.Step{
	{Up: sealdb.Collated(pgDirectory) + pgTell, Down: `
DROP TABLE keys, secrets, wards, beds, patients, stays, persons, sessions, channels, entries, api_keys, devices, placements, tickets,
  announcements, newest_epochs, quarantine, glasses, exclusions, factors, talkbacks, commands, gaps, holds, forgotten, sinks, sent_seconds,
  cloud_consents, mqtt_devices, mqtt_rights, generations;
DROP FUNCTION vitalseal_tell(); DROP FUNCTION vitalseal_moved(); DROP FUNCTION vitalseal_channel_gone();`},
	{Up: sealdb.Collated(pgChunks), Down: `
DROP TABLE recent, damaged, blocks, taken, sums, streams, subjects, days; DROP SEQUENCE recent_ids, block_ids;`},
	archive.PgWaiting,
	{Up: sealdb.Collated(channel.PgApart), Down: channel.PgApartBack},
	directory.PgStarts, days.PgContent, directory.PgTrouble,
	directory.PgApproval,
	{Up: sealdb.Collated(directory.PgTries), Down: directory.PgTriesBack},
	{Up: sealdb.Collated(attribution.PgMove), Down: "DROP TABLE moves;"},
	{Up: channel.FindStep, Down: "DROP INDEX placements_by_bed;"},
	{Up: channel.NoticesStep, Down: "DROP INDEX notices_by_time;"},
	{Up: channel.PgBulk, Down: channel.PgBulkBack},
	directory.PgSecurity,
	attribution.PgSilence,
	directory.PgTold,
	{Up: sealdb.Collated(channel.PgLimit), Down: "DROP TABLE limits;"},
	directory.PgMover,
	directory.PgKeptOut,
}

// pgDirectory is directorySteps in one.
const pgDirectory = `
CREATE TABLE keys (name TEXT PRIMARY KEY, wrapped BYTEA NOT NULL);
CREATE TABLE secrets (name TEXT PRIMARY KEY, wrapped BYTEA NOT NULL);
CREATE TABLE wards (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE beds (id TEXT PRIMARY KEY, ward TEXT NOT NULL REFERENCES wards(id), name TEXT NOT NULL);
CREATE TABLE patients (id TEXT PRIMARY KEY, sealed_name BYTEA NOT NULL, created BIGINT NOT NULL);
CREATE TABLE stays (
  patient TEXT NOT NULL REFERENCES patients(id), bed TEXT NOT NULL REFERENCES beds(id),
  begins BIGINT NOT NULL, ends BIGINT, PRIMARY KEY (patient, begins));
CREATE INDEX stays_by_bed ON stays (bed, begins);
CREATE UNIQUE INDEX stays_open_bed ON stays (bed) WHERE ends IS NULL;
CREATE UNIQUE INDEX stays_open_patient ON stays (patient) WHERE ends IS NULL;
CREATE TABLE persons (
  id TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE, password TEXT NOT NULL, sealed_name BYTEA NOT NULL, role TEXT NOT NULL,
  wards TEXT NOT NULL, patients TEXT NOT NULL, self TEXT REFERENCES patients(id), disabled BOOLEAN NOT NULL,
  one_time BOOLEAN NOT NULL DEFAULT false, issuer TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL DEFAULT '');
CREATE UNIQUE INDEX persons_linked ON persons (issuer, subject) WHERE issuer <> '';
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), workstation TEXT NOT NULL, started BIGINT NOT NULL,
  used BIGINT NOT NULL, expires BIGINT NOT NULL, proven BIGINT NOT NULL, second BOOLEAN NOT NULL, methods TEXT NOT NULL,
  generation BIGINT NOT NULL, rotated BIGINT NOT NULL, sealed_key BYTEA NOT NULL);
CREATE INDEX sessions_by_person ON sessions (person);
CREATE INDEX sessions_by_end ON sessions (expires);
CREATE TABLE factors (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), kind TEXT NOT NULL, name TEXT NOT NULL, sealed BYTEA NOT NULL,
  created BIGINT NOT NULL, used BIGINT);
CREATE INDEX factors_by_person ON factors (person);
CREATE TABLE channels (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, patient TEXT UNIQUE REFERENCES patients(id), created BIGINT NOT NULL,
  last_entry BIGINT NOT NULL, sealed BYTEA NOT NULL, owner TEXT REFERENCES persons(id),
  public BOOLEAN NOT NULL DEFAULT false CHECK (NOT public OR patient IS NULL), updated BIGINT NOT NULL DEFAULT 0);
CREATE INDEX channels_by_owner ON channels (owner, id);
CREATE INDEX channels_public ON channels (id) WHERE public;
CREATE TABLE entries (
  channel BIGINT NOT NULL REFERENCES channels(id), id BIGINT NOT NULL, created BIGINT NOT NULL, sealed BYTEA NOT NULL,
  PRIMARY KEY (channel, id));
CREATE INDEX entries_by_time ON entries (channel, created, id);
CREATE TABLE talkbacks (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), created BIGINT NOT NULL,
  last_command BIGINT NOT NULL, sealed BYTEA NOT NULL);
CREATE INDEX talkbacks_by_person ON talkbacks (person, id);
CREATE TABLE commands (
  talkback BIGINT NOT NULL REFERENCES talkbacks(id), id BIGINT NOT NULL, position BIGINT, created BIGINT NOT NULL,
  executed BIGINT, sealed BYTEA NOT NULL, PRIMARY KEY (talkback, id));
CREATE INDEX commands_queued ON commands (talkback, position) WHERE position IS NOT NULL;
CREATE TABLE api_keys (
  hash BYTEA PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), channel BIGINT REFERENCES channels(id),
  writes BOOLEAN NOT NULL, talkback BIGINT REFERENCES talkbacks(id));
CREATE INDEX api_keys_by_person ON api_keys (person);
CREATE INDEX api_keys_by_channel ON api_keys (channel);
CREATE INDEX api_keys_by_talkback ON api_keys (talkback);
CREATE TABLE devices (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, serial TEXT NOT NULL, gateway TEXT NOT NULL,
  ziti TEXT NOT NULL, state TEXT NOT NULL, enrolled_by TEXT NOT NULL, seen BIGINT,
  mode TEXT NOT NULL DEFAULT '', wards TEXT NOT NULL DEFAULT '[]', version TEXT NOT NULL DEFAULT '', enrolled BIGINT,
  cert TEXT NOT NULL DEFAULT '', cert_begins BIGINT, cert_ends BIGINT, public_key TEXT NOT NULL DEFAULT '',
  next_key TEXT NOT NULL DEFAULT '', rotate BOOLEAN NOT NULL DEFAULT false);
CREATE TABLE placements (
  device TEXT NOT NULL REFERENCES devices(id), bed TEXT NOT NULL REFERENCES beds(id),
  begins BIGINT NOT NULL, ends BIGINT, PRIMARY KEY (device, begins));
CREATE UNIQUE INDEX placements_open ON placements (device) WHERE ends IS NULL;
CREATE TABLE tickets (hash BYTEA PRIMARY KEY, ids TEXT NOT NULL, expires BIGINT NOT NULL, redeemed BIGINT);
CREATE TABLE announcements (
  sensor TEXT NOT NULL, epoch BYTEA NOT NULL, signal BIGINT NOT NULL, number BIGINT NOT NULL, sealed BYTEA NOT NULL,
  PRIMARY KEY (sensor, epoch));
CREATE INDEX announcements_by_number ON announcements (sensor, number);
CREATE TABLE newest_epochs (
  sensor TEXT NOT NULL, signal BIGINT NOT NULL, number BIGINT NOT NULL, epoch BYTEA NOT NULL, PRIMARY KEY (sensor, signal));
CREATE TABLE quarantine (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor TEXT NOT NULL, signal BIGINT NOT NULL, epoch BYTEA NOT NULL,
  seq BIGINT NOT NULL, start BIGINT NOT NULL, received BIGINT NOT NULL, reason TEXT NOT NULL, sealed BYTEA NOT NULL,
  UNIQUE (sensor, signal, epoch, seq, start));
CREATE TABLE gaps (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor TEXT NOT NULL, signal BIGINT NOT NULL, epoch BYTEA NOT NULL,
  first BIGINT NOT NULL, last BIGINT NOT NULL, begins BIGINT NOT NULL, ends BIGINT NOT NULL, reason TEXT NOT NULL, noted BIGINT NOT NULL,
  UNIQUE (sensor, signal, epoch, first, last));
CREATE TABLE glasses (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), patient TEXT NOT NULL REFERENCES patients(id),
  workstation TEXT NOT NULL, session TEXT NOT NULL, sealed_reason BYTEA NOT NULL, opened BIGINT NOT NULL, expires BIGINT NOT NULL,
  reviewer TEXT, reviewed BIGINT, outcome TEXT NOT NULL DEFAULT '', sealed_note BYTEA);
CREATE INDEX glasses_by_time ON glasses (opened);
CREATE INDEX glasses_open ON glasses (opened) WHERE reviewed IS NULL;
CREATE INDEX glasses_by_person ON glasses (person, opened);
CREATE INDEX glasses_by_patient ON glasses (patient, opened);
CREATE TABLE exclusions (
  patient TEXT NOT NULL REFERENCES patients(id), person TEXT NOT NULL REFERENCES persons(id), since BIGINT NOT NULL,
  PRIMARY KEY (patient, person));
CREATE TABLE holds (
  patient TEXT PRIMARY KEY REFERENCES patients(id), since BIGINT NOT NULL, person TEXT NOT NULL, sealed_reason BYTEA NOT NULL);
CREATE TABLE forgotten (patient TEXT PRIMARY KEY REFERENCES patients(id), at BIGINT NOT NULL);
CREATE TABLE sinks (
  channel BIGINT PRIMARY KEY REFERENCES channels(id) ON DELETE CASCADE, server TEXT NOT NULL, remote BIGINT NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('sealed', 'plain')), sealed_key BYTEA NOT NULL, envelope_key BYTEA NOT NULL,
  requested_by TEXT NOT NULL REFERENCES persons(id), requested BIGINT NOT NULL,
  approved_by TEXT REFERENCES persons(id) CHECK (approved_by <> requested_by), approved BIGINT,
  cursor BIGINT NOT NULL, sent BIGINT NOT NULL DEFAULT 0, last_sent BIGINT, attempts BIGINT NOT NULL DEFAULT 0,
  problem TEXT NOT NULL DEFAULT '', pending BYTEA);
CREATE TABLE sent_seconds (
  channel BIGINT NOT NULL REFERENCES channels(id) ON DELETE CASCADE, hour BIGINT NOT NULL, seconds BYTEA NOT NULL,
  PRIMARY KEY (channel, hour));
CREATE TABLE cloud_consents (
  patient TEXT PRIMARY KEY REFERENCES patients(id) ON DELETE CASCADE, person TEXT NOT NULL REFERENCES persons(id), given BIGINT NOT NULL);
CREATE TABLE mqtt_devices (
  client TEXT PRIMARY KEY, hash BYTEA NOT NULL, person TEXT NOT NULL REFERENCES persons(id), created BIGINT NOT NULL);
CREATE INDEX mqtt_devices_by_person ON mqtt_devices (person, client);
CREATE TABLE mqtt_rights (
  client TEXT NOT NULL REFERENCES mqtt_devices(client) ON DELETE CASCADE, channel BIGINT NOT NULL REFERENCES channels(id) ON DELETE CASCADE,
  publish BOOLEAN NOT NULL, subscribe BOOLEAN NOT NULL, PRIMARY KEY (client, channel));
CREATE INDEX mqtt_rights_by_channel ON mqtt_rights (channel);
-- generations count what chunks in preparation were decided by.
CREATE TABLE generations (name TEXT PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO generations VALUES ('places', 1);
`

// pgTell makes every hub hear of what it holds copies of, in the transaction that changes it. A change of whose a sensor is, or of a
// key, waits until the chunks on their way by the old answer are stored; those after it are asked for anew.
var pgTell = `
CREATE FUNCTION vitalseal_tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_notify('vitalseal', TG_ARGV[0]); RETURN NULL; END $$;
CREATE FUNCTION vitalseal_moved() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_xact_lock(1986622561, 3); UPDATE generations SET n = n + 1 WHERE name = 'places';
  PERFORM pg_notify('vitalseal', 'places'); RETURN NULL; END $$;
CREATE FUNCTION vitalseal_channel_gone() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN DELETE FROM keys WHERE starts_with(name, 'envelope/' || old.id || '/'); RETURN NULL; END $$;
CREATE TRIGGER envelope_keys_go AFTER DELETE ON channels FOR EACH ROW EXECUTE FUNCTION vitalseal_channel_gone();
CREATE TRIGGER moved AFTER INSERT OR UPDATE OR DELETE ON stays FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
CREATE TRIGGER moved AFTER INSERT OR UPDATE OR DELETE ON placements FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
CREATE TRIGGER moved AFTER INSERT OR DELETE OR UPDATE OF state ON devices FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
CREATE TRIGGER moved AFTER UPDATE OR DELETE ON keys FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
CREATE TRIGGER tell_keys AFTER UPDATE OR DELETE ON keys FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('keys');
CREATE TRIGGER tell_devices AFTER INSERT OR DELETE OR UPDATE OF ziti, state, mode, wards, enrolled, cert, public_key, next_key, rotate
  ON devices FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('devices');
CREATE TRIGGER tell AFTER INSERT OR DELETE OR UPDATE OF person, workstation, proven, second, generation
  ON sessions FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('directory');
CREATE TRIGGER tell AFTER INSERT OR DELETE OR UPDATE OF patient, owner, public
  ON channels FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('directory');
` + tellOf("wards", "beds", "patients", "stays", "persons", "factors", "talkbacks", "api_keys", "placements", "glasses", "exclusions", "holds",
	"forgotten", "sinks", "cloud_consents", "mqtt_devices", "mqtt_rights")

func tellOf(tables ...string) string {
	var b strings.Builder
	for _, t := range tables {
		b.WriteString("CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON " + t + " FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('directory');\n")
	}
	return b.String()
}

// pgChunks is days.PartitionSteps: a partition of each table a day, of which dayTables says the rest. hub is the process that stored a
// chunk, and id, which grows with its commits, what other hubs read on from.
const pgChunks = `
CREATE TABLE days (day DATE PRIMARY KEY);
CREATE SEQUENCE recent_ids; CREATE SEQUENCE block_ids;
CREATE TABLE subjects (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE streams (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor TEXT NOT NULL, signal SMALLINT NOT NULL, epoch BYTEA NOT NULL,
  number BIGINT NOT NULL, UNIQUE (sensor, signal, epoch));
CREATE TABLE recent (
  day DATE NOT NULL, id BIGINT NOT NULL DEFAULT nextval('recent_ids'), stream BIGINT NOT NULL, seq BIGINT NOT NULL, subject BIGINT NOT NULL,
  signal SMALLINT NOT NULL, start BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, received BIGINT NOT NULL,
  hub BIGINT NOT NULL, sealed BYTEA NOT NULL) PARTITION BY LIST (day);
CREATE TABLE damaged (
  day DATE NOT NULL, id BIGINT NOT NULL, stream BIGINT NOT NULL, seq BIGINT NOT NULL, subject BIGINT NOT NULL,
  start BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, received BIGINT NOT NULL, sealed BYTEA NOT NULL) PARTITION BY LIST (day);
CREATE TABLE blocks (
  day DATE NOT NULL, id BIGINT NOT NULL DEFAULT nextval('block_ids'), subject BIGINT NOT NULL, signal SMALLINT NOT NULL, stream BIGINT NOT NULL,
  seq BIGINT NOT NULL, start BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, sealed BYTEA NOT NULL) PARTITION BY LIST (day);
CREATE TABLE taken (day DATE NOT NULL, stream BIGINT NOT NULL, low BIGINT NOT NULL, high BIGINT NOT NULL) PARTITION BY LIST (day);
CREATE TABLE sums (day DATE NOT NULL, subject BIGINT NOT NULL, minutes BIGINT NOT NULL, slot BIGINT NOT NULL, sealed BYTEA NOT NULL) PARTITION BY LIST (day);
`
