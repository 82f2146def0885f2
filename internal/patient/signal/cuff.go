package signal

import (
	"fmt"
	"math"

	"vitalseal/internal/measurement/vitals"
)

// BloodPressure is one finished measurement. The pressures are meaningless unless
// Quality.HasValue().
type BloodPressure struct {
	Systolic, Diastolic, Mean vitals.MMHg
	// HeartRate is the mean rate of the oscillations.
	HeartRate vitals.BPM
	Quality   vitals.Quality
	// Cause is why there is no value, where Quality has none.
	Cause vitals.Cause
	// Reason says in words why there is no value or why it is questionable; empty for a good one.
	Reason string
}

// Numerics are the systolic, diastolic and mean pressure, or their absence.
func (b BloodPressure) Numerics() []vitals.Numeric {
	if !b.Quality.HasValue() {
		if n := b.Cause.Numerics(); n != nil {
			return n
		}
		return []vitals.Numeric{vitals.Absent(vitals.Systolic, b.Quality), vitals.Absent(vitals.Diastolic, b.Quality),
			vitals.Absent(vitals.MeanArterial, b.Quality)}
	}
	return []vitals.Numeric{vitals.Checked(vitals.Systolic, float64(b.Systolic), b.Quality),
		vitals.Checked(vitals.Diastolic, float64(b.Diastolic), b.Quality),
		vitals.Checked(vitals.MeanArterial, float64(b.Mean), b.Quality)}
}

// Ratios are the shares of its greatest height that the oscillation has at systolic and at
// diastolic pressure.
type Ratios struct {
	Systolic, Diastolic float64
	// SystolicAbove says how systolic pressure is read. 0: where the envelope crosses Systolic.
	// Greater: so far above the mean of where it crosses four shares around Systolic, on the flank,
	// which is steep. Lower down it runs out flatly into movement and noise, and a little of either
	// shifts a crossing by much.
	SystolicAbove vitals.MMHg
}

// PeopleRatios were fitted to the reference values of 12 deflations on people (see the package
// comment); NewCuff uses them. They belong to this package's envelope: another smoothing has other
// ratios.
func PeopleRatios() Ratios { return Ratios{0.70, 0.67, 9.8} }

// valid reports whether a cuff can work with them.
func (r Ratios) valid() bool {
	reach := 0.0
	if r.SystolicAbove > 0 {
		reach = flankReach
	}
	return r.Systolic > reach && r.Systolic < 1-reach && r.Diastolic > 0 && r.Diastolic < 1 && r.SystolicAbove >= 0 && r.SystolicAbove < 50
}

// How a measurement is recognised, in mmHg and seconds.
const (
	cuffWorn      = 20.0  // above: the cuff is pumped
	cuffEmpty     = 12.0  // below: the measurement is over
	leastPeak     = 70.0  // a cuff that was never above was squeezed, not inflated
	fallen        = 4.0   // under its greatest, the cuff deflates
	dumpRate      = 25.0  // mmHg per second: the valve was opened
	longest       = 180.0 // seconds of one deflation
	stuckSeconds  = 30.0  // without falling
	cuffBlockRate = 50.0
)

type cuffState uint8

const (
	cuffIdle cuffState = iota
	cuffInflating
	cuffDeflating
	cuffEmptying // a result was given; wait for the cuff to be empty
)

// Cuff derives blood pressure from the pressure in a cuff, by oscillometry. It recognises inflation
// and deflation by itself and keeps one deflation, at most 180 s. For one goroutine.
type Cuff struct {
	ratios Ratios
	rate   float64 // of blocks
	block  int

	sum     float64
	inBlock int
	bad     bool

	state       cuffState
	recent      []float64 // ring of one second, for a pressure without pulse
	at, filled  int
	recentSum   float64
	deflation   []float32 // since the greatest pressure
	top         float64
	lowest      float64
	sinceLowest int
}

// NewCuff makes one for samples at rate, 20 to 4000 Hz. It panics outside that: a rate is not
// input.
func NewCuff(rate vitals.Hertz) *Cuff { return NewCuffWith(rate, PeopleRatios()) }

// NewCuffWith is NewCuff with other ratios, both greater than 0 and less than 1 (with
// SystolicAbove, Systolic 0.15 from both).
func NewCuffWith(rate vitals.Hertz, r Ratios) *Cuff {
	if !(rate >= MinRate && rate <= MaxRate) {
		panic(fmt.Sprintf("signal: cuff: sampling rate is %g Hz, allowed is %g to %g", float64(rate), float64(MinRate), float64(MaxRate)))
	}
	if !r.valid() {
		panic(fmt.Sprintf("signal: cuff: ratios %+v, allowed is between 0 and 1, above up to 50 mmHg", r))
	}
	block := max(1, int(float64(rate)/cuffBlockRate))
	c := &Cuff{ratios: r, block: block, rate: float64(rate) / float64(block)}
	c.recent = make([]float64, int(c.rate))
	return c
}

