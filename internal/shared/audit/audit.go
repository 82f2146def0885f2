// Package audit is the append-only log of who did what, on which patient, from where, and why it
// was allowed or refused. Entries are lines of JSON in segment files; they are the leaves of a
// Merkle tree (RFC 6962) whose root is signed, so that anyone with the public key can prove offline
// that the log is whole, that an entry is in it (Inclusion), and that it only grew since a witness
// last looked (Consistency, Witness). doc/formats/audit.md describes all of it.
//
// It hides segments, the tree, the signing key and the grouping of writes. It guarantees that
// Append returns only after the entry is on disk (fsync, shared by all who append at the same
// time), that entries keep the order of their numbers, that a kill at any instruction loses at most
// entries whose Append had not returned, that what the disk does not take is an error and leaves no
// trace, and that Verify finds one changed bit, one dropped and one swapped entry, the last one
// included. A log that contradicts its own signature does not open. Refusals that repeat themselves
// are written ten a minute and otherwise only counted, in bounded memory, so that a client fills no
// disk by being refused; a kill loses at most the last minute's count of those. A Log is safe for
// concurrent use, and one process at a time may hold a directory.
//
// It does not by itself protect against an attacker who holds the signing key and the disk at once:
// that takes a Witness elsewhere, who has seen the log before. Entries newer than the last
// checkpoint (a quarter of a second at most, while running) are covered only by the next one; after
// a kill that is the one written at the next start. It does not look into what it is told: callers
// keep readings, names, tokens and keys out of entries.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	// MaxRecent is how many entries Recent can answer; they are held in memory.
	MaxRecent = 1000

	maxBatch        = 256
	segmentBytes    = 8 << 20
	checkpointEvery = 250 * time.Millisecond
)

var (
	// ErrClosed is the answer of a log after Close.
	ErrClosed = errors.New("audit: closed")
	// ErrBroken means that an earlier write failed in a way that leaves the file's content unknown.
	// Nothing can be appended until the log is opened again.
	ErrBroken = errors.New("audit: log broken by an earlier disk error, open it again")
	// ErrTampered means that the log is not what was signed.
	ErrTampered = errors.New("audit: log has been tampered with")
	// ErrOtherKey comes with ErrTampered where a checkpoint has a signature of another key alone:
	// it was replaced, or the key given is not the log's.
	ErrOtherKey = errors.New("signed with another key than the one given")
	// ErrUnsigned means that the log is sound as far as it is signed, but its newest entries are
	// not yet signed: it was killed, and signs them at its next start.
	ErrUnsigned = errors.New("audit: newest entries are not signed")
	// ErrNoWitness means that no witness has seen an entry before what it is about was answered.
	ErrNoWitness = errors.New("audit: no witness")
	// ErrEntry means that an entry is out of bounds. Nothing was appended.
	ErrEntry = errors.New("audit: bad entry")
)

// Log is an open audit log. The fields below mu's group belong to the goroutine that runs commits;
// mu guards recent and view.
type Log struct {
	dir          string
	logger       *slog.Logger
	signer       note.Signer
	verifierKey  string
	lock         *os.File
	segmentBytes int64
	disk         fileOps

	origin string // SPIFFE id of the hub; set before use
	known  known  // for Search

	requests chan request
	signs    chan chan<- signed
	quit     chan struct{}
	ended    chan struct{}
	closing  sync.Once
	closeErr error // read only after ended is closed

	mu     sync.Mutex
	recent []Entry    // oldest first, at most MaxRecent
	view   signedView // what the checkpoint on disk covers

	file    *os.File // the last segment
	segment int64    // number of its first entry
	size    int64    // bytes of it
	tree    index
	signed  int64 // entries covered by the checkpoint on disk
	broken  bool
	cut     int64
	repeats repeats
}

// fileOps are the writes and flushes of the log's files; tests replace them to fail.
type fileOps struct {
	write func(*os.File, []byte) (int, error)
	sync  func(*os.File) error
}

