package signal_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// ratioPoints are on a curve, with errors, some of them wild.
func ratioPoints(n int, low, high, noise float64, wild int, curve func(r float64) float64) []signal.RatioPoint {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	var out []signal.RatioPoint
	for i := 0; len(out) < n; i++ {
		ratio := 0.3 + 1.4*r.Float64()
		y := curve(ratio) + noise*r.NormFloat64()
		if len(out) < wild {
			y -= 12
		}
		if y >= low && y <= high {
			out = append(out, signal.RatioPoint{Ratio: ratio, SpO2: vitals.Percent(y)})
		}
	}
	return out
}

func line(r float64) float64 { return 112 - 28*r }

func TestFitCalibration(t *testing.T) {
	bend := func(r float64) float64 { return 100 + 2*r - 22*r*r }
	for _, c := range []struct {
		name   string
		points []signal.RatioPoint
		form   string
		near   float64
		truth  func(float64) float64
		from   float64
	}{
		{"clean line", ratioPoints(40, 65, 100, 0, 0, line), signal.FormLine, 0.01, line, 0.5},
		{"noisy line", ratioPoints(60, 65, 100, 2, 0, line), signal.FormLine, 1.5, line, 0.5},
		{"wild points", ratioPoints(60, 50, 100, 1, 6, line), signal.FormLine, 1.0, line, 0.5},
		{"few points", ratioPoints(6, 65, 100, 0.5, 0, line), signal.FormLine, 1.5, line, 0.5},
		{"bent", ratioPoints(80, 45, 100, 0.5, 0, bend), signal.FormQuadratic, 1, bend, 0.4},
		{"narrow", ratioPoints(30, 94, 98, 0.5, 0, line), signal.FormOffset, 2, line, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, report, err := signal.FitCalibration(c.points, "some-sensor")
			if err != nil {
				t.Fatal(err)
			}
			if report.Form != c.form || report.Points != len(c.points) || got.Name != "some-sensor-fitted" {
				t.Errorf("%+v of %+v", report, got)
			}
			for _, p := range c.points {
				if e := math.Abs(got.SpO2(p.Ratio) - min(100, c.truth(p.Ratio))); p.Ratio >= c.from && e > c.near {
					t.Errorf("off by %.2f at %.2f: %+v", e, p.Ratio, got)
					break
				}
			}
			if report.LeaveOneOut < report.Arms-1e-9 || math.IsNaN(report.LeaveOneOut) {
				t.Errorf("%.3f on unseen points, %.3f on its own", report.LeaveOneOut, report.Arms)
			}
			if c.form == signal.FormOffset && len(report.Warnings) < 2 {
				t.Errorf("warnings %q", report.Warnings)
			}
		})
	}
}

// TestLeaveOneOut compares the shortcut with the real thing.
func TestLeaveOneOut(t *testing.T) {
	points := ratioPoints(25, 65, 100, 1, 0, line)
	_, report, err := signal.FitCalibration(points, "x")
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for i, p := range points {
		rest := append(append([]signal.RatioPoint{}, points[:i]...), points[i+1:]...)
		c, _, err := signal.FitCalibration(rest, "x")
		if err != nil {
			t.Fatal(err)
		}
		d := c.SpO2(p.Ratio) - float64(p.SpO2)
		total += d * d
	}
	if real := math.Sqrt(total / float64(len(points))); math.Abs(real-report.LeaveOneOut) > 0.05*real+0.02 {
		t.Errorf("%.3f reported, %.3f when done", report.LeaveOneOut, real)
	}
}

