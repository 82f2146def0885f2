package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// These tests also import audit, for a real access.Engine on top of the store.

const station = "spiffe://test/workstation/w1"

func sensorID(name string) string { return "spiffe://test/sensor/" + name }

// clock is a settable clock.
type clock struct{ us atomic.Int64 }

func newClock(t time.Time) *clock {
	c := &clock{}
	c.us.Store(t.UnixMicro())
	return c
}
func (c *clock) Now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) Advance(d time.Duration) { c.us.Add(d.Microseconds()) }

func keys(t testing.TB, dir string) seal.KeyStore {
	t.Helper()
	ks, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// open opens the store below dir; its key store lies beside it.
func open(t testing.TB, dir string, o ...store.Option) *store.Store {
	o = append(o, elsewhere(t, dir)...)
	t.Helper()
	s, err := store.Open(context.Background(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.DiscardHandler), o...)
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

func engine(t testing.TB, s *store.Store, o ...access.Option) *access.Engine {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	e, err := access.New(s, log, nil, slog.New(slog.DiscardHandler), o...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// standing is what the hub's own engines hold.
func standing(t testing.TB, s *store.Store) access.Grant {
	return engine(t, s).Standing("test", access.Actions()...)
}

// ward makes a ward of n beds, each with a patient and a sensor "s<i>" since an hour before now.
func ward(t testing.TB, s *store.Store, now time.Time, n int) (patients []string) {
	t.Helper()
	ctx, since := context.Background(), now.Add(-time.Hour)
	must(t, s.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward A"}))
	for i := range n {
		bed, sensor := fmt.Sprintf("a-%d", i), sensorID(fmt.Sprintf("s%d", i))
		must(t, s.CreateBed(ctx, directory.Bed{ID: bed, Ward: "a", Name: "Bed"}))
		p, err := s.CreatePatient(ctx, fmt.Sprintf("Patient %d", i))
		must(t, err)
		must(t, s.Admit(ctx, p, bed, since))
		must(t, s.CreateDevice(ctx, directory.Device{ID: sensor, Kind: "sensor", State: directory.DeviceActive}))
		must(t, s.PlaceDevice(ctx, sensor, bed, since))
		patients = append(patients, p)
	}
	return patients
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func epoch(n uint64) seal.Epoch {
	return seal.Epoch{ID: seal.EpochID{byte(n), byte(n >> 8), 7}, Number: n}
}

func arrival(sensor string, c vitals.Chunk, e seal.Epoch, seq uint64) archive.Arrival {
	return archive.Arrival{Sensor: sensor, Chunk: c, Received: c.End(),
		Header: seal.Header{Sensor: sensor, Signal: uint8(c.Signal), Epoch: e, Seq: seq, Start: c.Start}}
}

func ppg(at time.Time, samples ...uint16) vitals.Chunk {
	return vitals.Chunk{Signal: vitals.PPG, Start: at.UTC().Truncate(time.Microsecond), Rate: 100, Red: samples, Infrared: samples}
}

func numerics(at time.Time, values ...vitals.Numeric) vitals.Chunk {
	at = at.UTC().Truncate(time.Microsecond)
	return vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: values}}}
}

func heart(v float64) vitals.Numeric { return vitals.Checked(vitals.HeartRate, v, vitals.Good) }

func appendAs(t testing.TB, s *store.Store, g access.Grant, a archive.Arrival, want delivery.Outcome, reason string) {
	t.Helper()
	got, why, err := s.Append(context.Background(), g, a)
	if err != nil || got != want || why != reason {
		t.Fatalf("append: %v %q, %v; want %v %q", got, why, err, want, reason)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	open(t, dir)
	_, err := store.Open(t.Context(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
}

func TestRefusesNewerFile(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Close())
	setVersion(t, filepath.Join(dir, "store", "directory.db"), 999)
	_, err := store.Open(t.Context(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrNewer) {
		t.Fatalf("open: %v", err)
	}
}

func TestOtherRootKeyOpensNothing(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.SaveSecret(t.Context(), "authority", []byte("secret")))
	must(t, s.Close())
	must(t, os.Remove(filepath.Join(dir, "root.key")))
	if s, err := store.Open(t.Context(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened with another root key", s.Close())
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Secret(t.Context(), "authority"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no secret yet: %v", err)
	}
	must(t, s.SaveSecret(t.Context(), "authority", []byte("one")))
	must(t, s.SaveSecret(t.Context(), "authority", []byte("two")))
	must(t, s.Close())
	if got, err := open(t, dir).Secret(t.Context(), "authority"); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if err := open(t, t.TempDir()).SaveSecret(t.Context(), "a/b", nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("bad name: %v", err)
	}
}

func setVersion(t *testing.T, path string, version int) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	must(t, err)
	_, err = db.Exec(fmt.Sprintf("PRAGMA user_version = %d", version))
	must(t, errors.Join(err, db.Close()))
}

// TestFilesAreTheOwnersAlone: the write-ahead log holds password hashes as the directory does.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.CreateWard(t.Context(), directory.Ward{ID: "ward", Name: "Ward"}))
	files, err := filepath.Glob(filepath.Join(dir, "store", "*.db-wal"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no write-ahead log")
	}
	for _, f := range files {
		info, err := os.Stat(f)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", filepath.Base(f), info.Mode().Perm())
		}
	}
}

var databases sync.Map // connection string by directory

// elsewhere puts what would be in a directory into a PostgreSQL database, if VITALSEAL_STORE says so.
func elsewhere(t testing.TB, dir string) []store.Option {
	if os.Getenv("VITALSEAL_STORE") != "postgres" {
		return nil
	}
	dsn, ok := databases.Load(dir)
	if !ok {
		dsn = pgserver.Database(t)
		databases.Store(dir, dsn)
	}
	return []store.Option{store.WithPostgres(dsn.(string))}
}

// dsnOf is the connection string of a directory's database, "" for none.
func dsnOf(dir string) string {
	dsn, _ := databases.Load(dir)
	text, _ := dsn.(string)
	return text
}

// onAnyRun is for tests that have a database of their own whatever VITALSEAL_STORE says: the usual run has them.
func onAnyRun(t *testing.T) {
	t.Helper()
	if os.Getenv("VITALSEAL_STORE") == "postgres" {
		t.Skip("does the same without VITALSEAL_STORE")
	}
}

// filesOnly is for tests that look into SQLite's files, or alter them.
func filesOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("VITALSEAL_STORE") == "postgres" {
		t.Skip("of SQLite's files")
	}
}
