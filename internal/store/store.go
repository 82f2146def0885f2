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
	"sync"

	"vitalseal/internal/access"
	"vitalseal/internal/seal"
)

// Store is an open store. Its fields are set by Open and never change; what they point to has its own locks.
type Store struct {
	*Directory
	*Registry
	*Archive
	opt    options
	db     *DB
	days   *Days
	others *listener      // to what other hubs do; nil with files
	stop   func()         // ends what runs in the background
	work   sync.WaitGroup // that
	once   sync.Once
}

var _ access.Directory = (*Store)(nil)

// Open opens the store in dir, creating it on first use. ErrInUse if another process has it.
func Open(ctx context.Context, dir string, ks seal.KeyStore, log *slog.Logger, opts ...Option) (*Store, error) {
	o := defaults()
	for _, f := range opts {
		f(&o)
	}
	s := &Store{opt: o, db: newDB(dir, ks, log,
		DBConfig{Clock: o.now, MaxAhead: o.archive.MaxAhead, Shared: o.postgres != "", Failing: o.writeFails})}
	s.Registry = newRegistry(s.db, o.quota)
	s.Directory = newDirectory(s.db, s.Registry)
	s.days = newDays(s.db, o.partitions, o.archive.MaxAge)
	a := newAttribution(s.db, s.Directory, o.confirmAfter, o.archive.Retention.Numerics)
	var err error
	if s.Archive, err = newArchive(s.db, s.Directory, a, s.days, o.archive); err != nil {
		return nil, named("open", err)
	}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("store: open: %w", errors.Join(s.db.explain(err), s.closeFiles()))
	}
	s.Archive.start(ctx)
	if s.others != nil {
		go s.others.run()
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.sweeper(ctx) })
	s.work.Go(func() { s.compactor(ctx) })
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
		if err := s.db.ensureKey(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// openFiles opens the store in SQLite.
func (s *Store) openFiles(ctx context.Context) error {
	if err := s.db.lockFolder(ctx); err != nil {
		return err
	}
	db, err := openDirectory(ctx, s.db.dir, 4)
	if err != nil {
		return err
	}
	if err := s.db.openFiles(ctx, db); err != nil {
		return err
	}
	if err := s.Registry.openApartFiles(ctx); err != nil {
		return err
	}
	// A crash may have left a key that was destroyed in the log: Forget could not empty it then.
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if err := syncDir(s.db.dir); err != nil {
		return err
	}
	return s.days.openFiles()
}

// Close lets the arrivals already taken commit, ends all subscriptions and closes the files.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.stop()
		s.db.end()
		s.work.Wait()
		if s.others != nil {
			s.others.close()
		}
		s.Archive.close()
		err = s.closeFiles()
	})
	if err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

func (s *Store) closeFiles() error {
	return errors.Join(s.days.close(), s.db.close(), s.Registry.close(), s.db.unlock())
}
