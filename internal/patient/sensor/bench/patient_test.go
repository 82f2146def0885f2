package bench_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
)

var t0 = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

func patient(t testing.TB, p bench.Profile) *bench.Patient {
	t.Helper()
	pa, err := bench.NewPatient(p)
	if err != nil {
		t.Fatal(err)
	}
	return pa
}

// upstrokes finds where the light falls fastest: once a beat, in noiseless light.
func upstrokes(x []float64) []int {
	steepest := 0.0
	for i := 1; i < len(x); i++ {
		steepest = min(steepest, x[i]-x[i-1])
	}
	var at []int
	for i := 1; i < len(x); i++ {
		if x[i]-x[i-1] < 0.6*steepest && (len(at) == 0 || i-at[len(at)-1] > 50) {
			at = append(at, i)
		}
	}
	return at
}

func TestTruthIsWhatTheLightShows(t *testing.T) {
	for i := range 8 {
		p := bench.DemoProfile(i)
		p.SNR, p.Variability = bench.Off, bench.Off
		pa := patient(t, p)
		const rate, seconds = 200, 60
		ir := make([]float64, rate*seconds)
		for k := range ir {
			ir[k], _ = pa.Light(t0.Add(time.Duration(k)*time.Second/rate), rate)
		}
		at := upstrokes(ir)
		got := 60 * rate * float64(len(at)-1) / float64(at[len(at)-1]-at[0])
		want := 0.0
		for s := range seconds {
			want += float64(pa.Truth(t0.Add(time.Duration(s)*time.Second)).HeartRate) / seconds
		}
		if math.Abs(got-want) > 0.5 {
			t.Errorf("profile %d: counted %.2f bpm, truth says %.2f", i, got, want)
		}
	}
}

func TestRatioOfRatiosFollowsTheCurve(t *testing.T) {
	for s := vitals.Percent(70); s < 99.9; s += 0.5 {
		r := bench.RatioOfRatios(s)
		if back := -45.060*r*r + 30.354*r + 94.845; math.Abs(back-float64(s)) > 1e-9 || r < 0.33 {
			t.Errorf("SpO2 %g: R %g gives back %g", s, r, back)
		}
	}
	// In the light: the logarithmic swing of red over that of infrared.
	p := bench.Profile{SpO2: 85, SpO2Drift: bench.Off, SNR: bench.Off, RespiratoryRate: 4}
	pa := patient(t, p)
	lowI, highI, lowR, highR := math.Inf(1), 0.0, math.Inf(1), 0.0
	for k := range 90 { // under one beat, so breathing moves little
		i, r := pa.Light(t0.Add(time.Duration(k)*10*time.Millisecond), 100)
		lowI, highI, lowR, highR = min(lowI, i), max(highI, i), min(lowR, r), max(highR, r)
	}
	got, want := math.Log(highR/lowR)/math.Log(highI/lowI), bench.RatioOfRatios(85)
	if math.Abs(got-want) > 0.05*want {
		t.Errorf("ratio in the light is %.3f, want %.3f", got, want)
	}
}

func TestTwoProcessesAgree(t *testing.T) {
	p := bench.DemoProfile(2)
	a, b := patient(t, p), patient(t, p)
	p.Seed++
	other := patient(t, p)
	differs := false
	for k := range 500 {
		at := t0.Add(time.Duration(k*7919) * time.Millisecond)
		if d := cmp.Diff(a.Truth(at), b.Truth(at.Local())); d != "" {
			t.Fatal(d)
		}
		i1, r1 := a.Light(at, 100)
		i2, r2 := b.Light(at, 100)
		i3, _ := other.Light(at, 100)
		if i1 != i2 || r1 != r2 || a.Pressure(at) != b.Pressure(at) {
			t.Fatalf("at %s two patients of one profile differ", at)
		}
		differs = differs || i1 != i3
	}
	if !differs {
		t.Error("another seed makes no difference")
	}
}

func TestNoiseHasTheStatedPower(t *testing.T) {
	for _, snr := range []float64{10, 20, 30} {
		noisy := patient(t, bench.Profile{SNR: snr})
		clean := patient(t, bench.Profile{SNR: bench.Off})
		const n = 20000
		var signal, noise float64
		wave := make([]float64, n)
		for k := range wave {
			at := t0.Add(time.Duration(k) * 10 * time.Millisecond)
			a, _ := noisy.Light(at, 100)
			b, _ := clean.Light(at, 100)
			wave[k] = math.Log(b)
			noise += math.Pow(math.Log(a/b), 2)
		}
		// The pulse is what is left without the mean over a beat (0.83 s): breathing and slower
		// drift go.
		const half = 42
		for k := half; k < n-half; k++ {
			mean := 0.0
			for _, v := range wave[k-half : k+half] {
				mean += v / (2 * half)
			}
			signal += math.Pow(wave[k]-mean, 2)
		}
		got := 10 * math.Log10(signal/noise)
		if math.Abs(got-snr) > 1 {
			t.Errorf("SNR %g dB comes out as %.1f", snr, got)
		}
	}
}

