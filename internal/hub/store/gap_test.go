package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// TestGaps: what is missing and explained, and what is missing only.
func TestGaps(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	s := open(t, dir, store.WithClock(c.Now))
	g := standing(t, s)
	ward(t, s, noon, 1)
	id := sensorID("s0")
	for _, seq := range []uint64{0, 1, 5, 9} {
		appendAs(t, s, g, arrival(id, ppg(noon, 1, 2, 3), epoch(1), seq), delivery.Accepted, "")
	}
	gap := func(e uint64, first, last uint64) archive.Gap {
		return archive.Gap{Signal: vitals.PPG, Epoch: epoch(e).ID, First: first, Last: last, From: noon, To: noon.Add(time.Second), Reason: "outbox_full"}
	}
	want := func(what string, chunks, missing, gaps int64) {
		t.Helper()
		d, err := s.Delivery(t.Context())
		must(t, err)
		if len(d.Streams) != 1 {
			t.Fatalf("%s: streams %+v", what, d.Streams)
		}
		if st := d.Streams[0]; st.Chunks != chunks || st.Missing != missing || st.Gaps != gaps || st.Doubled != 0 {
			t.Errorf("%s: %+v, want %d chunks, %d missing, %d in gaps", what, st, chunks, missing, gaps)
		}
	}
	want("no gap", 4, 6, 0)
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(1, 2, 4)}))
	want("one gap", 4, 6, 3)
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(1, 2, 4), gap(1, 3, 7)})) // again, and one that overlaps and holds a stored one
	want("overlapping gaps", 4, 6, 5)
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(1, 10, 19)})) // behind the last that came
	want("a gap at the end", 4, 16, 15)
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(2, 0, 6)})) // of an epoch of which nothing came
	want("a whole epoch", 4, 23, 22)
	appendAs(t, s, g, arrival(id, ppg(noon, 1, 2, 3), epoch(1), 3), delivery.Accepted, "") // it came after all
	want("one that came after all", 5, 22, 21)
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(3, 0, seal.MaxSequence)})) // a liar costs no more than others
	want("a gap without an end", 5, 22+seal.MaxSequence+1, 21+seal.MaxSequence+1)
	for _, bad := range []archive.Gap{{}, gap(1, 5, 4), gap(1, 0, seal.MaxSequence+1)} {
		if err := s.SaveGaps(t.Context(), id, []archive.Gap{bad}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	list, err := s.Gaps(t.Context(), id, 2)
	must(t, err)
	if len(list) != 2 || list[0].Epoch != epoch(3).ID || list[0].Sensor != id || list[1].Last != 6 || !list[0].Noted.Equal(noon) {
		t.Errorf("listed %+v", list)
	}
	if none, err := s.Gaps(t.Context(), sensorID("other"), 2); err != nil || len(none) != 0 {
		t.Errorf("another sensor's: %+v, %v", none, err)
	}
}

// TestGapsOfAPatient: a gap is the patient's who lay there, as far as both the sensor and the patient were at the bed.
func TestGapsOfAPatient(t *testing.T) {
	c := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	g := standing(t, s)
	first := ward(t, s, noon, 1)[0]
	id := sensorID("s0")
	second, err := s.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	c.Advance(time.Hour)
	must(t, s.Discharge(t.Context(), first, noon.Add(10*time.Minute)))
	must(t, s.Admit(t.Context(), second, "a-0", noon.Add(20*time.Minute)))
	gap := func(n uint64, from, to time.Duration) archive.Gap {
		g := archive.Gap{Signal: vitals.PPG, Epoch: epoch(1).ID, First: n, Last: n, From: noon.Add(from), Reason: "outbox_full"}
		if to != 0 {
			g.To = noon.Add(to)
		}
		return g
	}
	must(t, s.SaveGaps(t.Context(), id, []archive.Gap{gap(1, time.Minute, 2*time.Minute), gap(2, 8*time.Minute, 25*time.Minute), gap(3, 12*time.Minute, 15*time.Minute), gap(4, 30*time.Minute, 0)}))
	type stretch struct{ From, To time.Duration }
	for _, x := range []struct {
		patient  string
		from, to time.Duration
		want     []stretch
	}{
		{first, 0, time.Hour, []stretch{{time.Minute, 2 * time.Minute}, {8 * time.Minute, 10 * time.Minute}}},
		{first, 3 * time.Minute, time.Hour, []stretch{{8 * time.Minute, 10 * time.Minute}}},
		{second, 0, time.Hour, []stretch{{20 * time.Minute, 25 * time.Minute}, {30 * time.Minute, 30 * time.Minute}}},
		{second, 0, 5 * time.Minute, nil},
	} {
		got, err := s.GapsOf(t.Context(), g, x.patient, noon.Add(x.from), noon.Add(x.to), 10)
		must(t, err)
		var have []stretch
		for _, g := range got {
			have = append(have, stretch{g.From.Sub(noon), g.To.Sub(noon)})
		}
		if d := cmp.Diff(x.want, have); d != "" {
			t.Errorf("%+v: %s", x, d)
		}
	}
	if _, err := s.GapsOf(t.Context(), access.Grant{}, first, noon, noon.Add(time.Hour), 10); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("without a grant: %v", err)
	}
}