// Reset forgets a measurement in progress: for when samples were lost. What is left in the cuff is
// not measured.
func (c *Cuff) Reset() {
	c.restart()
	c.state = cuffEmptying
}

// Interrupt is Reset that says whether a measurement was in progress, and what became of it: no
// value, because of what happened to the sensor or to its samples.
func (c *Cuff) Interrupt(why vitals.Cause, reason string) (bp BloodPressure, busy bool) {
	busy = c.state == cuffDeflating || c.state == cuffInflating && c.top >= leastPeak
	c.Reset()
	return refused(why, reason), busy
}

func (c *Cuff) restart() {
	c.sum, c.inBlock, c.bad = 0, 0, false
	c.at, c.filled, c.recentSum = 0, 0, 0
	c.deflation = nil
	c.top, c.lowest, c.sinceLowest = 0, 0, 0
	c.state = cuffIdle
}

// Push adds samples, oldest first. done is true when a measurement has ended, also when it was
// refused; at most one measurement ends in one call if that brings no more than a few seconds.
func (c *Cuff) Push(p []vitals.MMHg) (bp BloodPressure, done bool) {
	for _, v := range p {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			c.bad = true
			v = 0
		}
		c.sum += max(-1000, min(1000, float64(v)))
		if c.inBlock++; c.inBlock < c.block {
			continue
		}
		mean := c.sum / float64(c.block)
		c.sum, c.inBlock = 0, 0
		if b, ok := c.step(mean); ok {
			bp, done = b, true
		}
	}
	return bp, done
}

// step is one block further.
func (c *Cuff) step(p float64) (bp BloodPressure, done bool) {
	smooth, slope := c.smooth(p)
	if c.bad {
		c.bad = false
		busy := c.state == cuffInflating || c.state == cuffDeflating
		c.Reset()
		return refused(vitals.CauseSensorFailed, "pressure is not a number"), busy
	}
	switch c.state {
	case cuffIdle:
		if smooth > cuffWorn {
			c.state, c.top, c.deflation = cuffInflating, 0, c.deflation[:0]
		}
	case cuffInflating:
		if smooth > c.top+0.3 {
			c.top, c.deflation = smooth, c.deflation[:0]
		}
		c.keep(p)
		switch {
		case smooth < cuffEmpty:
			c.restart()
		case len(c.deflation) > int(stuckSeconds*c.rate):
			c.stop()
			return refused(vitals.CauseNotDeflated, "the cuff was inflated but not deflated"), true
		case c.top-smooth > fallen && c.top < leastPeak:
			c.stop() // pressure from outside, such as an arm on the cuff: no measurement
		case c.top-smooth > fallen:
			c.state, c.lowest, c.sinceLowest = cuffDeflating, smooth, 0
		}
	case cuffDeflating:
		c.keep(p)
		if c.sinceLowest++; smooth < c.lowest-1 {
			c.lowest, c.sinceLowest = smooth, 0
		}
		switch {
		case smooth > c.lowest+25: // pumped up again
			c.state, c.top, c.deflation = cuffInflating, smooth, c.deflation[:0]
		case smooth < cuffEmpty, -slope > dumpRate, float64(len(c.deflation)) >= longest*c.rate,
			float64(c.sinceLowest) > stuckSeconds*c.rate:
			// The last second, over which the slope was taken, is the opened valve's.
			bp = measure(c.deflation[:max(0, len(c.deflation)-len(c.recent))], c.rate, c.ratios)
			c.stop()
			return bp, true
		}
	case cuffEmptying:
		if smooth < cuffEmpty {
			c.restart()
		}
	}
	return BloodPressure{}, false
}

// stop waits for the cuff to be empty before the next measurement.
func (c *Cuff) stop() {
	c.deflation = nil
	c.state = cuffEmptying
}

func (c *Cuff) keep(p float64) {
	if float64(len(c.deflation)) < longest*c.rate {
		c.deflation = append(c.deflation, float32(p))
	}
}

// smooth is the mean of the last second and its slope per second.
func (c *Cuff) smooth(p float64) (level, slope float64) {
	n := len(c.recent)
	if c.filled == n {
		oldest := c.recent[c.at]
		slope = p - oldest
		c.recentSum -= oldest
	} else {
		c.filled++
	}
	c.recent[c.at] = p
	c.recentSum += p
	c.at = (c.at + 1) % n
	return c.recentSum / float64(c.filled), slope
}

func refused(why vitals.Cause, reason string) BloodPressure {
	return BloodPressure{Quality: why.Quality(), Cause: why, Reason: reason}
}
