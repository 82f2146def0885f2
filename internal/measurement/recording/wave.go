package recording

import (
	"math"
	"slices"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// How a recording's light becomes codes. A finger rests at 60 % of full scale, where the MAX30100's LED current control
// keeps it.
const (
	FullScale = 65536.0
	RestLevel = 0.60
	clipLevel = 0.97
)

// absolute scales raw light, in counts of which usual ones make RestLevel, to codes. Brighter fingers get less current, as
// from a current control: nothing clips that the recording did not clip.
func absolute(x []float64, usual float64) []float64 {
	k := RestLevel * FullScale / usual
	if top := Quantile(x, 0.999); top*k > clipLevel*FullScale {
		k = clipLevel * FullScale / top
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = math.Min(FullScale-1, math.Max(0, math.Round(v*k))) // NaN stays
	}
	return out
}

// Quantile leaves holes out; of nothing it is zero.
func Quantile(x []float64, q float64) float64 {
	sorted := slices.DeleteFunc(slices.Clone(x), math.IsNaN)
	if len(sorted) == 0 {
		return 0
	}
	slices.Sort(sorted)
	return sorted[int(q*float64(len(sorted)-1))]
}

// Meter is what measures: signal.PulseOximeter, or signal.PulseRate for a light without SpO2.
type Meter interface {
	Push(a, b []uint16, lost int)
	Numerics(at time.Time) []vitals.Numeric
}

// Beater tells beats; not every meter does.
type Beater interface{ Beats() []float64 }

// Mover takes acceleration; not every meter does.
type Mover interface{ PushMotion(x, y, z []float64) }

// Wave is a recording as a meter takes it: codes at an even rate, NaN for a hole. B and motion may be nil.
type Wave struct {
	Rate   float64
	A, B   []float64
	Motion [3][]float64
}

// Start is when all recordings begin: meters want a clock, and the figures must not depend on today's.
var Start = time.Unix(1_700_000_000, 0)

// Moment is the clock's time so many seconds into a recording.
func Moment(s float64) time.Time { return Start.Add(time.Duration(s * float64(time.Second))) }

// feedEach is Push for a caller that asks the meter itself, after its values were.
func feedEach(m Meter, w Wave, moments []float64, then func()) {
	i := 0
	Push(m, w, moments, func() {
		m.Numerics(Moment(moments[i]))
		i++
		then()
	})
}

// Push gives a meter the wave up to each moment, and calls listen there.
func Push(m Meter, w Wave, moments []float64, listen func()) {
	const poll = 0.05
	a, b := make([]uint16, 0, 256), make([]uint16, 0, 256)
	lost, from := 0, 0
	flush := func(to int) {
		mv, ok := m.(Mover)
		if ok && w.Motion[0] != nil && len(a) > 0 {
			mv.PushMotion(w.Motion[0][from:to], w.Motion[1][from:to], w.Motion[2][from:to])
		}
		if len(a) > 0 {
			if w.B == nil {
				m.Push(a, nil, lost)
			} else {
				m.Push(a, b, lost)
			}
			lost = 0
		}
		a, b, from = a[:0], b[:0], to
	}
	portion := max(1, int(poll*w.Rate))
	i := 0
	advance := func(end int) {
		for ; i < end; i++ {
			hole := math.IsNaN(w.A[i]) || w.B != nil && math.IsNaN(w.B[i])
			if hole {
				flush(i)
				lost++
				from = i + 1
				continue
			}
			a = append(a, uint16(w.A[i]))
			if w.B != nil {
				b = append(b, uint16(w.B[i]))
			}
			if len(a) >= portion {
				flush(i + 1)
			}
		}
		flush(i)
	}
	for _, at := range moments {
		advance(min(len(w.A), int(math.Round(at*w.Rate))))
		listen()
	}
}

// Seconds are the moments once a second, and the end of the recording when that is at least a quarter of a second later.
func (w Wave) Seconds() []float64 {
	length := float64(len(w.A)) / w.Rate
	var out []float64
	for s := 1.0; s <= length; s++ {
		out = append(out, s)
	}
	if length-math.Floor(length) >= 0.25 || len(out) == 0 {
		out = append(out, length)
	}
	return out
}
