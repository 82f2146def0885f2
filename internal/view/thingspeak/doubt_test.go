package thingspeak_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// TestDoubtOutlivesSilenceHere: two oximeters disagreed, and one of them fell silent a minute ago. As on the dashboard, the other's number
// does not stand alone, in whatever form it is asked for, until the silent one leaves the bed or the doubt is vitals.DoubtFor old.
func TestDoubtOutlivesSilenceHere(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		rival  float64
		ago    time.Duration // how long the rival has been silent
		left   time.Duration // how long ago it was taken off the bed; zero: it is there
		back   time.Duration // how long ago it was put there again; zero: not
		number bool
	}{
		"silent for a minute":               {84, time.Minute, 0, 0, false},
		"silent for nearly five":            {84, vitals.DoubtFor - 2*second, 0, 0, false},
		"silent for longer":                 {84, vitals.DoubtFor + 2*second, 0, 0, true},
		"silent, and it agreed":             {96, time.Minute, 0, 0, true},
		"silent, and taken off":             {84, time.Minute, 20 * second, 0, true},
		"silent, taken off, and back":       {84, time.Minute, 37 * second, 20 * second, true},
		"taken off, but only after the now": {84, time.Minute, -time.Second, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			now := time.Now().Truncate(second).Add(-2 * second)
			w.stop(now)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			second := sensorOf("oxi-z")
			must(w.store.CreateDevice(t.Context(), directory.Device{ID: second, Kind: "sensor", State: directory.DeviceActive}))
			must(w.store.PlaceDevice(t.Context(), second, "ward-a-bed", now.Add(-time.Hour)))
			for ago := c.ago + 3*time.Second; ago > 0; ago -= time.Second {
				at := now.Add(-ago)
				w.append("oxi-a", at, good(vitals.SpO2, 97))
				if ago >= c.ago {
					w.append("oxi-z", at, good(vitals.SpO2, c.rival))
				}
			}
			if c.left != 0 {
				must(w.store.PlaceDevice(t.Context(), second, "", now.Add(-c.left)))
			}
			if c.back != 0 {
				must(w.store.PlaceDevice(t.Context(), second, "ward-a-bed", now.Add(-c.back)))
			}
			channel := fmt.Sprintf("/channels/%d", w.ada.ID)
			last := w.do("GET", channel+"/fields/2/last.txt", "", "X-THINGSPEAKAPIKEY", w.readAda)
			if why := last.Header().Get("X-Vitalseal-Error"); c.number && (last.Code != 200 || last.Body.String() != "97.0") ||
				!c.number && (last.Code != 404 || !strings.Contains(why, "another sensor of the patient disagreed")) {
				t.Errorf("last.txt: %d %s, %q", last.Code, last.Body, why)
			}
			want := map[bool]string{true: `"field2":"97.0"`, false: `"field2":null`}[c.number]
			for _, page := range []string{"/fields/2/last.json", "/feeds/last.json", "/feeds.json?results=1", "/feeds.json?start=" + stamp(now.Add(-time.Second)) + "&end=" + stamp(now)} {
				page = strings.ReplaceAll(page, "Z", "")
				if got := w.get(200, channel+page, w.readAda); !strings.Contains(got, want) {
					t.Errorf("%s: %s, want %s", page, got, want)
				}
			}
		})
	}
}

// TestLegacyHidesNoDoubt: two oximeters disagreed, and both fell silent; a legacy device goes on asserting a value. No form of the last
// value gives that of one of the two, and each says why; beside two that agreed it does, with its time, as long as it is not too old.
func TestLegacyHidesNoDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		rival  float64
		number bool
	}{"they disagreed": {84, false}, "they agreed": {96, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			now := time.Now().Truncate(time.Second).Add(-2 * time.Second)
			w.stop(now)
			for _, id := range []string{"oxi-z", "leg-1"} {
				if err := w.store.CreateDevice(t.Context(), directory.Device{ID: sensorOf(id), Kind: "sensor", State: directory.DeviceActive}); err != nil {
					t.Fatal(err)
				}
				if err := w.store.PlaceDevice(t.Context(), sensorOf(id), "ward-a-bed", now.Add(-time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			for ago := 30 * time.Second; ago > 0; ago -= time.Second {
				at := now.Add(-ago)
				if ago > 20*time.Second {
					w.append("oxi-a", at, good(vitals.SpO2, 97))
					w.append("oxi-z", at, good(vitals.SpO2, c.rival))
				}
				w.append("leg-1", at, vitals.Numeric{Kind: vitals.SpO2, Quality: vitals.Asserted, Value: 99})
			}
			channel := fmt.Sprintf("/channels/%d", w.ada.ID)
			last := w.do("GET", channel+"/fields/2/last.json", "", "X-THINGSPEAKAPIKEY", w.readAda)
			want, why := `"field2":null`, "disagreed"
			if c.number {
				want, why = `"field2":"97.0"`, "s old"
			}
			if got := last.Header().Get("X-Vitalseal-Error"); last.Code != 200 || !strings.Contains(last.Body.String(), want) || !strings.Contains(got, why) {
				t.Errorf("last.json: %d %s, %q; want %s", last.Code, last.Body, got, want)
			}
			if r := w.do("GET", channel+"/fields/2/last.txt", "", "X-THINGSPEAKAPIKEY", w.readAda); r.Code != 404 {
				t.Errorf("last.txt: %d %s", r.Code, r.Body)
			}
			past := w.get(200, channel+"/fields/2.json?results=1&start="+strings.TrimSuffix(stamp(now.Add(-21*time.Second)), "Z")+"&end="+strings.TrimSuffix(stamp(now.Add(-21*time.Second)), "Z"), w.readAda)
			if !strings.Contains(past, want) {
				t.Errorf("the same second among the entries: %s, want %s", past, want)
			}
		})
	}
}
