package vitals_test

import (
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// TestAttempt: a cuff that tries and gives no value leaves the last value standing, at its own
// time, and its attempt beside it, in whatever order they are heard; a value since then ends it.
func TestAttempt(t *testing.T) {
	now := time.Date(2026, 11, 30, 14, 30, 0, 0, time.UTC)
	measured := func(sensor string, ago time.Duration, sys, dia float64) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: now.Add(-ago), Numerics: []vitals.Numeric{
			vitals.Checked(vitals.Systolic, sys, vitals.Good), vitals.Checked(vitals.Diastolic, dia, vitals.Good)}}}
	}
	failed := func(sensor string, ago time.Duration, q vitals.Quality) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: now.Add(-ago), Numerics: []vitals.Numeric{vitals.Absent(vitals.Systolic, q), vitals.Absent(vitals.Diastolic, q)}}}
	}
	only := func(ago time.Duration, sys float64) vitals.Said { // of a device that has no diastolic pressure
		return vitals.Said{Sensor: "one", Bundle: vitals.Bundle{At: now.Add(-ago), Numerics: []vitals.Numeric{vitals.Checked(vitals.Systolic, sys, vitals.Good)}}}
	}
	type want struct {
		sys, dia float64
		of       time.Duration // how long ago it was measured
		tried    time.Duration // 0: no attempt
		why      vitals.Quality
		by       string
	}
	for name, x := range map[string]struct {
		said []vitals.Said
		want want
	}{
		"an attempt after a value": {[]vitals.Said{measured("one", 31*time.Minute, 128, 79), failed("one", 5*time.Minute, vitals.Motion)},
			want{128, 79, 31 * time.Minute, 5 * time.Minute, vitals.Motion, "one"}},
		"heard the other way round": {[]vitals.Said{failed("one", 5*time.Minute, vitals.Motion), measured("one", 31*time.Minute, 128, 79)},
			want{128, 79, 31 * time.Minute, 5 * time.Minute, vitals.Motion, "one"}},
		"a value since": {[]vitals.Said{failed("one", 31*time.Minute, vitals.Motion), measured("one", 5*time.Minute, 128, 79)}, want{128, 79, 5 * time.Minute, 0, 0, ""}},
		"another cuff tries": {[]vitals.Said{measured("one", 31*time.Minute, 128, 79), failed("two", 5*time.Minute, vitals.LowPerfusion)},
			want{128, 79, 31 * time.Minute, 5 * time.Minute, vitals.LowPerfusion, "two"}},
		"another cuff measures after it": {[]vitals.Said{failed("two", 5*time.Minute, vitals.LowPerfusion), measured("one", 4*time.Minute, 128, 79)},
			want{128, 79, 4 * time.Minute, 0, 0, ""}},
		"both are old":   {[]vitals.Said{measured("one", 130*time.Minute, 128, 79), measured("two", 100*time.Minute, 118, 69), failed("one", 5*time.Minute, vitals.Motion)}, want{118, 69, 100 * time.Minute, 5 * time.Minute, vitals.Motion, "one"}},
		"only attempts":  {[]vitals.Said{failed("one", 5*time.Minute, vitals.OutOfRange)}, want{0, 0, 5 * time.Minute, 5 * time.Minute, vitals.OutOfRange, "one"}},
		"not one number": {[]vitals.Said{measured("one", 31*time.Minute, 128, 79), only(20*time.Minute, 90), failed("one", 5*time.Minute, vitals.Motion)}, want{90, 0, 20 * time.Minute, 5 * time.Minute, vitals.Motion, "one"}},
		"one to come": {[]vitals.Said{measured("one", 31*time.Minute, 128, 79), failed("one", -time.Minute, vitals.Motion)},
			want{128, 79, 31 * time.Minute, 0, 0, ""}},
		"no attempt": {[]vitals.Said{measured("one", 31*time.Minute, 128, 79), failed("one", 5*time.Minute, vitals.Unavailable)}, want{128, 79, 31 * time.Minute, 0, 0, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var c vitals.Chooser
			for _, s := range x.said {
				c.Hear(s)
			}
			sys, _ := c.Standing(vitals.Systolic, now)
			if !sys.Quality.HasValue() {
				sys.Value = 0
			}
			dia, _ := c.Standing(vitals.Diastolic, now)
			if !dia.Quality.HasValue() {
				dia.Value = 0
			}
			got := want{sys: sys.Value, dia: dia.Value, of: now.Sub(sys.At)}
			if a, ok := c.Attempt(now); ok {
				got.tried, got.why, got.by = now.Sub(a.At), a.Why, a.Sensor
			}
			if got != x.want {
				t.Errorf("%+v, want %+v", got, x.want)
			}
		})
	}
}

