// Package vitals says what a measurement is: kinds, units, quality, samples and the codec that
// turns a chunk of consecutive samples into bytes and back.
//
// It hides the byte layout of a chunk (doc/formats/chunk.md). It guarantees that every kind has one
// canonical unit, that absence is a Quality and never a zero or NaN, and that Decode(Encode(c)) ==
// c for every valid chunk. All values are immutable by convention; nothing here is safe for
// concurrent mutation. It does not protect anything: sealing is package seal's.
package vitals

import (
	"fmt"
	"time"
)

// Kind names a vital sign. Each kind has one canonical unit, see Unit. The zero Kind is invalid.
type Kind uint8

// The closed set of kinds. The numbers are part of the chunk format and never change.
const (
	HeartRate       Kind = 1 // BPM, from the pulse wave
	SpO2            Kind = 2 // Percent
	PerfusionIndex  Kind = 3 // Percent, AC/DC of the infrared channel
	CuffPressure    Kind = 4 // KPa, instantaneous
	Systolic        Kind = 5 // MMHg
	Diastolic       Kind = 6 // MMHg
	MeanArterial    Kind = 7 // MMHg
	RespiratoryRate Kind = 8 // BPM (breaths per minute)
	DieTemperature  Kind = 9 // Celsius, of the sensor, not of the patient
	MaxKind              = DieTemperature
)

type kindInfo struct {
	name, unit string
	min, max   float64
}

// Ranges are what the kind can plausibly be on a living patient or a working device; outside is
// OutOfRange.
var kinds = [MaxKind + 1]kindInfo{
	HeartRate:       {"heart_rate_bpm", "bpm", 20, 300},
	SpO2:            {"spo2_percent", "%", 50, 100},
	PerfusionIndex:  {"perfusion_index_percent", "%", 0, 30},
	CuffPressure:    {"pressure_kpa", "kPa", -5, 45},
	Systolic:        {"systolic_mmhg", "mmHg", 40, 280},
	Diastolic:       {"diastolic_mmhg", "mmHg", 20, 200},
	MeanArterial:    {"mean_arterial_mmhg", "mmHg", 30, 240},
	RespiratoryRate: {"respiratory_rate_per_min", "/min", 2, 90},
	DieTemperature:  {"die_temperature_celsius", "Cel", -40, 85},
}

// Valid reports whether k is one of the named kinds.
func (k Kind) Valid() bool { return k >= 1 && k <= MaxKind }

// String is the kind's name with its unit, as used in JSON: "heart_rate_bpm".
func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kinds[k].name
}

// Unit is the canonical unit for people: "bpm", "%", "kPa", "mmHg".
func (k Kind) Unit() string {
	if !k.Valid() {
		return ""
	}
	return kinds[k].unit
}

// Range is the plausible range in the canonical unit, both ends included.
func (k Kind) Range() (low, high float64) {
	if !k.Valid() {
		return 0, 0
	}
	return kinds[k].min, kinds[k].max
}

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	for k := Kind(1); k <= MaxKind; k++ {
		if kinds[k].name == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("vitals: unknown kind %q", s)
}

// Quality says whether a value may be shown as a number and, if not, why not. The zero Quality
// means nothing was said and is never shown as a number.
type Quality uint8

// The closed set of qualities. The numbers are part of the chunk format and never change.
const (
	Unknown      Quality = 0  // nothing known: no value
	Good         Quality = 1  // a value that meets its stated accuracy
	Questionable Quality = 2  // a value, shown with a mark: accuracy not assured
	ProbeOff     Quality = 3  // no value: no finger, no cuff
	Motion       Quality = 4  // no value: motion hides the signal
	LowPerfusion Quality = 5  // no value: the pulse is too small
	Saturated    Quality = 6  // no value: the converter is at its limit
	Settling     Quality = 7  // no value yet: not enough signal since start or change
	OutOfRange   Quality = 8  // no value: the result was not plausible
	Unavailable  Quality = 9  // no value: this sensor or recording cannot give it (one wavelength)
	DeviceFault  Quality = 10 // no value: the sensor does not answer or answers nonsense
	Asserted     Quality = 11 // a value, shown with a mark: a legacy device says so, and nothing here has measured it
	MaxQuality           = Asserted
)

