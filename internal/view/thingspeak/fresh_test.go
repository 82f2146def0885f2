package thingspeak_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/thingspeak"
)

// TestLastIsThePresent: the number of a probe that is off, of a sensor that has fallen silent and of a clock that is ahead never
// stands alone for the present. (Seen: 76.8 after 26 minutes without a finger, and 58.2 for four minutes while the patient had 130.)
func TestLastIsThePresent(t *testing.T) {
	s := time.Now().Truncate(time.Second).Add(-time.Second)
	hr := func(v float64) vitals.Numeric { return good(vitals.HeartRate, v) }
	off := vitals.Absent(vitals.HeartRate, vitals.ProbeOff)
	type step struct {
		at time.Duration
		n  vitals.Numeric
	}
	for _, c := range []struct {
		name  string
		steps []step
		later time.Duration // until it is asked
		text  string        // of fields/1/last.txt; empty: 404
		json  string        // field1 of fields/1/last.json
		why   string
	}{
		{"fresh", []step{{0, hr(76.8)}}, 3 * time.Second, "76.8", `"76.8"`, ""},
		{"five seconds", []step{{0, hr(76.8)}}, 6 * time.Second, "", `"76.8"`, "the newest value is 7 s old"},
		{"two minutes", []step{{0, hr(76.8)}}, 130 * time.Second, "", `null`, "s old"},
		{"26 minutes", []step{{0, hr(76.8)}}, 26 * time.Minute, "", `null`, "the newest value is 1561 s old"},
		{"probe off a moment ago", []step{{-time.Second, hr(76.8)}, {0, off}}, 0, "", `null`, "there is no value: probe_off"},
		{"probe off for 26 minutes", []step{{-26 * time.Minute, hr(76.8)}, {-25 * time.Minute, off}, {0, off}}, 0, "", `null`, "probe_off"},
		{"on again", []step{{-2 * time.Second, off}, {0, hr(80)}}, 0, "80.0", `"80.0"`, ""},
		{"only questionable", []step{{0, vitals.Checked(vitals.HeartRate, 99, vitals.Questionable)}}, 0, "", `null`, "questionable"},
		{"a time to come", []step{{0, hr(130)}, {4 * time.Minute, hr(58.2)}}, 0, "130.0", `"130.0"`, ""},
		{"a clock that is a little ahead", []step{{0, hr(90)}, {3 * time.Second, hr(91)}}, 0, "91.0", `"91.0"`, ""},
		{"asserted by another device", []step{{0, hr(90)}, {100 * time.Millisecond, vitals.Checked(vitals.HeartRate, 40, vitals.Asserted)}}, 0, "90.0", `"90.0"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWard(t)
			for _, x := range c.steps {
				w.append("oxi-a", s.Add(x.at), x.n)
			}
			// A stopped clock: what is fresh does not depend on how long the test takes.
			now := s.Add(c.later + time.Second)
			w.stop(now)
			path := fmt.Sprintf("/channels/%d/fields/1/last", w.ada.ID)
			ask := func(ext string) *httptest.ResponseRecorder {
				return w.do("GET", path+ext, "", "X-THINGSPEAKAPIKEY", w.readAda)
			}
			for _, ext := range []string{"", ".txt"} {
				rec := ask(ext)
				if c.text == "" && (rec.Code != 404 || strings.ContainsAny(rec.Body.String(), "0123456789") && ext == ".txt") || c.text != "" && rec.Body.String() != c.text {
					t.Errorf("%q: %d %s", ext, rec.Code, rec.Body)
				}
				if why := rec.Header().Get("X-Vitalseal-Error"); !strings.Contains(why, c.why) || c.why == "" && why != "" {
					t.Errorf("%q: %q, want %q", ext, why, c.why)
				}
			}
			if rec := ask(".json"); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"field1":`+c.json) {
				t.Errorf("JSON: %d %s, want %s", rec.Code, rec.Body, c.json)
			}
			whole := w.get(200, fmt.Sprintf("/channels/%d/feeds/last.txt", w.ada.ID), w.readAda)
			if strings.Contains(whole, `"58.2"`) || c.json == `null` && !strings.Contains(whole, `"field1":null`) {
				t.Errorf("the newest entry: %s", whole)
			}
			if feed := w.get(200, fmt.Sprintf("/channels/%d/feeds.json?results=3", w.ada.ID), w.readAda); strings.Contains(feed, "58.2") {
				t.Errorf("a time to come is in the feed: %s", feed)
			}
		})
	}
}

// TestLastPressure: what a cuff measures now and then stands for longer, and not for ever.
func TestLastPressure(t *testing.T) {
	w := newWard(t)
	s := time.Now().Truncate(time.Second)
	w.append("cuff-a", s, good(vitals.Systolic, 121))
	for _, c := range []struct {
		later      time.Duration
		text, json string
	}{{50 * time.Minute, "121.0", `"121.0"`}, {2 * time.Hour, "", `"121.0"`}, {5 * time.Hour, "", "null"}} {
		w.stop(s.Add(c.later))
		path := fmt.Sprintf("/channels/%d/fields/4/last", w.ada.ID)
		status := map[bool]int{true: 404, false: 200}[c.text == ""]
		if got := w.get(status, path+".txt", w.readAda); c.text != "" && got != c.text {
			t.Errorf("%v later: %q", c.later, got)
		}
		if got := w.get(200, path+".json", w.readAda); !strings.Contains(got, `"field4":`+c.json) {
			t.Errorf("%v later: %s", c.later, got)
		}
	}
	// An average of a past hour is no bare number either.
	if got := w.get(404, fmt.Sprintf("/channels/%d/fields/4/last_average.txt", w.ada.ID), w.readAda); got != "error_resource_not_found" {
		t.Errorf("last_average: %q", got)
	}
}

// stop makes the face again with a clock that stands.
func (w *ward) stop(now time.Time) {
	w.t.Helper()
	w.clock = func() time.Time { return now }
	w.limit(thingspeak.Limits{})
}
