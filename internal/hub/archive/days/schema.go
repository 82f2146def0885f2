package days

import "fmt"

// PartitionSteps is the schema of one day's chunks. New chunks are appended to recent, all streams together, so that a commit
// writes few pages; compaction moves them into blocks of half a minute of one stream, and adds what they say to sums. taken are the
// sequences that blocks hold, or held: it outlives them.
var PartitionSteps = []string{`
CREATE TABLE subjects (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE streams (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, signal INTEGER NOT NULL, epoch BLOB NOT NULL, number INTEGER NOT NULL,
  UNIQUE (sensor, signal, epoch));
CREATE TABLE chunks (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, subject INTEGER NOT NULL, signal INTEGER NOT NULL,
  start INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, received INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE INDEX by_time ON chunks (subject, signal, last);
CREATE TABLE trends (
  subject INTEGER NOT NULL, minute INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (subject, minute)) WITHOUT ROWID;
`, `
CREATE TABLE recent (
  id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, subject INTEGER NOT NULL,
  start INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, received INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE damaged (
  id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, subject INTEGER NOT NULL,
  start INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, received INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE blocks (
  id INTEGER PRIMARY KEY, subject INTEGER NOT NULL, signal INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  start INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX blocks_by_time ON blocks (subject, signal, last);
CREATE TABLE taken (stream INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL, PRIMARY KEY (stream, low)) WITHOUT ROWID;
CREATE TABLE sums (
  subject INTEGER NOT NULL, minutes INTEGER NOT NULL, slot INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (subject, minutes, slot)) WITHOUT ROWID;
INSERT INTO recent (stream, seq, subject, start, first, last, received, sealed)
  SELECT stream, seq, subject, start, first, last, received, sealed FROM chunks ORDER BY received;
DROP TABLE chunks;
DROP TABLE trends;
`, contentStep}

func noticeOfChunks(hub int64, day string) string { return fmt.Sprintf("chunks %d %s", hub, day) }

// dayTables are the partitions of one day; %[1]s is what their names end in, %[2]s the day.
const dayTables = `
CREATE TABLE IF NOT EXISTS recent_%[1]s PARTITION OF recent (day DEFAULT '%[2]s', PRIMARY KEY (stream, seq)) FOR VALUES IN ('%[2]s');
CREATE INDEX IF NOT EXISTS recent_%[1]s_by_time ON recent_%[1]s (subject, signal, last);
CREATE INDEX IF NOT EXISTS recent_%[1]s_by_id ON recent_%[1]s (hub, id);
CREATE TABLE IF NOT EXISTS damaged_%[1]s PARTITION OF damaged (day DEFAULT '%[2]s', PRIMARY KEY (id)) FOR VALUES IN ('%[2]s');
CREATE TABLE IF NOT EXISTS blocks_%[1]s PARTITION OF blocks (day DEFAULT '%[2]s', PRIMARY KEY (id)) FOR VALUES IN ('%[2]s');
CREATE INDEX IF NOT EXISTS blocks_%[1]s_by_time ON blocks_%[1]s (subject, signal, last);
CREATE TABLE IF NOT EXISTS taken_%[1]s PARTITION OF taken (day DEFAULT '%[2]s', PRIMARY KEY (stream, low)) FOR VALUES IN ('%[2]s');
CREATE TABLE IF NOT EXISTS sums_%[1]s PARTITION OF sums (day DEFAULT '%[2]s', PRIMARY KEY (subject, minutes, slot)) FOR VALUES IN ('%[2]s');
ALTER TABLE blocks_%[1]s ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE recent_%[1]s ALTER COLUMN sealed SET STORAGE EXTERNAL;
INSERT INTO days (day) VALUES ('%[2]s') ON CONFLICT DO NOTHING;
`
