package dashboard

import (
	"time"

	"vitalseal/internal/measurement/vitals"
)

// reading is one value of one kind, or the reason why there is none: Value is nil unless the quality has one.
type reading struct {
	At      time.Time `json:"at"`
	Quality string    `json:"quality"`
	Value   *float64  `json:"value,omitempty"`
	// Since is, of one without a value, when the kind last had one; absent: not within pulseBack.
	// What comes live does not have it.
	Since *time.Time `json:"since,omitempty"`
	// Source is the short name of the sensor that counts for this kind now, and Unverified says that it is a legacy device: nothing
	// here has measured what it says.
	Source     string `json:"source"`
	Unverified bool   `json:"unverified,omitempty"`
	// TimeNotSure: the gateway's clock is off; the reading is shown with the patient who lies where the sensor stands now, and is on no chart.
	TimeNotSure bool `json:"time_not_sure,omitempty"`
	// NotConfirmed: the sensor had been silent for long, and no person has confirmed that it is still on this patient.
	NotConfirmed bool `json:"not_confirmed,omitempty"`
	// Others are what other sensors say of this kind at the same time, by name; Disagree says that the value of one of them lies further
	// from Value than vitals.MostApart allows, or, of SpO2, that the heart rates do: neither is shown as the right one.
	Others   []otherReading `json:"others,omitempty"`
	Disagree bool           `json:"disagree,omitempty"`
	// Attempt is, of the systolic pressure, a cuff's try after At that gave no value.
	Attempt *attempt `json:"attempt,omitempty"`
}

// attempt is a cuff's try that gave no value.
type attempt struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"` // a quality
	// Cause is a vitals.Cause; absent where a gateway of an older version does not say it.
	Cause  string `json:"cause,omitempty"`
	Source string `json:"source"` // short name of the cuff
}

// otherReading is the current word of a sensor that is not the source of its kind, with the marks of a reading.
type otherReading struct {
	At           time.Time `json:"at"`
	Quality      string    `json:"quality"`
	Value        *float64  `json:"value,omitempty"`
	Source       string    `json:"source"`
	Unverified   bool      `json:"unverified,omitempty"`
	TimeNotSure  bool      `json:"time_not_sure,omitempty"`
	NotConfirmed bool      `json:"not_confirmed,omitempty"`
	Disagree     bool      `json:"disagree,omitempty"` // with the source's value, or with it when both last spoke
	// Silent: it disagreed, and gave no value since At; it stays beside the others for
	// vitals.DoubtFor, or until it leaves the bed. Why: a quality, where it speaks and has no value.
	Silent bool   `json:"silent,omitempty"`
	Why    string `json:"why,omitempty"`
}

// readings are the current ones of each kind, by the kind's name with its unit ("heart_rate_bpm").
type readings map[string]reading

// readingsOf are those of all, which c chose, with what else is said at the same time. What concerns the device and not the patient is
// left out.
func readingsOf(c *vitals.Chooser, all []vitals.Reading, now time.Time) readings {
	out := readings{}
	for _, r := range all {
		if r.Kind == vitals.DieTemperature {
			continue
		}
		if s, ok := c.Standing(r.Kind, now); ok {
			r = s
		}
		one := reading{At: r.At.UTC(), Quality: r.Quality.String(), Value: valueOf(r), Source: shortName(r.Sensor), Unverified: r.Asserted, TimeNotSure: r.TimeNotSure,
			NotConfirmed: r.NotConfirmed}
		if a, ok := c.Attempt(now); ok && r.Kind == vitals.Systolic {
			one.Attempt = &attempt{At: a.At.UTC(), Why: a.Why.String(), Cause: a.Cause.String(), Source: shortName(a.Sensor)}
		}
		for _, o := range c.Others(r.Kind, now) {
			if o.Sensor == r.Sensor { // the value that stands is not the source's
				continue
			}
			one.Disagree = one.Disagree || o.Apart
			why := ""
			if o.Why != vitals.Unknown {
				why = o.Why.String()
			}
			one.Others = append(one.Others, otherReading{At: o.At.UTC(), Quality: o.Quality.String(), Value: valueOf(o.Reading), Source: shortName(o.Sensor), Unverified: o.Asserted,
				TimeNotSure: o.TimeNotSure, NotConfirmed: o.NotConfirmed, Disagree: o.Apart, Silent: o.Silent, Why: why})
		}
		out[r.Kind.String()] = one
	}
	return out
}

// valueOf is nil for a word that has no value.
func valueOf(r vitals.Reading) *float64 {
	if !r.Quality.HasValue() {
		return nil
	}
	return &r.Value
}

// settle applies the one rule of freshness (vitals.FreshnessOf) to what is given out as the newest: a time to come does not stand as
// that, and a value that is too old to say anything about now keeps its time, and is no number.
func (r readings) settle(now time.Time) {
	for name, one := range r {
		kind, err := vitals.ParseKind(name)
		if err != nil {
			continue // there are only kinds
		}
		if a := one.Attempt; a != nil && vitals.FreshnessOf(kind, a.At, now) == vitals.NoData {
			one.Attempt = nil
			r[name] = one
		}
		switch vitals.FreshnessOf(kind, one.At, now) {
		case vitals.ToCome:
			delete(r, name)
		case vitals.NoData:
			if one.Value != nil {
				r[name] = reading{At: one.At, Quality: vitals.Unknown.String(), Source: one.Source, Unverified: one.Unverified, Attempt: one.Attempt}
			}
		case vitals.Stale, vitals.Fresh: // the page marks what is old, by the same bounds
		}
	}
}

// pulse is the display form of a stretch of infrared samples: turned over, so that a beat (more blood, less light) is
// a peak, in 0..65535.
type pulse struct {
	Start      time.Time `json:"start"`
	RateHz     float64   `json:"rate_hz"`
	GapSamples uint32    `json:"gap_samples"` // lost immediately before Start
	Pulse      []uint16  `json:"pulse"`
}

// maxPulseSamples bounds one message: 16 s at the fastest rate worth showing.
const maxPulseSamples = 4096

// pulseOf is false for a chunk without a wave. Of an absurdly long chunk it keeps the end.
func pulseOf(c vitals.Chunk) (pulse, bool) {
	infrared, start, gap := c.Infrared, c.Start, c.Gap
	if c.Signal != vitals.PPG || len(infrared) == 0 || c.Rate <= 0 {
		return pulse{}, false
	}
	if extra := len(infrared) - maxPulseSamples; extra > 0 {
		infrared = infrared[extra:]
		start = start.Add(time.Duration(float64(extra) / float64(c.Rate) * float64(time.Second)))
		gap = 0
	}
	out := pulse{Start: start.UTC(), RateHz: float64(c.Rate), GapSamples: gap, Pulse: make([]uint16, len(infrared))}
	for i, v := range infrared {
		out.Pulse[i] = 65535 - v
	}
	return out, true
}