var realDisk = fileOps{write: (*os.File).Write, sync: (*os.File).Sync}

type request struct {
	entry Entry
	done  chan<- result // buffered, so that a caller who gave up does not block the writer
}

// signed is the answer to Sign.
type signed struct {
	size int64
	err  error
}

type result struct {
	entry Entry
	err   error
}

// Open opens or creates the log in dir, signed with the key in keyFile, which is created with mode
// 0600 if absent. A torn tail left by a kill is cut off to the last whole entry and reported as a
// warning and by Recovered. Open reads the whole log and returns ErrTampered if it is not what its
// checkpoint says.
func Open(dir, keyFile string, logger *slog.Logger) (*Log, error) {
	return open(dir, keyFile, logger, segmentBytes, realDisk)
}

func open(dir, keyFile string, logger *slog.Logger, segmentBytes int64, disk fileOps) (_ *Log, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: open: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: open: another process has the log: %w", err)
	}
	l := &Log{
		dir: dir, logger: logger, lock: lock, segmentBytes: segmentBytes, disk: disk, repeats: newRepeats(), known: newKnown(),
		requests: make(chan request), signs: make(chan chan<- signed), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			if l.file != nil {
				_ = l.file.Close() // the first error is the one to report
			}
			_ = lock.Close()
		}
	}()
	_, err = os.Stat(filepath.Join(dir, checkpointName))
	l.signer, l.verifierKey, err = loadKey(keyFile, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return nil, err
	}
	if err := l.load(); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

// VerifierKey is the public key that Verify needs, as a line of text ("name+hash+key"). Keep a copy
// elsewhere.
func (l *Log) VerifierKey() string { return l.verifierKey }

// Recovered is how many bytes of a torn tail Open cut off.
func (l *Log) Recovered() int64 { return l.cut }

// Append writes e and returns it as written, with its number, once it is on disk. Seq and Count are
// ignored; a zero Time means now. Of refusals that repeat themselves the first ten a minute are
// written one by one, the others only counted, for one entry at the minute's end: those are
// returned at once, with Seq -1. If ctx ends first the entry may or may not have been written.
// After a failed fsync it returns ErrBroken for ever: a caller that must not act unrecorded then
// refuses to act.
func (l *Log) Append(ctx context.Context, e Entry) (Entry, error) {
	e.Count = 0
	if err := e.check(); err != nil {
		return Entry{}, err
	}
	done := make(chan result, 1)
	select {
	case l.requests <- request{e, done}:
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("audit: append: %w", ctx.Err())
	case <-l.ended:
		return Entry{}, ErrClosed
	}
	select {
	case r := <-done:
		return r.entry, r.err
	case <-ctx.Done():
		return Entry{}, fmt.Errorf("audit: append: %w", ctx.Err())
	}
}

// Sign signs what is in the log now, without waiting for the time of the next checkpoint, and says
// how many entries that are.
func (l *Log) Sign(ctx context.Context) (size int64, err error) {
	done := make(chan signed, 1)
	select {
	case l.signs <- done:
	case <-ctx.Done():
		return 0, fmt.Errorf("audit: sign: %w", ctx.Err())
	case <-l.ended:
		return 0, ErrClosed
	}
	r := <-done
	if r.err != nil {
		return r.size, fmt.Errorf("audit: sign: %w", r.err)
	}
	return r.size, nil
}

// Recent is the newest n entries, newest first, at most MaxRecent.
func (l *Log) Recent(_ context.Context, n int) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = max(0, min(n, len(l.recent)))
	out := make([]Entry, n)
	for i := range out {
		out[i] = l.recent[len(l.recent)-1-i].clone()
	}
	return out, nil
}

// Close signs what is not yet signed and closes the files. Appends in flight are finished.
func (l *Log) Close() error {
	l.closing.Do(func() { close(l.quit) })
	<-l.ended
	return l.closeErr
}

