package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// openDirectory brings the directory in dir to the newest schema and opens it. What one of an older schema holds of entries and commands
// goes to channels.db before it is dropped: after a kill at any moment it is in at least one of the two.
func openDirectory(ctx context.Context, dir string, conns int) (*sql.DB, error) {
	path := filepath.Join(dir, sealdb.DirectoryFile)
	before := slices.Index(directorySteps, channel.ApartStep)
	moved := false
	if _, err := os.Stat(path); err == nil {
		db, err := sealdb.OpenFile(ctx, path, nil, 1, "&_pragma=secure_delete(ON)")
		if err != nil {
			return nil, err
		}
		var version int
		err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
		if moved = err == nil && version > 0 && version <= before; moved {
			err = sealdb.Migrate(ctx, db, directorySteps[:before])
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
	}
	if moved {
		if err := channel.MoveApart(ctx, dir, path); err != nil {
			return nil, fmt.Errorf("move entries to %s: %w", channel.ApartFile, err)
		}
	}
	db, err := sealdb.OpenFile(ctx, path, directorySteps, conns, "&_pragma=secure_delete(ON)")
	if err == nil && moved { // the space that they took; without it the file stays as large as it is
		_, err = db.ExecContext(ctx, "VACUUM")
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", sealdb.DirectoryFile, err), db.Close())
		}
	}
	return db, err
}

// openServer opens the store in PostgreSQL.
func (s *Store) openServer(ctx context.Context) error {
	hub, err := s.db.OpenServer(ctx, s.opt.postgres, postgresSteps)
	if err != nil {
		return err
	}
	s.Registry.OpenServer()
	s.days.OpenServer(hub)
	f, err := archive.NewFollower(ctx, s.Archive, hub)
	if err == nil {
		s.others = sealdb.NewListener(ctx, s.db, f)
	}
	return err
}
