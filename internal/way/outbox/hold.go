package outbox

import (
	"errors"
	"fmt"
	"io"
)

// firstHeld is where the ids of records that are only in memory begin: never those of records on
// disk.
const firstHeld = 1 << 63

// ErrHoldFull says that records do not fit into what memory may hold, and nothing less important
// may be dropped for them.
var ErrHoldFull = errors.New("outbox: memory for what the disk does not take is full")

// Hold keeps records in memory, for a disk that does not take them: they are handed out and
// acknowledged as others are, but a crash loses them. They are bounded by Options.HoldBytes; beyond
// that the oldest held waveforms go before the oldest held numerics before the oldest held events,
// and are reported to OnDrop. All of recs are held or none.
func (q *Queue) Hold(recs ...Record) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	var need int64
	least := Control
	for i, r := range recs {
		if r.Class < Waveform || r.Class > Control || r.Lane == "" || len(r.Lane) > MaxLaneBytes || len(r.Data) > MaxDataBytes {
			return fmt.Errorf("%w: record %d", ErrRecord, i)
		}
		need += frameLen(r)
		least = min(least, r.Class)
	}
	// Nothing goes that is more important than the newcomers.
	for c := Waveform; c < Control && c <= least && q.held+need > q.opt.HoldBytes; c++ {
		q.dropHeld(c, need)
	}
	if q.held+need > q.opt.HoldBytes {
		return ErrHoldFull
	}
	for _, r := range recs {
		q.holding++
		r.ID = firstHeld + q.holding
		b := appendFrame(nil, r)
		s := &segment{class: r.Class, first: r.ID, file: memory(b), size: int64(len(b)), held: true}
		e := &entry{id: r.ID, lane: q.lane(r.Lane), seg: s, length: len(b)}
		q.heldEntries = append(q.heldEntries, e)
		q.held += e.size()
		q.remember(e)
		q.stats.Held++
	}
	return nil
}

// dropHeld drops the oldest held records of a class until there is room. mu is held.
func (q *Queue) dropHeld(c Class, need int64) {
	var lost []Record
	kept := q.heldEntries[:0]
	for _, e := range q.heldEntries {
		switch {
		case q.entries[e.id] != e: // delivered
		case e.seg.class == c && q.held+need > q.opt.HoldBytes:
			if r, err := e.seg.read(e); err == nil {
				lost = append(lost, r)
			}
			q.forget(e)
		default:
			kept = append(kept, e)
		}
	}
	clear(q.heldEntries[len(kept):])
	q.heldEntries = kept
	if len(lost) > 0 {
		q.stats.Dropped += uint64(len(lost))
		q.opt.OnDrop(lost)
	}
}

func (e *entry) size() int64 { return int64(e.length) }

// memory is the file of one held record.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m memory) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (m memory) Close() error                       { return nil }
func (m memory) Name() string                       { return "memory" }
func (m memory) Sync() error                        { return nil }
func (m memory) Truncate(int64) error               { return errors.ErrUnsupported }
