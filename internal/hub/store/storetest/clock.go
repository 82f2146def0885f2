package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/delivery"
)

// values are what a patient's chart says, ascending by time.
func (b *bench) values(t *testing.T, patient string) (all []float64) {
	t.Helper()
	got, err := b.Numerics(t.Context(), b.g, patient, b.now.Add(-3*time.Hour), b.now.Add(3*time.Hour), 0)
	must(t, err)
	for _, x := range got {
		all = append(all, x.Numerics[0].Value)
	}
	return all
}

// slow is a gateway 45 minutes slow, after its patient was discharged and another admitted: nothing is on a chart, the present is
// live on the bed's tile, marked; and when it is known by how much the clock was off, the chart of the right patient has it at the right time.
func slow(t *testing.T, b *bench) {
	second, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	must(t, b.Discharge(t.Context(), b.patient, b.now.Add(-30*time.Minute)))
	must(t, b.Admit(t.Context(), second, "a-0", b.now.Add(-20*time.Minute)))
	sub, err := b.Watch(t.Context(), []access.Grant{b.g})
	must(t, err)
	defer sub.Close()

	const off = -45 * time.Minute
	measured := archive.Clock{Judged: true, Known: true, Offset: off, Error: 20 * time.Millisecond}
	present, backlog := b.beat(b.now.Add(off), 130, 1, 1), b.beat(b.now.Add(off-10*time.Minute), 120, 1, 0)
	for _, a := range []*archive.Arrival{&present, &backlog} {
		a.Clock = measured
		b.append(t, *a, delivery.Accepted)
		b.append(t, *a, delivery.Duplicate)
	}
	for _, patient := range []string{b.patient, second, store.Unassigned} {
		same(t, "chart of "+patient+" before the clock is settled", b.values(t, patient), nil)
	}
	u, err := sub.Next(t.Context())
	must(t, err)
	if u.Patient != second || !u.TimeNotSure || u.Chunk.Bundles[0].Numerics[0].Value != 130 || !u.Chunk.Bundles[0].At.Equal(b.now) {
		t.Errorf("live: %+v, want 130 of %s at %v, its time not sure", u, second, b.now)
	}
	for patient, want := range map[string]int{b.patient: 0, second: 1} {
		last, err := b.Unsure(t.Context(), b.g, patient)
		must(t, err)
		if len(last) != want {
			t.Errorf("a page that is opened shows %d readings of %s, want %d", len(last), patient, want)
		}
	}
	must(t, b.NoteClock(t.Context(), b.sensor, measured))
	clocks, err := b.Clocks(t.Context())
	must(t, err)
	if c := clocks[b.sensor]; !c.Known || c.Offset != off || c.Waiting != 2 {
		t.Errorf("the inventory says of the clock: %+v", c)
	}
	w, err := b.Waiting(t.Context(), b.sensor)
	must(t, err)
	if w.Chunks != 2 || w.Low != 1 || w.High != 1 || !w.First.Equal(present.Chunk.Start) {
		t.Errorf("waiting: %+v", w)
	}

	n, err := b.SettleClock(t.Context(), b.sensor, archive.Settlement{Low: 1, High: 1, Ahead: off, By: "clock"})
	must(t, err)
	if n != 2 {
		t.Errorf("%d chunks released, want 2", n)
	}
	same(t, "the second patient's chart", b.values(t, second), []float64{120, 130})
	same(t, "the first patient's chart", b.values(t, b.patient), nil)
	got, err := b.Numerics(t.Context(), b.g, second, b.now, b.now.Add(time.Second), 0)
	must(t, err)
	if len(got) != 1 {
		t.Errorf("%d readings at the right time, want 1", len(got))
	}
	// The same again is recognised, and what follows goes the same way, as long as the clock is off by that much.
	b.append(t, present, delivery.Duplicate)
	next := b.beat(b.now.Add(off+time.Second), 131, 1, 2)
	next.Clock = measured
	b.append(t, next, delivery.Accepted)
	same(t, "after the settlement", b.values(t, second), []float64{120, 130, 131})
	other := b.beat(b.now.Add(-time.Hour), 99, 1, 3)
	other.Clock = archive.Clock{Judged: true, Known: true, Offset: -time.Hour}
	b.append(t, other, delivery.Accepted)
	same(t, "off by something else", b.values(t, second), []float64{120, 130, 131})
	if clocks, err = b.Clocks(t.Context()); err != nil || clocks[b.sensor].Waiting != 1 {
		t.Errorf("waiting at the end: %+v, %v", clocks[b.sensor], err)
	}
	d, err := b.Delivery(t.Context())
	must(t, err)
	if d.Quarantined != 0 || len(d.Streams) != 1 || d.Streams[0].Doubled != 0 || d.Streams[0].Chunks != 3 {
		t.Errorf("the account: %+v", d)
	}
}

