package channel

// SinkStep is the part of the directory's schema about channels that are forwarded to a cloud. A pending batch is what was or will
// be sent next, sealed; it stays until the cloud has answered, so that what is sent again is the same. sent_seconds has one bit for
// each second of an hour. Keys of envelopes stay when forwarding ends, because the envelopes do; they go with their channel.
const SinkStep = `
CREATE TABLE sinks (
  channel INTEGER PRIMARY KEY REFERENCES channels(id) ON DELETE CASCADE, server TEXT NOT NULL, remote INTEGER NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('sealed', 'plain')), sealed_key BLOB NOT NULL, envelope_key BLOB NOT NULL,
  requested_by TEXT NOT NULL REFERENCES persons(id), requested INTEGER NOT NULL,
  approved_by TEXT REFERENCES persons(id) CHECK (approved_by <> requested_by), approved INTEGER,
  cursor INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0, last_sent INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
  problem TEXT NOT NULL DEFAULT '', pending BLOB);
CREATE TABLE sent_seconds (
  channel INTEGER NOT NULL REFERENCES channels(id) ON DELETE CASCADE, hour INTEGER NOT NULL, seconds BLOB NOT NULL,
  PRIMARY KEY (channel, hour)) WITHOUT ROWID;
CREATE TABLE cloud_consents (
  patient TEXT PRIMARY KEY REFERENCES patients(id) ON DELETE CASCADE, person TEXT NOT NULL REFERENCES persons(id),
  given INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER envelope_keys_go AFTER DELETE ON channels BEGIN
  DELETE FROM keys WHERE name GLOB 'envelope/' || old.id || '/*';
END;
`
