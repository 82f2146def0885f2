// Package store opens all that the hub keeps: the directory ([vitalseal/internal/hub/directory]), the channels
// ([vitalseal/internal/hub/channel]) and the archive of readings ([vitalseal/internal/hub/archive]), over one
// database ([vitalseal/internal/hub/sealdb]).
//
// It has what must see all of them: opening and closing, the order of the schema's steps, backup and
// restore, the check of everything, and forgetting a patient. It hides where the files and tables are
// (doc/formats/store.md).
//
// It guarantees: what Append calls Accepted or Duplicate is on disk, fsynced, and there exactly once,
// whatever is killed when. Chunks, trends, names of patients and persons, names of channels and entries
// are sealed under keys that the seal.KeyStore wraps. Nothing that belongs to a patient or a channel is
// opened without an access.Grant that allows it at that moment; the zero Grant opens nothing. Everything
// is safe for concurrent use. Queues, caches and answers are bounded. One process has a store of files
// open at a time; any number of hubs share one in PostgreSQL (WithPostgres), where Watch shows what any
// of them stored.
//
// It does not protect against an attacker who holds the key store's root key and the files, nor hide who
// lies in which bed by random patient id, when chunks came, or how many: ids, times and sizes are in
// clear. Administration methods do not ask for a Grant: their callers decide first
// (access.ManageDirectory, access.ManageIdentities).
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// Store is an open store. Its fields are set by Open and never change; what they point to has its own locks.
type Store struct {
	*directory.Directory
	*channel.Registry
	*archive.Archive
	opt    options
	db     *sealdb.DB
	days   *days.Days
	others *sealdb.Listener // to what other hubs do; nil with files
	stop   func()           // ends what runs in the background
	work   sync.WaitGroup   // that
	once   sync.Once
}

var _ access.Directory = (*Store)(nil)

// Open opens the store in dir, creating it on first use. ErrInUse if another process has it.
func Open(ctx context.Context, dir string, ks seal.KeyStore, log *slog.Logger, opts ...Option) (*Store, error) {
	o := defaults()
	for _, f := range opts {
		f(&o)
	}
	s := &Store{opt: o, db: sealdb.New(dir, ks, log,
		sealdb.Config{Clock: o.now, MaxAhead: o.archive.MaxAhead, Shared: o.postgres != "", Failing: o.writeFails})}
	s.Registry = channel.New(s.db, o.quota)
	s.Directory = directory.New(s.db, s.Registry)
	s.days = days.New(s.db, o.partitions, o.archive.MaxAge)
	a := attribution.New(s.db, s.Directory, o.confirmAfter, o.archive.Retention.Numerics)
	var err error
	if s.Archive, err = archive.New(s.db, s.Directory, a, s.days, o.archive); err != nil {
		return nil, sealdb.Named("open", err)
	}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("store: open: %w", errors.Join(s.db.Explain(err), s.closeFiles()))
	}
	s.Archive.Start(ctx)
	if s.others != nil {
		go s.others.Run()
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.Sweeper(ctx) })
	s.work.Go(func() { s.Compactor(ctx) })
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
	for _, name := range []string{sealdb.DirectoryKey, sealdb.PatientKey(sealdb.Unassigned)} {
		if err := s.db.EnsureKey(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// openFiles opens the store in SQLite.
func (s *Store) openFiles(ctx context.Context) error {
	if err := s.db.LockFolder(ctx); err != nil {
		return err
	}
	db, err := openDirectory(ctx, s.db.Dir, 4)
	if err != nil {
		return err
	}
	if err := s.db.OpenFiles(ctx, db); err != nil {
		return err
	}
	if err := s.Registry.OpenApartFiles(ctx); err != nil {
		return err
	}
	// A crash may have left a key that was destroyed in the log: Forget could not empty it then.
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if err := sealdb.SyncDir(s.db.Dir); err != nil {
		return err
	}
	return s.days.OpenFiles()
}

// Close lets the arrivals already taken commit, ends all subscriptions and closes the files.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.stop()
		s.db.End()
		s.work.Wait()
		if s.others != nil {
			s.others.Close()
		}
		s.Archive.Close()
		err = s.closeFiles()
	})
	if err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

func (s *Store) closeFiles() error {
	return errors.Join(s.days.Close(), s.db.Close(), s.Registry.Close(), s.db.Unlock())
}
