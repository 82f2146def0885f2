package signal_test

import (
	"math"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// FuzzPulseOximeter makes samples, gaps and times from bytes: whatever comes, no panic, no NaN,
// nothing out of range.
func FuzzPulseOximeter(f *testing.F) {
	f.Add(uint16(100), []byte{0, 100, 50, 200, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint16(25), []byte{255, 255, 255, 0, 0, 0, 128, 128, 128, 64, 32, 16, 3, 3, 3, 9})
	f.Add(uint16(1000), []byte("a pulse would be nice but is not to be had"))
	f.Fuzz(func(t *testing.T, rate uint16, script []byte) {
		hertz := vitals.Hertz(20 + int(rate)%1000)
		p, err := signal.NewPulseOximeter(hertz, signal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(script) > 400 {
			script = script[:400]
		}
		at := time.Unix(0, 0)
		infrared, red := make([]uint16, 0, 4096), make([]uint16, 0, 4096)
		phase := 0.0
		for i := 0; i+4 <= len(script); i += 4 {
			a, b, c, d := script[i], script[i+1], script[i+2], script[i+3]
			infrared, red = infrared[:0], red[:0]
			for k := range int(a) * 8 { // a pulse of any rate, size, shape and level, with jumps
				phase += float64(b) / 40 / float64(hertz)
				_, x := math.Modf(phase)
				v := float64(c)*256 + float64(d)*16*math.Exp(-x*float64(1+b%16)) + float64((k*int(d))%17)
				infrared = append(infrared, uint16(min(65535, v)))
				if d%3 != 0 {
					red = append(red, uint16(min(65535, v*float64(b)/128)))
				}
			}
			lost := 0
			if d%5 == 0 {
				lost = (int(c) - 20) * int(b) * int(b)
			}
			p.Push(infrared, red, lost)
			at = at.Add(time.Duration(a) * 37 * time.Millisecond)
			plausible(t, p.Numerics(at))
			if d == 77 {
				p.Reset()
			}
		}
	})
}

func FuzzCuff(f *testing.F) {
	f.Add([]byte{10, 180, 50, 20, 120, 30, 20, 60, 30, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 5, 255, 255, 200, 100, 9, 255, 0, 30})
	f.Fuzz(func(t *testing.T, script []byte) {
		c := signal.NewCuff(100)
		if len(script) > 120 {
			script = script[:120]
		}
		level, s := 0.0, 0.0
		for i := 0; i+3 <= len(script); i += 3 {
			n, to, h := int(script[i])*10, float64(script[i+1]), float64(script[i+2])
			p := make([]vitals.MMHg, n)
			for k := range p {
				s += 0.01
				v := level + (to-level)*float64(k)/float64(n) + h/40*math.Sin(2*math.Pi*s*(0.5+h/64))
				if h == 255 && k == n/2 {
					v = math.NaN()
				}
				p[k] = vitals.MMHg(v)
			}
			level = to
			bp, done := c.Push(p)
			if !done {
				continue
			}
			if !bp.Quality.HasValue() && bp.Reason == "" {
				t.Fatalf("refused without a reason: %+v", bp)
			}
			for _, m := range bp.Numerics() {
				low, high := m.Kind.Range()
				if bp.Quality.HasValue() && !(m.Quality.HasValue() && m.Value >= low && m.Value <= high) {
					t.Fatalf("%v", m)
				}
			}
			if bp.Quality.HasValue() && !(bp.Diastolic < bp.Mean && bp.Mean < bp.Systolic) {
				t.Fatalf("%+v", bp)
			}
		}
	})
}
