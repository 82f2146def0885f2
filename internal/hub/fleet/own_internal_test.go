package fleet

import (
	"testing"
	"time"
)

// TestOwnChanges: a difference is our own as of when the network was looked at, however long that
// look took; one that was there long after our change is not.
func TestOwnChanges(t *testing.T) {
	var o ownChanges
	o.note("ours")
	now := time.Now()
	for looked, want := range map[time.Time]bool{now: true, now.Add(-time.Minute): true, now.Add(ownFor + time.Second): false} {
		if got := o.recent("ours", looked); got != want {
			t.Errorf("looked %v after it: %v", looked.Sub(now), got)
		}
	}
	if o.recent("another's", now) {
		t.Error("what we did not change is our own")
	}
}
