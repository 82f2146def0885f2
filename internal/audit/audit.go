// Package audit is the append-only log of who did what, on which patient, from where, and why it was allowed or
// refused. Entries are lines of JSON in segment files; they are the leaves of a Merkle tree (RFC 6962) whose root is
// signed, so that anyone with the public key can prove offline that the log is whole (doc/formats/audit.md).
//
// It hides segments, the tree, the signing key and the grouping of writes. It guarantees that Append returns only
// after the entry is on disk (fsync, shared by whoever appends at the same time), that entries keep the order of their
// numbers, that a kill at any instruction loses at most entries whose Append had not returned, and that Verify finds
// one changed bit, one dropped and one swapped entry, the last one included. A log that contradicts its own signature
// does not open. A Log is safe for concurrent use, and one process at a time may hold a directory.
//
// It does not protect against whoever holds the signing key and the disk at once: that takes witnesses who remember
// earlier checkpoints. Entries newer than the last checkpoint (a quarter of a second at most, while running) are
// covered only by the next one; after a kill that is the one written at the next start. It does not look into what it
// is told: callers keep readings, names, tokens and keys out of entries.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	// ErrBroken means that an earlier write failed in a way that leaves the file's content unknown. Nothing can be
	// appended until the log is opened again.
	ErrBroken = errors.New("audit: log broken by an earlier disk error, open it again")
	// ErrTampered means that the log is not what was signed.
	ErrTampered = errors.New("audit: log has been tampered with")
	// ErrUnsigned means that the log is sound as far as it is signed, but its newest entries are not yet signed: it was
	// killed, and signs them at its next start.
	ErrUnsigned = errors.New("audit: newest entries are not signed")
	// ErrEntry means that an entry is out of bounds. Nothing was appended.
	ErrEntry = errors.New("audit: bad entry")
)

// Log is an open audit log. The fields below mu's group belong to the goroutine that runs commits; mu guards recent.
type Log struct {
	dir          string
	logger       *slog.Logger
	signer       note.Signer
	verifierKey  string
	lock         *os.File
	segmentBytes int64
	sync         func(*os.File) error // File.Sync, but for tests

	requests chan request
	quit     chan struct{}
	ended    chan struct{}
	closing  sync.Once
	closeErr error // read only after ended is closed

	mu     sync.Mutex
	recent []Entry // oldest first, at most MaxRecent

	file   *os.File // the last segment
	size   int64    // bytes of it
	tree   frontier
	signed int64 // entries covered by the checkpoint on disk
	broken bool
	cut    int64
}

type request struct {
	entry Entry
	done  chan<- result // buffered, so that a caller who gave up blocks nobody
}

type result struct {
	entry Entry
	err   error
}

// Open opens or creates the log in dir, signed with the key in keyFile, which is created with mode 0600 if absent. A
// torn tail left by a kill is cut off to the last whole entry and reported as a warning and by Recovered. Open reads
// the whole log and returns ErrTampered if it is not what its checkpoint says.
func Open(dir, keyFile string, logger *slog.Logger) (*Log, error) {
	return open(dir, keyFile, logger, segmentBytes, (*os.File).Sync)
}

func open(dir, keyFile string, logger *slog.Logger, segmentBytes int64, sync func(*os.File) error) (_ *Log, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: open: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: open: another process has the log: %w", err)
	}
	l := &Log{
		dir: dir, logger: logger, lock: lock, segmentBytes: segmentBytes, sync: sync,
		requests: make(chan request), quit: make(chan struct{}), ended: make(chan struct{}),
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

// VerifierKey is the public key that Verify needs, as a line of text ("name+hash+key"). Keep a copy elsewhere.
func (l *Log) VerifierKey() string { return l.verifierKey }

// Recovered is how many bytes of a torn tail Open cut off.
func (l *Log) Recovered() int64 { return l.cut }

// Append writes e and returns it as written, with its number, once it is on disk. Seq is ignored; a zero Time means
// now. If ctx ends first the entry may or may not have been written. After a failed fsync it returns ErrBroken for
// ever: whoever must not act unrecorded then refuses to act.
func (l *Log) Append(ctx context.Context, e Entry) (Entry, error) {
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
	timer := time.NewTimer(checkpointEvery)
	timer.Stop()
	defer timer.Stop()
	armed := false
	for {
		select {
		case r := <-l.requests:
			l.commit(l.gather(r))
			if !armed && l.tree.size > l.signed {
				timer.Reset(checkpointEvery)
				armed = true
			}
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
			l.closeErr = errors.Join(l.checkpoint(), l.file.Close(), l.lock.Close())
			return
		}
	}
}

// gather adds whoever else is waiting right now: they share one fsync.
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
	var buf []byte
	entries := make([]Entry, len(batch))
	tree := l.tree.clone()
	for i, r := range batch {
		e := r.entry.clone()
		e.Seq = tree.size
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		e.Time = e.Time.UTC().Truncate(time.Microsecond)
		line, err := e.encode()
		if err != nil {
			return nil, err
		}
		tree.add(line)
		buf = append(append(buf, line...), '\n')
		entries[i] = e
	}
	if l.size > 0 && l.size+int64(len(buf)) > l.segmentBytes {
		if err := l.rotate(); err != nil {
			return nil, fmt.Errorf("audit: append: %w", err)
		}
	}
	if _, err := l.file.Write(buf); err != nil {
		// Take back what was written of the batch, so that a full disk does not end the log. If even that fails the
		// next start will.
		if undo := l.file.Truncate(l.size); undo != nil {
			l.broken = true
		}
		return nil, fmt.Errorf("audit: append: %w", err)
	}
	if err := l.sync(l.file); err != nil {
		// What a failed fsync leaves on disk is unknown, and a second one may say yes without having written.
		l.broken = true
		return nil, fmt.Errorf("audit: append: %w", err)
	}
	l.size += int64(len(buf))
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
	l.file, l.size = f, 0
	return old.Close()
}

// checkpoint signs the tree as it is and puts the note on disk, if it isn't there yet.
func (l *Log) checkpoint() error {
	if l.broken || l.tree.size == l.signed {
		return nil
	}
	if err := writeCheckpoint(l.dir, l.signer, l.tree.size, l.tree.root(), l.sync); err != nil {
		return err
	}
	l.signed = l.tree.size
	return nil
}

func (l *Log) remember(entries ...Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, entries...)
	if extra := len(l.recent) - MaxRecent; extra > 0 {
		l.recent = append(l.recent[:0], l.recent[extra:]...)
	}
}

// load replays the log: proves the signed part, takes the whole entries after it, and cuts off a torn tail.
func (l *Log) load() error {
	segments, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	signed, root, err := readCheckpoint(l.dir, l.verifierKey)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(segments) == 0:
		if err := writeCheckpoint(l.dir, l.signer, 0, l.tree.root(), l.sync); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	l.signed = signed
	if err := l.replay(segments, signed, root); err != nil {
		return err
	}
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
			l.tree.add(line)
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
		l.size, l.cut = good, torn
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
	return l.sync(f)
}
