package signal

import (
	"math"

	"vitalseal/internal/vitals"
)

// How breathing is looked for in the light.
const (
	breathRate    = 4.0  // Hz, of the series looked at
	breathSeconds = 32.0 // of it
	breathLow     = 6.0  // a minute
	breathHigh    = 42.0
	breathStep    = 0.5
	breathSure    = 0.45 // of the power near the answer that is needed to say it
	breathGood    = 0.60
	breathNear    = 2.5 // a minute
)

// respiration finds the rate of breathing in how breathing moves the light: its baseline (veins fill and empty) and the height of
// its pulse (stroke volume), each as a spectrum over 32 s, added up (Charlton 2016 names these modulations baseline and amplitude).
// Bounded, no allocation after newRespiration.
type respiration struct {
	rate           float64 // of blocks
	per            int     // blocks for one sample here
	n              int
	base, height   []float64 // rings
	next, length   int
	sum, low, high float64
	in             int
	x              []float64
	power, total   []float64
	cosine, sine   []float64
	recent         []float64 // the last second of blocks
	at             int
	filled         int
}

func newRespiration(rate float64) *respiration {
	r := &respiration{rate: rate, per: max(1, int(math.Round(rate/breathRate)))}
	r.n = int(breathSeconds * rate / float64(r.per))
	bins := int((breathHigh-breathLow)/breathStep) + 1
	r.base, r.height, r.x = make([]float64, r.n), make([]float64, r.n), make([]float64, r.n)
	r.power, r.total, r.cosine, r.sine = make([]float64, bins), make([]float64, bins), make([]float64, bins), make([]float64, bins)
	for i := range bins {
		r.sine[i], r.cosine[i] = math.Sincos(2 * math.Pi * (breathLow + float64(i)*breathStep) / 60 * float64(r.per) / rate)
	}
	r.recent = make([]float64, max(2, int(1.5*rate)))
	return r
}

func (r *respiration) reset() { r.next, r.length, r.sum, r.in, r.filled, r.at = 0, 0, 0, 0, 0, 0 }

// push adds a block of light.
func (r *respiration) push(v float64) {
	r.recent[r.at] = v
	r.at = (r.at + 1) % len(r.recent)
	r.filled = min(r.filled+1, len(r.recent))
	r.sum += v
	if r.in++; r.in < r.per {
		return
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, w := range r.recent[:r.filled] {
		low, high = min(low, w), max(high, w)
	}
	m := r.sum / float64(r.in)
	r.base[r.next] = math.Log(max(1, m))
	r.height[r.next] = (high - low) / max(1, m)
	r.next = (r.next + 1) % r.n
	r.length = min(r.length+1, r.n)
	r.sum, r.in = 0, 0
}

// look is the rate of breathing now.
func (r *respiration) look() vitals.Numeric {
	if r.length < r.n {
		return vitals.Absent(vitals.RespiratoryRate, vitals.Settling)
	}
	clear(r.total)
	for _, ring := range [][]float64{r.base, r.height} {
		k := copy(r.x, ring[r.next:])
		copy(r.x[k:], ring[:r.next])
		r.spectrum()
		sum := 0.0
		for _, v := range r.power {
			sum += v
		}
		if sum <= 0 {
			continue
		}
		for i, v := range r.power {
			r.total[i] += v / sum / 2
		}
	}
	best := 0
	for i, v := range r.total {
		if v > r.total[best] {
			best = i
		}
	}
	if r.total[best] <= 0 {
		return vitals.Absent(vitals.RespiratoryRate, vitals.LowPerfusion)
	}
	near := int(breathNear / breathStep)
	var share, rate float64
	for i := max(0, best-near); i <= min(len(r.total)-1, best+near); i++ {
		share += r.total[i]
		rate += r.total[i] * (breathLow + float64(i)*breathStep)
	}
	switch {
	case best == 0 || best == len(r.total)-1 || share < breathSure:
		return vitals.Absent(vitals.RespiratoryRate, vitals.Motion)
	case share < breathGood:
		return vitals.Checked(vitals.RespiratoryRate, rate/share, vitals.Questionable)
	}
	return vitals.Checked(vitals.RespiratoryRate, rate/share, vitals.Good)
}

// spectrum is the power of x at each rate, without a straight line, seen through a Hann window.
func (r *respiration) spectrum() {
	n := float64(r.n)
	var sy, sty float64
	for i, v := range r.x {
		t := float64(i) - (n-1)/2
		sy += v
		sty += t * v
	}
	slope := sty / (n * (n*n - 1) / 12)
	for i := range r.x {
		t := float64(i) - (n-1)/2
		r.x[i] = (r.x[i] - sy/n - slope*t) * (0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/n))
	}
	for b := range r.power {
		c, s, re, im := 1.0, 0.0, 0.0, 0.0
		kc, ks := r.cosine[b], r.sine[b]
		for _, v := range r.x {
			re += v * c
			im += v * s
			c, s = c*kc-s*ks, s*kc+c*ks
		}
		r.power[b] = (re*re + im*im)
	}
}
