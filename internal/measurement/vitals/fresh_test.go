package vitals_test

import (
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
)

func TestFreshness(t *testing.T) {
	now := time.Date(2026, 11, 29, 17, 21, 43, 0, time.UTC)
	for _, c := range []struct {
		kind vitals.Kind
		age  time.Duration
		want vitals.Freshness
	}{
		{vitals.HeartRate, 0, vitals.Fresh},
		{vitals.HeartRate, 5 * time.Second, vitals.Fresh},
		{vitals.HeartRate, 5*time.Second + 1, vitals.Stale},
		{vitals.SpO2, 120 * time.Second, vitals.Stale},
		{vitals.SpO2, 120*time.Second + 1, vitals.NoData},
		{vitals.CuffPressure, 26 * time.Minute, vitals.NoData},
		{vitals.Systolic, time.Hour, vitals.Fresh},
		{vitals.Diastolic, time.Hour + 1, vitals.Stale},
		{vitals.MeanArterial, 4*time.Hour + 1, vitals.NoData},
		{vitals.HeartRate, -5 * time.Second, vitals.Fresh},
		{vitals.HeartRate, -5*time.Second - 1, vitals.ToCome},
		{vitals.Systolic, -4 * time.Minute, vitals.ToCome},
	} {
		if got := vitals.FreshnessOf(c.kind, now.Add(-c.age), now); got != c.want {
			t.Errorf("%v, %v old: %d, want %d", c.kind, c.age, got, c.want)
		}
	}
	if zero := vitals.FreshnessOf(vitals.HeartRate, time.Time{}, now); zero != vitals.NoData {
		t.Errorf("no time at all: %d", zero)
	}
}
