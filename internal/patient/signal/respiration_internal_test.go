package signal

import (
	"math"
	"testing"
)

// breathing fills the three modulations (baseline, height, pace) with a breath of so many a minute
// each; 0 is a constant and NaN one that is not known.
func breathing(perMinute [3]float64) *respiration {
	r := newRespiration(25)
	for i := range r.n {
		t := float64(i) * float64(r.per) / r.rate
		for m, ring := range [][]float64{r.base, r.height, r.pace} {
			ring[i] = 1
			if f := perMinute[m]; f != 0 {
				ring[i] = 1 + 0.02*math.Sin(2*math.Pi*f/60*t+float64(m))
			}
		}
	}
	r.length, r.slots, r.paced = r.n, r.n, r.n
	return r
}

// TestModulationsAreFused: two that agree are believed against a third; where all differ none is.
func TestModulationsAreFused(t *testing.T) {
	unknown := math.NaN()
	for what, c := range map[string]struct {
		perMinute [3]float64
		want      float64 // 0: no value
	}{
		"all agree":                           {[3]float64{15, 15, 15}, 15},
		"baseline and height against pace":    {[3]float64{14, 14.5, 27}, 14.25},
		"baseline and pace against height":    {[3]float64{20, 34, 20}, 20},
		"height and pace against baseline":    {[3]float64{9, 24, 24}, 24},
		"pace not known, the others agree":    {[3]float64{12, 12, unknown}, 12},
		"pace not known, the others disagree": {[3]float64{12, 25, unknown}, 0},
		"all disagree":                        {[3]float64{10, 19, 30}, 0},
		"one alone":                           {[3]float64{unknown, 18, unknown}, 0},
		"nothing breathes":                    {[3]float64{0, 0, 0}, 0},
	} {
		got := breathing(c.perMinute).look()
		if got.Quality.HasValue() != (c.want > 0) || c.want > 0 && math.Abs(got.Value-c.want) > 1 {
			t.Errorf("%s: %.1f (%v), want %.1f", what, got.Value, got.Quality, c.want)
		}
	}
}

// TestPaceIsFilledIn: the interval around each moment, once the beats on both sides of it are
// known, and never for what has been overwritten.
func TestPaceIsFilledIn(t *testing.T) {
	r := newRespiration(25)
	x := make([]float64, 200) // 8 s
	var peaks []int
	for i := 10; i < len(x); i += 20 { // a beat each 0.8 s
		x[i] = 1
		peaks = append(peaks, i)
	}
	for range r.n * r.per {
		r.push(40000)
	}
	r.beats(x, peaks, len(x))
	known := 0
	for _, v := range r.pace {
		if math.IsNaN(v) {
			continue
		}
		if known++; v != 20 {
			t.Errorf("an interval of %g blocks, want 20", v)
		}
	}
	// 8 s of beats at about four a second, less the newest 1.2 s and the ends.
	if want := int(8 * r.rate / float64(r.per)); known < want-10 || known > want {
		t.Errorf("%d moments have a pace, want about %d", known, want-6)
	}
	before := r.paced
	r.beats(x, peaks, len(x))
	if r.paced != before {
		t.Error("moments were given a pace twice")
	}
}
