package thingspeak_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/thingspeak"
)

const notConfirmed = `"status":"patient not confirmed"`

// TestNotConfirmedEverywhere: a number of a sensor that was silent for long carries the mark in every form that has a place for it,
// asked for or not, and where there is none the reason stands in its place. A number that needs no mark has none.
func TestNotConfirmedEverywhere(t *testing.T) {
	for name, c := range map[string]struct {
		silent time.Duration
		marked bool
	}{"silent for 45 minutes": {45 * time.Minute, true}, "a second ago": {time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			now := time.Now().Truncate(time.Second).Add(-2 * time.Second)
			w.stop(now.Add(time.Second))
			w.append("oxi-a", now.Add(-c.silent), good(vitals.HeartRate, 61))
			w.append("oxi-a", now, good(vitals.HeartRate, 131))
			ask := fmt.Sprintf("/channels/%d", w.ada.ID)
			for page, mark := range map[string]string{
				"/fields/1/last.json": notConfirmed, "/feeds/last.json": notConfirmed, "/feeds.json?results=1": notConfirmed,
				"/fields/1.json?results=1": notConfirmed, "/fields/1.csv?results=1": ",131.0,patient not confirmed\n",
				"/feeds.xml?results=1": "<status>patient not confirmed</status>", "/feeds.json?average=10&minutes=5": notConfirmed,
				"/fields/1/last_average.json?average=10":  notConfirmed,
				fmt.Sprintf("/feeds/%d.json", now.Unix()): notConfirmed, "/charts/1?results=5": ">patient not confirmed</text>",
			} {
				if got := w.get(200, ask+page, w.readAda); strings.Contains(got, mark) != c.marked || !strings.Contains(got, "131") && !strings.HasPrefix(page, "/charts") && c.marked {
					t.Errorf("%s: %s", page, got)
				}
			}
			if got := w.get(200, "/stream"+ask+"/feeds?minutes=1", w.readAda); strings.Contains(got, ",131.0,,,,,,,,patient not confirmed\n") != c.marked {
				t.Errorf("stream: %s", got)
			}
			for _, page := range []string{"/fields/1/last.txt", "/fields/1/last_average.txt?average=10", "/fields/1/last_median?median=10"} {
				rec := w.do("GET", ask+page, "", "X-THINGSPEAKAPIKEY", w.readAda)
				if why := rec.Header().Get("X-Vitalseal-Error"); c.marked && (rec.Code != 404 || !strings.Contains(why, "no person has confirmed")) || !c.marked && (rec.Code != 200 || why != "") {
					t.Errorf("%s: %d %s, %q", page, rec.Code, rec.Body, why)
				}
			}
			if got := w.get(200, ask+"/status.json", w.readAda); strings.Count(got, notConfirmed) != map[bool]int{true: 1}[c.marked] {
				t.Errorf("status: %s", got)
			}
			last := w.do("GET", ask+"/status/last.txt", "", "X-THINGSPEAKAPIKEY", w.readAda)
			if c.marked && last.Body.String() != "patient not confirmed" || !c.marked && last.Code != 404 {
				t.Errorf("last status: %d %s", last.Code, last.Body)
			}
		})
	}
}

// TestNotConfirmedOverMQTT: a field's topic has no place for the mark, so that the number is told only with its entry, which has it.
func TestNotConfirmedOverMQTT(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 4)
	entry := fmt.Sprintf("channels/%d/subscribe", w.ada.ID)
	for _, name := range []string{entry, entry + "/fields/field1"} {
		if code := m.subscribe(name, 0); code != 0 {
			t.Fatalf("subscribe %s: %#x", name, code)
		}
	}
	now := time.Now()
	w.append("oxi-a", now.Add(-45*time.Minute), good(vitals.HeartRate, 61))
	for _, v := range []float64{131, 132} {
		w.append("oxi-a", now, good(vitals.HeartRate, v))
		now = now.Add(time.Second)
	}
	for _, want := range []string{"131.0", "132.0"} { // of each second the entry is told before the fields
		if got := m.expect(entry); !strings.Contains(got, want) || !strings.Contains(got, notConfirmed) {
			t.Errorf("%s, want %s with the mark", got, want)
		}
	}
}