func TestFitRefuses(t *testing.T) {
	good := ratioPoints(30, 65, 100, 0, 0, line)
	for name, points := range map[string][]signal.RatioPoint{
		"none":      nil,
		"four":      good[:4],
		"rising":    ratioPoints(30, 60, 100, 0, 0, func(r float64) float64 { return 60 + 20*r }),
		"unrelated": ratioPoints(30, 60, 100, 0, 0, func(r float64) float64 { return 80 + 10*math.Sin(1000*r) }),
		"nan":       append([]signal.RatioPoint{{Ratio: math.NaN(), SpO2: 95}}, good...),
		"alike":     {{0.5, 97}, {0.5, 90}, {0.5, 85}, {0.5, 80}, {0.5, 75}, {0.5, 70}},
	} {
		c, _, err := signal.FitCalibration(points, "x")
		if !errors.Is(err, signal.ErrFit) && !errors.Is(err, signal.ErrCalibration) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if _, _, err := signal.FitCalibration(good, "No Name!"); !errors.Is(err, signal.ErrCalibration) {
		t.Errorf("a bad name: %v", err)
	}
}

func TestCalibrationFile(t *testing.T) {
	c, _, err := signal.FitCalibration(ratioPoints(60, 60, 100, 1, 0, line), "maxm86161")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := signal.LoadCalibration(&b)
	if err != nil {
		t.Fatal(err)
	}
	for r := 0.2; r < 2; r += 0.1 {
		if math.Abs(got.SpO2(r)-c.SpO2(r)) > 1e-4 {
			t.Errorf("%v at %v, was %v", got.SpO2(r), r, c.SpO2(r))
		}
	}
	for name, s := range map[string]string{
		"empty":           "",
		"unknown":         strings.Replace(text, `"points"`, `"punkte"`, 1),
		"version":         strings.Replace(text, `"version": 1`, `"version": 2`, 1),
		"twice":           text + text,
		"key twice":       strings.Replace(text, `"linear_percent"`, `"constant_percent": 200, "linear_percent"`, 1),
		"key in capitals": strings.Replace(text, `"linear_percent"`, `"CONSTANT_PERCENT": 200, "linear_percent"`, 1),
		"rising":          strings.Replace(text, `"linear_percent": -`, `"linear_percent": `, 1),
		"name":            strings.Replace(text, `"maxm86161-fitted"`, `"../x"`, 1),
		"long":            text + strings.Repeat(" ", 1<<17),
	} {
		if _, err := signal.LoadCalibration(strings.NewReader(s)); !errors.Is(err, signal.ErrCalibration) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOwnCurve: a patient whose light follows the default curve is read through another one, whose
// name is told.
func TestOwnCurve(t *testing.T) {
	begin := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	pa, err := bench.NewPatient(bench.Profile{Seed: 5, Start: begin, SpO2: 90, SpO2Drift: bench.Off})
	if err != nil {
		t.Fatal(err)
	}
	infrared, red := make([]uint16, 2000), make([]uint16, 2000)
	pa.Optical(begin, 100, infrared, red)
	own := signal.Calibration{Name: "mine", Model: "mine", Constant: 115, Linear: -30, HighestRatio: 2}
	p, err := signal.NewPulseOximeter(100, signal.Options{Curve: &own})
	if err != nil {
		t.Fatal(err)
	}
	p.Push(infrared, red, 0)
	p.Numerics(begin.Add(20 * time.Second)) // after the first look it wants to see another
	p.Push(infrared[:100], red[:100], 0)
	n := p.Numerics(begin.Add(21 * time.Second))
	ratio, ok := p.Ratio()
	want := 115 - 30*bench.RatioOfRatios(90)
	if p.Calibration() != "mine" || !ok || math.Abs(ratio-bench.RatioOfRatios(90)) > 0.08 || math.Abs(n[1].Value-want) > 2.5 {
		t.Errorf("%q, ratio %.3f %v, %v, want %.1f", p.Calibration(), ratio, ok, n[1], want)
	}
	own.Linear = 30
	if _, err := signal.NewPulseOximeter(100, signal.Options{Curve: &own}); !errors.Is(err, signal.ErrCalibration) {
		t.Errorf("a rising curve: %v", err)
	}
}

func FuzzLoadCalibration(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"a","sensor_model":"b","constant_percent":110,"linear_percent":-25,"quadratic_percent":0,"lowest_ratio":0.4,"highest_ratio":2,"points":5,"leave_one_out_arms_percent":2}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := signal.LoadCalibration(bytes.NewReader(b))
		if err != nil {
			return
		}
		last := 101.0
		for r := 0.0; r < 5; r += 0.1 {
			v := c.SpO2(r)
			if !(v <= last) || math.IsNaN(v) {
				t.Fatalf("%+v rises to %v at %v", c, v, r)
			}
			last = v
		}
		var out bytes.Buffer
		if err := c.Write(&out); err != nil {
			t.Fatal(err)
		}
	})
}
