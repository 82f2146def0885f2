package accuracy

import (
	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// newPulse is the gateway's oximeter for a light without red: it gives no SpO2.
func newPulse(rate float64) (recording.Meter, error) {
	return signal.NewPulseOximeter(vitals.Hertz(rate), signal.Options{})
}

// newMoving is the meter for one or two channels of one light on a person who moves: no SpO2, but beats, and acceleration is
// taken into account.
func newMoving(rate float64) (recording.Meter, error) { return signal.NewPulseRate(vitals.Hertz(rate)) }

// The names of the curves that belong to the recordings' sensors, where package signal has them.
const emotibitModel = "max30101"

func oxiWearModel(ear bool) string {
	if ear {
		return "maxm86161-ear"
	}
	return "maxm86161"
}
