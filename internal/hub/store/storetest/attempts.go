package storetest

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// attempts: a cuff's attempts that gave no value are counted by reason, before the compaction and
// after it, with readings that are moved, and are no values: a trend has none of them.
func attempts(t *testing.T, b *bench) {
	b.second(t)
	at := b.now.Add(-2 * time.Hour).Truncate(time.Hour)
	minute := func(i int) time.Time { return at.Add(time.Duration(i) * time.Minute) }
	failed := func(q vitals.Quality) []vitals.Numeric {
		return []vitals.Numeric{vitals.Absent(vitals.Systolic, q), vitals.Absent(vitals.Diastolic, q), vitals.Absent(vitals.MeanArterial, q)}
	}
	b.says(t, b.sensor, minute(0), 0, numeric(vitals.Systolic, 128), numeric(vitals.Diastolic, 79))
	b.says(t, b.sensor, minute(5), 1, failed(vitals.Motion)...)
	b.says(t, b.sensor, minute(5).Add(40*time.Second), 2, failed(vitals.Motion)...)
	b.says(t, secondSensor, minute(7), 0, failed(vitals.OutOfRange)...)
	b.says(t, secondSensor, minute(8), 1, vitals.Absent(vitals.Systolic, vitals.Unavailable), vitals.Absent(vitals.CuffPressure, vitals.DeviceFault)) // no attempts
	see := func(when, patient string, step time.Duration, want ...archive.Attempt) {
		t.Helper()
		got, err := b.Attempts(t.Context(), b.g, patient, at, at.Add(time.Hour), step)
		if d := gocmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s, steps of %v: %v (-want +got):\n%s", when, step, err, d)
		}
		if r, err := b.Check(t.Context(), func(string) {}); err != nil || len(r.Problems) > 0 {
			t.Error(when, err, r.Problems)
		}
	}
	first := archive.Attempt{At: minute(5), Sensor: b.sensor, Why: vitals.Motion, Count: 2}
	other := archive.Attempt{At: minute(7), Sensor: secondSensor, Why: vitals.OutOfRange, Count: 1}
	see("in recent", b.patient, time.Minute, first, other)
	must(t, b.Compact(t.Context()))
	see("in blocks", b.patient, time.Minute, first, other)
	hour := func(a archive.Attempt) archive.Attempt { a.At = at; return a }
	see("in blocks", b.patient, time.Hour, hour(first), hour(other))
	b.trend(t, b.patient, vitals.Systolic, at, time.Hour, archive.TrendPoint{At: at, Min: 128, Mean: 128, Max: 128, Count: 1, Sensor: b.sensor, Sensors: 1})

	patient, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	may := b.mover(t)
	done, err := b.MoveReadings(t.Context(), may(b.patient), may(patient), archive.Move{From: b.patient, To: patient, Sensor: secondSensor, Begin: at, End: at.Add(30 * time.Minute), Person: "u-nurse"})
	if err != nil || !done {
		t.Fatal(done, err)
	}
	see("what is left", b.patient, time.Minute, first)
}

// departures: which sensors left a bed, when, where they are and by whom; one that came back is
// none of them.
func departures(t *testing.T, b *bench) {
	ctx := t.Context()
	b.second(t)
	see := func(want ...directory.Departure) {
		t.Helper()
		got, err := b.Departures(ctx, "a-0", b.now.Add(-24*time.Hour))
		if d := gocmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	}
	see()
	must(t, b.CreateWard(ctx, directory.Ward{ID: "b", Name: "Ward B"}))
	must(t, b.CreateBed(ctx, directory.Bed{ID: "b-0", Ward: "b", Name: "Bed b-0"}))
	left := b.now.Add(-20 * time.Minute).UTC()
	must(t, b.PlaceDeviceBy(ctx, b.sensor, "b-0", "u-nurse", left))
	first := directory.Departure{Sensor: b.sensor, At: left, Bed: "b-0", Person: "u-nurse"}
	see(first)
	must(t, b.PlaceDeviceBy(ctx, secondSensor, "", "u-other", left.Add(time.Minute)))
	see(directory.Departure{Sensor: secondSensor, At: left.Add(time.Minute), Person: "u-other"}, first)
	must(t, b.PlaceDevice(ctx, secondSensor, "a-0", left.Add(2*time.Minute)))
	see(first)
	must(t, b.PlaceDevice(ctx, b.sensor, "", left.Add(3*time.Minute))) // on from there: when it left this bed, and by whom, stays
	first.Bed = ""
	see(first)
}
