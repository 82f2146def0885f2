package vitals_test

import (
	"testing"
	"time"

	"vitalseal/internal/vitals"
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
