package channel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// ApartFile holds channels' entries and TalkBacks' commands.
const ApartFile = "channels.db"

const (
	kindChannel  = "channel"
	kindTalkBack = "talkback"
	// rowBytes is about what a row takes beside what is sealed in it.
	rowBytes = 64
	// sweepRows is how many rows one transaction of the sweep takes away, sweepPages how many pages it gives back.
	sweepRows  = 100
	sweepPages = 64
	// sweepEvery leaves the disk to others between two such transactions.
	sweepEvery = 10 * time.Millisecond
)

// apartDB is where users store what may be as much as they like. Its writers wait for each other, and for nothing in the directory;
// the directory's never wait for them.
type apartDB struct {
	*sql.DB         // for readers
	writes  *sql.DB // of one connection, in files
	shared  bool    // with other hubs and with the directory, in PostgreSQL
	turns   sealdb.Turns
	// channels has one writer of each channel after the other: a bulk update takes several turns, and no entry comes between.
	channels    channelTurns
	checkpoints sealdb.Checkpointer // of the file; belongs to the holder of the turn
	log         *slog.Logger
	// In tests: between is called between two transactions of a bulk update, fail in each, and held after every write transaction.
	between func()
	fail    func() error
	held    func(time.Duration) // how long a write transaction was open
}

func (d *apartDB) close() error {
	if d.shared || d.DB == nil {
		return nil
	}
	d.checkpoints.Wait()
	return errors.Join(d.writes.Close(), d.DB.Close())
}

// locked runs f in a write transaction. In PostgreSQL it locks the rows of stock that f asks for first, nothing else.
func (d *apartDB) locked(ctx context.Context, f func(tx *sql.Tx) error) error {
	if !d.shared {
		if err := d.turns.Take(ctx, false); err != nil {
			return err
		}
		defer d.turns.Give()
	}
	if d.held != nil {
		defer func(began time.Time) { d.held(time.Since(began)) }(time.Now())
	}
	if !d.shared {
		defer d.checkpoints.Committed(context.WithoutCancel(ctx), d.writes, d.DB, d.log, ApartFile)
	}
	return sealdb.Transact(ctx, d.writes, f)
}

