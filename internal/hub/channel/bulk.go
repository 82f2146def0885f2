package channel

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// MaxBulk is the most entries of one AppendEntries.
const MaxBulk = 14_400

const (
	// bulkRows is how many entries the first transaction of a bulk update stores, and each one that takes it away again. All writers of
	// channels.db wait for one such transaction. The next ones have half as many while they take longer than bulkLong, where each
	// entry goes to another page of the index or the disk is slow, and twice as many while they are done within bulkShort.
	bulkRows  = 100
	bulkLeast = 10
	bulkMost  = 500
	bulkLong  = 25 * time.Millisecond
	bulkShort = 8 * time.Millisecond
	// bulkLease is after what time without a transaction of a bulk update another hub may take what is there of it away.
	bulkLease = 10 * time.Second
	// bulkAgain is how long a writer of a channel waits before it looks again whether another hub's bulk update is done.
	bulkAgain = 20 * time.Millisecond
	// bulkTries bounds how often a bulk update begins again because the channel was cleared meanwhile.
	bulkTries = 3
)

// bulkStep marks the channels to which a bulk update is being stored: bulk is a number of its own, 0 for none. Its entries have ids
// above last, so that they are not read; the last transaction raises last. Until bulk_until no other hub takes them away.
const bulkStep = `
ALTER TABLE stock ADD COLUMN bulk INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stock ADD COLUMN bulk_until INTEGER NOT NULL DEFAULT 0;
CREATE INDEX stock_bulk ON stock (id) WHERE bulk <> 0;
`

// PgBulk is bulkStep in PostgreSQL.
const PgBulk = `
ALTER TABLE stock ADD COLUMN bulk BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stock ADD COLUMN bulk_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX stock_bulk ON stock (id) WHERE bulk <> 0;
`

// PgBulkBack is the way back from PgBulk.
const PgBulkBack = `
DELETE FROM entries e USING stock s WHERE s.kind = 'channel' AND s.id = e.channel AND s.bulk <> 0 AND e.id > s.last;
DROP INDEX stock_bulk;
ALTER TABLE stock DROP COLUMN bulk_until;
ALTER TABLE stock DROP COLUMN bulk;
`

var (
	errBulkRuns = errors.New("a bulk update is being stored")
	errBulkLost = errors.New("the bulk update was interrupted, and nothing of it is stored; send it again")
	errCleared  = errors.New("the channel was cleared meanwhile")
)

// channelTurns gives each channel to one writer of this process after the other.
type channelTurns struct {
	mu sync.Mutex // guards of
	of map[int64]*channelTurn
}

type channelTurn struct {
	sealdb.Turns
	users int // guarded by channelTurns.mu
}

// take waits for a channel's turn; give ends it.
func (c *channelTurns) take(ctx context.Context, channel int64) (give func(), err error) {
	c.mu.Lock()
	t := c.of[channel]
	if t == nil {
		if c.of == nil {
			c.of = map[int64]*channelTurn{}
		}
		t = &channelTurn{}
		c.of[channel] = t
	}
	t.users++
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(c.of, channel)
		}
	}
	if err := t.Take(ctx, false); err != nil {
		leave()
		return nil, err
	}
	return func() { t.Give(); leave() }, nil
}

// onChannel runs f in a write transaction when no bulk update of the channel is under way, with the channel's stock row locked.
func (s *Registry) onChannel(ctx context.Context, channel int64, owner string, f func(tx *sql.Tx, st standing) error) error {
	give, err := s.apart.channels.take(ctx, channel)
	if err != nil {
		return err
	}
	defer give()
	return s.alone(ctx, channel, owner, f)
}

// alone is onChannel for the holder of the channel's turn. What a killed hub has left of a bulk update is taken away first.
func (s *Registry) alone(ctx context.Context, channel int64, owner string, f func(tx *sql.Tx, st standing) error) error {
	for {
		mark := int64(0)
		err := s.apart.locked(ctx, func(tx *sql.Tx) error {
			if _, err := lockStock(ctx, tx, kindChannel, channel, owner); err != nil {
				return err
			}
			var st standing
			var bulk, until int64
			if err := tx.QueryRowContext(ctx, "SELECT last, cleared, bulk, bulk_until FROM stock WHERE kind = ? AND id = ?", kindChannel, channel).
				Scan(&st.last, &st.cleared, &bulk, &until); err != nil {
				return err
			}
			switch {
			case bulk == 0:
				return f(tx, st)
			case s.apart.shared && until > sealdb.Micro(s.db.Now()):
				return errBulkRuns
			}
			// In files the holder of the channel's turn knows that no process is at it.
			mark = newMark()
			return s.markBulk(ctx, tx, channel, mark)
		})
		switch {
		case mark != 0 && err == nil:
			err = s.undoBulk(ctx, channel, mark)
			if err != nil {
				return err
			}
		case errors.Is(err, errBulkRuns):
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(bulkAgain):
			}
		default:
			return err
		}
	}
}