// clocks are the cases of a clock that is measured, and of one that is not.
func clocks(t *testing.T, b *bench) {
	second, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	must(t, b.Discharge(t.Context(), b.patient, b.now.Add(-30*time.Minute)))
	must(t, b.Admit(t.Context(), second, "a-0", b.now.Add(-20*time.Minute)))
	known := func(off, within time.Duration) archive.Clock {
		return archive.Clock{Judged: true, Known: true, Offset: off, Error: within}
	}
	unknown := archive.Clock{Judged: true}
	charted := map[string][]float64{}
	for i, tc := range []struct {
		name  string
		at    time.Duration // by the gateway's clock, from now
		clock archive.Clock
		chart string // whose; "" = it waits
	}{
		{"an outage's backlog by a clock that is right", -40 * time.Minute, known(100*time.Millisecond, 30*time.Millisecond), b.patient},
		{"delay is no error", -35 * time.Minute, known(3*time.Second, 14*time.Second), b.patient},
		{"within five seconds", -4 * time.Second, known(-4*time.Second, time.Millisecond), second},
		{"six seconds slow", -6 * time.Second, known(-6*time.Second, time.Millisecond), ""},
		{"no more than the stated error", -3 * time.Second, known(-8*time.Second, 9*time.Second), second},
		{"an hour ahead", time.Hour, known(time.Hour, time.Millisecond), ""},
		{"a clock that begins in 1970", b.now.Sub(time.Unix(100, 0)) * -1, known(b.now.Sub(time.Unix(100, 0))*-1, time.Second), ""},
		{"not measured, ahead of the hub", 10 * time.Second, unknown, ""},
		{"not measured, an hour ahead of the hub", time.Hour, unknown, ""},
		{"not measured, one patient since", -10 * time.Minute, unknown, second},
		{"not measured, another patient since", -32 * time.Minute, unknown, ""},
		{"measured as right, but a reading from the future", 2 * time.Minute, known(0, time.Millisecond), ""},
		{"not judged, as it was before", -31 * time.Minute, archive.Clock{}, b.patient},
	} {
		a := b.beat(b.now.Add(tc.at), float64(60+i), 1, uint64(i))
		a.Clock = tc.clock
		b.append(t, a, delivery.Accepted)
		if tc.chart != "" {
			charted[tc.chart] = append(charted[tc.chart], float64(60+i))
		}
		for _, patient := range []string{b.patient, second, store.Unassigned} {
			if n := len(b.values(t, patient)); n != len(charted[patient]) {
				t.Fatalf("%s: the chart of %s has %d readings, want %d", tc.name, patient, n, len(charted[patient]))
			}
		}
	}
	last, err := b.Unsure(t.Context(), b.g, second) // of the heart rate from the future, by a clock that is right
	must(t, err)
	if len(last) != 1 || last[0].Numerics[0].Value != 71 || last[0].At.After(b.now.Add(5*time.Second)) || last[0].At.Before(b.now.Add(-5*time.Second)) {
		t.Errorf("the last reading whose time is not sure is %+v, want one of now", last)
	}
	// A person settles by what was measured when each came; what was not measured goes on waiting.
	n, err := b.SettleClock(t.Context(), b.sensor, archive.Settlement{Low: 0, High: 1 << 40, Measured: true, By: "person"})
	must(t, err)
	if n != 4 {
		t.Errorf("%d released, want the 4 that were measured", n)
	}
	if n, err = b.SettleClock(t.Context(), b.sensor, archive.Settlement{Low: 0, High: 1 << 40, Ahead: 0, By: "person"}); err != nil || n != 3 {
		t.Errorf("%d released as they are, %v; want 3", n, err)
	}
	is(t, func() error {
		_, err := b.SettleClock(t.Context(), b.sensor, archive.Settlement{Low: 2, High: 1, By: "x"})
		return err
	}(), store.ErrInvalid)
}
