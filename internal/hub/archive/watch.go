package archive

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

var (
	// ErrLagged tells a subscriber, once for each time it happens, that it was too slow and missed the oldest updates; the
	// next Next goes on with what is left.
	ErrLagged = errors.New("store: reader was too slow and missed updates")
	// ErrGrantExpired ends a subscription: one of its grants has expired.
	ErrGrantExpired = errors.New("store: grant has expired")
)

// watchers are the live subscriptions.
type watchers struct {
	mu     sync.Mutex // guards all below
	closed bool
	newest uint64 // the number of the newest subscription
	subs   map[*Subscription]struct{}
}

// Subscription delivers committed chunks in commit order. Its methods are safe for concurrent use.
type Subscription struct {
	s       *Archive
	number  uint64 // set by add; later ones have higher ones
	signals [vitals.MaxSignal + 1]bool
	unhook  func() bool
	wake    chan struct{} // holds one token when there may be something to do

	mu      sync.Mutex // guards all below; held only for moments, also by the writer
	grants  []access.Grant
	expires time.Time               // of the grant that expires first; zero: never
	byID    map[string]access.Grant // by patient: what was found among grants; the zero Grant if none allows
	queue   []attribution.Update    // a ring
	head, n int
	lagged  bool
	end     error
}

// Watch subscribes to the chunks of every patient that one of grants allows access.ViewPatient on, of the named signals or,
// with none named, of all. It starts with the next commit. It ends with ctx, Close, Store.Close, or with
// ErrGrantExpired as soon as any of the grants expires; Renew prevents that.
func (s *Archive) Watch(ctx context.Context, grants []access.Grant, signals ...vitals.Signal) (*Subscription, error) {
	sub := &Subscription{s: s, wake: make(chan struct{}, 1), queue: make([]attribution.Update, s.opt.WatchQueue)}
	for _, sig := range signals {
		if !sig.Valid() {
			return nil, sealdb.Named("watch", sealdb.ErrInvalid)
		}
		sub.signals[sig] = true
	}
	if len(signals) == 0 {
		for i := range sub.signals {
			sub.signals[i] = true
		}
	}
	if err := sub.Renew(grants); err != nil {
		return nil, err
	}
	if !s.watch.add(sub) {
		return nil, sealdb.Named("watch", sealdb.ErrClosed)
	}
	sub.unhook = context.AfterFunc(ctx, func() { sub.finish(ctx.Err()) })
	return sub, nil
}

// Renew replaces the grants of a running subscription, without a gap. No grants, or the zero Grant, is ErrNotAllowed.
func (sub *Subscription) Renew(grants []access.Grant) error {
	if len(grants) == 0 {
		return sealdb.Named("watch", sealdb.ErrNotAllowed)
	}
	var expires time.Time
	for _, g := range grants {
		if g.Holder() == "" {
			return sealdb.Named("watch", sealdb.ErrNotAllowed)
		}
		if e := g.Expires(); !e.IsZero() && (expires.IsZero() || e.Before(expires)) {
			expires = e
		}
	}
	sub.mu.Lock()
	sub.grants, sub.expires, sub.byID = slices.Clone(grants), expires, map[string]access.Grant{}
	sub.mu.Unlock()
	sub.nudge()
	return nil
}

// Next waits for the next update. After ErrLagged it may be called again; every other error is the end.
func (sub *Subscription) Next(ctx context.Context) (attribution.Update, error) {
	for {
		u, wait, err := sub.take()
		if wait == 0 {
			return u, err
		}
		if err := sub.sleep(ctx, wait); err != nil {
			return attribution.Update{}, err
		}
	}
}

// sleep waits for something to do, at most d.
func (sub *Subscription) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-sub.wake:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// take is what Next answers, or how long to wait for it.
func (sub *Subscription) take() (u attribution.Update, wait time.Duration, err error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	now := sub.s.db.Now()
	if sub.end == nil && !sub.expires.IsZero() && !now.Before(sub.expires) {
		sub.end = ErrGrantExpired
		sub.s.watch.remove(sub)
	}
	switch {
	case sub.end != nil:
		// What is still queued was allowed when it came, but is not opened any more.
		sub.drop()
		sub.nudge() // for another goroutine that waits in Next
		return attribution.Update{}, 0, sub.end
	case sub.lagged:
		sub.lagged = false
		return attribution.Update{}, 0, ErrLagged
	case sub.n > 0:
		u = sub.queue[sub.head]
		sub.queue[sub.head] = attribution.Update{}
		sub.head = (sub.head + 1) % len(sub.queue)
		sub.n--
		if sub.n > 0 {
			sub.nudge()
		}
		return u, 0, nil
	}
	wait = time.Minute
	if !sub.expires.IsZero() {
		wait = min(wait, max(sub.expires.Sub(now), time.Millisecond))
	}
	return attribution.Update{}, wait, nil
}

