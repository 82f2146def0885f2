package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// TestWaitingOutlivesARestart: what waits is durable, sealed and bounded, the settlement is remembered, and beyond the bound a
// gateway keeps its chunks while the present is still shown.
func TestWaitingOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	c := newClock(noon)
	s := open(t, dir, store.WithClock(c.Now), store.WithMaxWaiting(2))
	p := ward(t, s, noon, 1)
	g := standing(t, s)
	const off = 90 * time.Minute
	send := func(seq uint64, at time.Time, want delivery.Outcome, reason string) {
		t.Helper()
		a := arrival(sensorID("s0"), numerics(at.Add(off), heart(float64(70+seq))), epoch(1), seq)
		a.Received, a.Clock = at, archive.Clock{Judged: true, Known: true, Offset: off, Error: time.Millisecond}
		appendAs(t, s, g, a, want, reason)
	}
	send(0, noon, delivery.Accepted, "")
	send(1, noon.Add(time.Second), delivery.Accepted, "")
	for range 2 {
		send(2, noon.Add(2*time.Second), delivery.Retry, archive.ReasonClock)
	}
	last, err := s.Unsure(t.Context(), g, p[0])
	must(t, err)
	if len(last) != 1 || last[0].Numerics[0].Value != 72 {
		t.Errorf("the present beyond the bound: %+v, want 72", last)
	}
	must(t, s.Close())
	s = open(t, dir, store.WithClock(c.Now))
	g = standing(t, s)
	send(1, noon.Add(time.Second), delivery.Duplicate, "")
	n, err := s.SettleClock(t.Context(), sensorID("s0"), archive.Settlement{Low: 1, High: 1, Ahead: off, By: "clock"})
	must(t, err)
	if n != 2 {
		t.Errorf("%d released, want 2", n)
	}
	must(t, s.Close())
	s = open(t, dir, store.WithClock(c.Now))
	g = standing(t, s)
	send(0, noon, delivery.Duplicate, "")
	send(2, noon.Add(2*time.Second), delivery.Accepted, "") // without waiting
	got, err := s.Numerics(t.Context(), g, p[0], noon.Add(-time.Minute), noon.Add(time.Minute), 0)
	must(t, err)
	if len(got) != 3 || !got[2].At.Equal(noon.Add(2*time.Second)) {
		t.Errorf("the chart: %+v, want three readings from noon on", got)
	}
}

// TestLateDeviceAtAPatientChange: a device whose own clock says again and again what is 45 s old. After the patient has changed it is on no
// chart until a person says whose it is, and stands live where the sensor is placed now; a backlog does not.
func TestLateDeviceAtAPatientChange(t *testing.T) {
	clock := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(clock.Now))
	left := ward(t, s, noon.Add(-time.Hour), 1)[0]
	g := standing(t, s)
	here, err := s.CreatePatient(t.Context(), "Nora New")
	must(t, err)
	must(t, s.Discharge(t.Context(), left, noon.Add(-20*time.Second)))
	must(t, s.Admit(t.Context(), here, "a-0", noon.Add(-10*time.Second)))
	for seq, late := range []time.Duration{45 * time.Second, 0} {
		a := arrival(sensorID("s0"), numerics(noon.Add(-45*time.Second), heart(150+float64(seq))), epoch(1), uint64(seq))
		a.Received, a.Clock = noon, archive.Clock{Judged: true, Late: late}
		appendAs(t, s, g, a, delivery.Accepted, "")
	}
	for _, p := range []string{left, here} {
		got, err := s.Numerics(t.Context(), g, p, noon.Add(-time.Hour), noon.Add(time.Minute), 0)
		must(t, err)
		if len(got) != 0 {
			t.Errorf("on the chart of %s: %+v", p, got)
		}
	}
	if w, err := s.Waiting(t.Context(), sensorID("s0")); err != nil || w.Chunks != 2 {
		t.Errorf("%+v, %v wait", w, err)
	}
	live, err := s.Unsure(t.Context(), g, here)
	must(t, err)
	if len(live) != 1 || live[0].Numerics[0].Value != 150 || !live[0].At.Equal(noon) {
		t.Errorf("live: %+v, want the one that is measured now", live)
	}
}

