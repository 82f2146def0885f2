package ingest

import (
	"math/rand/v2"
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// TestDelayIsNoError has a gateway and a hub whose clocks are apart exchange times over a line of any delay: the truth is always within
// the stated error, and the error is half of the shortest round trip.
func TestDelayIsNoError(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	base := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, truth := range []time.Duration{0, time.Hour, -45 * time.Minute, 3 * time.Second, -56 * 365 * 24 * time.Hour} {
		hub := base
		gateway := func() int64 { return hub.Add(truth).UnixMicro() }
		var k peerClock
		var heard, echo int64
		shortest := time.Duration(1 << 62)
		for range 12 {
			out, back := time.Duration(rng.Int64N(int64(12*time.Second))), time.Duration(rng.Int64N(int64(300*time.Millisecond)))
			r := delivery.ClockReport{Sent: gateway(), Echo: echo, Heard: heard, Generation: 7, Spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockSet}}}
			hub = hub.Add(out)
			k.report(r, hub)
			echo = k.last.Answered
			hub = hub.Add(back)
			heard = gateway()
			shortest = min(shortest, out+back)
			k2 := k // what the next report will say
			k2.report(delivery.ClockReport{Sent: gateway(), Echo: echo, Heard: heard, Generation: 7, Spans: r.Spans}, hub)
			c := k2.of(5, vitals.Chunk{}, hub)
			if off := (c.Offset - truth).Abs(); !c.Known || off > c.Error+2*time.Microsecond || (c.Error-shortest/2).Abs() > 2*time.Microsecond {
				t.Fatalf("truth %v: measured %v within %v (known %v), shortest round trip %v", truth, c.Offset, c.Error, c.Known, shortest)
			}
			if delayed := truth == 0; delayed && !c.Sure() {
				t.Errorf("a delay of %v makes a right clock wrong: %+v", out, c)
			}
			hub = hub.Add(time.Second)
		}
	}
}

// TestBacklogByTheRecordOfSteps: a gateway that began slow and was set right; its record says of every epoch by which clock it was measured.
func TestBacklogByTheRecordOfSteps(t *testing.T) {
	hub := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	var k peerClock
	report := func(off time.Duration, generation uint64, stepped time.Duration, spans ...delivery.ClockSpan) {
		r := delivery.ClockReport{Sent: hub.Add(off).UnixMicro(), Echo: k.last.Answered, Heard: hub.Add(off).UnixMicro(), Generation: generation, Stepped: stepped, Spans: spans}
		if r.Generation != k.generation {
			r.Echo, r.Heard = 0, 0 // by another clock
		}
		hub = hub.Add(10 * time.Millisecond)
		k.report(r, hub)
		hub = hub.Add(10 * time.Millisecond)
	}
	of := func(number uint64) archive.Clock { return k.of(number, vitals.Chunk{}, hub) }
	const slow = -45 * time.Minute
	first := []delivery.ClockSpan{{From: 3, Kind: delivery.ClockMeasured, Value: time.Minute, Error: time.Second}, {From: 8}, {From: 10, Kind: delivery.ClockSet}}
	report(slow, 1, 0, first...)
	if c := of(12); c.Known {
		t.Errorf("known before anything was measured: %+v", c)
	}
	report(slow, 1, 0, first...)
	near := func(number uint64, want time.Duration) {
		t.Helper()
		if c := of(number); !c.Judged || !c.Known || (c.Offset-want).Abs() > c.Error+time.Microsecond {
			t.Errorf("epoch %d: %+v, want %v", number, c, want)
		}
	}
	near(12, slow)
	near(4, time.Minute) // an earlier start, measured then
	for _, number := range []uint64{1, 9} {
		if c := of(number); !c.Judged || c.Known {
			t.Errorf("epoch %d, of which nothing is known: %+v", number, c)
		}
	}
	if s := k.settlements(0, 100); s != nil {
		t.Errorf("settled while the clock is wrong: %+v", s)
	}
	// The clock is set: known at once, before another exchange.
	second := []delivery.ClockSpan{first[0], first[1], {From: 10, Kind: delivery.ClockSet, Value: -slow}, {From: 20, Kind: delivery.ClockSet}}
	report(0, 2, -slow, second...)
	near(21, 0)
	near(12, slow)
	report(0, 2, -slow, second...)
	near(21, 0)
	near(12, slow)
	got := map[uint64]archive.Settlement{}
	for _, s := range k.settlements(0, 100) {
		if !s.Measured {
			got[s.Low] = s
		}
	}
	if s := got[10]; len(got) != 3 || s.High != 19 || (s.Ahead-slow).Abs() > 20*time.Millisecond || got[20].Ahead != 0 || got[3].Ahead != time.Minute {
		t.Errorf("settlements %+v", got)
	}
	if s := k.settlements(12, 15); len(s) != 1 {
		t.Errorf("settlements of what waits: %+v, want the one of its clock", s)
	}
	// A clock that moves without a word (slewed, or seen before the gateway sees it) is measured anew.
	report(time.Hour, 2, -slow, second...)
	report(time.Hour, 2, -slow, second...)
	near(21, time.Hour)
}

