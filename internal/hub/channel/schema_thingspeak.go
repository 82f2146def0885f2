package channel

// ThingspeakStep is the part of the directory's schema about free channels that people make themselves, TalkBacks, and keys that
// are for no channel. That a patient's channel is never public holds here as well, whatever is asked of the code above.
const ThingspeakStep = `
ALTER TABLE channels ADD COLUMN owner TEXT REFERENCES persons(id);
ALTER TABLE channels ADD COLUMN public INTEGER NOT NULL DEFAULT 0 CHECK (public = 0 OR patient IS NULL);
ALTER TABLE channels ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
CREATE INDEX channels_by_owner ON channels (owner, id);
CREATE INDEX channels_public ON channels (id) WHERE public = 1;
CREATE TABLE talkbacks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL REFERENCES persons(id), created INTEGER NOT NULL, last_command INTEGER NOT NULL,
  sealed BLOB NOT NULL);
CREATE INDEX talkbacks_by_person ON talkbacks (person, id);
CREATE TABLE commands (
  talkback INTEGER NOT NULL REFERENCES talkbacks(id), id INTEGER NOT NULL, position INTEGER, created INTEGER NOT NULL,
  executed INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (talkback, id)) WITHOUT ROWID;
CREATE INDEX commands_queued ON commands (talkback, position) WHERE position IS NOT NULL;
CREATE TABLE new_api_keys (
  hash BLOB PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id), channel INTEGER REFERENCES channels(id),
  writes INTEGER NOT NULL, talkback INTEGER REFERENCES talkbacks(id)) WITHOUT ROWID;
INSERT INTO new_api_keys (hash, person, channel, writes) SELECT hash, person, channel, writes FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE new_api_keys RENAME TO api_keys;
CREATE INDEX api_keys_by_person ON api_keys (person);
CREATE INDEX api_keys_by_channel ON api_keys (channel);
CREATE INDEX api_keys_by_talkback ON api_keys (talkback);
`
