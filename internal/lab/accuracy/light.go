package accuracy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"vitalseal/internal/signal"
	"vitalseal/internal/vitals"
)

// How a recording's light becomes codes. A finger rests at 60 % of full scale, where the MAX30100's LED current control
// keeps it; a wave that knows no absolute level gets a usual perfusion of 2 %, and swings beyond 25 pulses are clipped.
const (
	fullScale  = 65536.0
	restLevel  = 0.60
	clipLevel  = 0.97
	perfusion  = 0.02
	swingLimit = 25.0
)

// absolute scales raw light, in counts of which usual ones make restLevel, to codes. Brighter fingers get less current, as
// from a current control: nothing clips that the recording did not clip.
func absolute(x []float64, usual float64) []float64 {
	k := restLevel * fullScale / usual
	if top := quantile(x, 0.999); top*k > clipLevel*fullScale {
		k = clipLevel * fullScale / top
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = math.Min(fullScale-1, math.Max(0, math.Round(v*k))) // NaN stays
	}
	return out
}

// relit turns a wave without absolute level into codes of light. up says that the wave rises while blood flows in, as a
// monitor's pleth does; light falls then.
func relit(x []float64, rate float64, up bool) []float64 {
	median, height := quantile(x, 0.5), pulseHeight(x, rate)
	if !up {
		height = -height
	}
	out := make([]float64, len(x))
	for i, v := range x {
		swing := 0.0
		switch {
		case math.IsNaN(v):
			swing = v
		case height != 0:
			swing = max(-swingLimit, min(swingLimit, (v-median)/height))
		}
		out[i] = math.Round(restLevel * fullScale * math.Exp(-perfusion*swing))
	}
	return out
}

// pulseHeight is the median swing within windows of 1.5 s, each of which holds a beat at 40 a minute and more.
func pulseHeight(x []float64, rate float64) float64 {
	var heights []float64
	for window := range slices.Chunk(x, max(2, int(1.5*rate))) {
		low, high := math.Inf(1), math.Inf(-1)
		for _, v := range window {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
		if high > low {
			heights = append(heights, high-low)
		}
	}
	return quantile(heights, 0.5)
}

// quantile leaves holes out; of nothing it is zero.
func quantile(x []float64, q float64) float64 {
	sorted := slices.DeleteFunc(slices.Clone(x), math.IsNaN)
	if len(sorted) == 0 {
		return 0
	}
	slices.Sort(sorted)
	return sorted[int(q*float64(len(sorted)-1))]
}

// meter is what measures: signal.PulseOximeter, or signal.PulseRate for a light without SpO2.
type meter interface {
	Push(a, b []uint16, lost int)
	Numerics(at time.Time) []vitals.Numeric
}

// beater tells beats, mover takes acceleration; not every meter does.
type (
	beater interface{ Beats() []float64 }
	mover  interface{ PushMotion(x, y, z []float64) }
)

// wave is a recording as a meter takes it: codes at an even rate, NaN for a hole. B and motion may be nil.
type wave struct {
	rate   float64
	a, b   []float64
	motion [3][]float64
}

// reading is what a meter says at one moment.
type reading struct {
	at                       float64 // seconds since the recording's first sample
	heart, oxygen, breathing vitals.Numeric
}

// run is what a meter made of a recording.
type run struct {
	readings []reading
	beats    []float64 // seconds since the first sample
}

// start is when all recordings begin: meters want a clock, and the figures must not depend on today's.
var start = time.Unix(1_700_000_000, 0)

// feed gives a whole recording to a meter in the portions in which a gateway reads its chip, and asks for its values at the
// moments given in seconds (increasing).
func feed(m meter, w wave, moments []float64) run {
	var out run
	i := 0
	listen := func() {
		r := reading{at: moments[i], heart: vitals.Absent(vitals.HeartRate, vitals.Unavailable), oxygen: vitals.Absent(vitals.SpO2, vitals.Unavailable),
			breathing: vitals.Absent(vitals.RespiratoryRate, vitals.Unavailable)}
		for _, n := range m.Numerics(moment(moments[i])) {
			switch n.Kind {
			case vitals.HeartRate:
				r.heart = n
			case vitals.SpO2:
				r.oxygen = n
			case vitals.RespiratoryRate:
				r.breathing = n
			}
		}
		out.readings = append(out.readings, r)
		if bt, ok := m.(beater); ok {
			out.beats = append(out.beats, bt.Beats()...)
		}
		i++
	}
	push(m, w, moments, listen)
	return out
}

// moment is the clock's time so many seconds into a recording.
func moment(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

// feedEach is feed for a caller who asks the meter itself, after its values were.
func feedEach(m meter, w wave, moments []float64, then func()) {
	i := 0
	push(m, w, moments, func() {
		m.Numerics(moment(moments[i]))
		i++
		then()
	})
}

// push gives a meter the wave up to each moment, and calls listen there.
func push(m meter, w wave, moments []float64, listen func()) {
	const poll = 0.05
	a, b := make([]uint16, 0, 256), make([]uint16, 0, 256)
	lost, from := 0, 0
	flush := func(to int) {
		mv, ok := m.(mover)
		if ok && w.motion[0] != nil && len(a) > 0 {
			mv.PushMotion(w.motion[0][from:to], w.motion[1][from:to], w.motion[2][from:to])
		}
		if len(a) > 0 {
			if w.b == nil {
				m.Push(a, nil, lost)
			} else {
				m.Push(a, b, lost)
			}
			lost = 0
		}
		a, b, from = a[:0], b[:0], to
	}
	portion := max(1, int(poll*w.rate))
	i := 0
	advance := func(end int) {
		for ; i < end; i++ {
			hole := math.IsNaN(w.a[i]) || w.b != nil && math.IsNaN(w.b[i])
			if hole {
				flush(i)
				lost++
				from = i + 1
				continue
			}
			a = append(a, uint16(w.a[i]))
			if w.b != nil {
				b = append(b, uint16(w.b[i]))
			}
			if len(a) >= portion {
				flush(i + 1)
			}
		}
		flush(i)
	}
	for _, at := range moments {
		advance(min(len(w.a), int(math.Round(at*w.rate))))
		listen()
	}
}

// seconds are the moments once a second, and the end of the recording when that is at least a quarter of a second later.
func (w wave) seconds() []float64 {
	length := float64(len(w.a)) / w.rate
	var out []float64
	for s := 1.0; s <= length; s++ {
		out = append(out, s)
	}
	if length-math.Floor(length) >= 0.25 || len(out) == 0 {
		out = append(out, length)
	}
	return out
}

// checkRate refuses what no meter takes.
func checkRate(file string, rate float64) error {
	if !(rate >= float64(signal.MinRate) && rate <= float64(signal.MaxRate)) {
		return fmt.Errorf("%w: %s: the sampling rate comes out as %.4g Hz, allowed is %g to %g", ErrRecording, file, rate, float64(signal.MinRate), float64(signal.MaxRate))
	}
	return nil
}
