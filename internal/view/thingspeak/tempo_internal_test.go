package thingspeak

import (
	"testing"
	"time"
)

// TestTempo: two thousand packets at once, and then a thousand a second.
func TestTempo(t *testing.T) {
	var p tempo
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range packetBurst {
		if d := p.wait(now); d != 0 {
			t.Fatalf("packet %d waits %v", i, d)
		}
	}
	if d := p.wait(now); d != packetEvery {
		t.Errorf("one more waits %v", d)
	}
	if d := p.wait(now); d != 2*packetEvery {
		t.Errorf("two more: %v", d)
	}
	if d := p.wait(now.Add(time.Hour)); d != 0 {
		t.Errorf("an hour later: %v", d)
	}
}
