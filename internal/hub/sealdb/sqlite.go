package sealdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3" with database/sql
)

// DSN spells a connection: every commit is fsynced (synchronous FULL also in WAL mode), and write transactions take the
// write lock at their start, so they wait there instead of failing in the middle. What SQLite puts beside the file with the
// same content gets the file's mode.
func DSN(path, extra string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
	first := ""
	if rest, found := strings.CutPrefix(extra, GivesBack); found { // it holds only for a file that is empty
		first, extra = GivesBack, rest
	}
	return u.String() + "?_txlock=immediate&_pragma=busy_timeout(10000)" + first + "&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_pragma=cache_size(-4000)" +
		"&_pragma=journal_size_limit(67108864)&modeof=" + url.QueryEscape(abs) + OnDisk + extra, nil
}

// OnDisk puts another disk below the databases, in tests.
var OnDisk string

// OpenFile opens or creates a database of ours and brings it to the newest of steps.
func OpenFile(ctx context.Context, path string, steps []string, conns int, extra string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the store's own directory
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	name, err := DSN(path, extra)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if steps != nil {
		err = Migrate(ctx, db, steps)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Base(path), err), db.Close())
	}
	return db, nil
}

// Migrate runs the steps a file has not seen yet in one transaction. A file's user_version counts the steps it has seen.
func Migrate(ctx context.Context, db *sql.DB, steps []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, version, len(steps))
	}
	if version == len(steps) {
		return nil
	}
	for _, step := range steps[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return err
		}
	}
	// PRAGMA takes no parameters; the number is ours.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(steps))); err != nil {
		return err
	}
	return tx.Commit()
}

// dirLock keeps a second process out, whose caches would go stale: an exclusive transaction that lasts until close, and
// that the operating system ends with the process.
type dirLock struct {
	db   *sql.DB
	conn *sql.Conn
}

func lockDir(ctx context.Context, path string) (*dirLock, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
	db, err := sql.Open("sqlite3", u.String()+"?_pragma=busy_timeout(200)")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if errors.Is(err, sqlite3.BUSY) {
		err = ErrInUse
	}
	if err != nil {
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
		return nil, errors.Join(err, db.Close())
	}
	return &dirLock{db, conn}, nil
}

func (l *dirLock) close() error { return errors.Join(l.conn.Close(), l.db.Close()) }

// SyncDir makes the names of new files durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the store's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Named says which action failed and gives the database's errors our names.
func Named(action string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		err = ErrNotFound
	case errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY), errors.Is(err, sqlite3.CONSTRAINT_UNIQUE), errors.Is(err, sqlite3.CONSTRAINT_ROWID), pgCode(err) == pgUnique:
		err = ErrExists
	case errors.Is(err, sqlite3.CONSTRAINT_FOREIGNKEY), pgCode(err) == pgForeign:
		err = ErrNotFound
	}
	text := err.Error()
	if strings.HasPrefix(text, "store: ") || strings.HasPrefix(text, "access: ") || strings.HasPrefix(text, "signin: ") {
		return fmt.Errorf("store: %s: %w", action, trimmed{err})
	}
	return fmt.Errorf("store: %s: %w", action, err)
}

// trimmed drops the prefix that the action in front already carries.
type trimmed struct{ error }

func (t trimmed) Error() string {
	_, rest, _ := strings.Cut(t.error.Error(), ": ")
	return rest
}

func (t trimmed) Unwrap() error { return t.error }

// GivesBack in what dsn is told comes before the file is written to.
const GivesBack = "&_pragma=auto_vacuum(INCREMENTAL)"
