package bench

import (
	"math"
	"slices"
	"time"
)

// Recording is a real pulse wave that takes a simulated patient's place, brought to the chip's
// optical range: shares of the converter's full scale, as Patient.Light returns them. It is
// immutable, and loops without a step.
type Recording struct {
	// Form is which of the known forms the file has: "oximeter", "emotibit", "camera", "log",
	// "table" or "column".
	Form string
	// Rate of the recording in Hz, after irregular time stamps were evened out.
	Rate float64
	// Note says what was done to the recording that its user should know; mostly empty.
	Note string

	infrared, red []float64 // NaN is a hole; red is nil for one wavelength
	kernel        []float64
	once          bool
	whole         [2][]float64 // infrared and red as they came
}

// Once is the recording from its first sample to its last, not looped: dark before and after.
func (r *Recording) Once() *Recording {
	return &Recording{Form: r.Form, Rate: r.Rate, Note: r.Note, infrared: r.whole[0], red: r.whole[1], kernel: r.kernel, once: true, whole: r.whole}
}

// OneWavelength reports whether the recording lacks red: the red channel then stays dark.
func (r *Recording) OneWavelength() bool { return r.red == nil }

// Duration is the length of one loop, up to about two seconds shorter than the file; of the whole
// file after Once.
func (r *Recording) Duration() time.Duration {
	return time.Duration(float64(len(r.infrared)) / r.Rate * float64(time.Second))
}

// Recordings without an absolute light level are given a perfusion of replayPerfusion; swings
// beyond swingLimit pulses are clipped.
const (
	replayPerfusion = 0.02
	swingLimit      = 25
)

// lobes of the interpolation kernel (Lanczos) and how finely it is tabulated.
const (
	lobes       = 4
	kernelSteps = 256
)

func lanczos() []float64 {
	k := make([]float64, lobes*kernelSteps+2)
	for i := range k {
		x := float64(i) / kernelSteps
		switch {
		case i == 0:
			k[i] = 1
		case x < lobes:
			a := math.Pi * x
			k[i] = lobes * math.Sin(a) * math.Sin(a/lobes) / (a * a)
		}
	}
	return k
}

// at is the light s seconds after some beginning, band-limited to half of the chip's sampling rate
// so that nothing aliases. A hole looks like a probe without finger.
func (r *Recording) at(s, chipRate float64) (infrared, red float64) {
	n := len(r.infrared)
	pos := s * r.Rate
	if r.once && (pos < 0 || pos > float64(n)) {
		return r.open()
	}
	if !r.once {
		if pos = math.Mod(pos, float64(n)); pos < 0 {
			pos += float64(n)
		}
	}
	squeeze := min(1, chipRate/r.Rate)
	reach := int(math.Ceil(lobes / squeeze))
	if reach >= n { // too few samples to interpolate: never for a loaded recording
		return openLevel, openLevel
	}
	centre := int(pos)
	first, last := centre-reach+1, centre+reach
	var total float64
	if first >= 0 && last < n { // nearly always
		scale := squeeze * kernelSteps
		ir, red1 := r.infrared[first:last+1], r.red
		if red1 != nil {
			red1 = red1[first : last+1]
		}
		for i, v := range ir {
			w := r.kernel[min(int(math.Abs(pos-float64(first+i))*scale+0.5), len(r.kernel)-1)]
			total += w
			infrared += w * v
			if red1 != nil {
				red += w * red1[i]
			}
		}
	} else {
		for i := first; i <= last; i++ {
			w := r.kernel[min(int(math.Abs(pos-float64(i))*squeeze*kernelSteps+0.5), len(r.kernel)-1)]
			j := min(max(i, 0), n-1)
			if !r.once {
				j = (i + n) % n
			}
			total += w
			infrared += w * r.infrared[j]
			if r.red != nil {
				red += w * r.red[j]
			}
		}
	}
	if math.IsNaN(infrared) || math.IsNaN(red) {
		return r.open()
	}
	return max(0, infrared/total), max(0, red/total)
}

