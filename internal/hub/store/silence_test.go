package store_test

import (
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// silentFor has a sensor of ward's speak, and speak again after so long, at two stores that may be the same.
func silentFor(t *testing.T, first, second *store.Store, at time.Time, gap time.Duration, seq uint64) {
	t.Helper()
	for i, s := range []*store.Store{first, second} {
		a := arrival(sensorID("s0"), numerics(at.Add(time.Duration(i)*gap), heart(60)), epoch(1), seq+uint64(i))
		if o, why, err := s.Append(t.Context(), standing(t, s), a); err != nil || o != delivery.Accepted {
			t.Fatalf("append: %v %q %v", o, why, err)
		}
	}
}

// TestSilenceOutlivesRestart: a restart neither forgets a question nor that a sensor was silent, and asks nothing by itself.
func TestSilenceOutlivesRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	now := time.Now().UTC().Truncate(time.Microsecond)
	patient := ward(t, s, now, 1)[0]
	again := func() {
		t.Helper()
		must(t, s.Close())
		s = open(t, dir)
	}
	asked := func(want int) []archive.Silence {
		t.Helper()
		q, err := s.Questions(t.Context(), standing(t, s), patient)
		must(t, err)
		if len(q) != want {
			t.Fatalf("%d questions, want %d", len(q), want)
		}
		return q
	}
	at := now.Add(-40 * time.Minute)
	silentFor(t, s, s, at, time.Minute, 0)
	again()
	silentFor(t, s, s, at.Add(2*time.Minute), time.Minute, 2)
	asked(0)
	again()
	silentFor(t, s, s, at.Add(39*time.Minute), time.Second, 4)
	again()
	if q := asked(1)[0]; !q.End.Equal(at.Add(39*time.Minute)) || q.End.Sub(q.Begin) <= archive.DefaultConfirmAfter {
		t.Errorf("question: %+v", q)
	}
}

// TestSilenceAtTwoHubs: a sensor that changes hubs was not silent; one that was is asked about at both, and both hear of the answer.
func TestSilenceAtTwoHubs(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().UTC().Truncate(time.Microsecond)
	patient := ward(t, a, now.Add(-2*time.Hour), 1)[0]
	asked := func(want int) {
		t.Helper()
		for i, s := range []*store.Store{a, b} {
			q, err := s.Questions(t.Context(), standing(t, s), patient)
			must(t, err)
			if len(q) != want {
				t.Fatalf("hub %d: %d questions, want %d", i, len(q), want)
			}
		}
	}
	at := now.Add(-110 * time.Minute) // b hears it first and last, a in between
	silentFor(t, b, a, at, 20*time.Minute, 0)
	silentFor(t, a, b, at.Add(40*time.Minute), 20*time.Minute, 2)
	asked(0)
	sub, err := a.Watch(t.Context(), []storetest.Grant{standing(t, a)}, vitals.Numerics)
	must(t, err)
	defer sub.Close()
	silentFor(t, b, b, at.Add(105*time.Minute), time.Second, 4)
	asked(1)
	for range 2 { // also live where another hub stored it
		u, err := sub.Next(t.Context())
		must(t, err)
		if u.Chunk.Start.Before(at.Add(105 * time.Minute)) {
			continue
		}
		if !u.NotConfirmed {
			t.Error("a live reading that another hub stored is not marked")
		}
	}
}
