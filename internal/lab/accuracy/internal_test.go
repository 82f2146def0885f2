package accuracy

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// heart makes an electrocardiogram with R waves at irregular times, tall T waves, wander, noise and an artefact, upright or not.
func heart(rate, seconds, bpm, sign float64, seed uint64) (ecg, beats []float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for at := 0.4; at < seconds-0.4; at += 60 / bpm * (0.9 + 0.2*r.Float64()) {
		beats = append(beats, at)
	}
	ecg = make([]float64, int(rate*seconds))
	for i := range ecg {
		s := float64(i) / rate
		for _, b := range beats {
			if d := s - b; math.Abs(d) < 0.6 {
				ecg[i] += sign * (math.Exp(-d*d/2/0.010/0.010) - 0.25*math.Exp(-(d-0.03)*(d-0.03)/2/0.01/0.01) + 0.4*math.Exp(-(d-0.26)*(d-0.26)/2/0.04/0.04))
			}
		}
		ecg[i] += 0.5*math.Sin(0.9*s) + 0.03*r.NormFloat64()
		if s > seconds/2 && s < seconds/2+0.05 {
			ecg[i] += 3
		}
	}
	return ecg, beats
}

// TestRPeaks: the reference must itself be right.
func TestRPeaks(t *testing.T) {
	for _, rate := range []float64{125, 250, 500} {
		for _, bpm := range []float64{38, 60, 90, 140, 190} {
			for _, sign := range []float64{1, -1} {
				ecg, beats := heart(rate, 60, bpm, sign, uint64(bpm))
				m := count(rPeaks(ecg, rate), beats, 0, 0.5, 59.5)
				if m.missed > 1 || m.extra > 2 { // the artefact may be taken for a beat
					t.Errorf("%g Hz, %g bpm, %+g: %d found, %d missed, %d extra", rate, bpm, sign, m.both, m.missed, m.extra)
				}
			}
		}
	}
	for _, flat := range [][]float64{nil, make([]float64, 1000), {math.NaN(), math.NaN()}} {
		if got := rPeaks(flat, 125); len(got) != 0 {
			t.Errorf("beats in a flat line: %v", got)
		}
	}
}

func TestBreaths(t *testing.T) {
	for _, perMinute := range []float64{6, 10, 16, 25, 40} {
		x := make([]float64, 125*120)
		r := rand.New(rand.NewPCG(3, 4))
		for i := range x {
			s := float64(i) / 125
			breath := math.Sin(2 * math.Pi * perMinute / 60 * s)
			x[i] = (1+0.3*math.Sin(s/9))*breath + 0.12*math.Sin(2*math.Pi*1.4*s) + 2*math.Sin(s/40) + 0.05*r.NormFloat64()
		}
		if got := meanRate(breathsIn(x, 125), 0, 120); math.Abs(got-perMinute) > 0.5 {
			t.Errorf("%g breaths a minute counted as %.2f", perMinute, got)
		}
	}
	if got := breathsIn(make([]float64, 5000), 125); len(got) != 0 {
		t.Errorf("breaths in a flat line: %v", got)
	}
}

// TestAlign shifts a strap's intervals by all kinds of times, takes beats away and adds some: the count must be exact.
func TestAlign(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var strap, rr []float64
	at := 0.0
	for at < 80 {
		strap = append(strap, at)
		v := 0.6 + 0.5*r.Float64()
		rr = append(rr, v)
		at += v
	}
	strap = append(strap, at)
	for _, shift := range []float64{-9.3, -1, 0, 0.37, 6} {
		var beats []float64
		missed, extra := 0, 0
		for i, s := range strap {
			s += shift + 0.02*r.NormFloat64()
			if s < 0 || s > 70 {
				continue
			}
			switch {
			case i%17 == 5 && s > 1 && s < 69:
				missed++
				continue
			case i%19 == 3 && s > 1 && s < 69:
				extra++
				beats = append(beats, s)
				s += 0.28
			}
			beats = append(beats, s)
		}
		m, got := align(beats, rr, 70)
		if math.Abs(got-shift) > 0.06 || m.missed != missed || m.extra != extra || m.both < 60 {
			t.Errorf("shift %g: found %.2f; %+v, want %d missed and %d extra", shift, got, m, missed, extra)
		}
	}
	if m, _ := align(nil, rr, 70); m.both != 0 || m.missed < 50 || m.f1() != 0 {
		t.Errorf("no beats: %+v", m)
	}
}

