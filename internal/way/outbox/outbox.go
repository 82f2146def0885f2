// Package outbox is a durable, bounded queue on disk for opaque records that must leave this
// machine: what Append returned for survives kill -9 and power loss until it is acknowledged, or is
// dropped by rule when the disk share is full.
//
// It hides segment files, grouped fsyncs, recovery and the index in memory. It guarantees: Append
// returns only after fsync; a lane gives its records oldest first; disk use stays within
// Options.MaxBytes; when that is full, the oldest waveforms go before the oldest numerics before
// the oldest events, each drop reported, and control records never; ids grow across restarts. An
// acknowledgement is durable within seconds (AckDelay) and at Close: forgotten by a crash it makes
// a record come back, so the receiver must recognise duplicates. A Queue is safe for concurrent
// use; one process at a time may open a folder.
//
// It trusts fsync and the file system's word; bit rot is found by checksum and reported, not
// repaired. Records are not encrypted here: they are sealed before. Format: doc/formats/outbox.md.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Class says what goes first when the queue is full. The zero Class is invalid.
type Class uint8

// The classes, in the order in which they are dropped. Control never is.
const (
	Waveform Class = 1
	Numeric  Class = 2
	Event    Class = 3
	Control  Class = 4
)

var classNames = [...]string{"", "waveform", "numeric", "event", "control"}

// String is the class's name.
func (c Class) String() string {
	if c < Waveform || c > Control {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return classNames[c]
}

// Bounds on one record.
const (
	MaxDataBytes = 128 << 10
	MaxLaneBytes = 255
)

// Errors that callers tell apart.
var (
	// ErrFull says that a control record does not fit and nothing more may be dropped.
	ErrFull = errors.New("outbox: full")
	// ErrClosed says that the queue was closed.
	ErrClosed = errors.New("outbox: closed")
	// ErrInUse says that another process has the folder open.
	ErrInUse = errors.New("outbox: folder is in use by another process")
	// ErrRecord says that a record given to Append is not allowed.
	ErrRecord = errors.New("outbox: record not allowed")
)

// Record is one thing to deliver. ID is set by the queue.
type Record struct {
	ID    uint64
	Lane  string // who it is from: records of a lane keep their order
	Class Class
	Data  []byte
}

// Options of Open. The zero value of a field means its default.
type Options struct {
	MaxBytes     int64         // disk share, default 1 GiB, at least 16 * SegmentBytes
	SegmentBytes int64         // size of one file, default 1 MiB, at most 32 MiB: the unit in which space is freed
	AckDelay     time.Duration // see AckDelay
	HoldBytes    int64         // how much Hold may keep in memory, default 16 MiB
	Logger       *slog.Logger
	// OnDrop is given unacknowledged records of one class before they are dropped because the queue
	// is full, so that the gap can be written down before its cause is gone. What the disk cannot
	// give back any more has no Data. It must not call the queue nor keep the records. After a
	// crash in between, the records may still be there.
	OnDrop func([]Record)
	// OnDamage is given what is whole in a file that is damaged, in the file's order and
	// acknowledged records included, so that what is missing between them can be told. It is called
	// by Open and whenever damage is found; the same holds as for OnDrop.
	OnDamage func(whole []Record)
}

// Stats are counts since Open, but Records and Bytes, which are now.
type Stats struct {
	Records  int64  // not yet acknowledged
	Bytes    int64  // on disk
	Appended uint64 // durable
	Acked    uint64
	Dropped  uint64 // because full
	Corrupt  uint64 // stretches of a file that did not check out
	// Held are records that were kept in memory because the disk did not take them; HeldBytes those
	// that are there now.
	Held      uint64
	HeldBytes int64
}

// Queue is an open folder. Make it with Open.
type Queue struct {
	dir  string
	opt  Options
	lock *os.File
	in   chan *batch
	done chan struct{} // closed when the writer has ended

	disk      disk
	acksLeft  chan struct{} // holds a token when there are acknowledgements to be made durable
	closing   chan struct{}
	closeOnce sync.Once

	mu       sync.Mutex // guards everything below, and all lanes
	lanes    map[string]*Lane
	entries  map[uint64]*entry
	segments []*segment // oldest first
	active   map[Class]*segment
	next     uint64 // id of the next record
	reserved uint64 // ids below it are reserved on disk
	bytes    int64
	stats    Stats
	unlogged []uint64 // acknowledged, not yet durably so
	closed   bool

	held        int64 // bytes of records that are only in memory
	holding     uint64
	heldEntries []*entry // oldest first; some may be forgotten already

	log ackLog // the writer's
}

// batch is one Append waiting for its fsync.
type batch struct {
	records []Record
	reply   chan error
}

// entry is one unacknowledged record.
type entry struct {
	id     uint64
	lane   *Lane
	list   *list // of the lane, that it is in
	seg    *segment
	offset int64 // of the frame
	length int   // of the frame
}

// Open opens or creates a folder (0700). It reads all segments: what is damaged is counted,
// reported in the log and left out.
func Open(dir string, o Options) (*Queue, error) { return open(dir, o, osDisk{}) }

func open(dir string, o Options, on disk) (*Queue, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 1 << 20
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.SegmentBytes > maxChecked/2 {
		return nil, fmt.Errorf("outbox: open: SegmentBytes %d is more than %d", o.SegmentBytes, maxChecked/2)
	}
	if o.MaxBytes < 16*o.SegmentBytes {
		return nil, fmt.Errorf("outbox: open: MaxBytes %d is less than 16 segments of %d", o.MaxBytes, o.SegmentBytes)
	}
	if o.HoldBytes <= 0 {
		o.HoldBytes = 16 << 20
	}
	if o.AckDelay <= 0 {
		o.AckDelay = AckDelay
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnDrop == nil {
		o.OnDrop = func([]Record) {}
	}
	if o.OnDamage == nil {
		o.OnDamage = func([]Record) {}
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		// The new folder's own name must survive a power cut, too.
		if err := errors.Join(os.MkdirAll(dir, 0o700), syncDir(filepath.Dir(filepath.Clean(dir)))); err != nil {
			return nil, fmt.Errorf("outbox: open: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- the caller's folder
	if err != nil {
		return nil, fmt.Errorf("outbox: open: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // #nosec G115 -- a descriptor fits
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrInUse, dir), lock.Close())
	}
	q := &Queue{dir: dir, opt: o, lock: lock, in: make(chan *batch, 64), done: make(chan struct{}), disk: on, acksLeft: make(chan struct{}, 1), closing: make(chan struct{}),
		lanes: map[string]*Lane{}, entries: map[uint64]*entry{}, active: map[Class]*segment{}}
	if err := q.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("outbox: open: %w", err), q.closeFiles())
	}
	go q.write()
	return q, nil
}

// Append makes records durable, in order, and returns after fsync; concurrent calls share one.
// After an error none, some or all of them may be there: append again, the receiver recognises
// duplicates. ctx bounds the wait only: what was handed over is still written.
func (q *Queue) Append(ctx context.Context, recs ...Record) error {
	for i, r := range recs {
		if r.Class < Waveform || r.Class > Control || r.Lane == "" || len(r.Lane) > MaxLaneBytes || len(r.Data) > MaxDataBytes {
			return fmt.Errorf("%w: record %d: %s, lane of %d bytes, data of %d bytes", ErrRecord, i, r.Class, len(r.Lane), len(r.Data))
		}
	}
	if len(recs) == 0 {
		return nil
	}
	b := &batch{records: recs, reply: make(chan error, 1)}
	select {
	case <-q.closing:
		return ErrClosed
	default:
	}
	select {
	case q.in <- b:
	case <-q.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("outbox: append: %w", ctx.Err())
	}
	select {
	case err := <-b.reply:
		return err
	case <-q.done:
		select {
		case err := <-b.reply:
			return err
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		return fmt.Errorf("outbox: append: %w", ctx.Err())
	}
}

// Lane is the lane of that name; it need not hold anything yet.
func (q *Queue) Lane(name string) *Lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lane(name)
}

// Lanes are the names of the lanes that were asked for or hold something.
func (q *Queue) Lanes() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.lanes))
}

