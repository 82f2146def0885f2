package accuracy

import (
	"math"
	"slices"

	"vitalseal/internal/measurement/recording"
)

// The reference's own detectors, which share nothing with package signal: an error common to both would not be seen.

// rPeaks are the times in seconds of the R waves in one lead of an electrocardiogram, after Pan and Tompkins (1985): the energy
// of the slope in 8 to 20 Hz, thresholds that follow the last beats, a second look where a beat seems to be missing. Holes are
// taken as flat.
func rPeaks(ecg []float64, rate float64) []float64 {
	n := len(ecg)
	x := make([]float64, n)
	last := 0.0
	for i, v := range ecg {
		if !math.IsNaN(v) {
			last = v
		}
		x[i] = last
	}
	// A band-pass of two moving means: over 25 ms (up to about 18 Hz) less over 125 ms (from about 4 Hz).
	narrow, wide := movingMean(x, int(0.025*rate)), movingMean(x, int(0.125*rate))
	energy := make([]float64, n)
	for i := 1; i < n-1; i++ {
		d := (narrow[i+1] - wide[i+1]) - (narrow[i-1] - wide[i-1])
		energy[i] = d * d
	}
	energy = movingMean(energy, int(0.100*rate))

	apart, near := max(1, int(0.24*rate)), max(1, int(0.16*rate))
	var tops []int // greatest of their surroundings, and not within the refractory time of the one before
	for i := range energy {
		if energy[i] > 0 && energy[i] == slices.Max(energy[max(0, i-near):min(n, i+near+1)]) && (len(tops) == 0 || i-tops[len(tops)-1] > apart) {
			tops = append(tops, i)
		}
	}
	level := usualTop(energy, rate)
	var beats []int
	recent := func() float64 { // the median height of the last eight beats follows the patient and ignores one artefact
		h := []float64{level}
		for _, b := range beats[max(0, len(beats)-8):] {
			h = append(h, energy[b])
		}
		slices.Sort(h)
		return h[len(h)/2]
	}
	const share, secondShare = 0.25, 0.08
	for k, i := range tops {
		if energy[i] < share*recent() {
			continue
		}
		if len(beats) >= 3 {
			gap := beats[len(beats)-1] - beats[len(beats)-3]
			if i-beats[len(beats)-1] > gap/2*5/3 { // one is missing: the tallest in between, if it is tall enough
				best := -1
				for _, j := range tops[:k] {
					if j > beats[len(beats)-1]+apart && j < i-apart && (best < 0 || energy[j] > energy[best]) {
						best = j
					}
				}
				if best >= 0 && energy[best] > secondShare*recent() {
					beats = append(beats, best)
				}
			}
		}
		beats = append(beats, i)
	}
	out := make([]float64, len(beats))
	for i, b := range beats {
		out[i] = float64(b) / rate
	}
	return out
}

// usualTop is the median of the greatest energies of stretches of two seconds.
func usualTop(energy []float64, rate float64) float64 {
	var tops []float64
	for w := range slices.Chunk(energy, max(1, int(2*rate))) {
		tops = append(tops, slices.Max(w))
	}
	return recording.Quantile(tops, 0.5)
}

// movingMean is centred, over 2*(n/2)+1 samples, fewer at the ends.
func movingMean(x []float64, n int) []float64 {
	half := n / 2
	out := make([]float64, len(x))
	sum, from, to := 0.0, 0, 0
	for i := range x {
		for ; to < min(len(x), i+half+1); to++ {
			sum += x[to]
		}
		for ; from < i-half; from++ {
			sum -= x[from]
		}
		out[i] = sum / float64(to-from)
	}
	return out
}

// breathsIn are the times in seconds at which breaths begin in a chest's impedance: where the wave, without what is slower than
// 12 s or faster than 0.6 s, has risen by a share of its usual height since it last fell by as much. The share keeps
// the heart's small swings out.
func breathsIn(chest []float64, rate float64) []float64 {
	x := make([]float64, len(chest))
	last := 0.0
	for i, v := range chest {
		if !math.IsNaN(v) {
			last = v
		}
		x[i] = last
	}
	smooth := movingMean(movingMean(x, int(0.6*rate)), int(0.4*rate))
	slow := movingMean(smooth, int(12*rate))
	for i := range smooth {
		smooth[i] -= slow[i]
	}
	var swings []float64
	for w := range slices.Chunk(smooth, max(2, int(6*rate))) {
		swings = append(swings, slices.Max(w)-slices.Min(w))
	}
	usual := recording.Quantile(swings, 0.5)
	if usual <= 0 {
		return nil
	}
	need := 0.35 * usual
	var out []float64
	low, high, lowAt := math.Inf(1), math.Inf(-1), 0
	rising := false
	for i, v := range smooth {
		if rising {
			high = math.Max(high, v)
			if v < high-need {
				rising, low, lowAt = false, v, i
			}
			continue
		}
		if v < low {
			low, lowAt = v, i
		}
		if v > low+need {
			out = append(out, float64(lowAt)/rate)
			rising, high = true, v
		}
	}
	return out
}
