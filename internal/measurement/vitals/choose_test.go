package vitals_test

import (
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
)

var chooseNow = time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)

const (
	firstOxi  = "spiffe://d/sensor/oxi-1"
	secondOxi = "spiffe://d/sensor/oxi-2"
	legacyID  = "spiffe://d/sensor/ard-1" // sorts before both
)

func spo2(sensor string, at time.Duration, v float64, q vitals.Quality) vitals.Said {
	n := vitals.Absent(vitals.SpO2, q)
	if q.HasValue() {
		n = vitals.Checked(vitals.SpO2, v, q)
	}
	return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow.Add(at), Numerics: []vitals.Numeric{n}}}
}

func heard(said ...vitals.Said) *vitals.Chooser {
	c := &vitals.Chooser{}
	for _, s := range said {
		c.Hear(s)
	}
	return c
}

// TestMeasuredStandsBeforeAsserted: a proven 91 and a legacy device's 40, one after the other and
// in either order: 91 stands until its source is stale, and again from its first word on.
func TestMeasuredStandsBeforeAsserted(t *testing.T) {
	c := &vitals.Chooser{}
	say := func(s vitals.Said, want float64, who string) {
		t.Helper()
		c.Hear(s)
		r, ok := c.Reading(vitals.SpO2, s.At)
		if !ok || r.Value != want || r.Sensor != who || r.Asserted != (who == legacyID) {
			t.Fatalf("at %v: %+v, want %v of %s", s.At.Sub(chooseNow), r, want, who)
		}
	}
	for i := range 20 {
		at := time.Duration(i) * time.Second
		say(spo2(firstOxi, at, 91, vitals.Good), 91, firstOxi)
		say(spo2(legacyID, at+500*time.Millisecond, 40+15, vitals.Asserted), 91, firstOxi)
	}
	last := 19 * time.Second
	say(spo2(legacyID, last+5*time.Second, 56, vitals.Asserted), 91, firstOxi)
	say(spo2(legacyID, last+5100*time.Millisecond, 57, vitals.Asserted), 57, legacyID) // the better is stale
	say(spo2(legacyID, last+9*time.Second, 58, vitals.Asserted), 58, legacyID)
	say(spo2(firstOxi, last+10*time.Second, 92, vitals.Questionable), 92, firstOxi)
	// The legacy device's clock is ahead: that makes it no better.
	say(spo2(firstOxi, last+11*time.Second, 93, vitals.Good), 93, firstOxi)
	c.Hear(spo2(legacyID, last+15*time.Second, 59, vitals.Asserted))
	if r, _ := c.Reading(vitals.SpO2, chooseNow.Add(last+11*time.Second)); r.Value != 93 {
		t.Errorf("%+v", r)
	}
}

// TestProbeOffIsNotHidden: why a source that measures has no value is its word; an asserted number
// does not stand in its place.
func TestProbeOffIsNotHidden(t *testing.T) {
	for _, why := range []vitals.Quality{vitals.ProbeOff, vitals.Motion, vitals.LowPerfusion, vitals.Settling, vitals.Saturated} {
		r, ok := heard(spo2(firstOxi, -time.Second, 0, why), spo2(legacyID, 0, 97, vitals.Asserted)).Reading(vitals.SpO2, chooseNow)
		if !ok || r.Sensor != firstOxi || r.Quality != why {
			t.Errorf("%v: %+v", why, r)
		}
	}
	// What cannot give the kind, or does not work, is no source of it.
	for _, why := range []vitals.Quality{vitals.Unavailable, vitals.DeviceFault, vitals.Unknown} {
		r, _ := heard(spo2(firstOxi, 0, 0, why), spo2(legacyID, -time.Second, 97, vitals.Asserted)).Reading(vitals.SpO2, chooseNow)
		if r.Sensor != legacyID || !r.Asserted {
			t.Errorf("%v: %+v", why, r)
		}
	}
	// Alone, it is what is shown.
	if r, ok := heard(spo2(firstOxi, 0, 0, vitals.DeviceFault)).Reading(vitals.SpO2, chooseNow); !ok || r.Quality != vitals.DeviceFault {
		t.Errorf("%+v %v", r, ok)
	}
}

// TestTwoOximeters: one of two that measure is the source; the other takes its place when it is
// stale or has had no value for long.
func TestTwoOximeters(t *testing.T) {
	for name, c := range map[string]struct {
		said []vitals.Said
		want string
	}{
		"both":               {[]vitals.Said{spo2(firstOxi, -time.Second, 91, vitals.Good), spo2(secondOxi, 0, 97, vitals.Good)}, firstOxi},
		"the first is stale": {[]vitals.Said{spo2(firstOxi, -6*time.Second, 91, vitals.Good), spo2(secondOxi, 0, 97, vitals.Good)}, secondOxi},
		"a moment of motion": {[]vitals.Said{spo2(firstOxi, -10*time.Second, 91, vitals.Good), spo2(firstOxi, -time.Second, 0, vitals.Motion),
			spo2(secondOxi, 0, 97, vitals.Good)}, firstOxi},
		"probe off for long": {[]vitals.Said{spo2(firstOxi, -16*time.Second, 91, vitals.Good), spo2(firstOxi, -time.Second, 0, vitals.ProbeOff),
			spo2(secondOxi, 0, 97, vitals.Good)}, secondOxi},
		"from the future": {[]vitals.Said{spo2(firstOxi, time.Minute, 91, vitals.Good), spo2(secondOxi, 0, 97, vitals.Good)}, secondOxi},
	} {
		for range 20 { // the order of a map must not decide
			if got := heard(c.said...).Source(vitals.SpO2, chooseNow); got != c.want {
				t.Fatalf("%s: %s, want %s", name, got, c.want)
			}
		}
	}
}

