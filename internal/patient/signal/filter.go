package signal

import "math"

// biquad is a second-order section, direct form II transposed.
type biquad struct{ b0, b1, b2, a1, a2 float64 }

// butterworth designs a second-order Butterworth section with the bilinear transform.
func butterworth(cutoff, rate float64, high bool) biquad {
	k := math.Tan(math.Pi * min(cutoff, 0.45*rate) / rate)
	n := 1 / (1 + math.Sqrt2*k + k*k)
	f := biquad{a1: 2 * (k*k - 1) * n, a2: (1 - math.Sqrt2*k + k*k) * n}
	if high {
		f.b0, f.b1, f.b2 = n, -2*n, n
	} else {
		f.b0, f.b1, f.b2 = k*k*n, 2*k*k*n, k*k*n
	}
	return f
}

// run filters x in place, starting as if x[0] had lasted for ever.
func (f biquad) run(x []float64) {
	if len(x) == 0 {
		return
	}
	gain := (f.b0 + f.b1 + f.b2) / (1 + f.a1 + f.a2)
	y0 := gain * x[0]
	s2 := f.b2*x[0] - f.a2*y0
	s1 := f.b1*x[0] - f.a1*y0 + s2
	for i, v := range x {
		y := f.b0*v + s1
		s1 = f.b1*v - f.a1*y + s2
		s2 = f.b2*v - f.a2*y
		x[i] = y
	}
}

// bandpass filters forwards and backwards, so that nothing shifts in time and both wavelengths stay
// aligned.
type bandpass struct {
	high, low biquad
	pad       int
	work      []float64
}

// newBandpass makes one for up to n samples at a time.
func newBandpass(from, to, rate float64, n int) *bandpass {
	pad := int(1.5 * rate)
	return &bandpass{butterworth(from, rate, true), butterworth(to, rate, false), pad, make([]float64, n+2*pad)}
}

// apply writes src, filtered, to dst of equal length. The ends are mirrored through the last
// sample: a slope goes on as a slope, so the ends stay quiet.
func (b *bandpass) apply(dst, src []float64) {
	n := len(src)
	if n == 0 {
		return
	}
	pad := min(b.pad, n-1)
	w := b.work[:n+2*pad]
	for i := range pad {
		w[i] = 2*src[0] - src[pad-i]
		w[pad+n+i] = 2*src[n-1] - src[n-2-i]
	}
	copy(w[pad:], src)
	for range 2 {
		b.high.run(w)
		b.low.run(w)
		reverse(w)
	}
	copy(dst, w[pad:pad+n])
}

func reverse(x []float64) {
	for i, j := 0, len(x)-1; i < j; i, j = i+1, j-1 {
		x[i], x[j] = x[j], x[i]
	}
}

// noiseGain is the variance that white noise of variance 1 has after the filter.
func (b *bandpass) noiseGain() float64 {
	n := len(b.work) - 2*b.pad
	x := make([]float64, n)
	x[n/2] = 1
	b.apply(x, x)
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return sum
}

// whiteNoise estimates the variance of the white noise in x from its fourth differences, in which a
// pulse wave, a baseline and movement hardly appear.
func whiteNoise(x []float64) float64 {
	if len(x) < 5 {
		return 0
	}
	sum := 0.0
	for i := 2; i < len(x)-2; i++ {
		d := x[i-2] - 4*x[i-1] + 6*x[i] - 4*x[i+1] + x[i+2]
		sum += d * d
	}
	return sum / float64(len(x)-4) / 70
}

func mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
