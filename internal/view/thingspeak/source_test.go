package thingspeak_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// TestTwoOximetersOneField: two oximeters that say 97 and 91 in turn are one field with one source, on every page of the answer.
func TestTwoOximetersOneField(t *testing.T) {
	w := newWard(t)
	second := sensorOf("oxi-z")
	if err := w.store.CreateDevice(context.Background(), store.Device{ID: second, Kind: "sensor", State: store.DeviceActive}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.PlaceDevice(context.Background(), second, "ward-a-bed", time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-3 * time.Minute).Truncate(time.Second)
	for i := range 60 {
		at := begin.Add(time.Duration(i) * time.Second)
		w.append("oxi-a", at.Add(100*time.Millisecond), good(vitals.SpO2, 97))
		w.append("oxi-z", at.Add(600*time.Millisecond), good(vitals.SpO2, 91))
	}
	for _, results := range []int{1, 3, 40, 100} {
		var got struct{ Feeds []struct{ Field2 *string } }
		text := w.get(200, "/channels/"+strconv.FormatInt(w.ada.ID, 10)+"/feeds.json?results="+strconv.Itoa(results), w.readAda)
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if want := min(results, 60); len(got.Feeds) != want {
			t.Errorf("results=%d: %d entries, want %d", results, len(got.Feeds), want)
		}
		for i, f := range got.Feeds {
			if f.Field2 == nil || *f.Field2 != "97.0" {
				t.Fatalf("results=%d: entry %d is of another source: %v", results, i, f.Field2)
			}
		}
	}
}
