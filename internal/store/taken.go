package store

import "slices"

// taken are the sequence numbers of one stream that a partition holds, as ascending stretches that do not touch. A stream without
// holes is one stretch.
type taken []stretch

type stretch struct{ low, high int64 } // both included

// has looks from the end: what arrives is nearly always new.
func (t taken) has(seq int64) bool {
	if len(t) == 0 || seq > t[len(t)-1].high {
		return false
	}
	i, _ := slices.BinarySearchFunc(t, seq, func(x stretch, seq int64) int {
		switch {
		case x.high < seq:
			return -1
		case x.low > seq:
			return 1
		}
		return 0
	})
	return i < len(t) && t[i].low <= seq && seq <= t[i].high
}

// add takes a stretch in. What is in there already stays once.
func (t taken) add(x stretch) taken {
	if n := len(t); n == 0 || x.low > t[n-1].high+1 {
		return append(t, x)
	}
	// All that touch x become one with it.
	first, _ := slices.BinarySearchFunc(t, x.low-1, func(y stretch, low int64) int {
		if y.high < low {
			return -1
		}
		return 1
	})
	last := first
	for last < len(t) && t[last].low <= x.high+1 {
		x.low, x.high = min(x.low, t[last].low), max(x.high, t[last].high)
		last++
	}
	return slices.Replace(t, first, last, x)
}

func (t taken) count() (n int64) {
	for _, x := range t {
		n += x.high - x.low + 1
	}
	return n
}

// overlaps counts the sequence numbers that both have.
func (t taken) overlaps(o taken) (n int64) {
	for i, j := 0, 0; i < len(t) && j < len(o); {
		low, high := max(t[i].low, o[j].low), min(t[i].high, o[j].high)
		if low <= high {
			n += high - low + 1
		}
		if t[i].high < o[j].high {
			i++
		} else {
			j++
		}
	}
	return n
}
