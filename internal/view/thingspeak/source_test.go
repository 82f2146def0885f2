package thingspeak_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// TestTwoOximetersOneField: two oximeters that speak in turn are one field with one source, on every page of the answer; where they
// disagree there is no number, and last.txt says why.
func TestTwoOximetersOneField(t *testing.T) {
	for name, c := range map[string]struct {
		other float64
		want  string // of each entry; empty: null
	}{"agree": {95, "97.0"}, "disagree": {91, ""}} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			second := sensorOf("oxi-z")
			if err := w.store.CreateDevice(context.Background(), directory.Device{ID: second, Kind: "sensor", State: directory.DeviceActive}); err != nil {
				t.Fatal(err)
			}
			if err := w.store.PlaceDevice(context.Background(), second, "ward-a-bed", time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now().Add(-3 * time.Minute).Truncate(time.Second)
			for i := range 60 {
				at := begin.Add(time.Duration(i) * time.Second)
				w.append("oxi-z", at.Add(100*time.Millisecond), good(vitals.SpO2, c.other))
				w.append("oxi-a", at.Add(600*time.Millisecond), good(vitals.SpO2, 97))
			}
			channel := "/channels/" + strconv.FormatInt(w.ada.ID, 10)
			for _, results := range []int{1, 3, 40, 100} {
				var got struct{ Feeds []struct{ Field2 *string } }
				text := w.get(200, channel+"/feeds.json?results="+strconv.Itoa(results), w.readAda)
				if err := json.Unmarshal([]byte(text), &got); err != nil {
					t.Fatal(err)
				}
				if want := min(results, 60); len(got.Feeds) != want {
					t.Errorf("results=%d: %d entries, want %d", results, len(got.Feeds), want)
				}
				for i, f := range got.Feeds {
					if c.want == "" && f.Field2 != nil || c.want != "" && (f.Field2 == nil || *f.Field2 != c.want) {
						t.Fatalf("results=%d: entry %d: %v, want %q", results, i, f.Field2, c.want)
					}
				}
			}
			w.stop(begin.Add(60 * time.Second))
			last := w.do("GET", channel+"/fields/2/last.txt", "", "X-THINGSPEAKAPIKEY", w.readAda)
			if c.want != "" && last.Body.String() != c.want ||
				c.want == "" && (last.Code != 404 || last.Header().Get("X-Vitalseal-Error") != "there is no value: two sensors of the patient disagree") {
				t.Errorf("last: %d %s, %q", last.Code, last.Body, last.Header().Get("X-Vitalseal-Error"))
			}
		})
	}
}