// Close ends the subscription.
func (sub *Subscription) Close() {
	if sub.unhook != nil {
		sub.unhook()
	}
	sub.finish(sealdb.ErrClosed)
}

func (sub *Subscription) finish(why error) {
	sub.s.watch.remove(sub)
	sub.mu.Lock()
	if sub.end == nil {
		sub.end = why
	}
	sub.drop()
	sub.mu.Unlock()
	sub.nudge()
}

// drop forgets what is queued; sub.mu is held.
func (sub *Subscription) drop() {
	clear(sub.queue)
	sub.head, sub.n = 0, 0
}

func (sub *Subscription) nudge() {
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// offer queues u if a grant allows it now. It never waits for the reader.
func (sub *Subscription) offer(u attribution.Update, now time.Time) {
	if !sub.signals[u.Chunk.Signal] {
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.end != nil || !sub.sees(u.Patient, now) {
		return
	}
	if sub.n == len(sub.queue) {
		sub.head = (sub.head + 1) % len(sub.queue)
		sub.n--
		sub.lagged = true
	}
	sub.queue[(sub.head+sub.n)%len(sub.queue)] = u
	sub.n++
	sub.nudge()
}

// sees finds the grant for a patient once and asks it every time; sub.mu is held.
func (sub *Subscription) sees(patient string, now time.Time) bool {
	g, known := sub.byID[patient]
	if !known {
		for _, candidate := range sub.grants {
			if candidate.Allows(access.ViewPatient, access.OnPatient(patient), now) {
				g = candidate
				break
			}
		}
		if len(sub.byID) >= sealdb.MaxCached {
			clear(sub.byID)
		}
		sub.byID[patient] = g
	}
	return g.Allows(access.ViewPatient, access.OnPatient(patient), now)
}

func (w *watchers) add(sub *Subscription) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if w.subs == nil {
		w.subs = map[*Subscription]struct{}{}
	}
	w.newest++
	sub.number = w.newest
	w.subs[sub] = struct{}{}
	return true
}

// remove takes w.mu; it may be called with a subscription's mu held, never the other way round.
func (w *watchers) remove(sub *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, sub)
}

func (w *watchers) publish(u attribution.Update) { w.publishAfter(u, 0) }

// publishAfter publishes u to the subscriptions with a higher number, and gives the number of the newest that there is.
func (w *watchers) publishAfter(u attribution.Update, number uint64) (newest uint64) {
	subs, newest := w.current()
	for _, sub := range subs {
		if sub.number > number {
			sub.offer(u, u.Durable)
		}
	}
	return newest
}

// wants reports whether any reader would be shown a chunk of a patient now.
func (w *watchers) wants(patient string, signal vitals.Signal, now time.Time) bool {
	subs, _ := w.current()
	return slices.ContainsFunc(subs, func(sub *Subscription) bool {
		sub.mu.Lock()
		defer sub.mu.Unlock()
		return signal.Valid() && sub.signals[signal] && sub.end == nil && sub.sees(patient, now)
	})
}

// lag tells all readers that they may have missed updates.
func (w *watchers) lag() {
	subs, _ := w.current()
	for _, sub := range subs {
		sub.mu.Lock()
		sub.lagged = true
		sub.mu.Unlock()
		sub.nudge()
	}
}

func (w *watchers) current() (all []*Subscription, newest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all = make([]*Subscription, 0, len(w.subs))
	for sub := range w.subs {
		all = append(all, sub)
	}
	return all, w.newest
}

func (w *watchers) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	subs, _ := w.current()
	for _, sub := range subs {
		sub.finish(sealdb.ErrClosed)
	}
}