// run is the one goroutine that writes. It ends with Close.
func (l *Log) run() {
	defer close(l.ended)
	timer, sweep := time.NewTimer(checkpointEvery), time.NewTimer(repeatWindow)
	timer.Stop()
	sweep.Stop()
	defer timer.Stop()
	defer sweep.Stop()
	armed, sweeping := false, false
	arm := func() {
		if !armed && l.tree.size > l.signed {
			timer.Reset(checkpointEvery)
			armed = true
		}
		if !sweeping && !l.repeats.empty() {
			sweep.Reset(repeatWindow)
			sweeping = true
		}
	}
	for {
		select {
		case r := <-l.requests:
			l.commit(l.gather(r))
			arm()
		case done := <-l.signs:
			err := l.checkpoint()
			if l.broken {
				err = ErrBroken
			}
			done <- signed{l.signed, err}
		case <-sweep.C:
			sweeping = false
			l.writeRepeats(time.Now())
			arm()
		case <-timer.C:
			armed = false
			if err := l.checkpoint(); err != nil {
				l.logger.Error("audit checkpoint not written, trying again", "err", err)
				if !l.broken {
					timer.Reset(4 * checkpointEvery)
					armed = true
				}
			}
		case <-l.quit:
			l.writeRepeats(time.Now().Add(repeatWindow))
			l.closeErr = errors.Join(l.checkpoint(), l.file.Close(), l.lock.Close())
			return
		}
	}
}

