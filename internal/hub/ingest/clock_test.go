package ingest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/way/delivery"
)

// hostClock is a gateway's clock that is off.
type hostClock struct {
	mu       sync.Mutex
	off      time.Duration
	record   delivery.ClockRecord
	measured chan time.Duration
}

func (c *hostClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off).Round(0)
}

func (c *hostClock) Record(string) delivery.ClockRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record
}

func (c *hostClock) Measured(_ uint64, offset, _ time.Duration) {
	select {
	case c.measured <- offset:
	default:
	}
}

// TestClockIsKnownBeforeTheFirstReading: over a real connection, every chunk comes with what was measured of the gateway's clock, those of
// an epoch that began after the clock was set with that, and an old gateway's with what can be said of it.
func TestClockIsKnownBeforeTheFirstReading(t *testing.T) {
	h := newHub(t)
	arrivals := make(chan archive.Arrival, 100)
	h.store.answer = func(a archive.Arrival) (delivery.Outcome, error) {
		arrivals <- a
		return 0, nil
	}
	const off = 90 * time.Minute
	clock := &hostClock{off: off, measured: make(chan time.Duration, 1)}
	clock.record = delivery.ClockRecord{Version: 1, Generation: 1, Spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockSet}}}
	d := newDevice(t, h, "oxi-1", uplink.WithClock(clock))
	d.announced(1).send(3)
	d.run()
	near := func(a archive.Arrival, want time.Duration) {
		t.Helper()
		if c := a.Clock; !c.Judged || !c.Known || (c.Offset-want).Abs() > c.Error+time.Second {
			t.Errorf("epoch %d, chunk %d: the clock is %+v, want %v", a.Header.Epoch.Number, a.Header.Seq, c, want)
		}
	}
	next := func() archive.Arrival {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		select {
		case a := <-arrivals:
			return a
		case <-ctx.Done():
			t.Fatal("no chunk came")
			return archive.Arrival{}
		}
	}
	for range 3 {
		near(next(), off)
	}
	if got := <-clock.measured; (got - off).Abs() > time.Minute {
		t.Errorf("the gateway measured %v, want %v", got, off)
	}
	d.awaitSettled(4)
	// The clock is set right; the record says so before the epoch's first chunk is in the outbox.
	clock.mu.Lock()
	clock.off = 0
	clock.record = delivery.ClockRecord{Version: 2, Generation: 2, Stepped: -off,
		Spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockSet, Value: -off}, {From: 2, Kind: delivery.ClockSet}}}
	clock.mu.Unlock()
	d.announced(2).send(2)
	for range 2 {
		near(next(), 0)
	}

	old := newDevice(t, h, "oxi-old")
	old.announced(1).send(1)
	old.run()
	if a := next(); !a.Clock.Judged || a.Clock.Known {
		t.Errorf("an old gateway's clock: %+v, want judged and not known", a.Clock)
	}
}
