package gateway

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNextBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot")
	for want := uint64(1); want <= 3; want++ {
		if got, err := nextBoot(path); err != nil || got != want {
			t.Fatalf("boot %d, %v; want %d", got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1099511627775", "99999999999999999999"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := nextBoot(path); err == nil {
			t.Errorf("boot counter %q gave %d, want an error", text, got)
		}
	}
}

// TestSampleClock polls a chip whose oscillator is off, at jittering times, and compares each sample's time with the truth.
func TestSampleClock(t *testing.T) {
	for _, drift := range []float64{-0.03, 0, 0.01, 0.03} {
		c := newSampleClock(100)
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		period := 0.01 * (1 + drift) // true seconds between samples
		read, worst := 0, 0.0
		seed := uint64(1)
		at := 0.0
		for at < 300 {
			seed = seed*6364136223846793005 + 1442695040888963407
			at += 0.045 + float64(seed>>40)/float64(1<<24)*0.03
			n := int(at/period) - read
			if n == 0 {
				continue
			}
			first := c.take(n, 0, start.Add(time.Duration(at*1e9)))
			truth := float64(read+1) * period
			if at > 60 {
				worst = max(worst, math.Abs(first.Sub(start).Seconds()-truth))
			}
			read += n
		}
		if worst > 0.012 {
			t.Errorf("drift %g: sample times off by up to %.1f ms after a minute", drift, 1000*worst)
		}
		if got := float64(c.rate()); math.Abs(got*period-1) > 0.002 {
			t.Errorf("drift %g: measured rate %.3f Hz, truth %.3f", drift, got, 1/period)
		}
	}
}

func TestSampleClockStep(t *testing.T) {
	c := newSampleClock(100)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c.take(5, 0, start)
	if got := c.take(5, 0, start.Add(time.Hour)); got.Before(start.Add(time.Hour - 100*time.Millisecond)) {
		t.Errorf("after the clock was set, a sample is dated %v", got)
	}
	if got, want := c.take(5, 20, start.Add(time.Hour+250*time.Millisecond)), start.Add(time.Hour+205*time.Millisecond); got.Sub(want).Abs() > 2*time.Millisecond {
		t.Errorf("after 20 lost samples the next is dated %v, want %v", got, want)
	}
}
