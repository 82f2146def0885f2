package administer

import (
	"testing"
	"time"
)

// TestEndOfAMove: the second that a person names last is moved as a whole, whatever its part.
func TestEndOfAMove(t *testing.T) {
	at := time.Date(2026, 11, 30, 3, 41, 12, 0, time.UTC)
	for _, end := range []time.Time{at, at.Add(345 * time.Millisecond), at.Add(time.Second - 1)} {
		if got := wholeSecond(end); !got.Equal(at.Add(time.Second)) {
			t.Errorf("%v ends at %v", end, got)
		}
	}
}