func newMark() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                                // never fails
	return int64(binary.LittleEndian.Uint64(b[:])>>1) | 1 // #nosec G115 -- 63 bits, and not 0
}

func (s *Registry) markBulk(ctx context.Context, tx *sql.Tx, channel, mark int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE stock SET bulk = ?, bulk_until = ? WHERE kind = ? AND id = ?", mark, sealdb.Micro(s.db.Now().Add(bulkLease)), kindChannel, channel)
	return err
}

// bulkTurn runs f in a write transaction of a bulk update; errBulkLost if it is another's by now, or the channel is gone.
func (s *Registry) bulkTurn(ctx context.Context, channel, mark int64, f func(tx *sql.Tx, st standing, owner string) error) error {
	return s.apart.locked(ctx, func(tx *sql.Tx) error {
		var st standing
		var owner string
		err := tx.QueryRowContext(ctx, "UPDATE stock SET bulk_until = ? WHERE kind = ? AND id = ? AND bulk = ? RETURNING last, cleared, owner",
			sealdb.Micro(s.db.Now().Add(bulkLease)), kindChannel, channel, mark).Scan(&st.last, &st.cleared, &owner)
		if errors.Is(err, sql.ErrNoRows) {
			return errBulkLost
		}
		if err != nil {
			return err
		}
		return f(tx, st, owner)
	})
}

