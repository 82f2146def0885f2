package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// filled is a store with two patients, of whom each has waves and numbers of some minutes, partly in blocks.
func filled(t *testing.T, dir string, o ...store.Option) (s *store.Store, patients []string, now time.Time) {
	t.Helper()
	now = time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	s = open(t, dir, o...)
	g := standing(t, s)
	patients = ward(t, s, now, 2)
	fill(t, s, g, now, 0)
	must(t, s.Compact(t.Context()))
	fill(t, s, g, now.Add(2*time.Minute), 100)
	return s, patients, now
}

func fill(t *testing.T, s *store.Store, g access.Grant, from time.Time, seq uint64) {
	t.Helper()
	for p := range 2 {
		sensor := sensorID(fmt.Sprintf("s%d", p))
		for i := range uint64(20) {
			at := from.Add(time.Duration(i) * time.Second)
			for _, a := range []archive.Arrival{arrival(sensor, ppg(at, 30000, 30010, 30020), epoch(uint64(p+1)), seq+i),
				arrival(sensor, numerics(at, heart(60+float64(i))), epoch(uint64(p+11)), seq+i)} {
				if o, why, err := s.Append(context.Background(), g, a); o != delivery.Accepted {
					t.Fatal(o, why, err)
				}
			}
		}
	}
}

func quietly(string) {}

func check(t *testing.T, s *store.Store) archive.Checked {
	t.Helper()
	c, err := s.Check(t.Context(), quietly)
	must(t, err)
	if len(c.Problems) > 0 {
		t.Fatalf("%+v", c)
	}
	return c
}

// TestBackupRestores: a backup of a store in use, put back with its keys, shows the same and is whole; it has no patient's key; a
// changed file is refused.
func TestBackupRestores(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s, patients, now := filled(t, dir)
	var want []seen
	for _, p := range patients {
		want = append(want, look(t, s, p, now.Add(-time.Hour), now.Add(time.Hour)))
	}
	to, keyFolder := filepath.Join(dir, "backup"), filepath.Join(dir, "keys")
	m, err := store.Backup(t.Context(), filepath.Join(dir, "store"), to, keyFolder, quietly) // the store is open
	must(t, err)
	if n := len(m.Files); n < 3 || m.Files[n-1].Name != "keys.db" {
		t.Fatalf("%+v", m)
	}
	ks := keys(t, dir)

	other := t.TempDir()
	restored := filepath.Join(other, "store")
	_, err = store.Restore(t.Context(), to, keyFolder, restored, quietly)
	must(t, err)
	r, err := store.Open(t.Context(), restored, ks, slog.New(slog.DiscardHandler))
	must(t, err)
	defer func() { must(t, r.Close()) }()
	for i, p := range patients {
		if d := cmp.Diff(want[i], look(t, r, p, now.Add(-time.Hour), now.Add(time.Hour))); d != "" {
			t.Error(d)
		}
	}
	if c := check(t, r); c.Blocks == 0 || c.Chunks != 160 || c.Sums == 0 {
		t.Errorf("%+v", c)
	}
	// An epoch that the backup knows is not taken a second time.
	if o, _, err := r.Append(t.Context(), standing(t, r), arrival(sensorID("s0"), ppg(now, 30000, 30010, 30020), epoch(1), 0)); o != delivery.Duplicate {
		t.Error(o, err)
	}
	if o, why, err := r.Append(t.Context(), standing(t, r), arrival(sensorID("s0"), ppg(now, 1), epoch(1), 0)); o != delivery.Rejected || why != archive.ReasonContent {
		t.Error("another reading under its number:", o, why, err)
	}

	// Without the keys nothing opens.
	bare := filepath.Join(other, "bare")
	must(t, os.CopyFS(bare, os.DirFS(to)))
	must(t, os.Remove(filepath.Join(bare, "backup.json")))
	n, err := store.Open(t.Context(), bare, ks, slog.New(slog.DiscardHandler))
	must(t, err)
	if _, err := n.PatientName(t.Context(), standing(t, n), patients[0]); !errors.Is(err, store.ErrNotFound) {
		t.Error("a name without its key:", err)
	}
	must(t, n.Close())

	// A file that is not the one that was written, a folder that is not empty.
	for _, f := range m.Files[:1] {
		path := filepath.Join(to, f.Name)
		b, err := os.ReadFile(path)
		must(t, err)
		b[len(b)/2] ^= 1
		must(t, os.WriteFile(path, b, 0o600))
	}
	if _, err := store.Restore(t.Context(), to, keyFolder, filepath.Join(other, "again"), quietly); !errors.Is(err, store.ErrBackup) {
		t.Error("a changed file:", err)
	}
	if _, err := store.Restore(t.Context(), to, keyFolder, restored, quietly); err == nil {
		t.Error("over another store")
	}
	if _, err := store.Backup(t.Context(), filepath.Join(dir, "store"), to, filepath.Join(dir, "other keys"), quietly); err == nil {
		t.Error("over another backup")
	}
}

