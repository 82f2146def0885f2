// Package store keeps what the hub knows: sealed chunks and their minute trends, and the directory of wards, beds,
// patients, persons, sessions, devices, tickets and channels.
//
// It hides SQLite or PostgreSQL, the files and tables (doc/formats/store.md), the keys of patients and channels, and the attribution of a
// chunk to the patient who lay in the bed where its sensor was, at the chunk's start time. Chunks lie in one file (in
// PostgreSQL: partition) a UTC day, chosen by their authenticated start time; a chunk, its uniqueness key and its share of the trends commit
// in one transaction of that file.
//
// It guarantees: what Append calls Accepted or Duplicate is on disk, fsynced, and there exactly once, whatever is killed
// when. The same (sensor, signal, epoch, sequence) is stored once. Chunks, trends, patient and person names, channel names
// and entries are sealed under keys that are themselves wrapped by the seal.KeyStore. Nothing that belongs to a patient or
// a channel is opened without an access.Grant that allows it at that moment; the zero Grant opens nothing. Everything is
// safe for concurrent use. Queues, caches and answers are bounded. One process has a store of files
// open at a time; any number of hubs share one in PostgreSQL (WithPostgres), where Watch shows what any of them stored.
//
// It does not protect against someone who holds the key store's root key and the files, nor hide who lies in which bed by
// random patient id, when chunks came, or how many: ids, times and sizes are in clear. Administration methods do not ask for
// a Grant: their callers decide first (access.ManageDirectory, access.ManageIdentities).
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/seal"
)

// Unassigned is the subject of chunks whose sensor stood at no occupied bed when they were taken. It has a key of its own
// and no person is ever granted it; only an engine's standing grant opens it.
const Unassigned = "unassigned"

var (
	// ErrNotFound is access.ErrNotFound: what was asked for does not exist.
	ErrNotFound = access.ErrNotFound
	// ErrExists means the id or login is taken.
	ErrExists = errors.New("store: already exists")
	// ErrOccupied means another patient lies in the bed at that time.
	ErrOccupied = errors.New("store: bed is occupied")
	// ErrConflict means the change contradicts what the history says, such as a stay that begins inside another.
	ErrConflict = errors.New("store: conflicts with what is recorded")
	// ErrInvalid means an argument is malformed; the text names it and the allowed range.
	ErrInvalid = errors.New("store: invalid argument")
	// ErrNotAllowed means the grant does not allow this, or no longer.
	ErrNotAllowed = errors.New("store: the grant does not allow this")
	// ErrTooMuch means the answer would exceed its bound; ask for a shorter time.
	ErrTooMuch = errors.New("store: too much asked for at once")
	// ErrSealed means stored bytes could not be opened: another key, or damage.
	ErrSealed = errors.New("store: stored data cannot be opened")
	// ErrNewer means a file was written by a newer version of the program.
	ErrNewer = errors.New("store: file was written by a newer version")
	// ErrInUse means another process has the store open.
	ErrInUse = errors.New("store: in use by another process")
	// ErrClosed means the store has been closed.
	ErrClosed = errors.New("store: closed")
)

type options struct {
	now      func() time.Time
	maxAge   time.Duration
	maxAhead time.Duration
	linger   time.Duration
	// compactEvery is how often recent chunks are looked through for blocks.
	compactEvery time.Duration
	settled      time.Duration
	retention    Retention
	batch        int
	partitions   int
	watchQueue   int
	maxWaiting   int64
	confirmAfter time.Duration
	postgres     string
	quota        Quota
	writeFails   func() error // of tests: an error keeps chunks and entries from being stored
}

// Option changes a default of Open.
type Option func(*options)

// WithClock replaces time.Now.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// WithWatchQueue sets how many chunks a subscription holds for a slow reader, at least 1; the default is 512.
func WithWatchQueue(n int) Option { return func(o *options) { o.watchQueue = max(n, 1) } }

// WithOpenPartitions sets how many days' files are kept open, at least 1; the default is 40: a month and some.
func WithOpenPartitions(n int) Option { return func(o *options) { o.partitions = max(n, 1) } }