var qualities = [MaxQuality + 1]string{"unknown", "good", "questionable", "probe_off", "motion", "low_perfusion",
	"saturated", "settling", "out_of_range", "unavailable", "device_fault", "asserted"}

// HasValue reports whether a number with this quality may be shown.
func (q Quality) HasValue() bool { return q == Good || q.Uncertain() }

// Uncertain reports whether a number with this quality may be shown, but only with a mark.
func (q Quality) Uncertain() bool { return q == Questionable || q == Asserted }

// String is the quality's name as used in JSON.
func (q Quality) String() string {
	if q > MaxQuality {
		return fmt.Sprintf("quality(%d)", uint8(q))
	}
	return qualities[q]
}

// Numeric is one value of one kind. Value is meaningless (and encoded as absent) unless
// Quality.HasValue().
type Numeric struct {
	Kind    Kind
	Value   float64 // canonical unit of Kind
	Quality Quality
}

// Absent is a Numeric without a value, for the given reason.
func Absent(k Kind, why Quality) Numeric { return Numeric{Kind: k, Quality: why} }

// Checked is a Numeric of quality q, or OutOfRange if v is outside the kind's plausible range or
// not a number.
func Checked(k Kind, v float64, q Quality) Numeric {
	low, high := k.Range()
	if !(v >= low && v <= high) { // also catches NaN
		return Absent(k, OutOfRange)
	}
	return Numeric{Kind: k, Value: v, Quality: q}
}

// Bundle is what one sensor says at one moment: at most one Numeric a kind.
type Bundle struct {
	At       time.Time
	Numerics []Numeric
}

// Signal names a kind of stream: a stream is (sensor identity, Signal). The zero Signal is invalid.
type Signal uint8

// The closed set of signals. The numbers are part of the chunk format and never change.
const (
	PPG       Signal = 1 // red and infrared waveform
	Numerics  Signal = 2 // bundles, about one a second
	Pressure  Signal = 3 // cuff pressure waveform
	Events    Signal = 4 // device and gap events
	MaxSignal        = Events
)

var signals = [MaxSignal + 1]string{"", "ppg", "numerics", "pressure", "events"}

// Valid reports whether s is one of the named signals.
func (s Signal) Valid() bool { return s >= 1 && s <= MaxSignal }

// String is the signal's name as used in JSON and file names.
func (s Signal) String() string {
	if !s.Valid() {
		return fmt.Sprintf("signal(%d)", uint8(s))
	}
	return signals[s]
}

// Event is something that happened to a sensor or its stream: a device state change, or samples
// lost.
type Event struct {
	At   time.Time
	Code string // short, closed vocabulary: "gap", "probe_off", "probe_on", "device_fault", "device_ok", "started", "led_current"
	// Detail is for engineers, at most 200 bytes, never a reading or a name.
	Detail string
}

// Chunk is consecutive samples of one stream. Exactly the fields of its Signal are used:
//
//	PPG:      Rate, Red and Infrared of equal length (Red may be nil when there is one wavelength)
//	Pressure: Rate, PressurePa (tenths would be lost in KPa; 1 Pa resolution)
//	Numerics: Bundles
//	Events:   Events
type Chunk struct {
	Signal Signal
	// Start is the gateway's time of the first sample (UTC, microseconds are kept).
	Start time.Time
	// ClockError is the gateway's own estimate of how far its clock may be off; zero means not
	// known.
	ClockError time.Duration
	// Rate is the sampling rate of a waveform, in mHz resolution.
	Rate Hertz
	// Gap is how many samples were lost immediately before this chunk.
	Gap uint32

	Red, Infrared []uint16 // raw converter codes, left-justified 16 bit
	PressurePa    []int32
	Bundles       []Bundle
	Events        []Event
}

// End is the time just after the last sample; for bundles and events the time of the last one.
func (c Chunk) End() time.Time {
	n := 0
	switch c.Signal {
	case PPG:
		n = len(c.Infrared)
	case Pressure:
		n = len(c.PressurePa)
	case Numerics:
		if len(c.Bundles) > 0 {
			return c.Bundles[len(c.Bundles)-1].At
		}
		return c.Start
	case Events:
		if len(c.Events) > 0 {
			return c.Events[len(c.Events)-1].At
		}
		return c.Start
	}
	if c.Rate <= 0 {
		return c.Start
	}
	return c.Start.Add(time.Duration(float64(n) / float64(c.Rate) * float64(time.Second)))
}
