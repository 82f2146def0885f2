package access_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/shared/audit"
)

const (
	station      = accesstest.Station
	otherStation = accesstest.OtherStation
)

type directory = accesstest.Directory

func newDirectory() *directory { return accesstest.New() }

func person(r access.Role) access.Person { return accesstest.Person(r) }

func subject(r access.Role) access.Subject { return accesstest.Subject(r) }

var quiet = slog.New(slog.DiscardHandler)

// setup is an engine over d with a real audit log.
func setup(t testing.TB, d *directory, options ...access.Option) (*access.Engine, *audit.Log) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	e, err := access.New(d, log, nil, quiet, options...)
	if err != nil {
		t.Fatal(err)
	}
	return e, log
}

func last(t testing.TB, log *audit.Log) audit.Entry {
	t.Helper()
	got, err := log.Recent(t.Context(), 1)
	if err != nil || len(got) == 0 {
		t.Fatalf("no audit entry (%v)", err)
	}
	return got[0]
}
