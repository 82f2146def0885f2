package accuracy

import (
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// A wave that knows no absolute level gets a usual perfusion of 2 %, and swings beyond 25 pulses are clipped.
const (
	perfusion  = 0.02
	swingLimit = 25.0
)

// relit turns a wave without absolute level into codes of light. up says that the wave rises while blood flows in, as a
// monitor's pleth does; light falls then.
func relit(x []float64, rate float64, up bool) []float64 {
	median, height := recording.Quantile(x, 0.5), pulseHeight(x, rate)
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
		out[i] = math.Round(recording.RestLevel * recording.FullScale * math.Exp(-perfusion*swing))
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
	return recording.Quantile(heights, 0.5)
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

// feed gives a whole recording to a meter in the portions in which a gateway reads its chip, and asks for its values at the
// moments given in seconds (increasing).
func feed(m recording.Meter, w recording.Wave, moments []float64) run {
	var out run
	i := 0
	listen := func() {
		r := reading{at: moments[i], heart: vitals.Absent(vitals.HeartRate, vitals.Unavailable), oxygen: vitals.Absent(vitals.SpO2, vitals.Unavailable),
			breathing: vitals.Absent(vitals.RespiratoryRate, vitals.Unavailable)}
		for _, n := range m.Numerics(recording.Moment(moments[i])) {
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
		if bt, ok := m.(recording.Beater); ok {
			out.beats = append(out.beats, bt.Beats()...)
		}
		i++
	}
	recording.Push(m, w, moments, listen)
	return out
}

// checkRate refuses what no meter takes.
func checkRate(file string, rate float64) error {
	if !(rate >= float64(signal.MinRate) && rate <= float64(signal.MaxRate)) {
		return fmt.Errorf("%w: %s: the sampling rate comes out as %.4g Hz, allowed is %g to %g", recording.ErrRecording, file, rate, float64(signal.MinRate), float64(signal.MaxRate))
	}
	return nil
}
