package days_test

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store/storetest"
	"vitalseal/internal/measurement/vitals"
)

// TestTrendsOfOldSums: sums that a hub wrote before asserted values were kept apart are read, added to and found to be right.
func TestTrendsOfOldSums(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Hour)
	s := storetest.Open(t, t.TempDir())
	g := storetest.Standing(t, s)
	patient := ward(t, s, now.Add(-time.Hour))
	asserted := func(v float64) vitals.Numeric { return vitals.Checked(vitals.HeartRate, v, vitals.Asserted) }
	seq := uint64(0)
	say := func(at time.Duration, n vitals.Numeric) {
		t.Helper()
		accept(t, s, g, arrival(sensorID("s0"), numerics(now.Add(at), n), epoch(1), seq))
		seq++
	}
	trend := func(when string, want ...archive.TrendPoint) {
		t.Helper()
		got, err := s.Trends(t.Context(), g, patient, vitals.HeartRate, now, now.Add(2*time.Minute), time.Minute)
		if d := gocmp.Diff(want, got); err != nil || d != "" {
			t.Error(when, err, d)
		}
		r, err := s.Check(t.Context(), func(string) {})
		if err != nil || len(r.Problems) > 0 {
			t.Error(when, err, r.Problems)
		}
	}
	say(0, heart(118))
	say(time.Second, asserted(40))
	say(time.Minute, asserted(50))
	must(t, s.Compact(t.Context()))
	second := now.Add(time.Minute)
	one := sensorID("s0")
	trend("apart", archive.TrendPoint{At: now, Min: 118, Mean: 118, Max: 118, Count: 1, Sensor: one, Sensors: 1},
		archive.TrendPoint{At: second, Min: 50, Mean: 50, Max: 50, Count: 1, Questionable: 1, Asserted: true, Sensor: one, Sensors: 1})

	n, err := days.AsVersion1(t.Context(), s.Archive.Days, patient, now)
	if err != nil || n != 4 { // two minutes, a quarter, an hour
		t.Fatal(n, err)
	}
	trend("old", archive.TrendPoint{At: now, Min: 40, Mean: 79, Max: 118, Count: 2, Questionable: 1},
		archive.TrendPoint{At: second, Min: 50, Mean: 50, Max: 50, Count: 1, Questionable: 1})

	say(2*time.Second, asserted(42))
	say(61*time.Second, heart(117))
	must(t, s.Compact(t.Context()))
	trend("added to", archive.TrendPoint{At: now, Min: 40, Mean: 79, Max: 118, Count: 2, Questionable: 1},
		archive.TrendPoint{At: second, Min: 50, Mean: 83.5, Max: 117, Count: 2, Questionable: 1})

	// Two sensors since: what the older hub summed up stands beside them as of unknown sensors, and
	// in no mean.
	other := sensorID("s9")
	must(t, s.CreateDevice(t.Context(), directory.Device{ID: other, Kind: "sensor", State: directory.DeviceActive}))
	must(t, s.PlaceDevice(t.Context(), other, "a-0", now.Add(-time.Hour)))
	accept(t, s, g, arrival(other, numerics(now.Add(62*time.Second), heart(60)), epoch(1), 1))
	must(t, s.Compact(t.Context()))
	trend("two since", archive.TrendPoint{At: now, Min: 40, Mean: 79, Max: 118, Count: 2, Questionable: 1},
		archive.TrendPoint{At: second, Min: 117, Mean: 117, Max: 117, Count: 1, Sensor: one, Sensors: 2, Others: []archive.TrendOther{
			{Sensor: other, Min: 60, Mean: 60, Max: 60, Count: 1, Disagree: true}, {Min: 50, Mean: 50, Max: 50, Count: 1, Questionable: 1, Disagree: true}}})
}
