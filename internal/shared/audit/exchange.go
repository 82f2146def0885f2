package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

// maxPassed is how many sightings of each log an Exchange remembers to pass on.
const maxPassed = 8

// Contradiction is what an Exchange found.
type Contradiction struct {
	Hub     string // whose log it is about
	Witness string // SPIFFE id of the component that handed it in; empty: found by this hub itself
	Err     error  // ErrSplit; or ErrTampered: it is signed by another key than the log's
}

// Exchange is where a hub takes what witnesses have seen, holds it against its own log and what it
// remembers of other hubs' logs, and passes it on to the others. What it passes on is signed by the
// log that it is about; it takes nothing else. What contradicts its own log is kept in a file as
// evidence, and State says so for as long as that lies there. It is safe for concurrent use and
// starts no goroutine.
//
// It does not protect against a hub that runs another program than this one and passes on what it
// likes: that takes another hub, or people who compare what witnesses remember.
type Exchange struct {
	name     string
	log      *Log
	desk     *Desk
	others   *Witnesses
	evidence string
	found    func(context.Context, Contradiction)

	mu     sync.Mutex              // guards what follows
	passed map[string][]Checkpoint // by hub, oldest first
	keys   map[string]string       // by hub
	bad    error
}

// NewExchange is the exchange of the hub called name, whose log and desk are given; others is what
// it remembers of other hubs' logs, nil for nothing. evidence is the file for what contradicts the
// own log. found is told each time; it must not be nil.
func NewExchange(name string, log *Log, desk *Desk, others *Witnesses, evidence string, found func(context.Context, Contradiction)) (*Exchange, error) {
	x := &Exchange{name: name, log: log, desk: desk, others: others, evidence: evidence, found: found,
		passed: map[string][]Checkpoint{}, keys: map[string]string{}}
	switch _, err := os.Lstat(evidence); {
	case err == nil:
		x.bad = fmt.Errorf("%w: the evidence is in %s", ErrSplit, evidence)
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("audit: exchange: %w", err)
	}
	return x, nil
}

// State is what is wrong with the own log or with one of the others', "" for nothing.
func (x *Exchange) State() string {
	x.mu.Lock()
	bad := x.bad
	x.mu.Unlock()
	if bad != nil {
		return bad.Error()
	}
	return x.others.State().Alarm
}

// Others is what this hub remembers of other hubs' logs.
func (x *Exchange) Others() *Witnesses { return x.others }

// Answer is the statement for a witness (SPIFFE id), after its sightings were taken. With wait it
// comes when there is something to see, as by Desk.Wait. Errors: the context's, the log's.
func (x *Exchange) Answer(ctx context.Context, witness string, a Ask, wait bool) (c Consistency, err error) {
	x.take(ctx, witness, a.Seen)
	if wait {
		c, err = x.desk.Wait(ctx, witness, a.From, a.Also...)
	} else {
		c, err = x.log.Consistency(a.From, a.Also...)
	}
	if err == nil {
		c.Seen = x.pass(a.Seen)
	}
	return c, err
}

// Tell is what this hub says that it has seen when it asks another: what it remembers of others'
// logs, its own log's checkpoint, and what witnesses have handed in.
func (x *Exchange) Tell(seen []Sighting) []Sighting {
	mine := Sighting{x.name, x.log.VerifierKey(), x.log.Checkpoint().Signed}
	out := append(append([]Sighting{}, seen[:min(len(seen), MaxSightings-1)]...), mine)
	more := x.pass(out)
	return append(out, more[:min(len(more), MaxSightings-len(out))]...)
}

// Found tells of a contradiction that was found elsewhere.
func (x *Exchange) Found(ctx context.Context, c Contradiction) { x.found(ctx, c) }

