package ingest

import "sync"

// quickExchanges follow each other at once at the beginning of a connection, and after the clock was set.
const quickExchanges = 4

// toldClock is the sender's end of the exchanges on one connection.
type toldClock struct {
	mu       sync.Mutex // guards all below
	record   ClockRecord
	reported bool // the record, on this connection
	answer   clockAnswer
	heard    int64 // when answer came, by the gateway's clock; 0: none since the clock was set
	measured exchanges
	quick    int // exchanges since the clock was set
}

// stale reports whether the hub has not been told of a record.
func (k *toldClock) stale(now ClockRecord) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.reported || now.Version != k.record.Version || now.Generation != k.record.Generation
}

// next is the next report.
func (k *toldClock) next(c ClockSource, lane string) clockReport {
	record := c.Record(lane)
	k.mu.Lock()
	defer k.mu.Unlock()
	if record.Generation != k.record.Generation {
		k.measured, k.heard, k.quick = exchanges{}, 0, 0
	}
	k.record, k.reported = record, true
	r := clockReport{sent: max(c.Now().UnixMicro(), 0), generation: record.Generation, stepped: record.Stepped, spans: record.Spans}
	if k.heard != 0 {
		r.echo, r.heard = k.answer.answered, k.heard
	}
	return r
}

// hear takes the hub's answer in, and reports whether to go on at once.
func (k *toldClock) hear(c ClockSource, a clockAnswer) (again bool) {
	at := max(c.Now().UnixMicro(), 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer, k.heard = a, at
	k.measured.add(exchanged{low: a.sent - a.received, high: at - a.answered})
	if offset, within, ok := k.measured.offset(); ok {
		c.Measured(k.record.Generation, offset, within)
	}
	k.quick++
	return k.quick < quickExchanges
}

// reportClock tells the hub the time and the record; nothing to a hub that does not speak of clocks.
func (x *exchange) reportClock() error {
	if x.clock == nil {
		return nil
	}
	// Flushed before and after: what waits in a buffer would look like delay.
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.put(appendClockReport(nil, x.clock.next(x.s.clock, x.s.lane.Name()))); err != nil {
		return err
	}
	return x.flush()
}
