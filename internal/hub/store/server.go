package store

import (
	"context"
	"errors"

	"vitalseal/internal/hub/sealdb"
)

// MigratePostgres brings the database of dsn to a schema version: 0 is empty, a negative one the newest. No hub may have it open.
// Open always goes to the newest by itself.
func MigratePostgres(ctx context.Context, dsn string, to int) error {
	db, _, err := sealdb.OpenPostgres(ctx, dsn)
	if err != nil {
		return sealdb.Named("migrate", err)
	}
	return sealdb.Named("migrate", errors.Join(sealdb.MigratePostgres(ctx, db, postgresSteps, to), db.Close()))
}

// HoldsSecrets tells whether the PostgreSQL database of dsn has the store of a hub, whose keys a root key wrapped. It changes
// nothing there.
func HoldsSecrets(ctx context.Context, dsn string) (held bool, err error) {
	db, _, err := sealdb.OpenPostgres(ctx, dsn)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var table bool
	if err := db.QueryRowContext(ctx, "SELECT to_regclass('keys') IS NOT NULL").Scan(&table); err != nil || !table {
		return false, err
	}
	err = db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM keys WHERE name = ?)", sealdb.DirectoryKey).Scan(&held)
	return held, err
}
