package bench

import (
	"fmt"
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// Deflation is the pressure of a real cuff that takes a simulated one's place, once: pumped up to
// where the recording begins, the recording, then the valve opened. Immutable.
type Deflation struct {
	pressure []vitals.MMHg
	rate     float64
}

// Bounds on a deflation.
const (
	maxDeflation   = 1 << 20 // samples
	deflationPumps = 6.0     // seconds
	deflationRests = 1.5     // seconds before, with an empty cuff
	greatestCuff   = 400.0   // mmHg
)

// NewDeflation takes pressures at a rate of 20 to 4000 Hz, oldest first. Errors wrap ErrRecording.
func NewDeflation(pressure []vitals.MMHg, rate vitals.Hertz) (*Deflation, error) {
	if !(rate >= 20 && rate <= 4000) {
		return nil, fmt.Errorf("%w: cuff: a sampling rate of %g Hz, allowed is 20 to 4000", ErrRecording, float64(rate))
	}
	if len(pressure) < int(2*rate) || len(pressure) > maxDeflation {
		return nil, fmt.Errorf("%w: cuff: %d samples, allowed are 2 s to %d samples", ErrRecording, len(pressure), maxDeflation)
	}
	for i, p := range pressure {
		if !(math.Abs(float64(p)) <= greatestCuff) {
			return nil, fmt.Errorf("%w: cuff: sample %d is %g mmHg, allowed is up to %g", ErrRecording, i+1, float64(p), greatestCuff)
		}
	}
	return &Deflation{pressure: pressure, rate: float64(rate)}, nil
}

// Begins is when the recording's first sample is felt, counted from the patient's Start: the cuff
// is empty, then pumped up.
func (d *Deflation) Begins() time.Duration {
	return time.Duration((deflationRests + deflationPumps) * float64(time.Second))
}

// Lasting is from the patient's Start until the cuff is empty again.
func (d *Deflation) Lasting() time.Duration {
	return d.Begins() + time.Duration((float64(len(d.pressure))/d.rate+dumpLasting)*float64(time.Second))
}

// at is the pressure s seconds after the patient's Start. Between two samples lies a line.
func (d *Deflation) at(s float64) vitals.MMHg {
	last := len(d.pressure) - 1
	switch u := s - deflationRests; {
	case u <= 0:
		return 0
	case u < deflationPumps: // slower and slower, as a bulb pumps
		rest := 1 - u/deflationPumps
		return d.pressure[0] * vitals.MMHg(1-rest*rest)
	default:
		x := (u - deflationPumps) * d.rate
		i := int(x)
		if i >= last {
			return d.pressure[last] * vitals.MMHg(math.Exp(-(x-float64(last))/d.rate/dumpSeconds))
		}
		return d.pressure[i] + vitals.MMHg(x-float64(i))*(d.pressure[i+1]-d.pressure[i])
	}
}

// NewCuffReplay makes a patient whose cuff is a recorded deflation; everything else is as
// NewPatient makes it. The error wraps ErrProfile.
func NewCuffReplay(p Profile, d *Deflation) (*Patient, error) {
	pa, err := NewPatient(p)
	if err != nil {
		return nil, err
	}
	pa.deflation = d
	return pa, nil
}