// undoBulk takes away what a bulk update has stored, in bounded pieces, and its mark.
func (s *Registry) undoBulk(ctx context.Context, channel, mark int64) error {
	for more := true; more; {
		err := s.bulkTurn(ctx, channel, mark, func(tx *sql.Tx, st standing, owner string) error {
			var n, bytes int64
			err := sealdb.Each(ctx, tx, `DELETE FROM entries WHERE channel = ?1 AND id IN
				(SELECT id FROM entries WHERE channel = ?1 AND id > ?2 ORDER BY id LIMIT ?3) RETURNING length(sealed)`, func(rows *sql.Rows) error {
				var b int64
				if err := rows.Scan(&b); err != nil {
					return err
				}
				n, bytes = n+1, bytes+b+rowBytes
				return nil
			}, channel, st.last, bulkRows)
			if err != nil {
				return err
			}
			if err := s.grow(ctx, tx, kindChannel, channel, owner, st.last, -n, -bytes); err != nil {
				return err
			}
			if more = n == bulkRows; more {
				return nil
			}
			return s.unmarkBulk(ctx, tx, channel)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Registry) unmarkBulk(ctx context.Context, tx *sql.Tx, channel int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE stock SET bulk = 0, bulk_until = 0 WHERE kind = ? AND id = ?", kindChannel, channel)
	return err
}

// halfBulks takes away what a killed process has left of bulk updates.
func (s *Registry) halfBulks(ctx context.Context) error {
	ids, err := sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (id int64, err error) { return id, r.Scan(&id) }, "SELECT id FROM stock WHERE bulk <> 0 ORDER BY id")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.onChannel(ctx, id, "", func(*sql.Tx, standing) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// AppendEntries adds entries to a free channel, all of them or none, durably, and gives them the next ids in their order. A Created
// that is given is unique in its channel: an entry that is there already, equal in all else, is not stored again (its id is given),
// so that a sender who missed the answer may send once more; one that differs is ErrTaken. A zero Created is now, and need not be
// unique. The grant must allow access.WriteChannel on the channel. ErrPatientChannel for a patient's.
//
// Many entries are stored in several transactions: who writes to other channels, and the sweep, get their turns between, and who
// writes to this one waits. None of them is read before all are stored; what an error or a kill leaves is taken away.
func (s *Registry) AppendEntries(ctx context.Context, g access.Grant, channel int64, entries []Entry) ([]Entry, error) {
	if err := s.db.Allowed(g, access.WriteChannel, access.OnChannel(channel)); err != nil {
		return nil, sealdb.Named("append entries", err)
	}
	if err := s.db.MayStore(); err != nil {
		return nil, sealdb.Named("append entries", err)
	}
	if len(entries) > MaxBulk {
		return nil, sealdb.Named("append entries", fmt.Errorf("%w: at most %d entries at once", sealdb.ErrInvalid, MaxBulk))
	}
	for _, e := range entries {
		if err := checkEntry(e); err != nil {
			return nil, sealdb.Named("append entries", err)
		}
	}
	ref, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		return nil, sealdb.Named("append entries", err)
	}
	give, err := s.apart.channels.take(ctx, channel)
	if err != nil {
		return nil, sealdb.Named("append entries", err)
	}
	defer give()
	out, err := s.appendInTurns(ctx, ref, key, entries)
	if err != nil {
		return nil, sealdb.Named("append entries", err)
	}
	return out, nil
}

// appendInTurns stores few entries in one transaction, and many in several.
//
//defence:bulk-turns a bulk update is stored in pieces, so that other writers get their turns
func (s *Registry) appendInTurns(ctx context.Context, ref access.ChannelRef, key seal.Key, entries []Entry) (out []Entry, err error) {
	if len(entries) <= bulkRows {
		return s.appendSome(ctx, ref, key, entries)
	}
	for try := 1; ; try++ {
		if out, err = s.appendMany(ctx, ref, key, entries); !errors.Is(err, errCleared) || try == bulkTries {
			return out, err
		}
	}
}

// appendSome is AppendEntries in one transaction.
func (s *Registry) appendSome(ctx context.Context, ref access.ChannelRef, key seal.Key, entries []Entry) (out []Entry, err error) {
	err = s.alone(ctx, ref.ID, ref.Owner, func(tx *sql.Tx, st standing) error {
		p := plan{Entries: slices.Clone(entries), now: s.db.Now, channel: ref.ID, key: key}
		if err := p.make(ctx, tx, st); err != nil {
			return err
		}
		out = p.Entries
		return s.insert(ctx, tx, ref.ID, ref.Owner, p.rows, p.last)
	})
	return out, err
}

// appendMany is AppendEntries in several transactions.
func (s *Registry) appendMany(ctx context.Context, ref access.ChannelRef, key seal.Key, entries []Entry) (_ []Entry, err error) {
	mark := newMark()
	var st standing
	err = s.alone(ctx, ref.ID, ref.Owner, func(tx *sql.Tx, now standing) error {
		st = now
		return s.markBulk(ctx, tx, ref.ID, mark)
	})
	if err != nil {
		return nil, err
	}
	run := context.WithoutCancel(ctx) // bounded, and not to be left half done by a client who goes
	defer func() {
		if err == nil {
			return
		}
		if undo := s.undoBulk(run, ref.ID, mark); undo != nil && !errors.Is(undo, errBulkLost) {
			s.db.Log.Warn("entries of a bulk update that failed are read by no one, and take space until the next one", "channel", ref.ID, "err", undo)
		}
	}()
	p := plan{Entries: slices.Clone(entries), now: s.db.Now, channel: ref.ID, key: key}
	if err := p.make(ctx, s.apart.DB, st); err != nil {
		return nil, err
	}
	if err := s.room(ctx, ref.Owner, p.rows); err != nil {
		return nil, err
	}
	if len(p.rows) == 0 {
		return p.Entries, s.bulkTurn(run, ref.ID, mark, func(tx *sql.Tx, now standing, _ string) error {
			if now.cleared != st.cleared {
				return errCleared
			}
			return s.unmarkBulk(run, tx, ref.ID)
		})
	}
	size := bulkRows
	for rest := p.rows; len(rest) > 0; {
		some := rest[:min(len(rest), size)]
		rest = rest[len(some):]
		var began time.Time
		err := s.bulkTurn(run, ref.ID, mark, func(tx *sql.Tx, now standing, owner string) error {
			began = time.Now()
			last := now.last
			if len(rest) == 0 {
				last = p.last
				if now.cleared != st.cleared && len(p.rows) < len(entries) { // what was there already may be gone
					return errCleared
				}
				if err := s.unmarkBulk(run, tx, ref.ID); err != nil {
					return err
				}
			}
			if s.apart.fail != nil {
				if err := s.apart.fail(); err != nil {
					return err
				}
			}
			return s.insert(run, tx, ref.ID, owner, some, last)
		})
		if err != nil {
			return nil, err
		}
		switch took := time.Since(began); {
		case took > bulkLong:
			size = max(size/2, bulkLeast)
		case took < bulkShort:
			size = min(size*2, bulkMost)
		}
		if len(rest) > 0 && s.apart.between != nil {
			s.apart.between()
		}
	}
	return p.Entries, nil
}

// room refuses what the quota will refuse, before any of it is stored.
func (s *Registry) room(ctx context.Context, owner string, rows []entryRow) error {
	if len(rows) == 0 {
		return nil
	}
	var have Usage
	err := s.apart.QueryRowContext(ctx, "SELECT entries, bytes FROM usage WHERE owner = ?", owner).Scan(&have.Entries, &have.Bytes)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	have.Entries += int64(len(rows))
	for _, r := range rows {
		have.Bytes += int64(len(r.sealed)) + rowBytes
	}
	most, err := s.limited(ctx, s.apart.DB, owner)
	if err != nil {
		return err
	}
	return most.check(owner, have)
}

// insert stores rows, counts them and sets the highest id that may be read.
func (s *Registry) insert(ctx context.Context, tx *sql.Tx, channel int64, owner string, rows []entryRow, last int64) error {
	var bytes int64
	for rest := rows; len(rest) > 0; {
		some, query := rest[:1], insertEntry
		if len(rest) >= bulkLeast {
			some, query = rest[:bulkLeast], insertEntries
		}
		rest = rest[len(some):]
		args := make([]any, 0, 4*bulkLeast)
		for _, r := range some {
			args = append(args, channel, r.id, r.created, r.sealed)
			bytes += int64(len(r.sealed)) + rowBytes
		}
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return s.grow(ctx, tx, kindChannel, channel, owner, last, int64(len(rows)), bytes)
}

// insertEntry stores an entry, insertEntries bulkLeast of them.
const insertEntry = "INSERT INTO entries (channel, id, created, sealed) VALUES (?, ?, ?, ?)"

var insertEntries = insertEntry + strings.Repeat(", (?, ?, ?, ?)", bulkLeast-1)

// entryRow is a row of entries.
type entryRow struct {
	id, created int64
	sealed      []byte
}

// plan is what comes of a bulk update, worked out and sealed before any of it is stored.
type plan struct {
	Entries []Entry // with their ids and times
	now     func() time.Time
	channel int64
	key     seal.Key

	rows []entryRow // those that are new
	last int64      // the highest id with them
}

// preparer is a database or a transaction.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// make looks for what is there already. No one else may store to the channel meanwhile.
func (p *plan) make(ctx context.Context, db preparer, st standing) error {
	// As a stretch of time that is ordered by it: told that they are equal, and to order by id, SQLite walks through the whole channel.
	look, err := db.PrepareContext(ctx, `SELECT id, sealed FROM entries
		WHERE channel = ?1 AND created >= ?2 AND created <= ?2 AND +id > ?3 AND +id <= ?4 ORDER BY created, id LIMIT 1`)
	if err != nil {
		return err
	}
	defer look.Close() //nolint:errcheck // read to its end
	newest := int64(math.MaxInt64)
	if len(p.Entries) > bulkRows { // outside of all locks: where many were cleared, this walks past them
		newest = math.MinInt64 // what is newer than all that is there need not be looked for
		err = db.QueryRowContext(ctx, `SELECT created FROM entries WHERE channel = ?1 AND created >= 0 AND +id > ?2 AND +id <= ?3
			ORDER BY created DESC, id DESC LIMIT 1`, p.channel, st.cleared, st.last).Scan(&newest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	p.last = st.last
	mine := map[int64]*Entry{} // the first of each time
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.Created.IsZero() {
			e.Created = sealdb.FromMicro(sealdb.Micro(p.now()))
		} else {
			e.Created = sealdb.FromMicro(sealdb.Micro(e.Created))
			have := mine[sealdb.Micro(e.Created)]
			if sealdb.Micro(e.Created) <= newest {
				if have, err = p.have(ctx, look, st, mine, e.Created); err != nil {
					return err
				}
			}
			if have != nil {
				if !sameEntry(*have, *e) {
					return ErrTaken
				}
				e.ID = have.ID
				continue
			}
		}
		p.last++
		e.ID = p.last
		text, err := json.Marshal(entryText{e.Fields, e.Status, e.Latitude, e.Longitude, e.Elevation})
		if err != nil {
			return err
		}
		if mine[sealdb.Micro(e.Created)] == nil {
			mine[sealdb.Micro(e.Created)] = e
		}
		p.rows = append(p.rows, entryRow{e.ID, sealdb.Micro(e.Created), p.key.Seal(text, entryData(p.channel, e.ID, e.Created))})
	}
	return nil
}

// have is the entry of a time, nil if there is none.
func (p *plan) have(ctx context.Context, look *sql.Stmt, st standing, mine map[int64]*Entry, at time.Time) (*Entry, error) {
	have := Entry{Created: at}
	var sealed []byte
	err := look.QueryRowContext(ctx, p.channel, sealdb.Micro(at), st.cleared, st.last).Scan(&have.ID, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return mine[sealdb.Micro(at)], nil
	}
	if err != nil {
		return nil, err
	}
	return &have, openEntry(p.key, p.channel, &have, sealed)
}

func sameEntry(a, b Entry) bool {
	for i, f := range a.Fields {
		if (f == nil) != (b.Fields[i] == nil) || f != nil && *f != *b.Fields[i] {
			return false
		}
	}
	return a.Status == b.Status && a.Latitude == b.Latitude && a.Longitude == b.Longitude && a.Elevation == b.Elevation
}