// open is the light without a finger.
func (r *Recording) open() (infrared, red float64) {
	if r.red == nil {
		return openLevel, 0
	}
	return openLevel, openLevel
}

// newRecording makes a looping recording from samples already in the optical range.
func newRecording(form string, rate float64, infrared, red []float64) *Recording {
	r := &Recording{Form: form, Rate: rate, kernel: lanczos(), whole: [2][]float64{infrared, red}}
	end, fade := loopEnd(infrared, rate)
	r.infrared = loop(infrared, end, fade)
	if red != nil {
		r.red = loop(red, end, fade)
	}
	return r
}

// loopEnd finds where to close the loop: the place near the end whose wave looks most like the
// beginning, so that no beat is cut in two. The last fade samples before it are blended into the
// first ones.
func loopEnd(x []float64, rate float64) (end, fade int) {
	n := len(x)
	fade = min(int(0.8*rate), n/4)
	search := min(int(1.5*rate), n/4)
	if fade < 2 {
		return n, 0
	}
	end, best := n, math.Inf(1)
	head := x[:fade]
	headMean := mean(head)
	for e := n; e > n-search; e-- {
		tail := x[e-fade : e]
		tailMean := mean(tail)
		cost := 0.0
		for i := range head {
			d := head[i] - headMean - (tail[i] - tailMean)
			cost += d * d
		}
		if cost < best { // never true for a hole
			end, best = e, cost
		}
	}
	return end, fade
}

func loop(x []float64, end, fade int) []float64 {
	out := slices.Clone(x[:end-fade])
	for i := range min(fade, len(out)) {
		share := float64(i) / float64(fade)
		out[i] = share*x[i] + (1-share)*x[end-fade+i]
	}
	return out
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v
	}
	return m / float64(len(x))
}

// scaled multiplies raw light by a device's factor.
func scaled(x []float64, factor float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v * factor
	}
	return out
}

// relit turns a wave that knows no absolute level, and points up while blood flows in, into light.
func relit(x []float64, rate float64) []float64 {
	median, height := quantile(x, 0.5), pulseHeight(x, rate)
	out := make([]float64, len(x))
	for i, v := range x {
		swing := 0.0
		switch {
		case math.IsNaN(v):
			swing = v
		case height > 0:
			swing = max(-swingLimit, min(swingLimit, (v-median)/height))
		}
		out[i] = infraredLevel * math.Exp(-replayPerfusion*swing)
	}
	return out
}

// pulseHeight is the median swing within windows of 1.5 s, each of which holds a beat at 40 a
// minute and more.
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

// evenly resamples irregular samples (strictly increasing times in seconds) to a grid, through a
// monotone cubic (Fritsch and Carlson 1980), which does not overshoot as a plain cubic does. Gaps
// longer than a quarter second become holes.
func evenly(times, values []float64, rate float64) []float64 {
	n := len(times)
	slope := make([]float64, n)
	chord := func(i int) float64 { return (values[i+1] - values[i]) / (times[i+1] - times[i]) }
	for i := 1; i < n-1; i++ {
		a, b := chord(i-1), chord(i)
		if a*b > 0 {
			slope[i] = 2 * a * b / (a + b)
		}
	}
	count := int((times[n-1]-times[0])*rate) + 1
	out := make([]float64, count)
	i := 0
	for k := range out {
		t := times[0] + float64(k)/rate
		for i < n-2 && times[i+1] <= t {
			i++
		}
		h := times[i+1] - times[i]
		if h > 0.25 {
			out[k] = math.NaN()
			continue
		}
		u := (t - times[i]) / h
		out[k] = values[i]*(1+2*u)*(1-u)*(1-u) + h*slope[i]*u*(1-u)*(1-u) +
			values[i+1]*u*u*(3-2*u) + h*slope[i+1]*u*u*(u-1)
	}
	return out
}