// Store is an open store. Its fields are set by Open and never change; what they point to has its own locks.
type Store struct {
	dir     string
	ks      seal.KeyStore
	log     *slog.Logger
	opt     options
	lock    *dirLock // holds an exclusive transaction on lock.db for as long as the store is open
	db      *directoryDB
	apart   *apartDB // entries and commands
	keys    keyring
	where   attribution
	devices atomic.Uint64 // changes to the inventory, see DeviceChanges
	parts   partitions    // the archive, when it is files
	archive archive
	others  *follower // what other hubs do; nil with files
	write   *writer
	waiter  *waiter
	unsure  unsureReadings
	clocks  clockNotes
	voices  listening
	held    atomic.Bool // readings are not stored now, see HoldReadings
	watch   watchers
	lat     latency
	seen    touches
	stats   partitionCounts
	once    sync.Once

	unstored unstored // shown live before they were stored
	// What is said seldom of chunks: that they are not stored, that they cannot wait, that a silence is not noted.
	unwritten, unkept, unnoted sparse

	newTries atomic.Uint64 // counts begun, see sweepTries

	bars    bars           // what was taken from someone and is not on disk yet
	closing chan struct{}  // closed by Close
	tasks   sync.WaitGroup // urgent writes under way, and the sweeper

	sweepNow chan struct{} // has room for one

	compare  chan struct{}  // a place for each chunk that is compared with what is stored
	compares sync.WaitGroup // of those that are, or wait for a place

	releasing  sync.Mutex    // one release of waiting chunks at a time
	compacting sync.Mutex    // one compaction at a time
	stop       func()        // ends what runs in the background
	background chan struct{} // closed when it has ended
}

// Open opens the store in dir, creating it on first use. ErrInUse if another process has it.
func Open(ctx context.Context, dir string, ks seal.KeyStore, log *slog.Logger, opts ...Option) (*Store, error) {
	o := options{now: time.Now, maxAge: 31 * 24 * time.Hour, maxAhead: 5 * time.Minute, linger: 40 * time.Millisecond, compactEvery: 10 * time.Second, settled: settled,
		batch: 1024, partitions: 40, watchQueue: 512, maxWaiting: maxWaiting, confirmAfter: DefaultConfirmAfter, quota: DefaultQuota()}
	for _, f := range opts {
		f(&o)
	}
	if err := o.retention.check(); err != nil {
		return nil, named("open", err)
	}
	s := &Store{dir: dir, ks: ks, log: log, opt: o, compare: make(chan struct{}, comparing), closing: make(chan struct{}), sweepNow: make(chan struct{}, 1)}
	s.parts.init(s)
	s.archive = &s.parts
	s.where.init()
	s.keys.init()
	s.seen.init()
	s.unsure.init()
	s.clocks.init()
	s.voices.init()
	s.unstored.init()
	s.stats.init()
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("store: open: %w", errors.Join(s.explain(err), s.closeFiles()))
	}
	s.write = newWriter(s)
	// The writer outlives the ctx that opened the store: Close ends it, after it has answered all callers.
	go s.write.run(context.WithoutCancel(ctx))
	s.waiter = newWaiter(s)
	go s.waiter.run(context.WithoutCancel(ctx))
	if s.others != nil {
		go s.others.run()
	}
	s.background = make(chan struct{})
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		s.sweeper(ctx)
	}()
	go func() {
		defer close(s.background)
		s.compactor(ctx)
	}()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	place := s.openFiles
	if s.opt.postgres != "" {
		place = s.openServer
	}
	if err := place(ctx); err != nil {
		return err
	}
	for _, name := range []string{directoryKey, patientKey(Unassigned)} {
		if err := s.ensureKey(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// openFiles opens the store in SQLite.
func (s *Store) openFiles(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockDir(ctx, filepath.Join(s.dir, "lock.db")); err != nil {
		return err
	}
	db, err := openDirectory(ctx, s.dir, 4)
	if err != nil {
		return err
	}
	s.db = &directoryDB{DB: db}
	if s.db.writes, err = openFile(ctx, filepath.Join(s.dir, directoryFile), nil, 1, "&_pragma=secure_delete(ON)"); err != nil {
		return err
	}
	if err := s.openApartFiles(ctx); err != nil {
		return err
	}
	// A crash may have left a key that was destroyed in the log: Forget could not empty it then.
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return s.parts.list()
}

// Close lets the arrivals already taken commit, ends all subscriptions and closes the files.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		s.stop()
		<-s.background
		s.waiter.close()
		s.tasks.Wait()
		s.write.close()
		s.compares.Wait()
		if s.others != nil {
			s.others.close()
		}
		s.watch.close()
		err = s.closeFiles()
	})
	if err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

func (s *Store) closeFiles() error {
	err := s.archive.close()
	if s.db != nil {
		err = errors.Join(err, s.db.close())
	}
	if s.apart != nil {
		err = errors.Join(err, s.apart.close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.close())
	}
	return err
}

func (s *Store) now() time.Time { return s.opt.now().UTC() }

// allowed is the one gate in front of everything that is opened or appended.
func (s *Store) allowed(g access.Grant, a access.Action, r access.Resource) error {
	//defence:grant-check what is stored opens only against a grant
	if !g.Allows(a, r, s.now()) {
		return ErrNotAllowed
	}
	return nil
}

// numbersAllowed is the gate in front of a patient's numbers, which a wall screen may show too: without the name and wave.
func (s *Store) numbersAllowed(g access.Grant, patient string) error {
	if s.allowed(g, access.ViewDisplay, access.OnPatient(patient)) == nil {
		return nil
	}
	return s.allowed(g, access.ViewPatient, access.OnPatient(patient))
}
