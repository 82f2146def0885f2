package accuracy

import (
	"math"
)

// errorsOf collects value minus reference of the values that were given.
type errorsOf []float64

func (e *errorsOf) add(value, reference float64) { *e = append(*e, value-reference) }

// mean is NaN of nothing, as are all figures: they then show as absent.
func (e errorsOf) mean() float64 {
	total := 0.0
	for _, v := range e {
		total += v
	}
	return total / float64(len(e)) // 0/0 is NaN
}

// sd is the standard deviation of a sample (n-1, as ISO 81060-2 has it).
func (e errorsOf) sd() float64 {
	if len(e) < 2 {
		return math.NaN()
	}
	m, total := e.mean(), 0.0
	for _, v := range e {
		total += (v - m) * (v - m)
	}
	return math.Sqrt(total / float64(len(e)-1))
}

// rms is the root mean square: A_rms of ISO 80601-2-61.
func (e errorsOf) rms() float64 {
	total := 0.0
	for _, v := range e {
		total += v * v
	}
	return math.Sqrt(total / float64(len(e)))
}

// mae is the mean absolute error.
func (e errorsOf) mae() float64 {
	total := 0.0
	for _, v := range e {
		total += math.Abs(v)
	}
	return total / float64(len(e))
}

// worst is the greatest absolute error.
func (e errorsOf) worst() float64 {
	if len(e) == 0 {
		return math.NaN()
	}
	top := 0.0
	for _, v := range e {
		top = math.Max(top, math.Abs(v))
	}
	return top
}

// percent is a share of a whole; NaN of nothing.
func percent(part, whole int) float64 { return 100 * float64(part) / float64(whole) }
