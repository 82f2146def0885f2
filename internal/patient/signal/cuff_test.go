package signal_test

import (
	"math"
	"strings"
	"testing"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// deflation is a cuff measurement made by hand at 100 Hz: from peak down to stop at a rate, then
// empty.
type deflation struct {
	peak, stop, rate    float64 // mmHg, mmHg per second
	systolic, diastolic float64
	height              float64 // of the greatest oscillation, peak to peak
	shake               float64 // movement, mmHg
}

func (d deflation) samples() []vitals.MMHg {
	var p []vitals.MMHg
	mean := d.diastolic + (d.systolic-d.diastolic)/3
	ratios := signal.PeopleRatios()
	s := 0.0
	add := func(base float64) {
		// A bell's flank lies 0.592 of its width from its top: the mean of where it crosses 0.55,
		// 0.65, 0.75 and 0.85.
		width := (d.systolic - float64(ratios.SystolicAbove) - mean) / 0.592
		if base < mean {
			width = (mean - d.diastolic) / math.Sqrt(-math.Log(ratios.Diastolic))
		}
		x := (base - mean) / width
		pulse := d.height * math.Exp(-x*x) * 0.5 * math.Cos(2*math.Pi*1.2*s)
		shake := d.shake * math.Sin(2*math.Pi*(1.1*s+2*math.Sin(0.9*s))) * math.Pow(math.Sin(1.7*s), 8)
		p = append(p, vitals.MMHg(base+pulse+shake))
		s += 0.01
	}
	for base := 0.0; base < d.peak; base += 0.3 {
		add(base)
	}
	for range 50 {
		add(d.peak)
	}
	for base := d.peak; base > d.stop; base -= d.rate / 100 {
		add(base)
	}
	for base := d.stop; base > 0.2; base *= 0.97 {
		p = append(p, vitals.MMHg(base))
	}
	return append(p, make([]vitals.MMHg, 500)...)
}

// measurements pushes samples in quarter seconds and returns what came out.
func measurements(c *signal.Cuff, p []vitals.MMHg) []signal.BloodPressure {
	var out []signal.BloodPressure
	for i := 0; i < len(p); i += 25 {
		if bp, done := c.Push(p[i:min(len(p), i+25)]); done {
			out = append(out, bp)
		}
	}
	return out
}

func TestCuff(t *testing.T) {
	usual := deflation{peak: 180, stop: 40, rate: 3, systolic: 125, diastolic: 80, height: 2.5}
	with := func(f func(*deflation)) deflation {
		d := usual
		f(&d)
		return d
	}
	for _, c := range []struct {
		name    string
		d       deflation
		quality vitals.Quality
		reason  string
		cause   vitals.Cause
	}{
		{"usual", usual, vitals.Good, "", vitals.CauseUnknown},
		{"slow", with(func(d *deflation) { d.rate = 2 }), vitals.Good, "", vitals.CauseUnknown},
		{"high pressure", with(func(d *deflation) { d.peak, d.systolic, d.diastolic = 240, 190, 110 }), vitals.Good, "", vitals.CauseUnknown},
		{"not inflated far enough", with(func(d *deflation) { d.peak = 118 }), vitals.OutOfRange, "not inflated far enough", vitals.CauseTooLow},
		{"stopped too early", with(func(d *deflation) { d.stop = 92 }), vitals.OutOfRange, "ended above diastolic", vitals.CauseTooSoon},
		{"no arm in it", with(func(d *deflation) { d.height = 0 }), vitals.LowPerfusion, "pulses", vitals.CauseNoPulse},
		{"deflated at once", with(func(d *deflation) { d.rate = 20 }), vitals.OutOfRange, "too fast", vitals.CauseTooFast},
		{"shaken", with(func(d *deflation) { d.shake = 4 }), vitals.Motion, "movement", vitals.CauseMovement},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := measurements(signal.NewCuff(100), c.d.samples())
			if len(got) != 1 {
				t.Fatalf("%d measurements, want 1: %v", len(got), got)
			}
			bp := got[0]
			if bp.Quality != c.quality || !strings.Contains(bp.Reason, c.reason) {
				t.Errorf("%+v, want %v because %q", bp, c.quality, c.reason)
			}
			if bp.Cause != c.cause || vitals.CauseOf(bp.Numerics()) != c.cause {
				t.Errorf("the cause is %q, and said as %q, want %q", bp.Cause, vitals.CauseOf(bp.Numerics()), c.cause)
			}
			for _, n := range bp.Numerics() {
				if n.Quality.HasValue() != c.quality.HasValue() {
					t.Errorf("%v, want %v", n, c.quality)
				}
			}
			if !bp.Quality.HasValue() {
				if bp.Reason == "" || bp.Systolic != 0 || bp.Diastolic != 0 || bp.Mean != 0 {
					t.Errorf("a refusal needs a reason and no values: %+v", bp)
				}
				return
			}
			if math.Abs(float64(bp.Systolic)-c.d.systolic) > 5 || math.Abs(float64(bp.Diastolic)-c.d.diastolic) > 5 {
				t.Errorf("%.1f/%.1f, want %.0f/%.0f", bp.Systolic, bp.Diastolic, c.d.systolic, c.d.diastolic)
			}
			if math.Abs(float64(bp.HeartRate)-72) > 2 {
				t.Errorf("heart rate %.1f, want 72", bp.HeartRate)
			}
		})
	}
}