// MoveApart copies what a directory of an older schema holds of entries and commands to channels.db.
func MoveApart(ctx context.Context, dir, directory string) (err error) {
	db, err := OpenApart(ctx, dir, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "ATTACH ? AS old", directory); err != nil {
		return err
	}
	err = sealdb.Transact(ctx, db, func(tx *sql.Tx) error {
		for _, q := range apartCopy {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "DETACH old")
	return errors.Join(err, sealdb.SyncDir(dir))
}

// OpenApart opens channels.db. That its pages can be given back is settled before its first table is made.
func OpenApart(ctx context.Context, dir string, conns int) (*sql.DB, error) {
	path, extra := filepath.Join(dir, ApartFile), "&_pragma=secure_delete(ON)"
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		db, err := sealdb.OpenFile(ctx, path, apartSteps, 1, sealdb.GivesBack+extra)
		if err != nil {
			return nil, err
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	return sealdb.OpenFile(ctx, path, apartSteps, conns, extra)
}

// OpenApartFiles opens what belongs to the open directory.
func (s *Registry) OpenApartFiles(ctx context.Context) error {
	read, err := OpenApart(ctx, s.db.Dir, 4)
	if err != nil {
		return err
	}
	s.apart = &apartDB{DB: read, log: s.db.Log, checkpoints: sealdb.Checkpointer{Log: filepath.Join(s.db.Dir, ApartFile) + "-wal"}}
	s.apart.writes, err = sealdb.OpenFile(ctx, filepath.Join(s.db.Dir, ApartFile), nil, 1, "&_pragma=secure_delete(ON)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		s.apart.writes = read
	}
	return err
}

// lockStock locks the row that counts what a channel or a TalkBack holds, and gives the highest id that was given.
func lockStock(ctx context.Context, tx *sql.Tx, kind string, id int64, owner string) (last int64, err error) {
	const lock = "UPDATE stock SET last = last WHERE kind = ? AND id = ? RETURNING last"
	err = tx.QueryRowContext(ctx, lock, kind, id).Scan(&last)
	if !errors.Is(err, sql.ErrNoRows) {
		return last, err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO stock (kind, id, owner) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", kind, id, owner); err != nil {
		return 0, err
	}
	return last, tx.QueryRowContext(ctx, lock, kind, id).Scan(&last)
}

// grow counts what came to a channel or TalkBack, or left it, and sets the highest id that was given. What would be over the quota
// is refused, and the caller's transaction with it.
func (s *Registry) grow(ctx context.Context, tx *sql.Tx, kind string, id int64, owner string, last, entries, bytes int64) error {
	if _, err := tx.ExecContext(ctx, "UPDATE stock SET last = ?, entries = entries + ?, bytes = bytes + ? WHERE kind = ? AND id = ?",
		last, entries, bytes, kind, id); err != nil {
		return err
	}
	if entries == 0 && bytes == 0 {
		return nil
	}
	var have Usage
	if err := tx.QueryRowContext(ctx, `INSERT INTO usage (owner, entries, bytes) VALUES (?, ?, ?)
		ON CONFLICT (owner) DO UPDATE SET entries = usage.entries + excluded.entries, bytes = usage.bytes + excluded.bytes RETURNING entries, bytes`,
		owner, entries, bytes).Scan(&have.Entries, &have.Bytes); err != nil {
		return err
	}
	if entries <= 0 && bytes <= 0 {
		return nil
	}
	most, err := s.limited(ctx, tx, owner)
	if err != nil {
		return err
	}
	return most.check(owner, have)
}

// standing is what readers need to know of a channel or TalkBack. The zero value is of one that holds nothing.
type standing struct{ last, cleared int64 }

func (s *Registry) standing(ctx context.Context, kind string, id int64) (st standing, err error) {
	err = s.apart.QueryRowContext(ctx, "SELECT last, cleared FROM stock WHERE kind = ? AND id = ?", kind, id).Scan(&st.last, &st.cleared)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return st, err
}

// toSweep has everything up to an id taken away; all of it does not count from this transaction on.
func toSweep(ctx context.Context, tx *sql.Tx, kind string, id, upto int64) error {
	if _, err := tx.ExecContext(ctx, "UPDATE stock SET cleared = CASE WHEN last < ?1 THEN last ELSE ?1 END WHERE kind = ?2 AND id = ?3", upto, kind, id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO sweeps (kind, id, upto) VALUES (?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET upto = CASE WHEN sweeps.upto < excluded.upto THEN excluded.upto ELSE sweeps.upto END`, kind, id, upto)
	return err
}

// gone is the id up to which all of what was deleted is swept.
const gone = int64(math.MaxInt64)

// sweepGone has swept what a channel or TalkBack that is in the directory no more has left.
func (s *Registry) sweepGone(ctx context.Context, kind string, id int64) error {
	err := s.apart.locked(ctx, func(tx *sql.Tx) error { return toSweep(ctx, tx, kind, id, gone) })
	s.kickSweep()
	return err
}

func (s *Registry) kickSweep() {
	select {
	case s.sweepNow <- struct{}{}:
	default: // it has been told
	}
}

// Sweeper takes away what was cleared or deleted, until ctx ends: a bounded number of rows a transaction.
func (s *Registry) Sweeper(ctx context.Context) {
	if err := s.orphans(ctx); err != nil && ctx.Err() == nil {
		s.db.Log.Warn("what is left of channels that are gone was not looked for", "err", err)
	}
	if err := s.halfBulks(ctx); err != nil && ctx.Err() == nil {
		s.db.Log.Warn("what is left of bulk updates that were not finished was not taken away", "err", err)
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sweepNow:
		case <-retry.C:
		}
		if err := s.SweepAll(ctx); err != nil && ctx.Err() == nil {
			s.db.Log.Warn("deleted entries take space still; trying again", "err", err)
			retry.Reset(time.Minute)
		}
	}
}

// orphans finds what a kill between the directory's transaction and that of channels.db has left.
func (s *Registry) orphans(ctx context.Context) error {
	for kind, table := range map[string]string{kindChannel: "channels", kindTalkBack: "talkbacks"} {
		ids, err := sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) }, "SELECT id FROM stock WHERE kind = ? ORDER BY id", kind)
		if err != nil {
			return err
		}
		for _, id := range ids {
			var one int
			err := s.db.QueryRowContext(ctx, "SELECT 1 FROM "+table+" WHERE id = ?", id).Scan(&one) // #nosec G202 -- one of two constants
			if errors.Is(err, sql.ErrNoRows) {
				err = s.sweepGone(ctx, kind, id)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

type sweep struct {
	kind string
	id   int64
}

// SweepAll takes away what was cleared or deleted, now.
func (s *Registry) SweepAll(ctx context.Context) error {
	for {
		all, err := sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (w sweep, err error) { return w, r.Scan(&w.kind, &w.id) }, "SELECT kind, id FROM sweeps ORDER BY kind, id LIMIT 100")
		if err != nil || len(all) == 0 {
			return err
		}
		for _, w := range all {
			for more := true; more; {
				if more, err = s.sweepSome(ctx, w); err != nil {
					return err
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(sweepEvery):
				}
			}
		}
		if err := s.GiveBack(ctx); err != nil {
			return err
		}
	}
}

// sweepSome takes the next rows away and says whether there are more.
func (s *Registry) sweepSome(ctx context.Context, w sweep) (more bool, err error) {
	remove := "DELETE FROM entries WHERE channel = ?1 AND id IN (SELECT id FROM entries WHERE channel = ?1 AND id <= ?2 ORDER BY id LIMIT ?3) RETURNING length(sealed)"
	if w.kind == kindTalkBack {
		remove = "DELETE FROM commands WHERE talkback = ?1 AND id IN (SELECT id FROM commands WHERE talkback = ?1 AND id <= ?2 ORDER BY id LIMIT ?3) RETURNING length(sealed)"
	}
	err = s.apart.locked(ctx, func(tx *sql.Tx) error {
		last, err := lockStock(ctx, tx, w.kind, w.id, "")
		if err != nil {
			return err
		}
		var upto int64
		var owner string
		if err := tx.QueryRowContext(ctx, "SELECT s.upto, t.owner FROM sweeps s JOIN stock t ON t.kind = s.kind AND t.id = s.id WHERE s.kind = ? AND s.id = ?",
			w.kind, w.id).Scan(&upto, &owner); err != nil {
			if errors.Is(err, sql.ErrNoRows) { // another hub has done it
				err = nil
			}
			return err
		}
		var n, bytes int64
		err = sealdb.Each(ctx, tx, remove, func(rows *sql.Rows) error {
			var b int64
			if err := rows.Scan(&b); err != nil {
				return err
			}
			n, bytes = n+1, bytes+b+rowBytes
			return nil
		}, w.id, upto, sweepRows)
		if err != nil {
			return err
		}
		if err := s.grow(ctx, tx, w.kind, w.id, owner, last, -n, -bytes); err != nil {
			return err
		}
		if more = n == sweepRows; more {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sweeps WHERE kind = ? AND id = ?", w.kind, w.id); err != nil || upto != gone {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM stock WHERE kind = ? AND id = ?", w.kind, w.id)
		return err
	})
	return more && err == nil, err
}

// GiveBack makes the file smaller by what is free in it, a bounded number of pages at a time. PostgreSQL's own autovacuum does so there.
func (s *Registry) GiveBack(ctx context.Context) error {
	if s.apart.shared {
		return nil
	}
	for {
		var free int64
		if err := s.apart.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free); err != nil || free == 0 {
			return err
		}
		if err := s.apart.turns.Take(ctx, false); err != nil {
			return err
		}
		_, err := s.apart.writes.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", sweepPages))
		s.apart.turns.Give()
		if err != nil {
			return err
		}
		var left int64
		if err := s.apart.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&left); err != nil || left >= free {
			return err
		}
	}
}
