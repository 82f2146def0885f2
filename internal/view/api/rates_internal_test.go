package api

import (
	"testing"
	"time"
)

// TestRateOfTimesOutOfOrder: requests that read the clock in one order and are counted in another
// are allowed no more than their time gives.
func TestRateOfTimesOutOfOrder(t *testing.T) {
	r := newRates(10)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	allowed := 0
	for i := range 4000 {
		at := now
		if i%2 == 1 { // each second one read the clock a moment before the one that is counted first
			at = now.Add(-50 * time.Millisecond)
		}
		if r.take("ward-1", at) {
			allowed++
		}
		now = now.Add(time.Millisecond)
	}
	if most := 10*burst + 4*10 + 1; allowed > most {
		t.Errorf("%d of 4,000 requests in 4 s were allowed, want %d at most: 10 a second, and %d at once", allowed, most, 10*burst)
	}
}