func TestCuffTwice(t *testing.T) {
	d := deflation{peak: 170, stop: 40, rate: 3, systolic: 120, diastolic: 75, height: 2}
	p := d.samples()
	if got := measurements(signal.NewCuff(100), append(append([]vitals.MMHg{}, p...), p...)); len(got) != 2 || !got[0].Quality.HasValue() || !got[1].Quality.HasValue() {
		t.Errorf("%v, want two measurements", got)
	}
}

func TestNoMeasurement(t *testing.T) {
	flat := func(p vitals.MMHg, seconds int) []vitals.MMHg {
		out := make([]vitals.MMHg, 100*seconds)
		for i := range out {
			out[i] = p
		}
		return out
	}
	join := func(parts ...[]vitals.MMHg) (out []vitals.MMHg) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	usual := deflation{peak: 170, stop: 40, rate: 3, systolic: 120, diastolic: 75, height: 2}.samples()
	for _, c := range []struct {
		name string
		p    []vitals.MMHg
		want []vitals.Quality
	}{
		{"empty", flat(0, 60), nil},
		{"somebody leans on it", join(flat(0, 5), flat(45, 8), flat(0, 5)), nil},
		{"left inflated", join(flat(0, 5), flat(150, 40), flat(0, 5)), []vitals.Quality{vitals.Motion}},
		{"left inflated, then a good one", join(flat(0, 5), flat(150, 40), flat(0, 5), usual), []vitals.Quality{vitals.Motion, vitals.Good}},
		{"not a number while it deflates", join(usual[:4000], []vitals.MMHg{vitals.MMHg(math.NaN())}, usual[4000:]), []vitals.Quality{vitals.DeviceFault}},
		{"not a number at rest", join(flat(0, 5), []vitals.MMHg{vitals.MMHg(math.Inf(1))}, flat(0, 5), usual), []vitals.Quality{vitals.Good}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := measurements(signal.NewCuff(100), c.p)
			if len(got) != len(c.want) {
				t.Fatalf("%v, want %v", got, c.want)
			}
			for i, q := range c.want {
				if got[i].Quality != q {
					t.Errorf("%+v, want %v", got[i], q)
				}
				if cause := map[vitals.Quality]vitals.Cause{vitals.Motion: vitals.CauseNotDeflated, vitals.DeviceFault: vitals.CauseSensorFailed}[q]; got[i].Cause != cause {
					t.Errorf("the cause is %q, want %q", got[i].Cause, cause)
				}
			}
		})
	}
	c := signal.NewCuff(100)
	if got := measurements(c, usual[:3000]); got != nil {
		t.Fatal(got)
	}
	c.Reset()
	if got := measurements(c, usual[3500:]); got != nil {
		t.Errorf("%v from a measurement that was interrupted", got)
	}
	if got := measurements(c, usual); len(got) != 1 {
		t.Errorf("%v after an interruption, want one measurement", got)
	}
}