// TestForgetTakesWhatWaits: a patient who is forgotten leaves nothing in the waiting place.
func TestForgetTakesWhatWaits(t *testing.T) {
	s := open(t, t.TempDir(), store.WithClock(newClock(noon).Now))
	p := ward(t, s, noon, 2)
	g := standing(t, s)
	for i, sensor := range []string{"s0", "s1"} {
		a := arrival(sensorID(sensor), ppg(noon.Add(-time.Hour), 7), epoch(uint64(i)), 0)
		a.Received, a.Clock = noon, archive.Clock{Judged: true, Known: true, Offset: -time.Hour}
		appendAs(t, s, g, a, delivery.Accepted, "")
	}
	must(t, s.Discharge(t.Context(), p[0], noon.Add(time.Second)))
	must(t, s.Forget(t.Context(), p[0]))
	for i, want := range []int{0, 1} {
		if n, err := s.SettleClock(t.Context(), sensorID([]string{"s0", "s1"}[i]), archive.Settlement{High: 9, Measured: true, By: "clock"}); err != nil || n != want {
			t.Errorf("sensor s%d: %d released, %v; want %d", i, n, err, want)
		}
	}
	if c, err := s.Waveform(t.Context(), g, p[1], vitals.PPG, noon.Add(-time.Minute), noon.Add(time.Minute)); err != nil || len(c) != 1 {
		t.Errorf("the other patient's wave: %d, %v; want 1", len(c), err)
	}
}

func TestClockWords(t *testing.T) {
	for off, want := range map[time.Duration]string{
		time.Hour:          "the gateway's clock is 3,600 s ahead of the hub's",
		-45 * time.Minute:  "the gateway's clock is 2,700 s behind the hub's",
		-1234567 * 1e9:     "the gateway's clock is 1,234,567 s behind the hub's",
		7400 * 1e6:         "the gateway's clock is 7 s ahead of the hub's",
		1000 * time.Second: "the gateway's clock is 1,000 s ahead of the hub's",
	} {
		if got := delivery.ClockWords(off); got != want {
			t.Errorf("%v: %q, want %q", off, got, want)
		}
	}
}

// TestUnsureOnAnotherHub: what one hub puts into the waiting place is live at another, and settling it at the other reaches the chart once.
func TestUnsureOnAnotherHub(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	one, two := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().Truncate(time.Microsecond)
	p := ward(t, one, now, 1)
	g := standing(t, one)
	sub, err := two.Watch(t.Context(), []storetest.Grant{g})
	must(t, err)
	defer sub.Close()
	const off = 3 * time.Hour
	var last uint64
	for seq := uint64(0); ; seq++ { // the other hub looks once a second, and what it finds first is no news
		at := time.Now().Truncate(time.Microsecond)
		a := arrival(sensorID("s0"), numerics(at.Add(off), heart(float64(60+seq))), epoch(1), seq)
		a.Received, a.Clock = at, archive.Clock{Judged: true, Known: true, Offset: off, Error: time.Millisecond}
		appendAs(t, one, g, a, delivery.Accepted, "")
		last = seq
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		u, err := sub.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && seq < 600 {
			continue
		}
		must(t, err)
		if u.Patient != p[0] || !u.TimeNotSure || u.Sensor != sensorID("s0") || u.Durable.Sub(u.Chunk.Start).Abs() > 20*time.Second {
			t.Errorf("live at the other hub: %+v", u)
		}
		break
	}
	n, err := two.SettleClock(t.Context(), sensorID("s0"), archive.Settlement{Low: 1, High: 1, Ahead: off, By: "clock"})
	must(t, err)
	if n != int(last)+1 { // #nosec G115 -- a few
		t.Errorf("%d released, want %d", n, last+1)
	}
	got, err := one.Numerics(t.Context(), g, p[0], now.Add(-time.Minute), time.Now().Add(time.Minute), 0)
	must(t, err)
	if len(got) != int(last)+1 { // #nosec G115 -- a few
		t.Errorf("%d on the chart, want %d", len(got), last+1)
	}
}
