package vitals_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/vitals"
)

// TestOthers: of two oximeters that speak at once the second is named beside the source, with its
// value; a legacy device beside an oximeter, and what is stale, are not.
func TestOthers(t *testing.T) {
	for name, x := range map[string]struct {
		said []vitals.Said
		want map[string]float64
	}{
		"two oximeters":   {[]vitals.Said{spo2(firstOxi, -time.Second, 91, vitals.Good), spo2(secondOxi, 0, 97, vitals.Good)}, map[string]float64{secondOxi: 97}},
		"one alone":       {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good)}, nil},
		"the other stale": {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, -6*time.Second, 97, vitals.Good)}, nil},
		"both stale":      {[]vitals.Said{spo2(firstOxi, -7*time.Second, 91, vitals.Good), spo2(secondOxi, -6*time.Second, 97, vitals.Good)}, nil},
		"probe off":       {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, 0, 0, vitals.ProbeOff)}, map[string]float64{secondOxi: 0}},
		"from the future": {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, time.Minute, 97, vitals.Good)}, nil},
		"a legacy device": {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(legacyID, 0, 40, vitals.Asserted)}, nil},
		"two of these":    {[]vitals.Said{spo2(secondOxi, 0, 91, vitals.Asserted), spo2(legacyID, 0, 60, vitals.Asserted)}, map[string]float64{secondOxi: 91}},
	} {
		var got map[string]float64
		for _, o := range heard(x.said...).Others(vitals.SpO2, chooseNow) {
			if got == nil {
				got = map[string]float64{}
			}
			got[o.Sensor] = o.Value
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Error(name, d)
		}
	}
}

// TestDisagree: at the bound two values agree, beyond it they do not; a word without a value
// disagrees with none.
func TestDisagree(t *testing.T) {
	for _, x := range []struct {
		kind     vitals.Kind
		a, b     float64
		disagree bool
	}{
		{vitals.SpO2, 97, 93, false}, {vitals.SpO2, 97, 92, true}, {vitals.SpO2, 92, 97, true},
		{vitals.HeartRate, 45, 50, false}, {vitals.HeartRate, 45, 51, true},
		{vitals.HeartRate, 120, 132, false}, {vitals.HeartRate, 133, 120, true},
		{vitals.PerfusionIndex, 1, 9, false},
	} {
		a, b := vitals.Reading{Numeric: vitals.Checked(x.kind, x.a, vitals.Good)}, vitals.Reading{Numeric: vitals.Checked(x.kind, x.b, vitals.Questionable)}
		if got := vitals.Disagree(a, b); got != x.disagree {
			t.Errorf("%v %v and %v: %v", x.kind, x.a, x.b, got)
		}
		b.Numeric = vitals.Absent(x.kind, vitals.Motion)
		if vitals.Disagree(a, b) || vitals.Disagree(b, a) {
			t.Errorf("%v: a word without a value disagrees", x.kind)
		}
	}
}

// TestLastCuffStands: after a swap of cuffs the new one's measurement stands at once, whatever its
// id, and not only when the old one's is an hour old.
func TestLastCuffStands(t *testing.T) {
	bp := func(sensor string, at time.Duration, sys float64) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow.Add(at), Numerics: []vitals.Numeric{vitals.Checked(vitals.Systolic, sys, vitals.Good)}}}
	}
	for _, x := range []struct{ old, now string }{{firstOxi, secondOxi}, {secondOxi, firstOxi}} {
		c := heard(bp(x.old, -30*time.Minute, 120), bp(x.now, 0, 85))
		if r, _ := c.Reading(vitals.Systolic, chooseNow); r.Sensor != x.now || r.Value != 85 {
			t.Errorf("%s after %s: %+v", x.now, x.old, r)
		}
		if o := c.Others(vitals.Systolic, chooseNow); len(o) != 0 {
			t.Errorf("a measurement of another time stands beside it: %+v", o)
		}
	}
}
