package channel

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"vitalseal/internal/hub/access"
)

// BulkRows is how many entries one transaction of a bulk update stores.
const BulkRows = bulkRows

// BetweenTurns has f run after each transaction of a bulk update but the last.
func (s *Registry) BetweenTurns(f func()) { s.apart.between = f }

// FailTurn has the nth transaction of the next bulk update fail after its work.
func (s *Registry) FailTurn(nth int, err error) {
	n := 0
	s.apart.fail = func() error {
		if n++; n == nth {
			return err
		}
		return nil
	}
}

// LeaveBulk leaves what a kill in the middle of a bulk update leaves.
func (s *Registry) LeaveBulk(t *testing.T, g access.Grant, channel int64, entries []Entry) {
	t.Helper()
	ctx := t.Context()
	ref, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		t.Fatal(err)
	}
	mark := newMark()
	var st standing
	err = s.alone(ctx, channel, ref.Owner, func(tx *sql.Tx, now standing) error {
		st = now
		return s.markBulk(ctx, tx, channel, mark)
	})
	if err != nil {
		t.Fatal(err)
	}
	p := plan{Entries: entries, now: s.db.Now, channel: channel, key: key}
	err = p.make(ctx, s.apart.DB, st)
	for rest := p.rows; err == nil && len(rest) > bulkRows; rest = rest[bulkRows:] {
		err = s.bulkTurn(ctx, channel, mark, func(tx *sql.Tx, now standing, owner string) error {
			return s.insert(ctx, tx, channel, owner, rest[:bulkRows], now.last)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// StoredEntries is how many rows of a channel are on disk, read or not.
func (s *Registry) StoredEntries(t *testing.T, channel int64) (n int) {
	t.Helper()
	if err := s.apart.QueryRowContext(t.Context(), "SELECT count(*) FROM entries WHERE channel = ?", channel).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// EndLeases ends the time that other hubs leave to bulk updates.
func (s *Registry) EndLeases(t *testing.T) {
	t.Helper()
	err := s.apart.locked(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE stock SET bulk_until = 1 WHERE bulk <> 0 AND id = id")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// HalfBulks takes away what is left of bulk updates, as at a start.
func (s *Registry) HalfBulks(t *testing.T) {
	t.Helper()
	s.EndLeases(t)
	if err := s.halfBulks(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TakeOver takes a channel's bulk update away, as another hub does when its time is over.
func (s *Registry) TakeOver(t *testing.T, channel int64) {
	t.Helper()
	s.EndLeases(t)
	if err := s.alone(context.WithoutCancel(t.Context()), channel, "", func(*sql.Tx, standing) error { return nil }); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