// gather adds the other appends that wait now: they share one fsync.
func (l *Log) gather(first request) []request {
	batch := []request{first}
	for len(batch) < maxBatch {
		select {
		case r := <-l.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func (l *Log) commit(batch []request) {
	now := time.Now()
	batch = slices.DeleteFunc(batch, func(r request) bool {
		if r.entry.Allowed || !l.repeats.count(r.entry, now) {
			return false
		}
		r.entry.Seq = -1
		r.done <- result{entry: r.entry}
		return true
	})
	if len(batch) == 0 {
		return
	}
	entries, err := l.write(batch)
	if err != nil {
		l.logger.Error("audit entries not written", "entries", len(batch), "err", err)
		for _, r := range batch {
			r.done <- result{err: err}
		}
		return
	}
	l.remember(entries...)
	for i, r := range batch {
		r.done <- result{entry: entries[i].clone()}
	}
}

// write puts a batch on disk. Either all of it counts or none.
func (l *Log) write(batch []request) ([]Entry, error) {
	if l.broken {
		return nil, ErrBroken
	}
	var lines [][]byte
	bytes := int64(0)
	entries := make([]Entry, len(batch))
	for i, r := range batch {
		e := r.entry.clone()
		e.Seq = l.tree.size + int64(i)
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		e.Time = e.Time.UTC().Truncate(time.Microsecond)
		line, err := e.encode()
		if err != nil {
			return nil, err
		}
		lines = append(lines, append(line, '\n'))
		bytes += int64(len(line)) + 1
		entries[i] = e
	}
	if l.size > 0 && l.size+bytes > l.segmentBytes {
		if err := l.rotate(); err != nil {
			return nil, fmt.Errorf("audit: append: %w", err)
		}
	}
	tree, at := l.tree.clone(), place{l.segment, l.size}
	for _, line := range lines {
		tree.add(line[:len(line)-1], at)
		at.offset += int64(len(line))
	}
	if _, err := l.disk.write(l.file, slices.Concat(lines...)); err != nil {
		// Take back what was written of the batch, so that a full disk does not end the log. If
		// even that fails the next start will.
		if undo := l.file.Truncate(l.size); undo != nil {
			l.broken = true
		}
		return nil, fmt.Errorf("audit: append: %w", err)
	}
	if err := l.disk.sync(l.file); err != nil {
		// What a failed fsync leaves on disk is unknown, and a second one may say yes without
		// having written.
		l.broken = true
		return nil, fmt.Errorf("audit: append: %w", err)
	}
	l.size += bytes
	l.tree = tree
	return entries, nil
}

// rotate starts the next segment, named by the number of its first entry.
func (l *Log) rotate() error {
	f, err := createSegment(l.dir, l.tree.size)
	if err != nil {
		return err
	}
	old := l.file
	l.file, l.segment, l.size = f, l.tree.size, 0
	return old.Close()
}

// checkpoint signs the tree as it is and puts the note on disk, if it isn't there yet.
func (l *Log) checkpoint() error {
	if l.broken || l.tree.size == l.signed {
		return nil
	}
	c, err := writeCheckpoint(l.dir, l.signer, l.tree.size, l.tree.root(), l.disk.sync)
	if err != nil {
		return err
	}
	l.publish(c)
	return nil
}

// publish makes what c covers the newest signed view.
func (l *Log) publish(c Checkpoint) {
	l.signed = c.Size
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = signedView{c, l.tree.clone()}
}

func (l *Log) remember(entries ...Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, entries...)
	if extra := len(l.recent) - MaxRecent; extra > 0 {
		l.recent = append(l.recent[:0], l.recent[extra:]...)
	}
}

// load replays the log: proves the signed part, takes the whole entries after it, and cuts off a
// torn tail.
func (l *Log) load() error {
	segments, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	c, err := readCheckpoint(l.dir, l.verifierKey)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(segments) == 0:
		if c, err = writeCheckpoint(l.dir, l.signer, 0, l.tree.root(), l.disk.sync); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := l.replay(segments, c.Size, c.Root); err != nil {
		return err
	}
	l.publish(c) // its index covers more entries than it, which is no harm
	if err := l.openLast(segments); err != nil {
		return fmt.Errorf("audit: open: %w", err)
	}
	if l.cut > 0 {
		l.logger.Warn("audit log ended in the middle of an entry, cut to the last whole one", "bytes", l.cut, "entries", l.tree.size)
	}
	return l.checkpoint()
}

func (l *Log) replay(segments []segment, signed int64, root [32]byte) error {
	if signed == 0 && l.tree.root() != root && len(segments) > 0 {
		return fmt.Errorf("%w: the checkpoint's root does not fit an empty log", ErrTampered)
	}
	for i, s := range segments {
		if s.first != l.tree.size {
			return fmt.Errorf("%w: segment %s where entry %d was expected", ErrTampered, filepath.Base(s.path), l.tree.size)
		}
		at := place{segment: s.first}
		good, torn, err := s.read(func(line []byte) error {
			seq := l.tree.size
			if seq >= signed-MaxRecent { // the older ones are proven by the root alone
				e, err := decode(line, seq)
				if err != nil && seq >= signed {
					return errTail
				}
				if err != nil {
					return err
				}
				l.remember(e)
			}
			l.tree.add(line, at)
			at.offset += int64(len(line)) + 1
			if l.tree.size == signed && l.tree.root() != root {
				return fmt.Errorf("%w: the first %d entries do not have the signed root", ErrTampered, signed)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if torn > 0 && i != len(segments)-1 {
			return fmt.Errorf("%w: segment %s ends in the middle of an entry", ErrTampered, filepath.Base(s.path))
		}
		l.segment, l.size, l.cut = s.first, good, torn
	}
	if l.tree.size < signed {
		return fmt.Errorf("%w: %d entries of the %d signed", ErrTampered, l.tree.size, signed)
	}
	return nil
}

func (l *Log) openLast(segments []segment) error {
	if len(segments) == 0 {
		f, err := createSegment(l.dir, 0)
		l.file = f
		return err
	}
	f, err := os.OpenFile(segments[len(segments)-1].path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file = f
	if l.cut > 0 {
		if err := f.Truncate(l.size); err != nil {
			return err
		}
	}
	// Entries that a killed process had written but not yet synced count from here on.
	return l.disk.sync(f)
}
