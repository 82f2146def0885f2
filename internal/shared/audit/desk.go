package audit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// DeskWait is how long Desk.Wait keeps a witness waiting.
	DeskWait = 25 * time.Second
	// PushWithin is how long Desk.Push waits for the first witness.
	PushWithin = 2 * time.Second

	// lingers is how long a witness that has just been answered counts as connected: it comes back
	// to say what it has.
	lingers = 5 * time.Second
	maxDesk = 1024
)

// Desk is where witnesses wait for the newest checkpoint, so that an act can be shown to one of
// them before it is answered: the log's tail cannot be cut afterwards without its noticing. It
// hides who waits. It is safe for concurrent use and starts no goroutine.
type Desk struct {
	log *Log

	mu        sync.Mutex
	witnesses map[string]*deskWitness
	wake      chan struct{} // closed, and replaced, when there is something new
	seen      chan struct{} // closed, and replaced, when a witness says that it has more
	pushed    int64         // size of the newest checkpoint that witnesses are to have
}

// deskWitness is one witness, by its SPIFFE id.
type deskWitness struct {
	waiting int
	has     int64 // entries that it has said it remembers
	last    time.Time
}

// NewDesk is a desk for the witnesses of log.
func NewDesk(log *Log) *Desk {
	return &Desk{log: log, witnesses: map[string]*deskWitness{}, wake: make(chan struct{}), seen: make(chan struct{})}
}

// Wait answers a witness that remembers the first from entries: at once if a checkpoint was pushed
// that covers more, else when one is pushed, or after DeskWait with what there is. The answer
// proves the sizes of also as well (Log.Consistency). witness is the SPIFFE id that the connection
// proved. Errors: the context's, the log's.
func (d *Desk) Wait(ctx context.Context, witness string, from int64, also ...int64) (Consistency, error) {
	d.mu.Lock()
	w := d.witnesses[witness]
	if w == nil {
		if len(d.witnesses) >= maxDesk {
			d.forget(time.Now())
		}
		if len(d.witnesses) >= maxDesk {
			d.mu.Unlock()
			return Consistency{}, fmt.Errorf("audit: desk: %d witnesses wait already", maxDesk)
		}
		w = &deskWitness{}
		d.witnesses[witness] = w
	}
	w.waiting++
	w.has = from
	close(d.seen)
	d.seen = make(chan struct{})
	// One that knows nothing is told at once, as soon as there is something to know.
	wake, wait := d.wake, d.pushed <= from && (from > 0 || d.log.Checkpoint().Size == 0)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		w.waiting--
		w.last = time.Now()
	}()
	if wait {
		timer := time.NewTimer(DeskWait)
		defer timer.Stop()
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			return Consistency{}, fmt.Errorf("audit: desk: %w", ctx.Err())
		}
	}
	return d.log.Consistency(from, also...)
}

// forget drops witnesses that are gone. d.mu is held.
func (d *Desk) forget(now time.Time) {
	for id, w := range d.witnesses {
		if w.waiting == 0 && now.Sub(w.last) > lingers {
			delete(d.witnesses, id)
		}
	}
}

// Push signs what is in the log now, shows it to the witnesses that are connected, and returns when
// one of them says that it has it. Errors: ErrNoWitness where none is connected or none answers
// within PushWithin; the log's, where it cannot be signed.
func (d *Desk) Push(ctx context.Context) error {
	size, err := d.log.Sign(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.forget(time.Now())
	n := len(d.witnesses)
	d.pushed = max(d.pushed, size)
	close(d.wake)
	d.wake = make(chan struct{})
	d.mu.Unlock()
	if n == 0 {
		return fmt.Errorf("%w: none is connected", ErrNoWitness)
	}
	timer := time.NewTimer(PushWithin)
	defer timer.Stop()
	for {
		d.mu.Lock()
		have := false
		for _, w := range d.witnesses {
			have = have || w.has >= size
		}
		seen := d.seen
		d.mu.Unlock()
		if have {
			return nil
		}
		select {
		case <-seen:
		case <-timer.C:
			return fmt.Errorf("%w: none of %d answered within %v", ErrNoWitness, n, PushWithin)
		case <-ctx.Done():
			return fmt.Errorf("audit: desk: %w", ctx.Err())
		}
	}
}
