package signal_test

import (
	"math"
	"testing"
	"time"

	"vitalseal/internal/sensor/bench"
	"vitalseal/internal/signal"
	"vitalseal/internal/vitals"
)

// TestShortClip: three clean beats are enough for a value that is marked as questionable, two are not.
func TestShortClip(t *testing.T) {
	const rate = 64
	pa, err := bench.NewPatient(bench.Profile{Seed: 11, Start: testStart, HeartRate: 76, SpO2: 90})
	if err != nil {
		t.Fatal(err)
	}
	infrared, red := make([]uint16, 200), make([]uint16, 200) // 3.1 s
	pa.Optical(testStart, rate, infrared, red)
	for _, c := range []struct {
		samples int
		want    bool
	}{{120, false}, {200, true}} {
		o, err := signal.NewPulseOximeter(rate, signal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o.Push(infrared[:c.samples], red[:c.samples], 0)
		for _, n := range o.Numerics(testStart.Add(4 * time.Second))[:2] {
			truth := 76.0
			if n.Kind == vitals.SpO2 {
				truth = 90
			}
			switch {
			case !c.want && n.Quality != vitals.Settling:
				t.Errorf("%v after %d samples, want settling", n, c.samples)
			case c.want && (n.Quality != vitals.Questionable || math.Abs(n.Value-truth) > 4):
				t.Errorf("%v after %d samples, want %g, questionable", n, c.samples, truth)
			}
		}
	}
}
