package sink_test

import (
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// TestDoubtReachesTheCloud: two oximeters disagreed, and one of them fell silent before forwarding
// began. The other's values are no good ones in the cloud's record, as they are none on the
// dashboard, as long as the doubt lasts.
func TestDoubtReachesTheCloud(t *testing.T) {
	w := newWorld(t)
	rival := sensor + "-2"
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: rival, Kind: "sensor", State: directory.DeviceActive}))
	w.must(w.store.PlaceDevice(t.Context(), rival, "bed", w.now().Add(-time.Hour)))
	at := w.now()
	outcome, reason, err := w.store.Append(t.Context(), w.grant, archive.Arrival{Sensor: rival, Received: at,
		Chunk:  vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 104, vitals.Good)}}}},
		Header: seal.Header{Sensor: rival, Signal: uint8(vitals.Numerics), Start: at, Epoch: seal.Epoch{ID: seal.EpochID{2}, Number: 1}}})
	if err != nil || outcome != delivery.Accepted {
		t.Fatal(outcome, reason, err)
	}
	silent := at.Add(vitals.DoubtFor)
	w.speak(60, 61.4)
	w.forward(w.ada, "sealed")
	w.speak(300, 61.4)
	w.passes(10 * time.Minute)
	doubted, good := 0, 0
	for _, o := range w.opened("doctor", w.ada) {
		for _, v := range o.Values {
			if v.Kind != vitals.HeartRate.String() {
				continue
			}
			want := "good"
			if !o.At.After(silent) {
				want = "questionable"
				doubted++
			} else {
				good++
			}
			if v.Quality != want {
				t.Errorf("%v after the rival's last word: %s, want %s", o.At.Sub(at), v.Quality, want)
			}
		}
	}
	if doubted < 200 || good < 30 {
		t.Errorf("%d seconds in doubt and %d after it reached the cloud", doubted, good)
	}
}