func (q *Queue) lane(name string) *Lane {
	l := q.lanes[name]
	if l == nil {
		l = newLane(q, name)
		q.lanes[name] = l
	}
	return l
}

// Ack forgets records that were delivered, or can never be. Unknown ids are ignored.
func (q *Queue) Ack(ids ...uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	for _, id := range ids {
		if e := q.entries[id]; e != nil {
			q.forget(e)
			q.stats.Acked++
			if e.seg.held {
				continue // nothing on disk could come back
			}
			q.sweep(e.seg)
			q.unlogged = append(q.unlogged, id)
		}
	}
	if len(q.unlogged) > 0 {
		select {
		case q.acksLeft <- struct{}{}:
		default:
		}
	}
	return nil
}

// Stats are the queue's counts.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Records, s.Bytes, s.HeldBytes = int64(len(q.entries)), q.bytes, q.held
	return s
}

// Close writes what was appended before it, makes acknowledgements durable and ends the queue.
// Later calls do nothing.
func (q *Queue) Close() (err error) {
	q.closeOnce.Do(func() {
		close(q.closing)
		<-q.done
		q.mu.Lock()
		defer q.mu.Unlock()
		err = errors.Join(q.saveAcks(), q.log.close(), q.closeFiles())
		for _, l := range q.lanes {
			l.signal()
		}
	})
	return err
}

func (q *Queue) closeFiles() error {
	var errs []error
	for _, s := range q.segments {
		errs = append(errs, s.file.Close())
	}
	q.segments, q.closed = nil, true
	return errors.Join(append(errs, q.lock.Close())...)
}

// remember puts a durable record into the index. mu is held.
func (q *Queue) remember(e *entry) {
	q.entries[e.id] = e
	e.seg.index = append(e.seg.index, e)
	e.seg.live++
	e.lane.add(e)
}

// forget takes an entry out of the index. mu is held.
func (q *Queue) forget(e *entry) {
	delete(q.entries, e.id)
	e.seg.live--
	if e.seg.held {
		q.held -= e.size()
		if q.held == 0 {
			q.heldEntries = nil
		}
	}
	e.list.forget(q)
}
