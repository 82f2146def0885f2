package archive

import (
	"context"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/delivery"
)

// writer is the one goroutine that writes chunks. While it waits for one fsync the next arrivals gather, so their number
// per commit grows with the load.
type writer struct {
	s     *Archive
	queue chan *days.Pending
	jobs  chan job // of the compaction
	stop  chan struct{}
	done  chan struct{}

	mu     sync.RWMutex // guards closed; held for reading while an arrival is queued
	closed bool
}

// job is something else that only the writer may do, between two batches.
type job struct {
	do   func(context.Context) error
	done chan error // has room for one
}

// between has the writer do something between two batches.
func (w *writer) between(ctx context.Context, do func(context.Context) error) error {
	j := job{do, make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-w.stop:
		return sealdb.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-w.done:
		return sealdb.ErrClosed
	}
}

func newWriter(s *Archive) *writer {
	return &writer{s: s, queue: make(chan *days.Pending, s.opt.Batch), jobs: make(chan job), stop: make(chan struct{}), done: make(chan struct{})}
}

func (w *writer) enqueue(ctx context.Context, p *days.Pending) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return sealdb.ErrClosed
	}
	select {
	case w.queue <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close answers everything that is queued and ends the goroutine.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.done
}

func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	batch := make([]*days.Pending, 0, w.s.opt.Batch)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch = batch[:0]
		select {
		case p := <-w.queue:
			batch = append(batch, p)
		case j := <-w.jobs:
			j.done <- j.do(ctx)
			continue
		case <-w.stop:
			for { // nothing is queued any more once closed is set, so this ends
				select {
				case p := <-w.queue:
					w.commit(ctx, []*days.Pending{p})
				default:
					return
				}
			}
		}
		timer.Reset(w.s.opt.Linger)
		w.commit(ctx, w.gather(batch, timer.C))
	}
}

// gather waits for company: as long as others keep coming, but not for ever.
func (w *writer) gather(batch []*days.Pending, enough <-chan time.Time) []*days.Pending {
	quiet := time.NewTimer(w.s.opt.Linger / 5)
	defer quiet.Stop()
	for len(batch) < cap(batch) {
		select {
		case p := <-w.queue:
			batch = append(batch, p)
			quiet.Reset(w.s.opt.Linger / 5)
		case <-quiet.C:
			return batch
		case <-enough:
			return batch
		case <-w.stop:
			return batch
		}
	}
	return batch
}

// commit writes a batch, one transaction a partition, then tells live readers and callers.
func (w *writer) commit(ctx context.Context, batch []*days.Pending) {
	var order []string
	groups := map[string][]*days.Pending{}
	for _, p := range batch {
		if groups[p.Partition] == nil {
			order = append(order, p.Partition)
		}
		groups[p.Partition] = append(groups[p.Partition], p)
	}
	for _, name := range order {
		group := groups[name]
		err := w.store(ctx, name, group)
		if err != nil && len(group) > 1 {
			// One bad arrival must not hold up the others. A disk that takes nothing is noticed at the third.
			for i, failed := 0, 0; i < len(group); i++ {
				if failed < 3 {
					err = w.store(ctx, name, group[i:i+1])
				}
				if failed++; err == nil {
					failed = 0
				}
				w.settle(ctx, group[i:i+1], err)
			}
			continue
		}
		w.settle(ctx, group, err)
	}
}

// store writes a group, unless readings are not stored now.
func (w *writer) store(ctx context.Context, name string, group []*days.Pending) error {
	if err := w.s.db.MayStore(); err != nil {
		return err
	}
	return w.s.Days.Write(ctx, name, group)
}

// settle publishes what was accepted, and what could not be stored, and tells the callers.
func (w *writer) settle(ctx context.Context, group []*days.Pending, err error) {
	durable := w.s.db.Now()
	if err != nil {
		err = w.s.db.Explain(err)
		w.s.unwritten.Say(w.s.db.Log, durable, len(group), "chunks were not stored; gateways keep them, and what is of the present is shown live",
			"partition", group[0].Partition, "err", err)
		//defence:show-unstored what a full disk does not hold is shown live
		w.s.showUnstored(ctx, group)
	}
	for _, p := range group {
		if err != nil {
			p.Settled(delivery.Retry, "", sealdb.Named("append", err))
			continue
		}
		if p.Outcome == delivery.Accepted {
			w.s.lat.observe(durable.Sub(p.Chunk.Start)) // of the oldest sample: the others waited less
			w.s.showStored(p, durable)
		}
		if p.Outcome == delivery.Duplicate {
			w.s.unstored.take(unstoredKeyOf(p))
			w.s.compares.Go(func() { w.s.settleDuplicate(ctx, p) })
			continue
		}
		p.Settled(p.Outcome, "", nil)
	}
}
