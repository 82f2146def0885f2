// Package sealdb is the database that the rooms of the store share: a file of SQLite, or
// PostgreSQL.
//
// It opens databases and brings their schema to the newest step, gives writers their turn (those
// who take rights away first), keeps the keys that rows are sealed with, asks the access.Grant, and
// tells rooms and other hubs what changed. It hides which of the two databases lies below, and the
// wrapped keys.
//
// It guarantees: every commit is fsynced; one writer at a time, over all hubs; a key that was
// destroyed is in no memory any more; a key is never on disk in clear. A revocation is in force
// before it is on disk.
//
// It does not know any table but its keys and secrets, and does not protect against an attacker who
// holds the root key.
package sealdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/ncruces/go-sqlite3"

	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/seal"
)

// DirectoryFile is the database's file.
const DirectoryFile = "directory.db"

// DB is the database that all rooms share, open: the directory's tables and all others that are not
// a day's or a channel's entries. It counts its own changes.
type DB struct {
	*sql.DB         // for readers
	writes  *sql.DB // of one connection, apart: readers who hold all of theirs hold up no write
	shared  bool    // with other hubs, in PostgreSQL
	server  *pgx.ConnConfig
	turns   Turns               // of this hub's writers
	heldFor func(time.Duration) // in tests: how long a write transaction was open

	Dir string
	ks  seal.KeyStore
	Log *slog.Logger
	cfg Config

	lock    *dirLock // holds an exclusive transaction on lock.db for as long as the store is open
	keys    keyring
	bars    bars           // what was taken from someone and is not on disk yet
	closing chan struct{}  // closed by End
	tasks   sync.WaitGroup // urgent writes under way
	hears   atomic.Bool    // notices arrive; while they do not, nothing that they keep fresh may be taken from memory
	holding atomic.Bool    // readings are not stored now, see HoldReadings

	changes atomic.Uint64 // to the directory, see Changes
	places  atomic.Uint64 // to placements, stays and devices' states
	devices atomic.Uint64 // to the inventory
}

// Config is what a DB needs to know.
type Config struct {
	Clock    func() time.Time
	MaxAhead time.Duration // how far in the future what is written into the history may lie
	// Shared says that other hubs use the same database: it is PostgreSQL's.
	Shared bool
	// Failing, if it is set, is asked before chunks and entries are stored; an error keeps them
	// from being. Tests fill a disk so.
	Failing func() error
}

// New makes a DB that opens by OpenFiles or OpenServer. dir is the folder of its files.
func New(dir string, ks seal.KeyStore, log *slog.Logger, cfg Config) *DB {
	d := &DB{Dir: dir, ks: ks, Log: log, cfg: cfg, shared: cfg.Shared, closing: make(chan struct{})}
	d.keys.init()
	return d
}

// LockFolder makes the folder and keeps other processes out of it. ErrInUse if another has it.
func (d *DB) LockFolder(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return err
	}
	d.lock, err = lockDir(ctx, filepath.Join(d.Dir, "lock.db"))
	return err
}

// OpenFiles takes over the open directory in SQLite.
func (d *DB) OpenFiles(ctx context.Context, db *sql.DB) (err error) {
	d.DB = db
	d.writes, err = OpenFile(ctx, filepath.Join(d.Dir, DirectoryFile), nil, 1, "&_pragma=secure_delete(ON)")
	return err
}

// OpenServer connects to PostgreSQL, brings its schema to the newest of steps, and gives this hub a
// random number.
func (d *DB) OpenServer(ctx context.Context, dsn string, steps []Step) (hub int64, err error) {
	if d.DB, d.server, err = OpenPostgres(ctx, dsn); err != nil {
		return 0, err
	}
	if d.writes, _, err = OpenPostgres(ctx, dsn); err != nil {
		return 0, err
	}
	d.writes.SetMaxOpenConns(1)
	if err := MigratePostgres(ctx, d.DB, steps, -1); err != nil {
		return 0, err
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b[:]) >> 1), nil // #nosec G115 -- 63 bits
}

// Close closes the connections. Unlock comes after it.
func (d *DB) Close() error {
	var err error
	for _, db := range []*sql.DB{d.writes, d.DB} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// End ends what urgently tries again and again.
func (d *DB) End() {
	close(d.closing)
	d.tasks.Wait()
}

// Unlock lets other processes have the folder.
func (d *DB) Unlock() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.close()
}