// TestSureTimeFirst: of two alike the one whose time is sure is the source; but an asserted number,
// whose time is sure or not, does not stand in the place of a measured one, and the mark comes with
// what is chosen.
func TestSureTimeFirst(t *testing.T) {
	unsure := func(s vitals.Said) vitals.Said { s.TimeNotSure = true; return s }
	for name, c := range map[string]struct {
		said   []vitals.Said
		want   string
		unsure bool
	}{
		"two that measure":                         {[]vitals.Said{unsure(spo2(firstOxi, 0, 97, vitals.Good)), spo2(secondOxi, -time.Second, 91, vitals.Good)}, secondOxi, false},
		"an asserted one is unsure":                {[]vitals.Said{spo2(firstOxi, -time.Second, 91, vitals.Good), unsure(spo2(legacyID, 0, 99, vitals.Asserted))}, firstOxi, false},
		"both are unsure":                          {[]vitals.Said{unsure(spo2(firstOxi, -time.Second, 91, vitals.Good)), unsure(spo2(legacyID, 0, 99, vitals.Asserted))}, firstOxi, true},
		"the measured one is, the asserted is not": {[]vitals.Said{unsure(spo2(firstOxi, -time.Second, 91, vitals.Good)), spo2(legacyID, 0, 99, vitals.Asserted)}, firstOxi, true},
		"the measured one is stale":                {[]vitals.Said{spo2(firstOxi, -6*time.Second, 91, vitals.Good), unsure(spo2(legacyID, 0, 99, vitals.Asserted))}, legacyID, true},
	} {
		for range 20 { // the order of a map must not decide
			if r, ok := heard(c.said...).Reading(vitals.SpO2, chooseNow); !ok || r.Sensor != c.want || r.TimeNotSure != c.unsure {
				t.Fatalf("%s: %+v, want %s", name, r, c.want)
			}
		}
	}
}

// TestOneCuffForAllThree: systolic, diastolic and mean are of one measurement, and a cuff's word
// counts for an hour.
func TestOneCuffForAllThree(t *testing.T) {
	bp := func(sensor string, at time.Duration, sys, dia float64, q vitals.Quality) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow.Add(at),
			Numerics: []vitals.Numeric{vitals.Checked(vitals.Systolic, sys, q), vitals.Checked(vitals.Diastolic, dia, q)}}}
	}
	said := []vitals.Said{bp(firstOxi, -50*time.Minute, 120, 80, vitals.Good), bp(legacyID, 0, 200, 40, vitals.Asserted)}
	c := heard(said...)
	sys, _ := c.Reading(vitals.Systolic, chooseNow)
	dia, _ := c.Reading(vitals.Diastolic, chooseNow)
	if sys.Value != 120 || dia.Value != 80 {
		t.Errorf("%v/%v", sys.Value, dia.Value)
	}
	if r, _ := c.Reading(vitals.Diastolic, chooseNow.Add(15*time.Minute)); r.Sensor != legacyID {
		t.Errorf("after an hour: %+v", r)
	}
	if _, ok := c.Reading(vitals.MeanArterial, chooseNow); ok {
		t.Error("a mean that was never said")
	}
}

// TestHeardTime: a gateway whose clock is somewhat behind is not stale while it is heard; its
// backlog makes it no fresher.
func TestHeardTime(t *testing.T) {
	slow := spo2(firstOxi, -40*time.Second, 91, vitals.Good)
	slow.Heard = chooseNow
	c := heard(slow, spo2(legacyID, 0, 60, vitals.Asserted))
	if got := c.Source(vitals.SpO2, chooseNow); got != firstOxi {
		t.Error(got)
	}
	old := spo2(firstOxi, -time.Hour, 80, vitals.Good)
	old.Heard = chooseNow.Add(time.Minute)
	c.Hear(old)
	if got := c.Source(vitals.SpO2, chooseNow.Add(time.Minute)); got != legacyID && got != "" {
		if r, _ := c.Reading(vitals.SpO2, chooseNow.Add(time.Minute)); r.Value == 80 {
			t.Errorf("backlog stands: %+v", r)
		}
	}
}

// TestChoose: over a stretch of time one source counts a kind, and another one only where it was
// stale.
func TestChoose(t *testing.T) {
	var said []vitals.Said
	for i := range 30 {
		at := time.Duration(i) * time.Second
		said = append(said, spo2(secondOxi, at, 97, vitals.Good), spo2(legacyID, at, 60, vitals.Asserted))
		if i < 10 || i >= 20 {
			said = append(said, spo2(firstOxi, at, 91, vitals.Good))
		}
	}
	got, good := map[float64]int{}, map[float64]int{}
	for _, s := range vitals.Choose(said, nil) {
		got[s.Numerics[0].Value]++
		if s.Numerics[0].Quality == vitals.Good {
			good[s.Numerics[0].Value]++
		}
	}
	if got[60] != 0 || got[91] != 20 || got[97] != 5 { // five seconds until the first is stale
		t.Errorf("%v", got)
	}
	if good[91] != 0 || good[97] != 0 { // each disputes the other, also when it is silent
		t.Errorf("good: %v", good)
	}
}