func TestWindowsOfMotionAndProbeOff(t *testing.T) {
	p := bench.Profile{Start: t0, SNR: bench.Off,
		ProbeOff: bench.Windows{First: 10 * time.Second, Lasting: 5 * time.Second, Every: time.Minute},
		Motion:   bench.Windows{First: 30 * time.Second, Lasting: 8 * time.Second}}
	pa := patient(t, p)
	still := p
	still.Motion = bench.Windows{}
	calm := patient(t, still)
	for _, c := range []struct {
		at             float64
		probeOn, moves bool
	}{{9.9, true, false}, {10, false, false}, {14.9, false, false}, {15, true, false}, {29.9, true, false}, {30, true, true},
		{37.9, true, true}, {38, true, false}, {70, false, false}, {75, true, false}, {90, true, false}} {
		at := t0.Add(time.Duration(c.at * float64(time.Second)))
		tr := pa.Truth(at)
		if tr.ProbeOn != c.probeOn || tr.Motion != c.moves {
			t.Errorf("at %g s: %+v", c.at, tr)
		}
		ir, red := pa.Light(at, 100)
		if dark := ir < 0.02 && red < 0.02; dark == c.probeOn {
			t.Errorf("at %g s: light %g, %g", c.at, ir, red)
		}
		if !c.probeOn {
			if tr.Perfusion != 0 {
				t.Errorf("at %g s: perfusion %g without a finger", c.at, tr.Perfusion)
			}
			continue
		}
		// Well inside the window the artefact is far larger than a pulse.
		if ci, _ := calm.Light(at, 100); !c.moves && ci != ir {
			t.Errorf("at %g s: light moves outside of the window", c.at)
		}
	}
	worst := 0.0
	for k := range 700 {
		at := t0.Add(30500*time.Millisecond + time.Duration(k)*10*time.Millisecond)
		a, _ := pa.Light(at, 100)
		b, _ := calm.Light(at, 100)
		worst = max(worst, math.Abs(math.Log(a/b)))
	}
	if worst < 0.02 {
		t.Errorf("greatest artefact %g, less than one pulse", worst)
	}
}

// TestOscillometryRecoversTheTruth does by hand, without noise, what the cuff's algorithm does: the
// heights of the oscillation over pressure, and the pressures where they are the documented shares
// of the greatest one.
func TestOscillometryRecoversTheTruth(t *testing.T) {
	for i := range 8 {
		p := bench.DemoProfile(i)
		p.Start = t0
		pa := patient(t, p)
		begin := t0.Add(p.CuffFirst)
		const rate = 100
		var pressure []float64
		for k := range int(pa.CuffLasting().Seconds() * rate) {
			pressure = append(pressure, float64(pa.Pressure(begin.Add(time.Duration(k)*time.Second/rate))))
		}
		top := 0
		for k, v := range pressure {
			if v > pressure[top]+5 {
				top = k
			}
		}
		if pressure[top] < 170 || pressure[len(pressure)-1] > 0.1 || pressure[0] > 3 {
			t.Fatalf("profile %d: peak %.0f, end %.1f, begin %.1f mmHg", i, pressure[top], pressure[len(pressure)-1], pressure[0])
		}
		truth := pa.Truth(begin.Add(20 * time.Second))
		beat := int(rate * 60 / float64(truth.HeartRate))
		var at, height []float64
		for k := top + 2*rate; k+beat < len(pressure) && pressure[k+beat] > float64(truth.Diastolic)-25; k++ {
			const slope = -3.0 / rate // the profile's default; the beats do not fit the window well enough to measure it
			low, high := math.Inf(1), math.Inf(-1)
			for j := range beat {
				d := pressure[k+j] - pressure[k] - slope*float64(j)
				low, high = min(low, d), max(high, d)
			}
			at, height = append(at, pressure[k+beat/2]), append(height, high-low)
		}
		greatest := 0
		for k := range height {
			if height[k] > height[greatest] {
				greatest = k
			}
		}
		sys, dia := 0.0, 0.0
		for k := greatest; k > 0 && sys == 0; k-- {
			if height[k] <= bench.SystolicRatio*height[greatest] {
				sys = at[k]
			}
		}
		for k := greatest; k < len(height) && dia == 0; k++ {
			if height[k] <= bench.DiastolicRatio*height[greatest] {
				dia = at[k]
			}
		}
		if math.Abs(sys-float64(truth.Systolic)) > 4 || math.Abs(dia-float64(truth.Diastolic)) > 4 {
			t.Errorf("profile %d: %.1f/%.1f mmHg, truth %.1f/%.1f", i, sys, dia, truth.Systolic, truth.Diastolic)
		}
	}
}

func TestBadProfilesAreNamed(t *testing.T) {
	for want, p := range map[string]bench.Profile{
		"heart_rate_bpm is 900":     {HeartRate: 900},
		"spo2_percent is 40":        {SpO2: 40},
		"perfusion_percent is -1":   {Perfusion: -1},
		"systolic_mmhg - diastolic": {Systolic: 100, Diastolic: 95},
		"cuff_every is 30s":         {CuffEvery: 30 * time.Second},
		"bridge.gain":               {Bridge: bench.Bridge{Gain: 1e6}},
		"bridge.fault":              {Bridge: bench.Bridge{Fault: "loose"}},
		"probe_off":                 {ProbeOff: bench.Windows{Lasting: 10, Every: 5}},
		"snr_db is NaN":             {SNR: math.NaN()},
	} {
		_, err := bench.NewPatient(p)
		if !errors.Is(err, bench.ErrProfile) || !contains(err, want) {
			t.Errorf("%+v: %v, want %q in it", p, err, want)
		}
	}
	for i := range 40 {
		if err := bench.DemoProfile(i).Validate(); err != nil {
			t.Errorf("demo profile %d: %v", i, err)
		}
	}
}

func BenchmarkPatientLight(b *testing.B) {
	pa := patient(b, bench.DemoProfile(0))
	at := t0
	for b.Loop() {
		at = at.Add(10 * time.Millisecond)
		pa.Light(at, 100)
	}
}