// TestForget: with the key goes everything, the bytes of the wrapped key included, and nothing else; a hold and a bed refuse.
func TestForget(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s, patients, now := filled(t, dir)
	ctx, g := t.Context(), standing(t, s)
	wrapped := s.WrappedKey(t, patients[0])
	if where := find(t, dir, wrapped); len(where) == 0 {
		t.Fatal("the test does not find the wrapped key while it is there")
	}
	must(t, s.PlaceHold(ctx, patients[0], "lawyer", "case 4711"))
	if err := s.Forget(ctx, patients[0]); !errors.Is(err, store.ErrHeld) {
		t.Error("under a hold:", err)
	}
	if h, err := s.Holds(ctx); err != nil || len(h) != 1 || h[0].Reason != "case 4711" || h[0].Person != "lawyer" {
		t.Error(h, err)
	}
	must(t, s.ReleaseHold(ctx, patients[0]))
	if err := s.Forget(ctx, patients[0]); !errors.Is(err, store.ErrAdmitted) {
		t.Error("in a bed:", err)
	}
	must(t, s.Discharge(ctx, patients[0], now.Add(5*time.Minute)))
	person, err := s.CreatePerson(ctx, access.Person{Login: "ada", DisplayName: "Ada", Role: access.RolePatient, Self: patients[0]}, "hash")
	must(t, err)
	must(t, s.Forget(ctx, patients[0]))
	if err := s.Forget(ctx, patients[0]); !errors.Is(err, store.ErrNotFound) {
		t.Error("twice:", err)
	}
	if where := find(t, dir, wrapped); len(where) > 0 {
		t.Errorf("the wrapped key is still in %v", where)
	}
	if name, err := s.PatientName(ctx, g, patients[0]); err != nil || name != store.ForgottenName {
		t.Error(name, err)
	}
	_, err2 := s.Numerics(ctx, g, patients[0], now.Add(-time.Hour), now.Add(time.Hour), 0)
	_, err3 := s.Trends(ctx, g, patients[0], vitals.HeartRate, now.Add(-time.Hour), now.Add(time.Hour), time.Minute)
	for _, err := range []error{err2, err3} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Error("after forgetting:", err)
		}
	}
	channels, err := s.Channels(ctx)
	if err != nil || len(channels) != 2 || channels[0].Name != store.ForgottenName {
		t.Errorf("%+v %v", channels, err)
	}
	if all, err := s.Persons(ctx); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
	if p, err := s.Person(ctx, person); err != nil || (!p.Disabled || p.DisplayName == "Ada" || p.Login == "ada") {
		t.Errorf("%+v", p)
	}
	// What was not in blocks yet cannot be compacted any more, and delays nothing.
	must(t, s.Compact(ctx))
	if b, err := s.Numerics(ctx, g, patients[1], now.Add(-time.Hour), now.Add(time.Hour), 0); err != nil || len(b) != 40 {
		t.Error("the other patient:", len(b), err)
	}
	// A late chunk has no owner.
	if o, why, err := s.Append(ctx, g, arrival(sensorID("s0"), numerics(now.Add(time.Minute), heart(70)), epoch(77), 0)); o != delivery.Accepted {
		t.Error(o, why, err)
	}
	if c, err := s.Check(ctx, quietly); err != nil || len(c.Problems) > 0 || c.Sealed == 0 {
		t.Errorf("%+v %v", c, err)
	}
	if gone, err := s.Forgotten(ctx, patients[0]); err != nil || !gone {
		t.Error(gone, err)
	}
}

// find lists the files below dir that have these bytes.
func find(t *testing.T, dir string, what []byte) (where []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, what) {
			where = append(where, path)
		}
		return err
	}))
	return where
}

