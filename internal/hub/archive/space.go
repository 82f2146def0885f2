package archive

import (
	"context"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
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
	stream attribution.StreamKey
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

func unstoredKeyOf(p *days.Pending) unstoredKey {
	return unstoredKey{attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}, p.Seq}
}

// subjectsOf are the patients of a chunk and its later shares.
func subjectsOf(p *days.Pending) string {
	all := []string{p.Subject}
	for _, x := range p.Parts {
		all = append(all, x.Subject)
	}
	return strings.Join(all, " ")
}

// updateOf is what live readers are shown of p.
func updateOf(p *days.Pending, durable time.Time) attribution.Update {
	return attribution.Update{Patient: p.Subject, Sensor: p.Sensor, Header: p.Header, Chunk: p.Chunk, Durable: durable, NotConfirmed: p.InQuestion}
}

// showStored shows live what has just been stored, except to those who were shown it before.
func (s *Archive) showStored(p *days.Pending, durable time.Time) {
	var newest uint64
	if x := s.unstored.take(unstoredKeyOf(p)); x.subjects == subjectsOf(p) {
		newest = x.newest
	}
	for _, x := range append([]*days.Pending{p}, p.Parts...) {
		s.watch.publishAfter(updateOf(x, durable), newest)
	}
}

// showUnstored shows live, once each, what of a group is of the present and could not be stored. Whose it is was found out before the
// write failed; where that cannot be relied on any more, nothing is shown: a number on a wrong bed is worse than none.
func (s *Archive) showUnstored(ctx context.Context, group []*days.Pending) {
	now := s.db.Now()
	var places int64
	asked := false
	for _, p := range group {
		last := p.Last
		for _, x := range p.Parts {
			last = max(last, x.Last)
		}
		if sealdb.FromMicro(last).Before(now.Add(-attribution.PresentFor)) || s.unstored.has(unstoredKeyOf(p)) {
			continue
		}
		if s.db.IsShared() && !asked { // another hub may have moved the sensor or the patient
			asked = true
			ctx, cancel := context.WithTimeout(ctx, confirmWithin)
			if err := s.db.QueryRowContext(ctx, attribution.SelectPlaces).Scan(&places); err != nil {
				places = -1
			}
			cancel()
		}
		if s.db.IsShared() && p.Places != places {
			continue
		}
		// What is stored already was shown then: it came again because its answer was lost.
		if known, err := s.Days.Holds(ctx, p); err == nil && known {
			continue
		}
		x := unstoredShown{subjects: subjectsOf(p)}
		for _, part := range append([]*days.Pending{p}, p.Parts...) {
			x.newest = s.watch.publishAfter(updateOf(part, now), 0)
		}
		s.unstored.put(unstoredKeyOf(p), x)
	}
}
