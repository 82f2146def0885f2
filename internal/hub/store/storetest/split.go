package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// split is a chunk whose samples lie on both sides of a change of patients: each sample is on the chart of its own patient, once,
// live and stored, before and after compaction.
func split(t *testing.T, b *bench) {
	second, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	out, in := b.now.Add(-30*time.Minute), b.now.Add(-20*time.Minute)
	must(t, b.Discharge(t.Context(), b.patient, out))
	must(t, b.Admit(t.Context(), second, "a-0", in))
	sub, err := b.Watch(t.Context(), []access.Grant{b.g})
	must(t, err)
	defer sub.Close()

	rate := func(at time.Time, v float64) vitals.Bundle {
		return vitals.Bundle{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, v, vitals.Good)}}
	}
	send := func(c vitals.Chunk, seq uint64, want delivery.Outcome) {
		t.Helper()
		b.append(t, archive.Arrival{Sensor: b.sensor, Chunk: c, Received: b.now,
			Header: seal.Header{Sensor: b.sensor, Signal: uint8(c.Signal), Epoch: epoch(1), Seq: seq, Start: c.Start}}, want)
	}
	// A bundle nine minutes later is the next patient's, and one between the two stays is of neither.
	numbers := vitals.Chunk{Signal: vitals.Numerics, Start: out.Add(-time.Minute),
		Bundles: []vitals.Bundle{rate(out.Add(-time.Minute), 61), rate(out.Add(5*time.Minute), 62)}}
	later := vitals.Chunk{Signal: vitals.Numerics, Start: in.Add(-time.Minute),
		Bundles: []vitals.Bundle{rate(in.Add(-time.Minute), 63), rate(in.Add(8*time.Minute), 64)}}
	wave := vitals.Chunk{Signal: vitals.PPG, Start: in.Add(-20 * time.Millisecond), Rate: 100, Gap: 3, Infrared: []uint16{1, 2, 3, 4}, Red: []uint16{5, 6, 7, 8}}
	events := vitals.Chunk{Signal: vitals.Events, Start: in.Add(-time.Second), Events: []vitals.Event{{At: in.Add(-time.Second), Code: "probe_off"}, {At: in.Add(time.Second), Code: "probe_on"}}}
	for _, want := range []delivery.Outcome{delivery.Accepted, delivery.Duplicate} {
		send(numbers, 0, want)
		send(later, 1, want)
		send(wave, 0, want)
		send(events, 0, want)
	}

	live := map[string][]float64{}
	for n := 0; n < 4; {
		u, err := sub.Next(t.Context())
		must(t, err)
		for _, x := range u.Chunk.Bundles {
			live[u.Patient] = append(live[u.Patient], x.Numerics[0].Value)
			n++
		}
	}
	check := func(when string) {
		t.Helper()
		for patient, want := range map[string][]float64{b.patient: {61}, store.Unassigned: {62, 63}, second: {64}} {
			got, err := b.Numerics(t.Context(), b.g, patient, b.now.Add(-time.Hour), b.now, 0)
			must(t, err)
			var values []float64
			for _, x := range got {
				values = append(values, x.Numerics[0].Value)
			}
			same(t, when+": numbers", values, want)
			same(t, when+": live", live[patient], want)
		}
		for patient, want := range map[string][]uint16{store.Unassigned: {1, 2}, second: {3, 4}} {
			chunks, err := b.Waveform(t.Context(), b.g, patient, vitals.PPG, b.now.Add(-time.Hour), b.now)
			must(t, err)
			if len(chunks) != 1 {
				t.Fatalf("%s: %d waveforms of %s, want 1", when, len(chunks), patient)
			}
			same(t, when+": wave", chunks[0].Infrared, want)
			if patient == second && (!chunks[0].Start.Equal(in) || chunks[0].Gap != 0) {
				t.Errorf("%s: the second part begins at %v with a gap of %d, want %v and none", when, chunks[0].Start, chunks[0].Gap, in)
			}
			happened, err := b.Waveform(t.Context(), b.g, patient, vitals.Events, b.now.Add(-time.Hour), b.now)
			must(t, err)
			if len(happened) != 1 || len(happened[0].Events) != 1 {
				t.Errorf("%s: events of %s: %+v, want one", when, patient, happened)
			}
		}
	}
	check("as it came")
	must(t, b.Compact(t.Context()))
	check("in blocks")
	send(wave, 0, delivery.Duplicate)
	d, err := b.Delivery(t.Context())
	must(t, err)
	for _, st := range d.Streams {
		if st.Missing != 0 || st.Doubled != 0 {
			t.Errorf("the account of a split chunk: %+v", st)
		}
	}
	c, err := b.Check(t.Context(), func(string) {})
	must(t, err)
	if len(c.Problems) > 0 {
		t.Errorf("check: %v", c.Problems)
	}
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}