// TestRetention: waves go first, then numbers, then the day; a held patient loses nothing, and no chunk comes back as new.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	const day = 24 * time.Hour
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := newClock(began)
	s := open(t, dir, store.WithClock(c.Now), store.WithRetention(archive.Retention{Waveforms: 3 * day, Numerics: 10 * day, Sums: 60 * day}))
	g := standing(t, s)
	patients := ward(t, s, began, 2)
	fill(t, s, g, began, 0)
	must(t, s.Compact(t.Context()))
	must(t, s.PlaceHold(t.Context(), patients[1], "lawyer", "why"))
	have := func(p string) (waves, bundles, count int) {
		w, err := s.Waveform(t.Context(), g, p, vitals.PPG, began.Add(-time.Hour), began.Add(time.Hour))
		must(t, err)
		b, err := s.Numerics(t.Context(), g, p, began.Add(-time.Hour), began.Add(time.Hour), 0)
		must(t, err)
		points, err := s.Trends(t.Context(), g, p, vitals.HeartRate, began.Add(-time.Hour), began.Add(time.Hour), time.Hour)
		must(t, err)
		for _, x := range points {
			count += x.Count
		}
		return len(w), len(b), count
	}
	for _, step := range []struct {
		after                 time.Duration
		waves, bundles, count int
	}{{day, 20, 20, 20}, {5 * day, 0, 20, 20}, {12 * day, 0, 0, 20}, {62 * day, 0, 0, 20}} {
		c.us.Store(began.Add(step.after).UnixMicro())
		must(t, s.Expire(t.Context()))
		if w, b, n := have(patients[0]); w != step.waves || b != step.bundles || n != step.count {
			t.Errorf("after %v: %d waves, %d bundles, %d in sums; want %+v", step.after, w, b, n, step)
		}
		if w, b, n := have(patients[1]); w != 20 || b != 20 || n != 20 {
			t.Errorf("after %v the held patient has %d waves, %d bundles, %d in sums", step.after, w, b, n)
		}
		if step.after < 30*day {
			if o, _, err := s.Append(t.Context(), g, arrival(sensorID("s0"), ppg(began, 30000, 30010, 30020), epoch(1), 0)); o != delivery.Duplicate {
				t.Error("one that was taken out came back:", o, err)
			}
		}
	}
	must(t, s.ReleaseHold(t.Context(), patients[1]))
	must(t, s.Expire(t.Context()))
	if files, _ := filepath.Glob(filepath.Join(dir, "store", "chunks-2026-03-01.db*")); len(files) > 0 {
		t.Error(files)
	}
	if o, why, _ := s.Append(t.Context(), g, arrival(sensorID("s0"), ppg(began, 1), epoch(1), 0)); o != delivery.Rejected || why != archive.ReasonTime {
		t.Error("one of a day that is gone:", o, why)
	}
	if _, err := store.Open(t.Context(), t.TempDir(), keys(t, t.TempDir()), slog.New(slog.DiscardHandler),
		store.WithRetention(archive.Retention{Sums: day})); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "sums") {
		t.Error(err)
	}
}

// TestCheckFindsDamage: a bit that has turned, and a sum that is not that of its chunks.
func TestCheckFindsDamage(t *testing.T) {
	filesOnly(t)
	for name, damage := range map[string]string{
		"a block":         "UPDATE blocks SET sealed = zeroblob(length(sealed)) WHERE id = (SELECT min(id) FROM blocks)",
		"a sum gone":      "DELETE FROM sums WHERE minutes = 15",
		"a moved block":   "UPDATE blocks SET start = start + 1",
		"a recent chunk":  "UPDATE recent SET sealed = zeroblob(length(sealed)) WHERE id = (SELECT max(id) FROM recent)",
		"blocks of other": "UPDATE blocks SET subject = (SELECT max(id) FROM subjects) WHERE subject = (SELECT min(id) FROM subjects)",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _, _ := filled(t, dir)
			check(t, s)
			must(t, s.Close())
			files, err := filepath.Glob(filepath.Join(dir, "store", "chunks-*.db"))
			must(t, err)
			for _, f := range files {
				alter(t, f, damage)
			}
			s = open(t, dir)
			if c, err := s.Check(t.Context(), quietly); err != nil || len(c.Problems) == 0 {
				t.Errorf("%+v %v", c, err)
			}
		})
	}
}
