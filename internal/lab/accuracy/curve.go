package accuracy

import (
	"slices"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// Curve chooses a calibration from ratio to SpO2. The zero Curve is the default.
type Curve struct {
	// Name of one of signal.Calibrations; a name that is not known there means the default.
	Name string
	// Own is a calibration from a file; it goes before Name.
	Own *signal.Calibration
}

func (c Curve) oximeter(rate float64) (*signal.PulseOximeter, error) {
	o := signal.Options{Curve: c.Own}
	if slices.Contains(signal.Calibrations(), c.Name) {
		o.Calibration = c.Name
	}
	return signal.NewPulseOximeter(vitals.Hertz(rate), o)
}