// TestAttemptBesideALegacyDevice: what a device asserts that measures nothing takes the place
// neither of a pressure that a cuff measured within the hour nor of the cuff's failed attempt.
func TestAttemptBesideALegacyDevice(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name     string
		measured time.Duration // ago
		legacy   []time.Duration
		want     float64
	}{
		{"before the attempt", 30 * time.Minute, []time.Duration{2 * time.Minute}, 190},
		{"before and after it", 30 * time.Minute, []time.Duration{2 * time.Minute, 30 * time.Second}, 190},
		{"an hour after the cuff's value", 61 * time.Minute, []time.Duration{2 * time.Minute}, 119},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c vitals.Chooser
			hear := func(sensor string, ago time.Duration, n ...vitals.Numeric) {
				c.Hear(vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: now.Add(-ago), Numerics: n}})
			}
			hear("cuff", tc.measured, vitals.Checked(vitals.Systolic, 190, vitals.Good), vitals.Checked(vitals.Diastolic, 100, vitals.Good))
			hear("cuff", time.Minute, vitals.CauseMovement.Numerics()...)
			for _, ago := range tc.legacy {
				hear("legacy", ago, vitals.Checked(vitals.Systolic, 119, vitals.Asserted), vitals.Checked(vitals.Diastolic, 70, vitals.Asserted))
			}
			if r, ok := c.Standing(vitals.Systolic, now); !ok || r.Value != tc.want {
				t.Errorf("%v of %s stands, want %v", r.Value, r.Sensor, tc.want)
			}
			if a, ok := c.Attempt(now); !ok || a.Sensor != "cuff" || a.Cause != vitals.CauseMovement {
				t.Errorf("the failed attempt is not told: %+v, %v", a, ok)
			}
		})
	}
}

// TestPressuresOfOneMeasurement: a systolic and a diastolic pressure of two times do not stand
// beside each other, whatever device they are of.
func TestPressuresOfOneMeasurement(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name    string
		quality vitals.Quality
		apart   time.Duration
		stands  bool
	}{
		{"a cuff, at once", vitals.Good, 0, true},
		{"a cuff, 49 min apart", vitals.Good, 49 * time.Minute, false},
		{"a legacy device, two messages", vitals.Asserted, 16 * time.Second, true},
		{"a legacy device, 3 h apart", vitals.Asserted, 3 * time.Hour, false},
	} {
		for _, later := range []vitals.Kind{vitals.Systolic, vitals.Diastolic} {
			t.Run(tc.name, func(t *testing.T) {
				var c vitals.Chooser
				at := map[vitals.Kind]time.Time{vitals.Systolic: now.Add(-time.Minute - tc.apart), vitals.Diastolic: now.Add(-time.Minute - tc.apart)}
				at[later] = now.Add(-time.Minute)
				value := map[vitals.Kind]float64{vitals.Systolic: 200, vitals.Diastolic: 80}
				for k, v := range value {
					c.Hear(vitals.Said{Sensor: "x", Bundle: vitals.Bundle{At: at[k], Numerics: []vitals.Numeric{vitals.Checked(k, v, tc.quality)}}})
				}
				if r, ok := c.Standing(vitals.Systolic, now); !ok || r.Value != 200 {
					t.Errorf("systolic: %+v, %v", r, ok)
				}
				if r, ok := c.Standing(vitals.Diastolic, now); ok != tc.stands || ok && r.Value != 80 {
					t.Errorf("diastolic: %+v, %v, want %v", r, ok, tc.stands)
				}
			})
		}
	}
}
