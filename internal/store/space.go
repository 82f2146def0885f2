package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"vitalseal/internal/disk"
)

// A disk that takes nothing more must not silence a monitor: what cannot be stored is shown live, once, and the gateway keeps it. Before the
// disk is full to the last byte, readings and entries of channels give way to what care needs: sign-in, emergency access and the audit log.

// errHeld is the answer to readings and entries of channels while their storage is held.
var errHeld = fmt.Errorf("%w: what is left of it is kept for sign-in, emergency access and the audit log", disk.ErrFull)

const (
	// saidEvery is the least time between two lines of the log about the same failure.
	saidEvery = 10 * time.Second
	// maxUnstored bounds the chunks that are remembered to have been shown before they were stored.
	maxUnstored = 1 << 17
	// confirmWithin bounds the question to PostgreSQL whose sensors are, before what it did not store is shown.
	confirmWithin = 2 * time.Second
)

// Full reports whether err says that a disk has no room: this one's, or the database server's.
func Full(err error) bool {
	return errors.Is(err, disk.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, sqlite3.FULL) ||
		pgCode(err) == pgDiskFull
}

// pgDiskFull is PostgreSQL's code for a server without room.
const pgDiskFull = "53100"

// HoldReadings stops the storage of readings, of entries of channels and the compaction, or lets them go on. Meanwhile Append answers Retry and
// shows live what is of the present; entries are refused with an error for which Full holds. All else is stored on.
func (s *Store) HoldReadings(hold bool) { s.held.Store(hold) }

// mayStore is nil where readings and entries are stored now.
func (s *Store) mayStore() error {
	if s.held.Load() {
		return errHeld
	}
	if s.opt.writeFails != nil {
		return s.opt.writeFails()
	}
	return nil
}

// sparse says a failure that comes again and again at most once in saidEvery, with how often it came. Its zero value is ready.
type sparse struct {
	mu   sync.Mutex // guards all below
	said time.Time
	n    int // since
}

// say counts n failures and logs them when it is time.
func (q *sparse) say(log *slog.Logger, now time.Time, n int, text string, args ...any) {
	q.mu.Lock()
	q.n += n
	age := now.Sub(q.said)
	if !q.said.IsZero() && age >= 0 && age < saidEvery {
		q.mu.Unlock()
		return
	}
	n, q.n, q.said = q.n, 0, now
	q.mu.Unlock()
	log.Error(text, append([]any{"chunks", n}, args...)...)
}

// unstored remembers which chunks were shown live before they were stored, and to which subscriptions: once stored, those are not shown
// them again.
type unstored struct {
	mu sync.Mutex // guards m
	m  map[unstoredKey]unstoredShown
}

type unstoredKey struct {
	stream streamKey
	seq    uint64
}

type unstoredShown struct {
	subjects string // whose it was
	newest   uint64 // the newest subscription that may have got it
}

func (u *unstored) init() { u.m = map[unstoredKey]unstoredShown{} }

func (u *unstored) has(k unstoredKey) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.m[k]
	return ok
}

func (u *unstored) put(k unstoredKey, x unstoredShown) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.m) >= maxUnstored {
		clear(u.m) // what was shown and forgotten is shown again when it is stored, under the time at which it was measured
	}
	u.m[k] = x
}

func (u *unstored) take(k unstoredKey) unstoredShown {
	u.mu.Lock()
	defer u.mu.Unlock()
	x := u.m[k]
	delete(u.m, k)
	return x
}

func (p *pending) unstoredKey() unstoredKey {
	return unstoredKey{streamKey{p.sensor, uint8(p.signal), p.epoch.ID}, p.seq}
}

// subjects are the patients of a chunk and its later shares.
func (p *pending) subjects() string {
	all := []string{p.subject}
	for _, x := range p.parts {
		all = append(all, x.subject)
	}
	return strings.Join(all, " ")
}

// update is what live readers are shown of p.
func (p *pending) update(durable time.Time) Update {
	return Update{Patient: p.subject, Sensor: p.sensor, Header: p.header, Chunk: p.chunk, Durable: durable, NotConfirmed: p.inQuestion}
}

// showStored shows live what has just been stored, except to those who were shown it before.
func (s *Store) showStored(p *pending, durable time.Time) {
	var newest uint64
	if x := s.unstored.take(p.unstoredKey()); x.subjects == p.subjects() {
		newest = x.newest
	}
	for _, x := range append([]*pending{p}, p.parts...) {
		s.watch.publishAfter(x.update(durable), newest)
	}
}

// showUnstored shows live, once each, what of a group is of the present and could not be stored. Whose it is was found out before the
// write failed; where that cannot be relied on any more, nothing is shown: a number on a wrong bed is worse than none.
func (s *Store) showUnstored(ctx context.Context, group []*pending) {
	now := s.now()
	var places int64
	asked := false
	for _, p := range group {
		last := p.last
		for _, x := range p.parts {
			last = max(last, x.last)
		}
		if fromMicro(last).Before(now.Add(-presentFor)) || s.unstored.has(p.unstoredKey()) {
			continue
		}
		if s.others != nil && !asked { // another hub may have moved the sensor or the patient
			asked = true
			ctx, cancel := context.WithTimeout(ctx, confirmWithin)
			if err := s.db.QueryRowContext(ctx, selectPlaces).Scan(&places); err != nil {
				places = -1
			}
			cancel()
		}
		if s.others != nil && p.places != places {
			continue
		}
		// What is stored already was shown then: it came again because its answer was lost.
		if known, err := s.holds(ctx, p); err == nil && known {
			continue
		}
		x := unstoredShown{subjects: p.subjects()}
		for _, part := range append([]*pending{p}, p.parts...) {
			x.newest = s.watch.publishAfter(part.update(now), 0)
		}
		s.unstored.put(p.unstoredKey(), x)
	}
}
