package outbox

import (
	"cmp"
	"context"
	"slices"
)

// Part is a share of a lane's records.
type Part uint8

// The parts. A record is in one of them.
const (
	// Controls are control records: what the others may need, so a reader of parts takes these
	// first.
	Controls Part = iota
	// Backlog is what was there at the last Rewind.
	Backlog
	// Live is what came since.
	Live
	parts
)

// Lane hands out one lane's records: all in one order with Next, or part by part with Take.
type Lane struct {
	q    *Queue
	name string
	wake chan struct{} // holds a token when there may be something new
	// lists are the parts, each by id, oldest first. Guarded by q.mu.
	lists [parts]*list
}

// list is a part of a lane.
type list struct {
	entries []*entry // oldest first; some may be forgotten already
	cursor  int      // of the next to hand out
	gone    int      // how many of entries are forgotten
}

func newLane(q *Queue, name string) *Lane {
	l := &Lane{q: q, name: name, wake: make(chan struct{}, 1)}
	for i := range l.lists {
		l.lists[i] = &list{}
	}
	return l
}

// Name is the lane's name.
func (l *Lane) Name() string { return l.name }

// Next waits for the oldest unacknowledged record that was not handed out since the last Rewind.
// One goroutine at a time calls it. Errors: the context's, ErrClosed.
func (l *Lane) Next(ctx context.Context) (Record, error) {
	for {
		r, ok, err := l.try(l.oldest)
		if ok || err != nil {
			return r, err
		}
		select {
		case <-l.wake:
		case <-l.q.closing:
			return Record{}, ErrClosed
		case <-ctx.Done():
			return Record{}, ctx.Err()
		}
	}
}

// Take is Next among the records of one part, and does not wait: ok is false when there is none.
// Wake tells when to ask again.
func (l *Lane) Take(p Part) (r Record, ok bool, err error) {
	return l.try(func() *entry { return l.lists[p].next(l.q) })
}

// Wake holds a token when there may be something new for Take, also after Close.
func (l *Lane) Wake() <-chan struct{} { return l.wake }

// oldest hands out in the order of ids, over all parts. q.mu is held.
func (l *Lane) oldest() *entry {
	var first *list
	for _, x := range l.lists {
		if e := x.peek(l.q); e != nil && (first == nil || e.id < first.peek(l.q).id) {
			first = x
		}
	}
	if first == nil {
		return nil
	}
	return first.next(l.q)
}

func (l *Lane) try(next func() *entry) (Record, bool, error) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	for {
		if l.q.closed {
			return Record{}, false, ErrClosed
		}
		e := next()
		if e == nil {
			return Record{}, false, nil
		}
		r, err := e.seg.read(e)
		if err == nil {
			return r, true, nil
		}
		// It was whole when it was written or found. The disk lost it since: say so, and go on with
		// the rest.
		l.q.opt.Logger.Error("outbox record lost on disk", "file", e.seg.name(), "err", err)
		l.q.stats.Corrupt++
		b := make([]byte, e.seg.size)
		if n, err := e.seg.file.ReadAt(b, 0); err == nil {
			l.q.damaged(e.seg, b[:n])
		}
		l.q.forget(e)
		l.q.sweep(e.seg)
	}
}

// Rewind makes all unacknowledged records be handed out again, from the oldest: after a lost
// connection. What is there now is the Backlog from then on.
func (l *Lane) Rewind() { l.RewindBut(func(uint64) bool { return false }) }

// RewindBut is Rewind, but the Live records for whose id stays is true are Live still: after a
// connection that ended before the hub heard them. They are behind the others of the Backlog when
// they join it later.
func (l *Lane) RewindBut(stays func(id uint64) bool) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	old, live := l.lists[Backlog], l.lists[Live]
	left := live.entries
	*live = list{}
	for _, e := range left {
		switch {
		case l.q.entries[e.id] != e:
		case stays(e.id):
			live.entries = append(live.entries, e)
		default:
			e.list = old
			old.entries = append(old.entries, e)
		}
	}
	for _, x := range l.lists {
		x.cursor = 0
	}
	l.signal()
}

// Pending is how many of the lane's records are not acknowledged.
func (l *Lane) Pending() int { return l.PendingOf(Controls) + l.PendingOf(Backlog) + l.PendingOf(Live) }

// PendingOf is how many of a part's records are not acknowledged.
func (l *Lane) PendingOf(p Part) int {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return len(l.lists[p].entries) - l.lists[p].gone
}

// Oldest is the oldest record that is not acknowledged, control records apart. It hands nothing
// out.
func (l *Lane) Oldest() (Record, bool) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	for _, p := range []Part{Backlog, Live} {
		for _, e := range l.lists[p].entries {
			if l.q.entries[e.id] != e || l.q.closed {
				continue
			}
			if r, err := e.seg.read(e); err == nil {
				return r, true
			}
		}
	}
	return Record{}, false
}

// add puts a durable record at the end of its list. q.mu is held.
func (l *Lane) add(e *entry) {
	e.list = l.lists[Live]
	if e.seg.class == Control {
		e.list = l.lists[Controls]
	}
	e.list.entries = append(e.list.entries, e)
	l.signal()
}

func (l *Lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// peek is the next entry to hand out, passing over forgotten ones; nil for none.
func (x *list) peek(q *Queue) *entry {
	for ; x.cursor < len(x.entries); x.cursor++ {
		if e := x.entries[x.cursor]; q.entries[e.id] == e {
			return e
		}
	}
	return nil
}

func (x *list) next(q *Queue) *entry {
	e := x.peek(q)
	if e != nil {
		x.cursor++
	}
	return e
}

// forget counts one entry that left the index, and now and then frees the space.
func (x *list) forget(q *Queue) {
	x.gone++
	if x.gone < 64 || x.gone < len(x.entries)/2 {
		return
	}
	kept, cursor := x.entries[:0], x.cursor
	for i, e := range x.entries {
		if q.entries[e.id] == e {
			kept = append(kept, e)
		} else if i < x.cursor {
			cursor--
		}
	}
	clear(x.entries[len(kept):])
	x.entries, x.cursor, x.gone = kept, cursor, 0
}

// sortLanes puts recovered records, which were found file by file, in order.
func (q *Queue) sortLanes() {
	for _, l := range q.lanes {
		for _, x := range l.lists {
			slices.SortFunc(x.entries, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
		}
	}
}
