package signal_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// wrist is light from a wrist that may swing: a pulse of 1 %, swinging of so many pulses at a
// cadence, and noise.
type wrist struct {
	rate, bpm       float64
	swing, cadence  float64
	samples         int
	light           []uint16
	x, y, z         []float64
	beats           []float64 // times of the steepest rises
	accelerometer   bool
	dark            bool
	numerics        []vitals.Numeric
	heard           []float64
	answered, wrong int
}

// wear pushes seconds of it into a meter, once a second as a gateway does, and judges what it says
// from the tenth second on.
func (w *wrist) wear(t testing.TB, p *signal.PulseRate, seconds int) {
	t.Helper()
	noise := rand.New(rand.NewPCG(7, uint64(w.bpm))) // #nosec G404 -- a test's noise
	n := int(w.rate)
	phase := 0.0
	for s := range seconds {
		w.light, w.x, w.y, w.z = w.light[:0], w.x[:0], w.y[:0], w.z[:0]
		for i := range n {
			at := float64(s) + float64(i)/w.rate
			phase += w.bpm / 60 / w.rate
			if phase >= 1 {
				phase--
				w.beats = append(w.beats, at)
			}
			pulse := math.Exp(-20*math.Pow(phase-0.18, 2)*2) + 0.35*math.Exp(-60*math.Pow(phase-0.5, 2))
			sway := w.swing * math.Sin(2*math.Pi*w.cadence*at)
			v := 40000 * (1 - 0.01*pulse + 0.01*sway + 0.0005*noise.NormFloat64())
			if w.dark {
				v = 200
			}
			w.light = append(w.light, uint16(v))
			w.x = append(w.x, sway+0.02*noise.NormFloat64())
			w.y, w.z = append(w.y, 0.3*sway), append(w.z, 1+0.02*noise.NormFloat64())
		}
		if w.accelerometer {
			p.PushMotion(w.x, w.y, w.z)
		}
		p.Push(w.light, nil, 0)
		w.numerics = p.Numerics(time.Unix(int64(s), 0))
		w.heard = append(w.heard, p.Beats()...)
		if v := w.numerics[0]; s >= 10 && v.Quality.HasValue() {
			w.answered++
			if math.Abs(v.Value-w.bpm) > 5 {
				w.wrong++
			}
		}
	}
}

func meter(t testing.TB, rate vitals.Hertz) *signal.PulseRate {
	t.Helper()
	p, err := signal.NewPulseRate(rate)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPulseRate(t *testing.T) {
	for _, bpm := range []float64{45, 62, 88, 130, 175} {
		for _, rate := range []float64{25, 30, 100, 125} {
			w := &wrist{rate: rate, bpm: bpm}
			w.wear(t, meter(t, vitals.Hertz(rate)), 40)
			if w.answered < 28 || w.wrong > 0 {
				t.Errorf("%g bpm at %g Hz: %d of 30 s answered, %d wrong", bpm, rate, w.answered, w.wrong)
			}
			if len(w.heard) == 0 {
				t.Errorf("%g bpm at %g Hz: no beats", bpm, rate)
				continue
			}
			// Every beat is there once: the gaps are one interval each.
			for i := 1; i < len(w.heard); i++ {
				if gap := w.heard[i] - w.heard[i-1]; w.heard[i] > 8 && math.Abs(gap-60/bpm) > 0.08 {
					t.Errorf("%g bpm at %g Hz: %.2f s between beats at %.1f s", bpm, rate, gap, w.heard[i])
				}
			}
		}
	}
}

// TestPulseRateInMotion: swinging of three times the pulse, at a cadence that is not the heart's.
func TestPulseRateInMotion(t *testing.T) {
	for _, c := range []struct{ bpm, cadence float64 }{{75, 1.6}, {110, 1.5}, {140, 2.7}, {165, 2.4}} {
		w := &wrist{rate: 125, bpm: c.bpm, swing: 3, cadence: c.cadence, accelerometer: true}
		w.wear(t, meter(t, 125), 60)
		if w.answered < 40 || w.wrong > 0 {
			t.Errorf("%g bpm, %g steps a second: %d of 50 s answered, %d wrong", c.bpm, c.cadence, w.answered, w.wrong)
		}
	}
}

func TestPulseRateSaysNothing(t *testing.T) {
	p := meter(t, 100)
	if v := p.Numerics(time.Unix(0, 0)); v[0].Quality != vitals.Settling {
		t.Errorf("before the first sample: %v", v)
	}
	dark := &wrist{rate: 100, bpm: 70, dark: true}
	dark.wear(t, p, 20)
	if v := dark.numerics[0]; v.Quality != vitals.ProbeOff || dark.answered > 0 || len(dark.heard) > 0 {
		t.Errorf("in the dark: %v, %d beats", v, len(dark.heard))
	}
	if v := p.Numerics(time.Unix(60, 0)); v[0].Quality != vitals.DeviceFault {
		t.Errorf("long after the last sample: %v", v)
	}
	// Noise has no rate to be shown for long.
	noise, p := rand.New(rand.NewPCG(1, 2)), meter(t, 100) // #nosec G404 -- a test's noise
	said := 0
	for s := range 120 {
		x := make([]uint16, 100)
		for i := range x {
			x[i] = uint16(40000 + 200*noise.NormFloat64())
		}
		p.Push(x, nil, 0)
		if p.Numerics(time.Unix(int64(s), 0))[0].Quality.HasValue() {
			said++
		}
	}
	if said > 60 {
		t.Errorf("noise: a rate in %d of 120 s", said)
	}
	for _, rate := range []vitals.Hertz{0, -1, 10, 5000, vitals.Hertz(math.NaN())} {
		if _, err := signal.NewPulseRate(rate); !errors.Is(err, signal.ErrOptions) {
			t.Errorf("%g Hz: %v", float64(rate), err)
		}
	}
}

// FuzzPulseRate: whatever comes, no value is NaN or out of its range, and beats go forward.
func FuzzPulseRate(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(3), true)
	f.Add([]byte("\xff\x00\xff\x00\xff\x00\xff\x00"), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, lost uint8, two bool) {
		p := meter(t, 100)
		newest := -1.0
		for s := range 12 {
			x := make([]uint16, 100)
			for i := range x {
				if len(b) > 0 {
					x[i] = uint16(b[(s*7+i)%len(b)]) << 8
				}
			}
			y := x
			if !two {
				y = nil
			}
			p.PushMotion([]float64{math.NaN(), 1}, []float64{1, math.Inf(1)}, []float64{0, 0})
			p.Push(x, y, int(lost)*s)
			for _, v := range p.Numerics(time.Unix(int64(s), 0)) {
				if v.Quality.HasValue() && !(v.Value >= 30 && v.Value <= 250) {
					t.Fatalf("%v", v)
				}
			}
			for _, at := range p.Beats() {
				if !(at > newest) {
					t.Fatalf("a beat at %g after one at %g", at, newest)
				}
				newest = at
			}
		}
	})
}

// BenchmarkPulseRate is one second of one wearer at 100 Hz with acceleration.
func BenchmarkPulseRate(b *testing.B) {
	p := meter(b, 100)
	w := &wrist{rate: 100, bpm: 72, accelerometer: true}
	w.wear(b, p, 20)
	b.ReportAllocs()
	for b.Loop() {
		p.PushMotion(w.x, w.y, w.z)
		p.Push(w.light, nil, 0)
		p.Numerics(time.Unix(0, 0))
	}
}
