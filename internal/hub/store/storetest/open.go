package storetest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/seal"
)

var databases sync.Map // connection string by directory

// Open opens the store below dir, with its key store beside it, until the test ends. It is in
// PostgreSQL if VITALSEAL_STORE says so: the same directory is the same database.
func Open(t testing.TB, dir string, o ...store.Option) *store.Store {
	t.Helper()
	ks, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("VITALSEAL_STORE") == "postgres" {
		dsn, ok := databases.Load(dir)
		if !ok {
			dsn = pgserver.Database(t)
			databases.Store(dir, dsn)
		}
		o = append(o, store.WithPostgres(dsn.(string)))
	}
	s, err := store.Open(context.Background(), filepath.Join(dir, "store"), ks, slog.New(slog.DiscardHandler), o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Engine decides over a store.
func Engine(t testing.TB, s *store.Store) *access.Engine {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	e, err := access.New(s, log, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Standing is what the hub's own engines hold.
func Standing(t testing.TB, s *store.Store) Grant {
	t.Helper()
	return Engine(t, s).Standing("test", access.Actions()...)
}
