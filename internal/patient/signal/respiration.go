package signal

import (
	"math"

	"vitalseal/internal/measurement/vitals"
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
	breathAgree   = 4.0 // a minute between modulations that agree (Karlen 2013)
	paceDelay     = 1.2 // seconds after which the interval around a moment is known
	paceKnown     = 0.75
)

// respiration finds the rate of breathing in how breathing moves the light: its baseline (veins
// fill and empty), the height of its pulse (stroke volume) and the pace of its beats (sinus
// arrhythmia), each as a spectrum over 32 s (Charlton 2016 names these modulations baseline,
// amplitude and frequency). Their spectra are added up, and the rate is believed if at least two of
// the three have it as their own, give or take four a minute (after Karlen 2013, who wants all
// three; the pace of a paced or an old heart does not follow the breath). Bounded, no allocation
// after newRespiration.
type respiration struct {
	rate           float64 // of blocks
	per            int     // blocks for one sample here
	n              int
	base, height   []float64 // rings
	pace           []float64 // ring of intervals, NaN where none is known
	slots, paced   int       // ever filled, and of these with their pace
	next, length   int
	sum, low, high float64
	in             int
	x              []float64
	power, total   []float64
	cosine, hann   []float64
	recent         []float64 // the last second of blocks
	at             int
	filled         int
}

func newRespiration(rate float64) *respiration {
	r := &respiration{rate: rate, per: max(1, int(math.Round(rate/breathRate)))}
	r.n = int(breathSeconds * rate / float64(r.per))
	bins := int((breathHigh-breathLow)/breathStep) + 1
	r.base, r.height, r.pace, r.x = make([]float64, r.n), make([]float64, r.n), make([]float64, r.n), make([]float64, r.n)
	r.power, r.total, r.cosine, r.hann = make([]float64, bins), make([]float64, bins), make([]float64, bins), make([]float64, r.n)
	for i := range bins {
		r.cosine[i] = math.Cos(2 * math.Pi * (breathLow + float64(i)*breathStep) / 60 * float64(r.per) / rate)
	}
	for i := range r.hann {
		r.hann[i] = 0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/float64(r.n))
	}
	r.recent = make([]float64, max(2, int(1.5*rate)))
	return r
}

func (r *respiration) reset() {
	r.next, r.length, r.sum, r.in, r.filled, r.at = 0, 0, 0, 0, 0, 0
	r.slots, r.paced = 0, 0
}

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
	r.pace[r.next] = math.NaN()
	r.slots++
	r.next = (r.next + 1) % r.n
	r.length = min(r.length+1, r.n)
	r.sum, r.in = 0, 0
}

// beats says how the pulse went in the newest n blocks, whose peaks these are: it fills in the pace
// of the moments whose beats before and after are known by now.
func (r *respiration) beats(x []float64, peaks []int, n int) {
	j := 0
	for ; r.paced < r.slots; r.paced++ {
		age := float64((r.slots-r.paced-1)*r.per+r.in) + float64(r.per)/2
		if age < paceDelay*r.rate {
			return
		}
		if r.slots-r.paced > r.n {
			continue // overwritten already
		}
		moment := float64(n) - age
		for j+1 < len(peaks) && float64(peaks[j+1]) <= moment {
			j++
		}
		if j+1 < len(peaks) && float64(peaks[j]) <= moment {
			r.pace[r.paced%r.n] = refine(x, peaks[j+1]) - refine(x, peaks[j])
		}
	}
}

// series copies a ring to x, oldest first. Gaps (NaN) are filled with what was before them; false
// if they are too many.
func (r *respiration) series(ring []float64) bool {
	k := copy(r.x, ring[r.next:])
	copy(r.x[k:], ring[:r.next])
	known, last := 0, math.NaN()
	for i, v := range r.x {
		switch {
		case !math.IsNaN(v):
			if known == 0 {
				for j := range i {
					r.x[j] = v
				}
			}
			known, last = known+1, v
		case known > 0:
			r.x[i] = last
		}
	}
	return float64(known) >= paceKnown*float64(len(r.x))
}

// look is the rate of breathing now.
func (r *respiration) look() vitals.Numeric {
	if r.length < r.n {
		return vitals.Absent(vitals.RespiratoryRate, vitals.Settling)
	}
	clear(r.total)
	var own [3]float64 // the rate that each modulation has for its own; 0: none
	for m, ring := range [][]float64{r.base, r.height, r.pace} {
		if !r.series(ring) {
			continue
		}
		r.spectrum()
		sum, top := 0.0, 0
		for i, v := range r.power {
			sum += v
			if v > r.power[top] {
				top = i
			}
		}
		if sum <= 0 {
			continue
		}
		own[m] = breathLow + float64(top)*breathStep
		for i, v := range r.power {
			r.total[i] += v / sum
		}
	}
	sum := 0.0
	for _, v := range r.total {
		sum += v
	}
	for i := range r.total {
		r.total[i] /= max(sum, 1e-12)
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
	agree := 0
	for _, v := range own {
		if v > 0 && math.Abs(v-rate/share) <= breathAgree {
			agree++
		}
	}
	switch {
	case best == 0 || best == len(r.total)-1 || share < breathSure || agree < 2:
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
		r.x[i] = (r.x[i] - sy/n - slope*t) * r.hann[i]
	}
	// Goertzel's recursion, four rates at a time: one alone waits for its own last step.
	b := 0
	for ; b+4 <= len(r.power); b += 4 {
		k0, k1, k2, k3 := 2*r.cosine[b], 2*r.cosine[b+1], 2*r.cosine[b+2], 2*r.cosine[b+3]
		var p0, q0, p1, q1, p2, q2, p3, q3 float64 // the last state, and the one before it
		for _, v := range r.x {
			p0, q0 = v+k0*p0-q0, p0
			p1, q1 = v+k1*p1-q1, p1
			p2, q2 = v+k2*p2-q2, p2
			p3, q3 = v+k3*p3-q3, p3
		}
		r.power[b] = p0*p0 + q0*q0 - k0*p0*q0
		r.power[b+1] = p1*p1 + q1*q1 - k1*p1*q1
		r.power[b+2] = p2*p2 + q2*q2 - k2*p2*q2
		r.power[b+3] = p3*p3 + q3*q3 - k3*p3*q3
	}
	for ; b < len(r.power); b++ {
		k := 2 * r.cosine[b]
		var p, q float64
		for _, v := range r.x {
			p, q = v+k*p-q, p
		}
		r.power[b] = p*p + q*q - k*p*q
	}
}
