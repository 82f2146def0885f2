package outbox

import (
	"errors"
	"fmt"
	"time"
)

// maxGroup bounds how many bytes share one fsync.
const maxGroup = 4 << 20

// write is the one goroutine that appends to files.
func (q *Queue) write() {
	defer close(q.done)
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	waiting := false
	for {
		select {
		case b := <-q.in:
			q.commit(q.gather(b))
		case <-q.acksLeft:
			if !waiting {
				waiting = true
				due.Reset(q.opt.AckDelay)
			}
		case <-due.C:
			waiting = false
			q.logAcks()
		case <-q.closing:
			for { // what was handed over before the end is written
				select {
				case b := <-q.in:
					q.commit(q.gather(b))
				default:
					return
				}
			}
		}
	}
}

// linger is how long an append waits for company. A gateway's sensors speak at the same ticks, each
// from its own goroutine.
const linger = 4 * time.Millisecond

// gather takes whatever else is waiting or comes soon, so that it shares the fsync.
func (q *Queue) gather(first *batch) []*batch {
	group, size := []*batch{first}, batchLen(first)
	enough := time.NewTimer(linger)
	defer enough.Stop()
	for size < min(maxGroup, q.opt.MaxBytes/8) { // what is not synced yet cannot be dropped to make room
		select {
		case b := <-q.in:
			group, size = append(group, b), size+batchLen(b)
		case <-enough.C:
			return group
		}
	}
	return group
}

func batchLen(b *batch) (n int64) {
	for _, r := range b.records {
		n += frameLen(r)
	}
	return n
}

// placed is a record written to a file but not yet durable.
type placed struct {
	record Record
	seg    *segment
	offset int64
}

// commit writes a group of batches, syncs once a file and answers.
func (q *Queue) commit(group []*batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var wrote []placed
	touched := map[*segment]bool{}
	failed := make([]error, len(group))
	for i, b := range group {
		for _, r := range b.records {
			if failed[i] != nil {
				break
			}
			p, kept, err := q.place(r)
			if err != nil {
				failed[i] = fmt.Errorf("outbox: append: %w", err)
			} else if kept {
				wrote = append(wrote, p)
				touched[p.seg] = true
			}
		}
	}
	// The lock is not held while the disk works: readers and acknowledgements go on. Only this
	// goroutine removes an active segment, so the files stay open.
	q.mu.Unlock()
	var syncErr error
	for s := range touched {
		if err := s.file.Sync(); err != nil {
			syncErr = errors.Join(syncErr, err)
		}
	}
	q.mu.Lock()
	if syncErr != nil {
		// What a failed fsync left behind is unknown, and a second fsync of the same file would not
		// tell. Nothing in it is counted as there; later appends go to new files.
		syncErr = fmt.Errorf("outbox: append: %w", syncErr)
		for s := range touched {
			q.retire(s)
		}
	}
	for _, p := range wrote {
		p.seg.staged--
		if syncErr == nil {
			e := &entry{id: p.record.ID, lane: q.lane(p.record.Lane), seg: p.seg, offset: p.offset, length: int(frameLen(p.record))}
			q.remember(e)
			q.stats.Appended++
		}
	}
	for s := range touched {
		q.sweep(s)
	}
	for i, b := range group {
		b.reply <- errors.Join(failed[i], syncErr)
	}
}

// place writes one record to its class's file, making room first. kept is false for a record that
// had to be dropped.
func (q *Queue) place(r Record) (p placed, kept bool, err error) {
	size := frameLen(r)
	s := q.active[r.Class]
	if s != nil && s.size+size > q.opt.SegmentBytes && s.size > int64(fileHeader) {
		q.retire(s)
		s = nil
	}
	room, err := q.makeRoom(int64(fileHeader)+size, r.Class)
	if err != nil {
		return p, false, err
	}
	if !room {
		if r.Class == Control {
			return p, false, ErrFull
		}
		q.stats.Dropped++
		q.opt.OnDrop([]Record{r})
		return p, false, nil
	}
	s = q.active[r.Class] // making room may have taken it
	if r.ID, err = q.takeID(); err != nil {
		return p, false, err
	}
	if s == nil {
		if s, err = q.createSegment(r.Class, r.ID); err != nil {
			return p, false, err
		}
		q.segments = append(q.segments, s)
		q.active[r.Class] = s
		q.bytes += s.size
	}
	if _, err := s.file.WriteAt(appendFrame(nil, r), s.size); err != nil {
		// Its end is unknown now, so nothing more goes there. Cutting gives a full disk its bytes
		// back; should that fail too, the torn end is passed over when it is read.
		err = errors.Join(err, s.file.Truncate(s.size))
		q.retire(s)
		return p, false, err
	}
	p = placed{record: r, seg: s, offset: s.size}
	s.staged++
	s.size += size
	q.bytes += size
	return p, true, nil
}

// retire ends appending to a segment; it goes as soon as nothing in it is waiting.
func (q *Queue) retire(s *segment) {
	if q.active[s.class] == s {
		delete(q.active, s.class)
	}
	q.sweep(s)
}

// sweep removes a segment that is neither appended to nor holds anything that is still wanted.
func (q *Queue) sweep(s *segment) {
	if s.live > 0 || s.staged > 0 || q.active[s.class] == s {
		return
	}
	if err := q.remove(s); err != nil {
		q.opt.Logger.Warn("outbox file not removed", "file", s.name(), "err", err)
	}
}

// makeRoom drops whole segments, the least important class first and the oldest first, until need
// more bytes fit. It never drops a class more important than the one that needs the room, nor
// control.
func (q *Queue) makeRoom(need int64, newcomer Class) (bool, error) {
	for q.bytes+need > q.opt.MaxBytes {
		victim := q.victim(newcomer)
		if victim == nil {
			return false, nil
		}
		if err := q.drop(victim); err != nil {
			return false, err
		}
	}
	return true, nil
}

// victim is the segment to drop. The one still appended to is its class's newest, so it comes last.
func (q *Queue) victim(newcomer Class) *segment {
	for c := Waveform; c < Control && c <= newcomer; c++ {
		for _, s := range q.segments {
			if s.class == c && s.staged == 0 && q.active[c] != s {
				return s
			}
		}
		if s := q.active[c]; s != nil && s.staged == 0 {
			return s
		}
	}
	return nil
}

func (q *Queue) drop(s *segment) error {
	if q.active[s.class] == s {
		delete(q.active, s.class)
	}
	var lost []Record
	for _, e := range s.index {
		if q.entries[e.id] != e {
			continue
		}
		r, err := s.read(e)
		if err != nil {
			r = Record{ID: e.id, Lane: e.lane.name, Class: s.class}
		}
		lost = append(lost, r)
		q.forget(e)
	}
	if len(lost) > 0 {
		q.stats.Dropped += uint64(len(lost))
		q.opt.OnDrop(lost)
	}
	return q.remove(s)
}

// remove deletes a segment's file, durably: what was dropped must not come back on top of what took
// its place.
func (q *Queue) remove(s *segment) error {
	for i, x := range q.segments {
		if x == s {
			q.segments = append(q.segments[:i], q.segments[i+1:]...)
			q.bytes -= s.size
			return errors.Join(s.file.Close(), q.disk.Remove(s.file.Name()), q.disk.SyncDir(q.dir))
		}
	}
	return nil
}
