package store

import (
	"context"
	"strings"
	"sync"
	"time"
)

// A disk that takes nothing more must not silence a monitor: what cannot be stored is shown live, once, and the gateway keeps it. Before the
// disk is full to the last byte, readings and entries of channels give way to what care needs: sign-in, emergency access and the audit log.

const (
	// maxUnstored bounds the chunks that are remembered to have been shown before they were stored.
	maxUnstored = 1 << 17
	// confirmWithin bounds the question to PostgreSQL whose sensors are, before what it did not store is shown.
	confirmWithin = 2 * time.Second
)

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

func unstoredKeyOf(p *pending) unstoredKey {
	return unstoredKey{streamKey{p.sensor, uint8(p.signal), p.epoch.ID}, p.seq}
}

// subjectsOf are the patients of a chunk and its later shares.
func subjectsOf(p *pending) string {
	all := []string{p.subject}
	for _, x := range p.parts {
		all = append(all, x.subject)
	}
	return strings.Join(all, " ")
}

// updateOf is what live readers are shown of p.
func updateOf(p *pending, durable time.Time) Update {
	return Update{Patient: p.subject, Sensor: p.sensor, Header: p.header, Chunk: p.chunk, Durable: durable, NotConfirmed: p.inQuestion}
}

// showStored shows live what has just been stored, except to those who were shown it before.
func (s *Archive) showStored(p *pending, durable time.Time) {
	var newest uint64
	if x := s.unstored.take(unstoredKeyOf(p)); x.subjects == subjectsOf(p) {
		newest = x.newest
	}
	for _, x := range append([]*pending{p}, p.parts...) {
		s.watch.publishAfter(updateOf(x, durable), newest)
	}
}

// showUnstored shows live, once each, what of a group is of the present and could not be stored. Whose it is was found out before the
// write failed; where that cannot be relied on any more, nothing is shown: a number on a wrong bed is worse than none.
func (s *Archive) showUnstored(ctx context.Context, group []*pending) {
	now := s.db.now()
	var places int64
	asked := false
	for _, p := range group {
		last := p.last
		for _, x := range p.parts {
			last = max(last, x.last)
		}
		if fromMicro(last).Before(now.Add(-presentFor)) || s.unstored.has(unstoredKeyOf(p)) {
			continue
		}
		if s.db.isShared() && !asked { // another hub may have moved the sensor or the patient
			asked = true
			ctx, cancel := context.WithTimeout(ctx, confirmWithin)
			if err := s.db.QueryRowContext(ctx, selectPlaces).Scan(&places); err != nil {
				places = -1
			}
			cancel()
		}
		if s.db.isShared() && p.places != places {
			continue
		}
		// What is stored already was shown then: it came again because its answer was lost.
		if known, err := s.days.holds(ctx, p); err == nil && known {
			continue
		}
		x := unstoredShown{subjects: subjectsOf(p)}
		for _, part := range append([]*pending{p}, p.parts...) {
			x.newest = s.watch.publishAfter(updateOf(part, now), 0)
		}
		s.unstored.put(unstoredKeyOf(p), x)
	}
}