func TestErrors(t *testing.T) {
	var e errorsOf
	for _, v := range []float64{e.mean(), e.sd(), e.rms(), e.mae(), e.worst(), percent(0, 0)} {
		if !math.IsNaN(v) {
			t.Errorf("%v of nothing", v)
		}
	}
	e = errorsOf{1, -3, 2}
	for name, v := range map[string][2]float64{"mean": {e.mean(), 0}, "sd": {e.sd(), math.Sqrt(7)}, "rms": {e.rms(), math.Sqrt(14.0 / 3)},
		"mae": {e.mae(), 2}, "worst": {e.worst(), 3}} {
		if math.Abs(v[0]-v[1]) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, v[0], v[1])
		}
	}
}

// FuzzReaders: whatever a file holds, a reader ends in an error that names it or in samples within bounds.
func FuzzReaders(f *testing.F) {
	for _, s := range []string{"", "0.000000 0.048726 0.337025\n0.001000 -0.092741 0.336107\n", "1,2,3,4,5,6\n1,2,3\n",
		"timestamp,sampleNum,LEDC1,LEDC2\n1,1,5,5\n2,3,5,5\nstop time,3\n", "115002,15926,3,PI,1,100,185927,186062,186130\n1,1,1,PR,1,1,5\n1,1,2,UN,1,100,x,97\n",
		"time,R,G,B\n0,252.65,0,0\n39,252,0,0\n3000,1,1,1\n", "1203 1124 974\n", "window_start_s,bpm\n0,74.34\n2,76\n",
		"Sampling Freq,Time [s], RESP, PLETH, V, AVR, II\n125,0,0.3,0.4,0.5,0.3,0.7\n,.008,0.3,0.4,0.5,0.3,0.6\n", "ecg,ppg1,ppg2,acc_x,acc_y,acc_z\n1,2,3,4,5,6\n",
		"\x1f\x8b\x08\x00", "timestamp,sampleNum,LEDC1,LEDC2\n1,nan,5,5\n", "a,b\nnan,-\n", "ratio,spo2_percent\n0.5,97\n-,\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		named := func(err error) {
			if err != nil && !strings.Contains(err.Error(), "name") {
				t.Errorf("error without the file's name: %v", err)
			}
		}
		d, err := readDeflation("name", strings.NewReader(s))
		named(err)
		if err == nil && len(d.pressure) < 2 {
			t.Error("a deflation without samples")
		}
		fr, err := readFrames("name", strings.NewReader(s))
		named(err)
		if err == nil && fr.times[len(fr.times)-1]-fr.times[0] < 3600 {
			for _, v := range fr.evenly(cameraRate) {
				if math.IsInf(v, 0) {
					t.Error("infinite light")
				}
			}
		}
		rr, err := readIntervals("name", strings.NewReader(s))
		named(err)
		for _, v := range rr {
			if !(v > 0) {
				t.Errorf("interval %v", v)
			}
		}
		_, err = readWindows("name", strings.NewReader(s))
		named(err)
		_, err = readTreadmill("name", strings.NewReader(s))
		named(err)
		m, err := readMonitor(125)("name", strings.NewReader(s))
		named(err)
		if err == nil && !(m.rate >= 20 && m.rate <= 4000) {
			t.Errorf("rate %v", m.rate)
		}
	})
}
