package signal

import (
	"math"
	"slices"

	"vitalseal/internal/measurement/vitals"
)

// pulseInCuff is one beat: how high the oscillation was at which cuff pressure.
type pulseInCuff struct{ pressure, height float64 }

// What an acceptable deflation is.
const (
	leastBeats      = 10
	leastBetween    = 4    // beats between systolic and diastolic
	leastHeight     = 0.25 // mmHg peak to peak, of the greater beats
	fastestFall     = 12.0 // mmHg per second on average
	rejectedShare   = 0.4  // of the beats
	leastPulsePress = 12.0 // mmHg between systolic and diastolic
)

// How the envelope is found.
const (
	pulseFrom       = 0.9 // Hz; above the slowest hearts, as steep deflations reach up to there
	pulseTo         = 5.0
	tooHigh, tooLow = 1.6, 0.5 // times the median of the neighbours
	gridStep        = 0.5      // mmHg
	envelopeSpread  = 6.0      // mmHg, standard deviation of the weights
)

// measure finds the pressures in one deflation.
func measure(deflation []float32, rate float64, ratios Ratios) BloodPressure {
	n := len(deflation)
	if n == 0 || float64(deflation[0]-deflation[n-1])*rate/float64(n) > fastestFall {
		return refused(vitals.CauseTooFast, "the cuff was deflated too fast")
	}
	all, period := cuffBeats(deflation, rate)
	if len(all) < leastBeats {
		return refused(vitals.CauseNoPulse, "too few pulses in the cuff")
	}
	if tall(all) < leastHeight {
		return refused(vitals.CauseNoPulse, "pulses in the cuff are too small")
	}
	beats := undisturbed(all)
	if len(beats) < leastBeats || float64(len(beats)) < (1-rejectedShare)*float64(len(all)) {
		return refused(vitals.CauseMovement, "too many pulses disturbed by movement")
	}
	e := newEnvelope(beats)
	top := e.top()
	if top < 0 {
		return refused(vitals.CauseNoPulse, "pulses in the cuff are too small")
	}
	systolic, ok := e.systolic(top, ratios)
	if !ok {
		return refused(vitals.CauseTooLow, "the cuff was not inflated far enough above systolic pressure")
	}
	diastolic, ok := e.cross(top, ratios.Diastolic, -1)
	if !ok {
		return refused(vitals.CauseTooSoon, "the deflation ended above diastolic pressure")
	}
	bp := BloodPressure{Systolic: vitals.MMHg(systolic), Diastolic: vitals.MMHg(diastolic), Mean: vitals.MMHg(e.pressure(top)),
		HeartRate: vitals.BPM(60 * rate / period), Quality: vitals.Good}
	for _, n := range bp.withQuality(vitals.Good).Numerics() {
		if !n.Quality.HasValue() {
			return refused(vitals.CauseImplausible, "the result is not plausible")
		}
	}
	if systolic-diastolic < leastPulsePress {
		return refused(vitals.CauseImplausible, "the result is not plausible")
	}
	between := 0
	for _, b := range beats {
		if b.pressure <= systolic && b.pressure >= diastolic {
			between++
		}
	}
	if between < leastBetween {
		return refused(vitals.CauseTooFast, "the cuff was deflated too fast")
	}
	return bp
}

func (b BloodPressure) withQuality(q vitals.Quality) BloodPressure {
	b.Quality = q
	return b
}

// tall is the height that one beat in ten exceeds.
func tall(beats []pulseInCuff) float64 {
	var h []float64
	for _, b := range beats {
		if !math.IsNaN(b.height) {
			h = append(h, b.height)
		}
	}
	if len(h) == 0 {
		return 0
	}
	slices.Sort(h)
	return h[len(h)*9/10]
}

