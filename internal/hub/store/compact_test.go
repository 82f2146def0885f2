package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// seen is all that a reader sees of a patient.
type seen struct {
	Waves    []vitals.Chunk
	Numerics []vitals.Bundle
	Newest   []vitals.Bundle
	Minutes  []archive.TrendPoint
	Hours    []archive.TrendPoint
	Delivery []archive.StreamDelivery
}

func look(t *testing.T, s *store.Store, patient string, from, to time.Time) (v seen) {
	t.Helper()
	g := standing(t, s)
	var err error
	v.Waves, err = s.Waveform(t.Context(), g, patient, vitals.PPG, from, to)
	must(t, err)
	v.Numerics, err = s.Numerics(t.Context(), g, patient, from, to, 0)
	must(t, err)
	v.Newest, err = s.Numerics(t.Context(), g, patient, from, to, 7)
	must(t, err)
	v.Minutes, err = s.Trends(t.Context(), g, patient, vitals.HeartRate, from, to, time.Minute)
	must(t, err)
	v.Hours, err = s.Trends(t.Context(), g, patient, vitals.HeartRate, from, to, time.Hour)
	must(t, err)
	d, err := s.Delivery(t.Context())
	must(t, err)
	v.Delivery = d.Streams
	return v
}

// TestCompactionChangesNothing: what readers see is the same before, between and after, over midnight, with holes, late and
// repeated chunks, and after the store was opened again.
func TestCompactionChangesNothing(t *testing.T) {
	dir := t.TempDir()
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	c := newClock(midnight.Add(10 * time.Minute))
	s := open(t, dir, store.WithClock(c.Now))
	g := standing(t, s)
	patients := ward(t, s, midnight.Add(-2*time.Hour), 2)
	r := rand.New(rand.NewPCG(1, 2))
	var all []archive.Arrival
	for p := range patients {
		for n := range 1200 {
			at := midnight.Add(-2*time.Minute + time.Duration(n)*250*time.Millisecond)
			wave := make([]uint16, 20+r.IntN(10))
			for i := range wave {
				wave[i] = uint16(30000 + r.IntN(300))
			}
			sensor := sensorID(fmt.Sprintf("s%d", p))
			all = append(all, arrival(sensor, ppg(at, wave...), epoch(uint64(p+1)), uint64(n)))
			if n%4 == 0 {
				all = append(all, arrival(sensor, numerics(at, heart(60+r.Float64()*40)), epoch(uint64(p+11)), uint64(n/4)))
			}
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	late := all[len(all)-50:]
	put := func(some []archive.Arrival, want delivery.Outcome) {
		t.Helper()
		var wg sync.WaitGroup
		for w := range 64 {
			wg.Go(func() {
				for i := w; i < len(some); i += 64 {
					if o, why, err := s.Append(context.Background(), g, some[i]); err != nil || o != want {
						t.Error(o, why, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	same := func(when string, want []seen) {
		t.Helper()
		for i, p := range patients {
			got := look(t, s, p, midnight.Add(-time.Hour), midnight.Add(time.Hour))
			if d := cmp.Diff(want[i], got, cmpopts.EquateApprox(0, 1e-9)); d != "" { // a mean's last bit depends on the order
				t.Fatalf("%s: %.2000s", when, d)
			}
		}
	}
	put(all[:len(all)-50], delivery.Accepted)
	var before []seen
	for _, p := range patients {
		v := look(t, s, p, midnight.Add(-time.Hour), midnight.Add(time.Hour))
		if len(v.Waves) < 1100 || len(v.Numerics) < 270 || len(v.Minutes) != 5 || len(v.Newest) != 7 {
			t.Fatalf("%d waves, %d bundles, %d minutes", len(v.Waves), len(v.Numerics), len(v.Minutes))
		}
		before = append(before, v)
	}
	must(t, s.Compact(t.Context()))
	same("compacted", before)
	put(all[:len(all)-50], delivery.Duplicate)
	put(late, delivery.Accepted)
	var after []seen
	for _, p := range patients {
		after = append(after, look(t, s, p, midnight.Add(-time.Hour), midnight.Add(time.Hour)))
	}
	must(t, s.Compact(t.Context()))
	same("late ones compacted", after)
	for _, st := range after[0].Delivery {
		if st.Missing != 0 || st.Doubled != 0 {
			t.Errorf("%+v", st)
		}
	}
	must(t, s.Close())
	s = open(t, dir, store.WithClock(c.Now))
	g = standing(t, s)
	same("opened again", after)
	put(all, delivery.Duplicate)
	must(t, s.Compact(t.Context()))
	same("nothing to compact", after)
}

// TestReadingWhileCompacting: a reader sees every chunk once at every moment.
func TestReadingWhileCompacting(t *testing.T) {
	s := open(t, t.TempDir(), store.WithCompaction(time.Millisecond))
	g := standing(t, s)
	now := time.Now().Add(-time.Minute).UTC().Truncate(time.Second)
	patient := ward(t, s, now, 1)[0]
	const n = 600
	done := make(chan error, 1)
	go func() {
		for i := range n {
			at := now.Add(time.Duration(i) * 50 * time.Millisecond)
			if _, _, err := s.Append(context.Background(), g, arrival(sensorID("s0"), numerics(at, heart(70)), epoch(1), uint64(i))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for last, ended := 0, false; ; {
		select {
		case err := <-done:
			must(t, err)
			ended = true
		default:
		}
		b, err := s.Numerics(t.Context(), g, patient, now.Add(-time.Minute), now.Add(time.Hour), 0)
		must(t, err)
		p, err := s.Trends(t.Context(), g, patient, vitals.HeartRate, now.Add(-time.Minute), now.Add(time.Hour), time.Minute)
		must(t, err)
		count := 0
		for _, x := range p {
			count += x.Count
		}
		if len(b) < last || count < len(b) {
			t.Fatalf("%d bundles after %d; then %d in the trends", len(b), last, count)
		}
		last = len(b)
		if ended {
			if last != n || count != n {
				t.Fatalf("%d bundles, %d in trends, want %d", last, count, n)
			}
			return
		}
	}
}

// TestDamagedChunkIsSetAside: one that does not open any more holds up neither the others nor the compaction.
func TestDamagedChunkIsSetAside(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s := open(t, dir)
	g := standing(t, s)
	now := time.Now().UTC().Truncate(30 * time.Second)
	patient := ward(t, s, now, 1)[0]
	for i := range 10 {
		o, why, err := s.Append(t.Context(), g, arrival(sensorID("s0"), ppg(now.Add(time.Duration(i)*250*time.Millisecond), 1, 2, 3), epoch(1), uint64(i)))
		if o != delivery.Accepted {
			t.Fatal(o, why, err)
		}
	}
	must(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "store", "chunks-*.db"))
	must(t, err)
	alter(t, files[0], "UPDATE recent SET sealed = zeroblob(length(sealed)) WHERE seq = 4")

	s = open(t, dir)
	g = standing(t, s)
	must(t, s.Compact(t.Context()))
	waves, err := s.Waveform(t.Context(), g, patient, vitals.PPG, now.Add(-time.Minute), now.Add(time.Minute))
	must(t, err)
	if len(waves) != 9 {
		t.Errorf("%d chunks of nine that are whole", len(waves))
	}
	if o, _, err := s.Append(t.Context(), g, arrival(sensorID("s0"), ppg(now.Add(time.Second), 1, 2, 3), epoch(1), 4)); o != delivery.Duplicate {
		t.Error("the damaged one's sequence number was used again", o, err)
	}
}

// TestOldFileIsBroughtUpToDate: chunks of a file of the first schema are all there.
func TestOldFileIsBroughtUpToDate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	g := standing(t, s)
	now := time.Now().UTC().Truncate(time.Second)
	patient := ward(t, s, now, 1)[0]
	for i := range 20 {
		_, _, err := s.Append(t.Context(), g, arrival(sensorID("s0"), numerics(now.Add(time.Duration(i)*time.Millisecond), heart(70)), epoch(1), uint64(i)))
		must(t, err)
	}
	want := look(t, s, patient, now.Add(-time.Hour), now.Add(time.Hour))
	must(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "store", "chunks-*.db"))
	must(t, err)
	if len(files) != 1 {
		t.Skip("midnight")
	}
	for _, q := range []string{
		store.FirstPartitionStep(),
		"INSERT INTO chunks SELECT stream, seq, subject, 2, start, first, last, received, sealed FROM recent",
		"DROP TABLE recent", "DROP TABLE blocks", "DROP TABLE damaged", "DROP TABLE taken", "DROP TABLE sums", "PRAGMA user_version = 1",
	} {
		alter(t, files[0], q)
	}
	s = open(t, dir)
	if d := cmp.Diff(want, look(t, s, patient, now.Add(-time.Hour), now.Add(time.Hour))); d != "" {
		t.Error(d)
	}
}

// alter runs a statement on a store's file that is not open.
func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	must(t, err)
	_, err = db.Exec(statement)
	must(t, err)
	must(t, db.Close())
}

// TestDamagedDayHoldsUpNoOther: compaction and retention go on behind a day whose file is no database any more.
func TestDamagedDayHoldsUpNoOther(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	c := newClock(noon)
	s := open(t, dir, store.WithClock(c.Now))
	g := standing(t, s)
	ward(t, s, noon.Add(-48*time.Hour), 1)
	put := func(s *store.Store, at time.Time, seq uint64) {
		t.Helper()
		if o, why, err := s.Append(t.Context(), g, arrival(sensorID("s0"), ppg(at, 1, 2, 3), epoch(1), seq)); o != delivery.Accepted {
			t.Fatal(o, why, err)
		}
	}
	put(s, noon.Add(-24*time.Hour), 0)
	put(s, noon, 1)
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, "store", "chunks-2026-11-22.db"), []byte("this is no database, whatever its name may say about it"), 0o600))

	s = open(t, dir, store.WithClock(c.Now))
	g = standing(t, s)
	put(s, noon.Add(time.Second), 2)
	if err := s.Compact(t.Context()); err == nil || !strings.Contains(err.Error(), "2026-11-22") {
		t.Error("the damaged day is not named:", err)
	}
	if n := s.RecentChunks(t, "2026-11-23"); n != 0 {
		t.Errorf("%d chunks of the other day are in no block", n)
	}
}
