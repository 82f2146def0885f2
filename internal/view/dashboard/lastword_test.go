package dashboard_test

import (
	"encoding/json"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

type since struct {
	At      time.Time
	Quality string
	Value   *float64
	Since   *time.Time
}

// TestSince: who opens a page or a wall while a sensor speaks without a value, or is silent, learns
// since when: the time of the last value, also where a cuff speaks every second beside it, and of the
// last word, as who had the page open before. From disk, so after the hub's restart too.
func TestSince(t *testing.T) {
	w := newWard(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.store.CreateDevice(ctx, directory.Device{ID: station + "-wall", Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"ward-a"}}))
	long := time.Now().Add(-100 * time.Hour)
	gone, err := w.store.CreatePatient(ctx, "Gerda Lang")
	must(err)
	must(w.store.Admit(ctx, gone, "a-10", long))
	for _, d := range []directory.Device{{ID: sensorOf("a-10"), Kind: "sensor", State: directory.DeviceActive}, {ID: sensorOf("cuff"), Kind: "sensor", Model: "MPS20N0040D", State: directory.DeviceActive}} {
		must(w.store.CreateDevice(ctx, d))
	}
	must(w.store.PlaceDevice(ctx, sensorOf("a-10"), "a-10", long))
	must(w.store.PlaceDevice(ctx, sensorOf("cuff"), "a-2", long))
	now := time.Now().UTC().Truncate(time.Microsecond)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	off := []vitals.Numeric{vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Absent(vitals.SpO2, vitals.ProbeOff)}
	on := []vitals.Numeric{good(vitals.HeartRate, 70), good(vitals.SpO2, 97)}
	// Ada's probe came off 9 minutes ago, and its sensor speaks. Emil's came off 13 minutes ago, and its
	// sensor fell silent 10 minutes ago, while the cuff spoke on. Gerda's sensor is silent for 26 hours.
	w.append("a-1", numerics(ago(9*time.Minute), on...))
	w.append("a-1", numerics(ago(8*time.Minute), off...))
	w.append("a-1", numerics(ago(time.Second), off...))
	w.append("a-2", numerics(ago(13*time.Minute), on...))
	w.append("a-2", numerics(ago(10*time.Minute), off...))
	for s := 595; s >= 0; s -= 2 {
		w.append("cuff", numerics(ago(time.Duration(s)*time.Second), good(vitals.CuffPressure, 0)))
	}
	w.append("a-10", numerics(ago(26*time.Hour), on...))
	want := map[string]struct {
		at, since time.Duration // ago; 0: none
		quality   string
	}{"a-1": {time.Second, 9 * time.Minute, "probe_off"}, "a-2": {10 * time.Minute, 13 * time.Minute, "probe_off"}, "a-10": {26 * time.Hour, 0, "unknown"}}
	check := func(face, bed string, n map[string]since) {
		t.Helper()
		x := want[bed]
		for _, kind := range []string{"heart_rate_bpm", "spo2_percent"} {
			got, ok := n[kind]
			if !ok || !got.At.Equal(ago(x.at)) || got.Quality != x.quality || got.Value != nil || (got.Since != nil) != (x.since != 0) || got.Since != nil && !got.Since.Equal(ago(x.since)) {
				t.Errorf("%s, %s, %s: %+v since %v, want %s ago, since %s", face, bed, kind, got, got.Since, x.at, x.since)
			}
		}
	}
	nurse := w.signedIn("nurse")
	see := func() {
		t.Helper()
		var beds struct {
			Beds []struct {
				Bed      string
				Numerics map[string]since
			}
		}
		nurse.get("/api/beds", &beds)
		if len(beds.Beds) != 3 {
			t.Fatalf("%d beds", len(beds.Beds))
		}
		for _, b := range beds.Beds {
			check("list", b.Bed, b.Numerics)
		}
		for bed, id := range map[string]string{"a-1": w.ada, "a-2": w.emil, "a-10": gone} {
			var page struct{ Numerics map[string]since }
			nurse.get("/api/patients/"+id, &page)
			check("page", bed, page.Numerics)
		}
	}
	see()
	must(w.store.Compact(ctx))
	must(w.store.CreateWard(ctx, directory.Ward{ID: "other", Name: "Other"})) // so that all is looked up anew
	see()
	w.at(station + "-wall")
	status, body := w.browser().do("GET", "/api/display", nil, nil)
	var wall struct {
		Beds []struct {
			Bed      string
			Numerics map[string]since
		}
	}
	if err := json.Unmarshal([]byte(body), &wall); err != nil || status != 200 || len(wall.Beds) != 3 {
		t.Fatal(status, err, body)
	}
	for _, b := range wall.Beds {
		check("wall", b.Bed[len("Bed "):], b.Numerics)
	}
	// A value again: the next time it is absent, it is since that one, at once.
	w.at(station)
	w.append("a-1", numerics(ago(0), on...))
	var page struct{ Numerics map[string]since }
	nurse.get("/api/patients/"+w.ada, &page)
	if got := page.Numerics["heart_rate_bpm"]; got.Value == nil || got.Since != nil {
		t.Errorf("a value: %+v since %v", got, got.Since)
	}
	w.append("a-1", numerics(time.Now(), off...))
	nurse.get("/api/patients/"+w.ada, &page)
	if got := page.Numerics["heart_rate_bpm"]; got.Value != nil || got.Since == nil || !got.Since.Equal(now) {
		t.Errorf("absent again: %+v since %v, want %v", got, got.Since, now)
	}
}