// cuffBeats are the beats in the order of time, and the period of the heart in samples. A beat far
// from both of its neighbours has NaN for a height.
func cuffBeats(deflation []float32, rate float64) (all []pulseInCuff, period float64) {
	n := len(deflation)
	if float64(n) < 6*rate {
		return nil, 0
	}
	raw, x, base := make([]float64, n), make([]float64, n), make([]float64, n)
	for i, v := range deflation {
		raw[i] = float64(v)
	}
	newBandpass(pulseFrom, pulseTo, rate, n).apply(x, raw)
	copy(base, raw)
	level := butterworth(0.4, rate, false)
	for range 2 {
		level.run(base)
		reverse(base)
	}
	// The first and last instants belong to the end of pumping and to the opened valve.
	from, to := int(0.5*rate), n-int(0.5*rate)
	finder := newBeatFinder(int(slowestBeat/2*rate), n)
	var peaks []int
	for _, k := range finder.peaks(nil, x, 1) {
		if k >= from && k < to {
			peaks = append(peaks, k)
		}
	}
	if len(peaks) < 4 {
		return nil, 0
	}
	gaps := intervals(nil, x, peaks)
	period = median(nil, gaps)
	if period < fastestBeat*rate {
		return nil, 0
	}
	// A beat's height is from the mean of the lowest points on either side, which leaves out the
	// slope.
	for i, k := range peaks {
		before, after := max(0, k-int(0.6*period)), min(n, k+int(0.75*period))
		if i > 0 {
			before = max(before, peaks[i-1])
		}
		if i+1 < len(peaks) {
			after = min(after, peaks[i+1]+1)
		}
		low := (slices.Min(x[before:k+1]) + slices.Min(x[k:after])) / 2
		near := (i > 0 && math.Abs(gaps[i-1]-period) < 0.3*period) || (i < len(gaps) && math.Abs(gaps[i]-period) < 0.3*period)
		b := pulseInCuff{base[k], x[k] - low}
		if !near {
			b.height = math.NaN()
		}
		all = append(all, b)
	}
	return all, period
}

// undisturbed are the beats that are like their neighbours; movement makes others.
func undisturbed(all []pulseInCuff) (beats []pulseInCuff) {
	var around []float64
	for i, b := range all {
		around = around[:0]
		for j := max(0, i-3); j <= min(len(all)-1, i+3); j++ {
			if j != i && !math.IsNaN(all[j].height) {
				around = append(around, all[j].height)
			}
		}
		m := median(nil, around)
		if math.IsNaN(b.height) || len(around) < 3 || b.height > tooHigh*m || b.height < tooLow*m {
			continue
		}
		beats = append(beats, b)
	}
	return beats
}

// envelope is the height of the oscillation over cuff pressure, on a regular grid.
type envelope struct {
	low    float64
	height []float64 // negative where no beat is near
}

func newEnvelope(beats []pulseInCuff) envelope {
	low, high := beats[0].pressure, beats[0].pressure
	for _, b := range beats {
		low, high = min(low, b.pressure), max(high, b.pressure)
	}
	e := envelope{low: low, height: make([]float64, int((high-low)/gridStep)+1)}
	for i := range e.height {
		e.height[i] = smoothed(beats, e.pressure(i))
	}
	return e
}

func (e envelope) pressure(i int) float64 { return e.low + float64(i)*gridStep }

// smoothed is a line fitted locally to the beats around p, at p.
func smoothed(beats []pulseInCuff, p float64) float64 {
	var w, wx, wy, wxx, wxy float64
	for _, b := range beats {
		d := (b.pressure - p) / envelopeSpread
		k := math.Exp(-d * d / 2)
		x := b.pressure - p
		w += k
		wx += k * x
		wy += k * b.height
		wxx += k * x * x
		wxy += k * x * b.height
	}
	if w < 0.3 {
		return -1
	}
	if d := w*wxx - wx*wx; d > 1e-6*w*w {
		return (wy*wxx - wx*wxy) / d
	}
	return wy / w
}

// top is the index of the greatest height, -1 if there is none.
func (e envelope) top() int {
	best := -1
	for i, h := range e.height {
		if h > 0 && (best < 0 || h > e.height[best]) {
			best = i
		}
	}
	return best
}

// flankReach is how far, in shares of the top, around Ratios.Systolic the flank is read.
const flankReach = 0.15

// systolic is the pressure above the top that ratios say.
func (e envelope) systolic(top int, ratios Ratios) (float64, bool) {
	if ratios.SystolicAbove == 0 {
		return e.cross(top, ratios.Systolic, +1)
	}
	sum := 0.0
	shares := [...]float64{-flankReach, -flankReach / 3, flankReach / 3, flankReach}
	for _, d := range shares {
		p, ok := e.cross(top, ratios.Systolic+d, +1)
		if !ok {
			return 0, false
		}
		sum += p
	}
	systolic := sum/float64(len(shares)) + float64(ratios.SystolicAbove)
	return systolic, systolic <= e.pressure(len(e.height)-1)
}

// cross is the pressure at which the envelope first falls under a share of its top, going up or
// down from there.
func (e envelope) cross(top int, share float64, step int) (float64, bool) {
	level := share * e.height[top]
	for i := top + step; i >= 0 && i < len(e.height); i += step {
		if e.height[i] < 0 {
			return 0, false
		}
		if e.height[i] < level {
			last := e.height[i-step]
			return e.pressure(i-step) + float64(step)*gridStep*(last-level)/(last-e.height[i]), true
		}
	}
	return 0, false
}
