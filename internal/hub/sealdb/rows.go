package sealdb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Transact runs f in a transaction that commits if f returns nil.
func Transact(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, Rollback(tx))
	}
	return tx.Commit()
}

// Rollback ends a transaction; one that has ended is no error.
func Rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// Affected turns "no row changed" into ErrNotFound.
func Affected(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// Scanner is a row.
type Scanner interface{ Scan(...any) error }

// Exists is ErrNotFound, naming what, if the table has no such id. The table's name is ours.
func Exists(ctx context.Context, tx *sql.Tx, what, table, id string) error {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM "+table+" WHERE id = ?", id).Scan(&one) // #nosec G202 -- a constant of the caller
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %.64q: %w", what, id, ErrNotFound)
	}
	return err
}

// List collects the rows of a query.
func List[T any](ctx context.Context, db *sql.DB, scan func(*sql.Rows) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// Earlier is the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Later is the later of two times.
func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Associated spells what a sealed value is and where it belongs; lengths in front keep two lists apart.
func Associated(what string, where ...string) []byte {
	b := append([]byte("vitalseal store v1 "), what...)
	for _, w := range where {
		b = binary.BigEndian.AppendUint16(b, uint16(len(w))) // #nosec G115 -- ids are bounded by validation
		b = append(b, w...)
	}
	return b
}

// Each visits the rows of a query.
func Each(ctx context.Context, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, visit func(*sql.Rows) error, args ...any) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// MaxCached bounds each of a partition's caches.
const MaxCached = 1 << 17

// Querier is a database or a transaction.
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
