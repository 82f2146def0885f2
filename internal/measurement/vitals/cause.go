package vitals

// Cause is what ended a cuff's attempt without a value. Users do different things about a leak and
// about lost samples, while the quality of both may be the same. The zero Cause is not known.
type Cause uint8

// The closed set of causes. They are in no format: a bundle tells them by its qualities, see
// CauseOf.
const (
	CauseUnknown      Cause = iota
	CauseMovement           // pulses in the cuff were disturbed
	CauseNotDeflated        // the cuff stayed inflated
	CauseNoPulse            // too few pulses in the cuff, or too small ones
	CauseTooFast            // the cuff deflated too fast: a leak, or the valve was opened
	CauseTooLow             // the cuff was not inflated far enough above systolic pressure
	CauseTooSoon            // the deflation ended above diastolic pressure
	CauseImplausible        // the result was not plausible
	CauseCuffOff            // no arm is in the cuff
	CauseSensorFailed       // the sensor failed during the measurement
	CauseSamplesLost        // the gateway lost samples of the measurement
)

// causes are how a bundle tells each: the qualities of systolic, diastolic and mean pressure. The
// first is the reason that every version of a hub knows. The other two tell those apart that have
// the same first. A gateway of before them gave all three the same quality: that is in the table
// only where it means one cause.
var causes = [...]struct {
	name string
	says [3]Quality
}{
	CauseUnknown:      {"", [3]Quality{}},
	CauseMovement:     {"movement", [3]Quality{Motion, Motion, Motion}},
	CauseNotDeflated:  {"not_deflated", [3]Quality{Motion, Settling, Settling}},
	CauseNoPulse:      {"no_pulse", [3]Quality{LowPerfusion, LowPerfusion, LowPerfusion}},
	CauseTooFast:      {"deflated_too_fast", [3]Quality{OutOfRange, LowPerfusion, LowPerfusion}},
	CauseTooLow:       {"not_inflated_enough", [3]Quality{OutOfRange, Settling, Settling}},
	CauseTooSoon:      {"emptied_too_soon", [3]Quality{OutOfRange, Settling, OutOfRange}},
	CauseImplausible:  {"not_plausible", [3]Quality{OutOfRange, OutOfRange, Settling}},
	CauseCuffOff:      {"cuff_off", [3]Quality{ProbeOff, ProbeOff, ProbeOff}},
	CauseSensorFailed: {"sensor_failed", [3]Quality{DeviceFault, DeviceFault, Settling}},
	CauseSamplesLost:  {"samples_lost", [3]Quality{DeviceFault, Settling, Settling}},
}

// String is the cause's name as used in JSON; empty for one that is not known.
func (c Cause) String() string {
	if int(c) >= len(causes) {
		return ""
	}
	return causes[c].name
}

// Quality is the reason of the attempt's systolic pressure; Unknown for a cause that is not known.
func (c Cause) Quality() Quality {
	if int(c) >= len(causes) {
		return Unknown
	}
	return causes[c].says[0]
}

// Numerics are systolic, diastolic and mean pressure without a value, as a gateway says them; none
// for a cause that is not known.
func (c Cause) Numerics() []Numeric {
	if c == CauseUnknown || int(c) >= len(causes) {
		return nil
	}
	q := causes[c].says
	return []Numeric{Absent(Systolic, q[0]), Absent(Diastolic, q[1]), Absent(MeanArterial, q[2])}
}

// CauseOf is what a bundle's numerics say ended an attempt. It is CauseUnknown where they hold no
// failed attempt, and where a gateway of an older version says no more than the quality.
func CauseOf(n []Numeric) Cause {
	var says [3]Quality
	for _, x := range n {
		switch x.Kind {
		case Systolic:
			says[0] = x.Quality
		case Diastolic:
			says[1] = x.Quality
		case MeanArterial:
			says[2] = x.Quality
		}
	}
	for c, x := range causes {
		if c != int(CauseUnknown) && x.says == says {
			return Cause(c) // #nosec G115 -- an index of eleven
		}
	}
	return CauseUnknown
}