// take judges what a witness hands in.
//
//defence:gossip a hub compares what witnesses saw of its log and of others'
func (x *Exchange) take(ctx context.Context, witness string, seen []Sighting) {
	for _, s := range seen[:min(len(seen), MaxSightings)] {
		if !s.fits() {
			continue
		}
		var c Checkpoint
		var err error
		if s.Hub == x.name {
			c, err = x.own(s)
		} else {
			c, err = x.other(s)
		}
		switch {
		case errors.Is(err, ErrSplit), errors.Is(err, ErrTampered):
			x.found(ctx, Contradiction{s.Hub, witness, err})
			if errors.Is(err, ErrTampered) {
				continue // nothing that is signed by the log
			}
		case err != nil:
			continue // the disk's: it is judged when it comes again
		}
		if c.Size > 0 {
			x.remember(s.Hub, s.Key, c)
		}
	}
}

// own judges a sighting of this hub's own log.
func (x *Exchange) own(s Sighting) (Checkpoint, error) {
	if s.Key != x.log.VerifierKey() {
		return Checkpoint{}, fmt.Errorf("%w: it names a log of the hub %q by another key", ErrTampered, s.Hub)
	}
	if c, ok := x.has(s.Hub, s.Checkpoint); ok {
		return c, nil
	}
	c, err := x.log.Compare(s.Checkpoint)
	if errors.Is(err, ErrSplit) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.bad == nil {
			x.bad = err
		}
		err = errors.Join(err, keepSplit(x.evidence, Split{Hub: x.name, Found: time.Now().UTC(), What: err.Error(), Key: s.Key,
			Ours: x.log.Checkpoint().Signed, Theirs: c.Signed}))
	}
	return c, err
}

// other judges a sighting of another hub's log. One of a log that this hub knows nothing of is
// passed over.
func (x *Exchange) other(s Sighting) (Checkpoint, error) {
	one := x.others.known()[s.Hub]
	if one == nil {
		return Checkpoint{}, nil
	}
	mine, ok := one.Sighting()
	if !ok {
		return Checkpoint{}, nil
	}
	if s.Key != mine.Key { // any client can make a key and say this; a hub that passes it on is another matter
		return Checkpoint{}, fmt.Errorf("%w: it names a log of the hub %q by another key", ErrTampered, s.Hub)
	}
	c, err := ParseCheckpoint(s.Checkpoint, mine.Key)
	if err != nil {
		return c, err
	}
	return c, one.Heard(s)
}

// has finds a sighting that was judged before.
func (x *Exchange) has(hub, signed string) (Checkpoint, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := slices.IndexFunc(x.passed[hub], func(c Checkpoint) bool { return c.Signed == signed })
	if i < 0 {
		return Checkpoint{}, false
	}
	return x.passed[hub][i], true
}

// remember keeps what is passed on.
func (x *Exchange) remember(hub, key string, c Checkpoint) {
	x.mu.Lock()
	defer x.mu.Unlock()
	have := x.passed[hub]
	if slices.ContainsFunc(have, func(h Checkpoint) bool { return h.Size == c.Size && h.Root == c.Root }) {
		return
	}
	if len(have) >= maxPassed {
		have = slices.Delete(have, 0, 1)
	}
	x.passed[hub], x.keys[hub] = append(have, c), key
}

// pass is what others, and this hub itself, have seen, without what the witness has just said; at
// most MaxSightings, chosen at random where there are more, so that in time each comes to each.
//
//defence:gossip a hub passes on what witnesses saw
func (x *Exchange) pass(seen []Sighting) (out []Sighting) {
	out = x.others.Sightings()
	x.mu.Lock()
	for hub, all := range x.passed {
		for _, c := range all {
			out = append(out, Sighting{hub, x.keys[hub], c.Signed})
		}
	}
	x.mu.Unlock()
	out = slices.DeleteFunc(out, func(s Sighting) bool { return slices.Contains(seen, s) })
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] }) // #nosec G404 -- spreads, guards nothing
	return out[:min(len(out), MaxSightings)]
}
