package signal_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// light is a finger made by hand: share is the pulse, peak to peak, as a share of the level.
type light struct {
	level, share, noise float64
}

func (l light) at(s float64, r *rand.Rand) uint16 {
	_, f := math.Modf(1.2 * s) // 72 bpm
	pulse := math.Exp(-math.Pow((f-0.25)/0.1, 2)) + 0.3*math.Exp(-math.Pow((f-0.6)/0.12, 2))
	return uint16(min(65535, max(0, math.Round(l.level*(1-l.share*pulse)+l.noise*r.NormFloat64()))))
}

func qualities(ns []vitals.Numeric) []string {
	var out []string
	for _, n := range ns {
		out = append(out, n.Quality.String())
	}
	return out
}

func TestAbsence(t *testing.T) {
	finger := light{level: 40000, share: 0.02, noise: 3}
	for _, c := range []struct {
		name          string
		infrared, red light
		seconds       int
		want          []string // of heart rate, SpO2, perfusion index
	}{
		{"finger", finger, light{35000, 0.012, 3}, 12, []string{"good", "good", "good"}},
		{"start", finger, finger, 2, []string{"settling", "settling", "settling"}},
		{"no finger", light{400, 0, 3}, light{300, 0, 3}, 12, []string{"probe_off", "probe_off", "probe_off"}},
		{"no pulse, only noise", light{40000, 0, 20}, light{35000, 0, 20}, 12, []string{"low_perfusion", "low_perfusion", "low_perfusion"}},
		{"a pulse below the noise", light{40000, 0.0004, 60}, light{35000, 0.0003, 60}, 12, []string{"low_perfusion", "low_perfusion", "low_perfusion"}},
		{"nothing moves", light{40000, 0, 0}, light{35000, 0, 0}, 12, []string{"low_perfusion", "low_perfusion", "low_perfusion"}},
		{"too much light", light{70000, 0.02, 3}, light{35000, 0.01, 3}, 12, []string{"saturated", "saturated", "saturated"}},
		{"too much red", finger, light{66000, 0.01, 3}, 12, []string{"good", "saturated", "good"}},
		{"red LED off", finger, light{95, 0, 3}, 12, []string{"good", "unavailable", "good"}},
		{"red is zero", finger, light{}, 12, []string{"good", "unavailable", "good"}},
		{"red is constant", finger, light{level: 30000}, 12, []string{"good", "unavailable", "good"}},
		{"red has noise but no pulse", finger, light{30000, 0, 10}, 12, []string{"good", "unavailable", "good"}},
		{"R beyond the curve", finger, light{30000, 0.036, 3}, 12, []string{"good", "out_of_range", "good"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 7))
			p, err := signal.NewPulseOximeter(100, signal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var n []vitals.Numeric
			for s := range c.seconds {
				var infrared, red [100]uint16
				for i := range infrared {
					at := float64(s) + float64(i)/100
					infrared[i], red[i] = c.infrared.at(at, r), c.red.at(at, r)
				}
				p.Push(infrared[:], red[:], 0)
				n = p.Numerics(testStart.Add(time.Duration(s) * time.Second))
				plausible(t, n)
			}
			// Breathing takes half a minute to be seen; without a pulse it is absent for the
			// pulse's reason.
			breathing := c.want[2]
			if breathing == "good" {
				breathing = "settling"
			}
			if diff := cmp.Diff(append(c.want, breathing), qualities(n)); diff != "" {
				t.Errorf("qualities (-want +got):\n%s%v", diff, n)
			}
		})
	}
}

func TestOneWavelength(t *testing.T) {
	p, err := signal.NewPulseOximeter(100, signal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var n []vitals.Numeric
	for s := range 10 {
		var infrared [100]uint16
		for i := range infrared {
			infrared[i] = light{40000, 0.02, 2}.at(float64(s)+float64(i)/100, r)
		}
		p.Push(infrared[:], nil, 0)
		n = p.Numerics(testStart.Add(time.Duration(s) * time.Second))
	}
	if !n[0].Quality.HasValue() || math.Abs(n[0].Value-72) > 1 || n[1].Quality != vitals.Unavailable {
		t.Errorf("%v, want 72 bpm and no SpO2", n)
	}
	// Nothing comes any more.
	if n := p.Numerics(testStart.Add(time.Minute)); n[0].Quality != vitals.DeviceFault {
		t.Errorf("%v after a minute without samples, want device_fault", n[0])
	}
	p.Reset()
	p.Push(nil, nil, 0)
	if n := p.Numerics(testStart.Add(time.Minute)); n[0].Quality.HasValue() {
		t.Errorf("%v after Reset", n[0])
	}
}

func TestCalibrations(t *testing.T) {
	// The same light under each curve: R is about 0.6.
	for name, want := range map[string]float64{"": 96.8, "max30100-maxim-quadratic": 96.8, "linear-110-25": 95} {
		p, err := signal.NewPulseOximeter(100, signal.Options{Calibration: name})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		var n []vitals.Numeric
		for s := range 12 {
			var infrared, red [100]uint16
			for i := range infrared {
				at := float64(s) + float64(i)/100
				infrared[i], red[i] = light{40000, 0.01, 1}.at(at, r), light{30000, 0.006, 1}.at(at, r)
			}
			p.Push(infrared[:], red[:], 0)
			n = p.Numerics(testStart.Add(time.Duration(s) * time.Second))
		}
		if math.Abs(n[1].Value-want) > 0.5 || n[1].Quality != vitals.Good {
			t.Errorf("calibration %q: %v, want %g", name, n[1], want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		rate        vitals.Hertz
		calibration string
		ok          bool
	}{
		{100, "", true}, {25, "linear-110-25", true}, {4000, "", true},
		{100, "no such curve", false}, {0, "", false}, {-1, "", false}, {19, "", false}, {4001, "", false},
		{vitals.Hertz(math.NaN()), "", false}, {vitals.Hertz(math.Inf(1)), "", false},
	} {
		_, err := signal.NewPulseOximeter(c.rate, signal.Options{Calibration: c.calibration})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, signal.ErrOptions) {
			t.Errorf("rate %v, calibration %q: %v", c.rate, c.calibration, err)
		}
	}
}
