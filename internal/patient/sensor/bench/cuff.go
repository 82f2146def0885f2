package bench

import (
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// How a measurement goes, in seconds and mmHg.
const (
	inflateSeconds = 7.0
	holdSeconds    = 1.0
	dumpSeconds    = 0.5 // time constant of the last fall to zero
	dumpLasting    = 6.0
	usualPeak      = 180.0
	peakOver       = 45.0 // over systolic, when that needs more than usualPeak
	greatestPeak   = 290.0
	stopUnder      = 30.0 // slow deflation ends this far under diastolic
	lowestStop     = 20.0
)

// What share of its greatest height the oscillation has at systolic and at diastolic pressure: the
// characteristic ratios of fixed-ratio oscillometry. These are what recordings of real cuffs show
// (package signal fitted them), so that an instrument set up for people is right on the simulated
// patient too; textbooks (Geddes 1982) say 0.55 and 0.85.
const (
	SystolicRatio  = 0.48
	DiastolicRatio = 0.67
)

// cuffCycle is one measurement and the pressures that hold until the next one begins.
type cuffCycle struct {
	into                float64 // seconds since inflation began; negative before the first
	systolic, diastolic float64
}

func (c cuffCycle) mean() float64 { return c.diastolic + (c.systolic-c.diastolic)/3 }

func (c cuffCycle) peak() float64 {
	return min(greatestPeak, max(usualPeak, c.systolic+peakOver))
}

func (c cuffCycle) stop() float64 { return max(lowestStop, c.diastolic-stopUnder) }

// cycle is the measurement that s belongs to.
func (pa *Patient) cycle(s float64) cuffCycle {
	p := &pa.profile
	s -= p.CuffFirst.Seconds()
	every := p.CuffEvery.Seconds()
	c := cuffCycle{into: -1, systolic: float64(p.Systolic), diastolic: float64(p.Diastolic)}
	if every <= 0 {
		return c
	}
	number := max(0, math.Floor(s/every))
	c.into = s - number*every
	a, b := gaussians(p.Seed ^ 0xcff0<<48 ^ word(int64(number)))
	drift := positive(p.PressureDrift)
	c.systolic += drift * min(1, max(-1, a/2))
	c.diastolic += drift * 0.5 * min(1, max(-1, b/2))
	return c
}

// Pressure is the pressure in the cuff at t, relative to ambient: zero between measurements.
func (pa *Patient) Pressure(t time.Time) vitals.MMHg {
	s := pa.seconds(t)
	if pa.deflation != nil {
		return pa.deflation.at(s)
	}
	c := pa.cycle(s)
	base := pa.cuffBase(c)
	if base <= 1 {
		return vitals.MMHg(base)
	}
	_, fraction := pa.beat(s - 0.03) // the pulse reaches the arm a little before the finger; any constant will do
	return vitals.MMHg(base + pa.envelope(c, base)*(pa.pulse.at(fraction)-pa.pulse.mean))
}

// cuffBase is the pressure without oscillation.
func (pa *Patient) cuffBase(c cuffCycle) float64 {
	peak, stop := c.peak(), c.stop()
	slow := (peak - stop) / float64(pa.profile.CuffRate)
	switch u := c.into; {
	case u < 0:
		return 0
	case u < inflateSeconds:
		rest := 1 - u/inflateSeconds
		return peak * (1 - rest*rest)
	case u < inflateSeconds+holdSeconds:
		return peak
	case u < inflateSeconds+holdSeconds+slow:
		return peak - float64(pa.profile.CuffRate)*(u-inflateSeconds-holdSeconds)
	case u < inflateSeconds+holdSeconds+slow+dumpLasting:
		return stop * math.Exp(-(u-inflateSeconds-holdSeconds-slow)/dumpSeconds)
	}
	return 0
}

// CuffLasting is how long the longest measurement of the patient takes from the first inflation to
// empty.
func (pa *Patient) CuffLasting() time.Duration {
	drift := positive(pa.profile.PressureDrift)
	c := cuffCycle{systolic: float64(pa.profile.Systolic) + drift, diastolic: float64(pa.profile.Diastolic) - drift}
	slow := (c.peak() - c.stop()) / float64(pa.profile.CuffRate)
	return time.Duration((inflateSeconds + holdSeconds + slow + dumpLasting) * float64(time.Second))
}

// envelope is the oscillation's height, peak to peak, at a cuff pressure: half a bell on either
// side of the mean arterial pressure, each as wide as its characteristic ratio demands.
func (pa *Patient) envelope(c cuffCycle, pressure float64) float64 {
	mean := c.mean()
	width := (c.systolic - mean) / math.Sqrt(-math.Log(SystolicRatio))
	if pressure < mean {
		width = (mean - c.diastolic) / math.Sqrt(-math.Log(DiastolicRatio))
	}
	d := (pressure - mean) / width
	return float64(pa.profile.Oscillation) * math.Exp(-d*d)
}
