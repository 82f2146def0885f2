package signal

import (
	"math"
	"slices"
)

// beatFinder finds the peaks of a quasi-periodic wave without a threshold: multi-scale peak
// detection (Bishop and Ercole 2018, "Multi-scale peak and trough detection optimised for periodic
// and quasi-periodic neuroscience data", with the restriction to scales of plausible heart rates of
// MSPTDfast, Charlton 2024). A sample is a peak if it is greater than its neighbours at every
// distance up to the scale at which the wave as a whole has most local maxima.
type beatFinder struct {
	scales int   // greatest distance looked at, in samples
	reach  []int // of each sample, how far it is the greatest
	counts []int // how many samples are local maxima at each distance
	signed []float64
}

func newBeatFinder(scales, n int) *beatFinder {
	return &beatFinder{scales, make([]int, n), make([]int, scales+2), make([]float64, n)}
}

// peaks appends the indices of the peaks of sign*x to dst.
func (f *beatFinder) peaks(dst []int, x []float64, sign float64) []int {
	n := len(x)
	scales := min(f.scales, (n-1)/2)
	if scales < 1 {
		return dst
	}
	counts, reach, y := f.counts[:scales+1], f.reach[:n], f.signed[:n]
	clear(reach)
	for i, v := range x {
		y[i] = sign * v
	}
	for k := 1; k <= scales; k++ {
		// Three views of one length, so that no index needs a check.
		at := y[k : n-k]
		before, after, r := y[:len(at)], y[2*k:][:len(at)], reach[k:][:len(at)]
		c := 0
		for i, v := range at {
			if v > before[i] && v >= after[i] {
				c++
				if r[i] == k-1 {
					r[i] = k
				}
			}
		}
		counts[k] = c
	}
	best := 1
	for k := 2; k <= scales; k++ {
		if counts[k] > counts[best] {
			best = k
		}
	}
	for i := range n {
		if f.reach[i] >= best {
			dst = append(dst, i)
		}
	}
	return dst
}

// refine is the place of the extremum at i between the samples, by a parabola through three of
// them.
func refine(x []float64, i int) float64 {
	if i < 1 || i >= len(x)-1 {
		return float64(i)
	}
	d := x[i-1] - 2*x[i] + x[i+1]
	if d == 0 {
		return float64(i)
	}
	return float64(i) + max(-0.5, min(0.5, (x[i-1]-x[i+1])/(2*d)))
}

// intervals appends the distances between successive peaks, in samples.
func intervals(dst, x []float64, peaks []int) []float64 {
	for i := 1; i < len(peaks); i++ {
		dst = append(dst, refine(x, peaks[i])-refine(x, peaks[i-1]))
	}
	return dst
}

// median of x, sorting the scratch copy; 0 for an empty x.
func median(scratch, x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := append(scratch[:0], x...)
	slices.Sort(s)
	if m := len(s) / 2; len(s)%2 == 0 {
		return (s[m-1] + s[m]) / 2
	} else {
		return s[m]
	}
}

// steady is the mean of the intervals near their median, and the share of intervals that are near
// it.
func steady(x []float64, median float64) (mean, share float64) {
	const near = 0.25
	n := 0
	for _, v := range x {
		if math.Abs(v-median) <= near*median {
			mean += v
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	return mean / float64(n), float64(n) / float64(len(x))
}

// autocorrelation fills r[lag] with the correlation coefficient of x and itself lag samples later.
func autocorrelation(r, x []float64) {
	n := len(x)
	total := 0.0
	for _, v := range x {
		total += v * v
	}
	head, tail := total, total // energy of x[:n-lag] and x[lag:]
	for lag := range r {
		if lag >= n {
			r[lag] = 0
			continue
		}
		sum := 0.0
		late := x[lag:]
		early := x[:len(late)]
		for i, v := range late {
			sum += v * early[i]
		}
		r[lag] = 0
		if d := head * tail; d > 0 {
			r[lag] = sum / math.Sqrt(d)
		}
		head -= x[n-1-lag] * x[n-1-lag]
		tail -= x[lag] * x[lag]
	}
}

// peakNear is the greatest local maximum of r within share of lag; 0 where there is none.
func peakNear(r []float64, lag, share float64) float64 {
	best := 0.0
	from, to := int(math.Floor(lag*(1-share))), int(math.Ceil(lag*(1+share)))
	for i := max(1, from); i <= min(to, len(r)-2); i++ {
		if r[i] >= r[i-1] && r[i] >= r[i+1] {
			best = max(best, r[i])
		}
	}
	return best
}

// likeness is the mean correlation of the beats around the peaks with their own average: near 1 for
// a pulse, whatever its rhythm; low for movement and noise. template is scratch.
func likeness(template, x []float64, peaks []int, period float64) float64 {
	before, after := int(0.3*period), int(0.45*period)
	n := before + after + 1
	if n > len(template) || n < 5 {
		return 0
	}
	template = template[:n]
	clear(template)
	used := 0
	for _, p := range peaks {
		if p-before < 0 || p+after >= len(x) {
			continue
		}
		for i, v := range x[p-before : p+after+1] {
			template[i] += v
		}
		used++
	}
	if used < 2 {
		return 0
	}
	sum := 0.0
	for _, p := range peaks {
		if p-before >= 0 && p+after < len(x) {
			sum += correlation(template, x[p-before:p+after+1])
		}
	}
	return sum / float64(used)
}

// correlation is Pearson's coefficient, 0 if either does not vary.
func correlation(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var xx, yy, xy float64
	for i, v := range x {
		a, b := v-mx, y[i]-my
		xx += a * a
		yy += b * b
		xy += a * b
	}
	if xx <= 0 || yy <= 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}
