package storetest

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// beside: how far back a verdict on a patient's readings must look rests on which sensors stood at
// the bed then; cuffs never disagree.
func beside(t *testing.T, b *bench) {
	asks := func(when string, from time.Time, context time.Duration, left map[string][]time.Time) {
		t.Helper()
		since, got, err := b.Beside(t.Context(), b.g, b.patient, from, from.Add(time.Minute))
		must(t, err)
		if from.Sub(since) != context {
			t.Errorf("%s: begins %v before, want %v", when, from.Sub(since), context)
		}
		if d := gocmp.Diff(left, got); d != "" {
			t.Errorf("%s: who left (-want +got):\n%s", when, d)
		}
	}
	at := b.now.Add(-2 * time.Hour).Truncate(time.Hour)
	none := map[string][]time.Time{}
	asks("one alone", at, vitals.ChooseContext, none)
	const cuff = "spiffe://test/sensor/cuff"
	must(t, b.CreateDevice(t.Context(), directory.Device{ID: cuff, Kind: "sensor", Model: archive.CuffModel, State: directory.DeviceActive}))
	must(t, b.PlaceDevice(t.Context(), cuff, "a-0", b.now.Add(-47*time.Hour)))
	asks("beside a cuff", at, vitals.ChooseContext, none)
	b.second(t)
	asks("two", at, vitals.DoubtFor, none)
	must(t, b.PlaceDevice(t.Context(), secondSensor, "", at))
	gone := map[string][]time.Time{secondSensor: {at}}
	asks("before the second left", at.Add(-time.Hour), vitals.DoubtFor, gone)
	asks("as long as it casts doubt", at.Add(vitals.DoubtFor-time.Second), vitals.DoubtFor, gone)
	asks("after that", at.Add(vitals.DoubtFor), vitals.ChooseContext, none)
	must(t, b.PlaceDevice(t.Context(), secondSensor, "a-0", at.Add(17*time.Second)))
	asks("it is there again", at.Add(time.Minute), vitals.DoubtFor, gone)
	again := at.Add(2 * time.Minute)
	must(t, b.PlaceDevice(t.Context(), secondSensor, "", again))
	asks("it left twice", at.Add(time.Minute), vitals.DoubtFor, map[string][]time.Time{secondSensor: {at, again}})
}
