package directory

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// SecurityStep is the part of the directory's schema about what people who watch over security must see until one of them has said that
// they have: one row a kind and place, however often it comes again.
const SecurityStep = `
CREATE TABLE security_events (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, place TEXT NOT NULL, person TEXT NOT NULL, detail TEXT NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL, times INTEGER NOT NULL, seen INTEGER NOT NULL, seen_by TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX security_events_by_end ON security_events (last);
`

// PgSecurity is SecurityStep in PostgreSQL.
var PgSecurity = sealdb.Step{Up: sealdb.Collated(`
CREATE TABLE security_events (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, place TEXT NOT NULL, person TEXT NOT NULL, detail TEXT NOT NULL, first BIGINT NOT NULL,
  last BIGINT NOT NULL, times BIGINT NOT NULL, seen BIGINT NOT NULL, seen_by TEXT NOT NULL);
CREATE INDEX security_events_by_end ON security_events (last);`), Down: "DROP TABLE security_events;"}

const (
	// maxSecurityEvents bounds what is kept; what is over it goes, the oldest first.
	maxSecurityEvents = 500
	// securityLife is how long what does not come again is kept.
	securityLife = 30 * 24 * time.Hour
	// lastsAgain is how long the acknowledgement of a state that lasts (a full disk, a wrong clock) counts.
	lastsAgain = time.Hour
)

// The kinds of SecurityEvent that the inventory tells: they last until it says otherwise.
const (
	SecurityTrouble = "trouble"  // something is wrong with a gateway, as it says itself: a full disk
	SecurityClock   = "clock"    // a gateway's clock is far off
	SecurityHubDisk = "hub-disk" // the disk of a hub is nearly or wholly full, as the hub says itself
)

// SecurityEvent is what people who watch over security must see until one of them acknowledges it.
type SecurityEvent struct {
	ID     string    // of kind, place and person: the same event again has the same
	Kind   string    // one of access's Event constants, or of the Security constants
	Place  string    // SPIFFE id of the component or workstation; empty: none in particular
	Person string    // id; empty: none
	Detail string    // fixed words and numbers: no name, reading or secret
	Beds   []string  // ids of those that the place measures at
	First  time.Time // since when; after an acknowledgement still the first time
	Last   time.Time
	Times  int64
	Lasts  bool // it is so now: Last is the time of the question
	// Seen is when it was last acknowledged, by SeenBy (person id); zero: never.
	Seen   time.Time
	SeenBy string
}

// Open reports whether e must be shown at now: it was not acknowledged, or came again since, or goes on for long.
func (e SecurityEvent) Open(now time.Time) bool {
	switch {
	case e.Seen.IsZero():
		return true
	case e.Lasts:
		// A clock's state is as old as its last measurement, which says nothing about since when.
		return e.Kind != SecurityClock && e.First.After(e.Seen) || now.Sub(e.Seen) >= lastsAgain
	}
	return e.Last.After(e.Seen)
}

// SecurityID is the id of events of a kind at a place and about a person.
func SecurityID(kind, place, person string) string {
	sum := sha256.Sum256([]byte(kind + "\n" + place + "\n" + person))
	return "se-" + hex.EncodeToString(sum[:8])
}

// NoteSecurity notes that an event happened Times times, the last time at Last. What was noted before under its kind, place and person is
// the same event: it came again. Hubs on one database count together. ErrInvalid: a field is too long.
func (s *Directory) NoteSecurity(ctx context.Context, e SecurityEvent) error {
	if err := errors.Join(sealdb.CheckText("kind", e.Kind, 1, sealdb.MaxID), sealdb.CheckText("place", e.Place, 0, sealdb.MaxID), sealdb.CheckText("person", e.Person, 0, sealdb.MaxID),
		sealdb.CheckText("detail", e.Detail, 0, sealdb.MaxField)); err != nil {
		return sealdb.Named("note security event", err)
	}
	id, at := SecurityID(e.Kind, e.Place, e.Person), sealdb.Micro(e.Last)
	return sealdb.Named("note security event", s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO security_events (id, kind, place, person, detail, first, last, times, seen, seen_by)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, 0, '') ON CONFLICT (id) DO UPDATE SET detail = excluded.detail,
			last = CASE WHEN security_events.last > excluded.last THEN security_events.last ELSE excluded.last END,
			times = security_events.times + excluded.times`, id, e.Kind, e.Place, e.Person, e.Detail, at, max(e.Times, 1)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM security_events WHERE last < ?", sealdb.Micro(s.db.Now().Add(-securityLife))); err != nil {
			return err
		}
		// What a person has seen goes first, then guesses, of which a person who has not signed in can make as many as there are logins.
		_, err := tx.ExecContext(ctx, `DELETE FROM security_events WHERE id IN (SELECT id FROM security_events
			ORDER BY CASE WHEN seen >= last THEN 2 WHEN kind = ? THEN 1 ELSE 0 END, last DESC, id LIMIT 100 OFFSET ?)`, access.EventGuessing, maxSecurityEvents)
		return err
	}))
}

// AcknowledgeSecurity notes that a person has seen an event, as it stood at the time seen. e is one of SecurityEvents.
func (s *Directory) AcknowledgeSecurity(ctx context.Context, e SecurityEvent, person string, seen time.Time) error {
	if err := sealdb.CheckID("person", person); err != nil {
		return sealdb.Named("acknowledge security event", err)
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO security_events (id, kind, place, person, detail, first, last, times, seen, seen_by)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, seen_by = excluded.seen_by`,
		e.ID, e.Kind, e.Place, e.Person, e.Detail, sealdb.Micro(e.First), sealdb.Micro(e.Last), sealdb.Micro(seen), person)
	return sealdb.Named("acknowledge security event", err)
}

// NotedSecurity are the events that are kept, the newest first, acknowledged or not.
func (s *Directory) NotedSecurity(ctx context.Context) ([]SecurityEvent, error) {
	return sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (e SecurityEvent, err error) {
		var first, last, seen int64
		err = r.Scan(&e.ID, &e.Kind, &e.Place, &e.Person, &e.Detail, &first, &last, &e.Times, &seen, &e.SeenBy)
		e.First, e.Last = sealdb.FromMicro(first), sealdb.FromMicro(last)
		if seen != 0 {
			e.Seen = sealdb.FromMicro(seen)
		}
		return e, err
	}, `SELECT id, kind, place, person, detail, first, last, times, seen, seen_by FROM security_events ORDER BY last DESC, id LIMIT ?`, maxSecurityEvents)
}