// PlacesChanged makes what is remembered of whose a sensor is stale; it is called after a
// placement, a stay or a device's state has committed.
func (d *DB) PlacesChanged() { d.places.Add(1) }

// DevicesChanged makes copies of the inventory stale.
func (d *DB) DevicesChanged() {
	d.PlacesChanged()
	d.devices.Add(1)
}

// ExecContext changes something.
func (d *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	defer d.Changed() // also after an error, which may have come too late
	var r sql.Result
	err := d.locked(ctx, false, func(tx *sql.Tx) (err error) {
		r, err = tx.ExecContext(ctx, query, args...)
		return err
	})
	return r, err
}

// Statement is ExecContext for one statement that says nothing about patients, places or rights: it
// wakes no memory of the directory. In PostgreSQL it locks no more than its rows.
func (d *DB) Statement(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if d.shared {
		return d.DB.ExecContext(ctx, query, args...)
	}
	if err := d.turns.Take(ctx, false); err != nil {
		return nil, err
	}
	defer d.turns.Give()
	return d.writes.ExecContext(ctx, query, args...)
}

// locked runs f in a write transaction. They run one at a time, in PostgreSQL too and over all
// hubs: what f reads cannot change before it commits. So f does a bounded amount of work, whatever
// a user has stored: all others wait for it, who is to be locked out included.
func (d *DB) locked(ctx context.Context, urgent bool, f func(tx *sql.Tx) error) error {
	if err := d.turns.Take(ctx, urgent); err != nil {
		return err
	}
	defer d.turns.Give()
	if d.heldFor != nil {
		defer func(began time.Time) { d.heldFor(time.Since(began)) }(time.Now())
	}
	return Transact(ctx, d.writes, func(tx *sql.Tx) error {
		if d.shared {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?, ?)", LockClass, lockDirectory); err != nil {
				return err
			}
		}
		return f(tx)
	})
}

// Changed counts a change to the directory, see Changes.
func (d *DB) Changed() { d.changes.Add(1) }

// Changes counts the changes to the directory. A caller that remembers what followed from it looks
// again when the number has moved; what follows from the clock moves it not.
func (s *DB) Changes() uint64 {
	if s.Deaf() { // other hubs may have changed it
		s.Changed()
	}
	return s.changes.Load()
}

// InTx runs f in a write transaction of the directory.
func (s *DB) InTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	defer s.Changed()
	return s.Explain(s.locked(ctx, false, f))
}

// Explain names the disk and the folder in an error that comes from a disk that is full or fails:
// SQLite says "disk I/O error". The disk of a server is not ours to look at, and the server says
// itself that it is full.
func (s *DB) Explain(err error) error {
	if s.shared {
		if pgCode(err) == pgDiskFull && !errors.Is(err, disk.ErrFull) {
			return fmt.Errorf("%w: the disk of the database server; make room there, or give it a larger disk: %w", disk.ErrFull, err)
		}
		return err
	}
	return disk.Explain(err, s.Dir, errors.Is(err, sqlite3.FULL) || errors.Is(err, sqlite3.IOERR))
}

// EnsureKey makes a key of a name if there is none.
func (s *DB) EnsureKey(ctx context.Context, name string) error {
	_, err := s.Key(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		_, err := s.NewKey(ctx, tx, name)
		return err
	})
	if errors.Is(Named("", err), ErrExists) { // another hub was faster
		_, err = s.Key(ctx, name)
	}
	return err
}

// Now is the time by the clock of the store, in UTC.
func (s *DB) Now() time.Time { return s.cfg.Clock().UTC() }

// PlaceChanges is how often PlacesChanged was called.
func (d *DB) PlaceChanges() uint64 { return d.places.Load() }

// DeviceChanges is how often DevicesChanged was called.
func (d *DB) DeviceChanges() uint64 { return d.devices.Load() }

// IsShared reports whether other hubs use the same database: it is PostgreSQL's.
func (d *DB) IsShared() bool { return d.shared }

// OnHeld has f told how long each write transaction was open, from now on. No write may be under
// way.
func (d *DB) OnHeld(f func(time.Duration)) { d.heldFor = f }
