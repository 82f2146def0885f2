package signal_test

import (
	"math"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// breaths pushes a simulated patient's light and returns the respiratory rates of the seconds from
// the 40th on.
func breaths(t *testing.T, p bench.Profile, rate vitals.Hertz, seconds int) (values []float64, refused int) {
	t.Helper()
	p.Start = testStart
	pa, err := bench.NewPatient(p)
	if err != nil {
		t.Fatal(err)
	}
	o, err := signal.NewPulseOximeter(rate, signal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := int(rate)
	infrared, red := make([]uint16, n), make([]uint16, n)
	for s := range seconds {
		at := testStart.Add(time.Duration(s) * time.Second)
		pa.Optical(at, rate, infrared, red)
		o.Push(infrared, red, 0)
		for _, v := range o.Numerics(at.Add(time.Second)) {
			switch {
			case v.Kind != vitals.RespiratoryRate:
			case s < 31 && v.Quality.HasValue():
				t.Fatalf("a respiratory rate after %d s", s+1)
			case s >= 40 && v.Quality.HasValue():
				values = append(values, v.Value)
			case s >= 40:
				refused++
			}
		}
	}
	return values, refused
}

func TestRespiratoryRate(t *testing.T) {
	for _, rate := range []vitals.Hertz{25, 100} {
		for _, perMinute := range []vitals.BPM{8, 12, 15, 21, 30} {
			values, refused := breaths(t, bench.Profile{Seed: uint64(perMinute), RespiratoryRate: perMinute, HeartRate: 78}, rate, 120)
			worst := 0.0
			for _, v := range values {
				worst = math.Max(worst, math.Abs(v-float64(perMinute)))
			}
			if worst > 2 || len(values) < refused {
				t.Errorf("%g a minute at %g Hz: off by up to %.1f, refused in %d of %d s", float64(perMinute), float64(rate), worst, refused, refused+len(values))
			}
		}
	}
}

// TestNoBreath: without a finger there is none, and after it came back none for half a minute.
func TestNoBreath(t *testing.T) {
	p := bench.Profile{Seed: 3, ProbeOff: bench.Windows{First: 45 * time.Second, Lasting: 40 * time.Second}}
	values, refused := breaths(t, p, 100, 110)
	if len(values) > 8 || refused < 60 {
		t.Errorf("%d values, %d refused", len(values), refused)
	}
}

// TestIntervals: the times between beats are there with a heart rate, and not without.
func TestIntervals(t *testing.T) {
	o, err := signal.NewPulseOximeter(100, signal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Intervals()) != 0 {
		t.Error("intervals before the first sample")
	}
	pa, err := bench.NewPatient(bench.Profile{Seed: 5, Start: testStart, HeartRate: 75, HeartRateDrift: bench.Off})
	if err != nil {
		t.Fatal(err)
	}
	infrared, red := make([]uint16, 100), make([]uint16, 100)
	for s := range 20 {
		at := testStart.Add(time.Duration(s) * time.Second)
		pa.Optical(at, 100, infrared, red)
		o.Push(infrared, red, 0)
		o.Numerics(at.Add(time.Second))
	}
	got := o.Intervals()
	if len(got) < 7 || len(got) > 10 {
		t.Fatalf("%d intervals in 8 s at 75 a minute", len(got))
	}
	for _, v := range got {
		if math.Abs(v-0.8) > 0.08 {
			t.Errorf("an interval of %.3f s at 75 a minute", v)
		}
	}
	o.Reset()
	if len(o.Intervals()) != 0 {
		t.Error("intervals after a reset")
	}
}
