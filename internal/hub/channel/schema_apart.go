package channel

// apartSteps is the schema of channels.db: what people and their things store, in a file of its own, so that its size and its
// writers are nothing to the directory. An entry belongs to a channel, a command to a TalkBack of the directory: what is left
// of one that is gone there is swept. stock counts what each holds; last is the highest id that was given, and entries up to
// cleared do not count any more, though they may still be there. usage is the sum of stock over what one person owns, without a person
// ("") it is the hospital's. sweeps are what is to be taken away, up to an id, a bounded number of rows at a time.
var apartSteps = []string{`
CREATE TABLE entries (
  channel INTEGER NOT NULL, id INTEGER NOT NULL, created INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (channel, id)) WITHOUT ROWID;
CREATE INDEX entries_by_time ON entries (channel, created, id);
CREATE TABLE commands (
  talkback INTEGER NOT NULL, id INTEGER NOT NULL, position INTEGER, created INTEGER NOT NULL,
  executed INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (talkback, id)) WITHOUT ROWID;
CREATE INDEX commands_queued ON commands (talkback, position) WHERE position IS NOT NULL;
CREATE INDEX commands_executed ON commands (talkback, executed) WHERE position IS NULL;
CREATE TABLE stock (
  kind TEXT NOT NULL, id INTEGER NOT NULL, owner TEXT NOT NULL, last INTEGER NOT NULL DEFAULT 0, cleared INTEGER NOT NULL DEFAULT 0,
  entries INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE usage (owner TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sweeps (kind TEXT NOT NULL, id INTEGER NOT NULL, upto INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
`, bulkStep, limitStep}

// FindStep is what queries of the directory lacked to find their rows.
const FindStep = `
CREATE INDEX placements_by_bed ON placements (bed, begins);
`

// NoticesStep is what finds the notices that are over.
const NoticesStep = `
CREATE INDEX notices_by_time ON notices (at);
`

// ApartStep takes out of the directory what openDirectory has copied to channels.db.
const ApartStep = `
DROP TABLE entries;
DROP TABLE commands;
`

// apartCopy fills channels.db from a directory, attached as old, that still holds entries and commands. It runs again without harm.
var apartCopy = []string{
	"INSERT OR IGNORE INTO main.entries SELECT channel, id, created, sealed FROM old.entries",
	"INSERT OR IGNORE INTO main.commands SELECT talkback, id, position, created, executed, sealed FROM old.commands",
	"DELETE FROM main.stock",
	"DELETE FROM main.usage",
	`INSERT INTO main.stock (kind, id, owner, last, entries, bytes) SELECT 'channel', c.id, coalesce(c.owner, ''), c.last_entry,
		(SELECT count(*) FROM main.entries e WHERE e.channel = c.id), (SELECT coalesce(sum(length(e.sealed) + 64), 0) FROM main.entries e WHERE e.channel = c.id)
		FROM old.channels c WHERE c.patient IS NULL`,
	`INSERT INTO main.stock (kind, id, owner, last, entries, bytes) SELECT 'talkback', t.id, t.person, t.last_command,
		(SELECT count(*) FROM main.commands k WHERE k.talkback = t.id), (SELECT coalesce(sum(length(k.sealed) + 64), 0) FROM main.commands k WHERE k.talkback = t.id)
		FROM old.talkbacks t`,
	"INSERT INTO main.usage SELECT owner, sum(entries), sum(bytes) FROM main.stock GROUP BY owner",
}

// PgApart is apartSteps and apartCopy in PostgreSQL, where the tables stay in the one database. They lose what ties them to the
// directory's rows: with it, who deletes a channel waits for who stores entries, while all others wait for him.
const PgApart = `
CREATE TABLE stock (
  kind TEXT NOT NULL, id BIGINT NOT NULL, owner TEXT NOT NULL, last BIGINT NOT NULL DEFAULT 0, cleared BIGINT NOT NULL DEFAULT 0,
  entries BIGINT NOT NULL DEFAULT 0, bytes BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (kind, id));
CREATE TABLE usage (owner TEXT PRIMARY KEY, entries BIGINT NOT NULL, bytes BIGINT NOT NULL);
CREATE TABLE sweeps (kind TEXT NOT NULL, id BIGINT NOT NULL, upto BIGINT NOT NULL, PRIMARY KEY (kind, id));
CREATE INDEX commands_executed ON commands (talkback, executed) WHERE position IS NULL;
ALTER TABLE entries DROP CONSTRAINT entries_channel_fkey;
ALTER TABLE commands DROP CONSTRAINT commands_talkback_fkey;
INSERT INTO stock (kind, id, owner, last, entries, bytes) SELECT 'channel', c.id, coalesce(c.owner, ''), c.last_entry, coalesce(e.n, 0), coalesce(e.b, 0)
  FROM channels c LEFT JOIN (SELECT channel, count(*) AS n, sum(length(sealed) + 64) AS b FROM entries GROUP BY channel) e ON e.channel = c.id
  WHERE c.patient IS NULL;
INSERT INTO stock (kind, id, owner, last, entries, bytes) SELECT 'talkback', t.id, t.person, t.last_command, coalesce(k.n, 0), coalesce(k.b, 0)
  FROM talkbacks t LEFT JOIN (SELECT talkback, count(*) AS n, sum(length(sealed) + 64) AS b FROM commands GROUP BY talkback) k ON k.talkback = t.id;
INSERT INTO usage SELECT owner, sum(entries), sum(bytes) FROM stock GROUP BY owner;
`

// PgApartBack is the way back from PgApart.
const PgApartBack = `
UPDATE channels c SET last_entry = s.last FROM stock s WHERE s.kind = 'channel' AND s.id = c.id;
UPDATE talkbacks t SET last_command = s.last FROM stock s WHERE s.kind = 'talkback' AND s.id = t.id;
DELETE FROM entries e USING stock s WHERE s.kind = 'channel' AND s.id = e.channel AND e.id <= s.cleared;
DELETE FROM entries WHERE channel NOT IN (SELECT id FROM channels);
DELETE FROM commands WHERE talkback NOT IN (SELECT id FROM talkbacks);
ALTER TABLE entries ADD CONSTRAINT entries_channel_fkey FOREIGN KEY (channel) REFERENCES channels(id);
ALTER TABLE commands ADD CONSTRAINT commands_talkback_fkey FOREIGN KEY (talkback) REFERENCES talkbacks(id);
DROP INDEX commands_executed;
DROP TABLE stock, usage, sweeps;
`
