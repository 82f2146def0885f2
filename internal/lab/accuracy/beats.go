package accuracy

import (
	"math"
	"sort"
)

// A beat found within beatTolerance of a reference beat is right (Charlton 2022); a strap's clock may be off by up to
// greatestShift, or a fifth of the recording.
const (
	beatTolerance = 0.150
	greatestShift = 15.0
	shiftStep     = 0.02
)

// matched counts beats: in both lists, missed, and found where none is.
type matched struct{ both, missed, extra int }

// f1 is the harmonic mean of sensitivity and positive predictive value, in percent.
func (m matched) f1() float64 {
	return 100 * 2 * float64(m.both) / float64(2*m.both+m.missed+m.extra)
}

// align finds the time between the strap's first beat and the recording's first sample that makes most beats agree, then
// counts. Beats within a tolerance of the ends of what both cover are left out: their partners may lie outside.
func align(beats, rr []float64, length float64) (matched, float64) {
	strap := make([]float64, 1, len(rr)+1)
	for _, v := range rr {
		strap = append(strap, strap[len(strap)-1]+v)
	}
	span := strap[len(strap)-1]
	limit := math.Max(greatestShift, math.Abs(span-length)+5)
	limit = math.Min(limit, 0.8*math.Min(span, length))
	best, bestCost, at := -1, 0.0, 0.0
	for shift := -limit; shift <= limit; shift += shiftStep {
		both, cost := overlap(beats, strap, shift)
		if both > best || both == best && cost < bestCost {
			best, bestCost, at = both, cost, shift
		}
	}
	from := math.Max(0, at) + beatTolerance
	to := math.Min(length, at+span) - beatTolerance
	return count(beats, strap, at, from, to), at
}

// overlap is how many beats agree at a shift, and how badly those do.
func overlap(beats, strap []float64, shift float64) (both int, cost float64) {
	i := 0
	for _, s := range strap {
		s += shift
		for i < len(beats) && beats[i] < s-beatTolerance {
			i++
		}
		if i < len(beats) && beats[i] <= s+beatTolerance {
			both++
			cost += math.Abs(beats[i] - s)
			i++
		}
	}
	return both, cost
}

// count pairs beats and strap, each at most once, in the order of time, and leaves out lone ones outside from and to.
func count(beats, strap []float64, shift, from, to float64) matched {
	var m matched
	beats = append([]float64(nil), beats...)
	sort.Float64s(beats)
	inside := func(t float64) int {
		if t >= from && t <= to {
			return 1
		}
		return 0
	}
	i, j := 0, 0
	for i < len(beats) || j < len(strap) {
		switch {
		case j == len(strap) || i < len(beats) && beats[i] < strap[j]+shift-beatTolerance:
			m.extra += inside(beats[i])
			i++
		case i == len(beats) || beats[i] > strap[j]+shift+beatTolerance:
			m.missed += inside(strap[j] + shift)
			j++
		default:
			m.both += inside(strap[j] + shift)
			i, j = i+1, j+1
		}
	}
	return m
}
