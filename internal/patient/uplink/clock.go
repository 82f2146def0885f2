package uplink

import (
	"sync"
	"time"

	"vitalseal/internal/way/delivery"
)

// ClockSource is what a sender asks about its gateway's clock. Its methods are called from several
// goroutines.
type ClockSource interface {
	// Now is the gateway's wall clock, which may be set.
	Now() time.Time
	// Record is what the gateway knows of the clock by which a lane's epochs were measured. Version
	// moves whenever an epoch begins by another clock than the one before it, before the first
	// chunk of that epoch is in the outbox.
	Record(lane string) delivery.ClockRecord
	// Measured is told how far the clock of a generation is ahead of the hub's.
	Measured(generation uint64, offset, within time.Duration)
}

// WithClock has the sender measure how far its gateway's clock is off, and tell the hub.
func WithClock(c ClockSource) SenderOption { return func(s *Sender) { s.clock = c } }

// quickExchanges follow each other at once at the beginning of a connection, and after the clock
// was set.
const quickExchanges = 4

// toldClock is the sender's end of the exchanges on one connection.
type toldClock struct {
	mu       sync.Mutex // guards all below
	record   delivery.ClockRecord
	reported bool // the record, on this connection
	answer   delivery.ClockAnswer
	heard    int64 // when answer came, by the gateway's clock; 0: none since the clock was set
	measured delivery.Exchanges
	quick    int // exchanges since the clock was set
}

// stale reports whether the hub has not been told of a record.
func (k *toldClock) stale(now delivery.ClockRecord) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.reported || now.Version != k.record.Version || now.Generation != k.record.Generation
}

// next is the next report.
func (k *toldClock) next(c ClockSource, lane string) delivery.ClockReport {
	record := c.Record(lane)
	k.mu.Lock()
	defer k.mu.Unlock()
	if record.Generation != k.record.Generation {
		k.measured, k.heard, k.quick = delivery.Exchanges{}, 0, 0
	}
	k.record, k.reported = record, true
	r := delivery.ClockReport{Sent: max(c.Now().UnixMicro(), 0), Generation: record.Generation, Stepped: record.Stepped, Spans: record.Spans}
	if k.heard != 0 {
		r.Echo, r.Heard = k.answer.Answered, k.heard
	}
	return r
}

// hear takes the hub's answer in, and reports whether to go on at once.
func (k *toldClock) hear(c ClockSource, a delivery.ClockAnswer) (again bool) {
	at := max(c.Now().UnixMicro(), 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer, k.heard = a, at
	k.measured.Add(delivery.Exchanged{Low: a.Sent - a.Received, High: at - a.Answered})
	if offset, within, ok := k.measured.Offset(); ok {
		c.Measured(k.record.Generation, offset, within)
	}
	k.quick++
	return k.quick < quickExchanges
}

// reportClock tells the hub the time and the record; nothing to a hub that does not speak of
// clocks.
func (x *exchange) reportClock() error {
	if x.clock == nil {
		return nil
	}
	// Flushed before and after: what waits in a buffer would look like delay.
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.put(delivery.AppendClockReport(nil, x.clock.next(x.s.clock, x.s.lane.Name()))); err != nil {
		return err
	}
	return x.flush()
}
