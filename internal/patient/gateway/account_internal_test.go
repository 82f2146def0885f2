package gateway

import (
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/seal"
)

// TestBacklogThatTheHubHad: of chunks of an earlier start those that the hub stored now are told apart
// from those that it had, whose acknowledgement was lost; what this start made is neither. What the
// process missed while it stood still is counted.
func TestBacklogThatTheHubHad(t *testing.T) {
	l := newLedger("gw")
	l.boot = 3
	l.lane("oxi")
	of := func(boot uint64, o delivery.Outcome) {
		l.settled(uplink.Settled{Record: outbox.Record{Lane: "oxi"}, Outcome: o,
			Message: delivery.Message{Signal: uint8(vitals.Numerics), Epoch: seal.Epoch{Number: boot << 20}}})
	}
	of(2, delivery.Accepted)
	of(2, delivery.Duplicate)
	of(1, delivery.Duplicate)
	of(3, delivery.Accepted)
	of(3, delivery.Duplicate)
	if l.backlog != 3 || l.backlogStored != 1 {
		t.Errorf("backlog %d, of which %d stored now; want 3 and 1", l.backlog, l.backlogStored)
	}
	from := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	l.stoodStill(from, 6*time.Second)
	l.stoodStill(from.Add(time.Hour), 31*time.Second)
	if s := l.stalls; s.Count != 2 || s.Seconds != 37 || s.LastSeconds != 31 || !s.Last.Equal(from.Add(time.Hour)) {
		t.Errorf("stood still: %+v", s)
	}
}
