package days

import "slices"

// Taken are the sequence numbers of one stream that a partition holds, as ascending stretches that do not touch. A stream without
// holes is one stretch.
type Taken []Stretch

// Stretch is the sequence numbers from low to high, both included.
type Stretch struct{ Low, High int64 } // both included

// has looks from the end: what arrives is nearly always new.
func (t Taken) has(seq int64) bool {
	if len(t) == 0 || seq > t[len(t)-1].High {
		return false
	}
	i, _ := slices.BinarySearchFunc(t, seq, func(x Stretch, seq int64) int {
		switch {
		case x.High < seq:
			return -1
		case x.Low > seq:
			return 1
		}
		return 0
	})
	return i < len(t) && t[i].Low <= seq && seq <= t[i].High
}

// Add takes a stretch in. What is in there already stays once.
func (t Taken) Add(x Stretch) Taken {
	if n := len(t); n == 0 || x.Low > t[n-1].High+1 {
		return append(t, x)
	}
	// All that touch x become one with it.
	first, _ := slices.BinarySearchFunc(t, x.Low-1, func(y Stretch, low int64) int {
		if y.High < low {
			return -1
		}
		return 1
	})
	last := first
	for last < len(t) && t[last].Low <= x.High+1 {
		x.Low, x.High = min(x.Low, t[last].Low), max(x.High, t[last].High)
		last++
	}
	return slices.Replace(t, first, last, x)
}

// Count is how many sequence numbers there are.
func (t Taken) Count() (n int64) {
	for _, x := range t {
		n += x.High - x.Low + 1
	}
	return n
}

// Overlaps counts the sequence numbers that both have.
func (t Taken) Overlaps(o Taken) (n int64) {
	for i, j := 0, 0; i < len(t) && j < len(o); {
		low, high := max(t[i].Low, o[j].Low), min(t[i].High, o[j].High)
		if low <= high {
			n += high - low + 1
		}
		if t[i].High < o[j].High {
			i++
		} else {
			j++
		}
	}
	return n
}