// TestClockOfAnOldGateway: one that does not speak of its clock is judged by what comes live.
func TestClockOfAnOldGateway(t *testing.T) {
	start := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	chunk := func(at time.Time) vitals.Chunk {
		return vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at}}}
	}
	t.Run("right", func(t *testing.T) {
		var k peerClock
		if c := k.of(1, chunk(start.Add(-40*time.Minute)), start); c.Known || !c.Judged {
			t.Errorf("a backlog first: %+v", c)
		}
		k.of(1, chunk(start.Add(-time.Second)), start)
		if c := k.of(1, chunk(start.Add(-39*time.Minute)), start); !c.Known || !c.Sure() {
			t.Errorf("the backlog beside what is new: %+v", c)
		}
	})
	t.Run("slow", func(t *testing.T) {
		var k peerClock
		var c archive.Clock
		for i := range 15 {
			at := start.Add(time.Duration(i) * time.Second)
			c = k.of(1, chunk(at.Add(-45*time.Minute)), at.Add(200*time.Millisecond))
			if i < 9 && c.Known {
				t.Fatalf("known after %d s: %+v", i, c)
			}
		}
		if !c.Known || c.Sure() || (c.Offset+45*time.Minute).Abs() > c.Error {
			t.Errorf("after 15 s: %+v", c)
		}
		if c := k.of(1, chunk(start.Add(-2*time.Hour)), start.Add(15*time.Second)); c.Known {
			t.Errorf("its backlog: %+v", c)
		}
	})
	t.Run("backlog alone", func(t *testing.T) {
		var k peerClock
		for i := range 600 { // it drains faster than it was measured
			if c := k.of(1, chunk(start.Add(-time.Hour+time.Duration(i)*time.Second)), start.Add(time.Duration(i)*50*time.Millisecond)); c.Known {
				t.Fatalf("taken for the present after %d: %+v", i, c)
			}
		}
	})
	t.Run("ahead", func(t *testing.T) {
		var k peerClock
		var c archive.Clock
		for i := range 15 {
			at := start.Add(time.Duration(i) * time.Second)
			c = k.of(1, chunk(at.Add(time.Hour)), at)
		}
		if !c.Known || c.Sure() || (c.Offset-time.Hour).Abs() > c.Error {
			t.Errorf("%+v", c)
		}
	})
}

// TestClockOfADevice: what a device says by a clock of its own is not corrected by what the gateway's is off.
func TestClockOfADevice(t *testing.T) {
	start := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	gateway := func() peerClock { // one that is a minute ahead, and says so
		k := peerClock{measures: true, spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockSet}, {From: 2, Kind: delivery.ClockOfDevice}, {From: 3, Kind: delivery.ClockSet}}}
		k.measured.Add(delivery.Exchanged{Low: time.Minute.Microseconds(), High: time.Minute.Microseconds()})
		return k
	}
	said := func(k *peerClock, late time.Duration, n int) (c archive.Clock) {
		for i := range n {
			at := start.Add(time.Duration(i) * time.Second)
			c = k.of(2, vitals.Chunk{Signal: vitals.Numerics, Start: at.Add(-late), Bundles: []vitals.Bundle{{At: at.Add(-late)}}}, at)
		}
		return c
	}
	for _, c := range []struct {
		name  string
		late  time.Duration
		n     int
		known bool
		want  time.Duration // late
	}{
		{"right", time.Second, 1, true, 0},
		{"late once", 45 * time.Second, 1, false, 0},
		{"late again and again", 45 * time.Second, 15, false, 45 * time.Second},
	} {
		k := gateway()
		if got := said(&k, c.late, c.n); !got.Judged || got.Known != c.known || got.Known && (!got.Sure() || got.Offset != 0) || got.Late != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got := k.of(3, vitals.Chunk{}, start); got.Offset != time.Minute {
			t.Errorf("%s: of the gateway's own times: %+v", c.name, got)
		}
	}
	k := gateway()
	k.measured = delivery.Exchanges{}
	k.measured.Add(delivery.Exchanged{}) // by now it is right
	for _, x := range k.settlements(0, 100) {
		if x.Low <= 2 && x.High >= 2 {
			t.Errorf("the gateway's clock settles what a device says: %+v", x)
		}
	}
}
