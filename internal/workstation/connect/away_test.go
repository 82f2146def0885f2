package connect

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAway: a page that is opened while the hub is away asks again by itself; the front end and
// programs get what they can read.
func TestAway(t *testing.T) {
	now := time.Date(2026, 11, 30, 14, 7, 0, 0, time.Local)
	gone := absence{heard: now.Add(-5 * time.Minute), began: now.Add(-time.Hour), now: now}
	ask := func(method, path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		away(w, r, gone)
		if w.Code != http.StatusBadGateway || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d, Cache-Control %q", method, path, w.Code, w.Header().Get("Cache-Control"))
		}
		return w
	}
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, path := range []string{"/", "/display", "/patient/p-1"} {
		w := ask("GET", path, browser)
		if body := w.Body.String(); !strings.Contains(body, `http-equiv="refresh"`) || !strings.Contains(body, "<h1>The hub is not reached since 14:02:00.</h1>") ||
			!strings.Contains(body, "No number here is live. That says nothing about the patients. Look at the bedside.") || !strings.Contains(body, `<section lang="de">`) || !strings.Contains(body, "Der Hub ist seit 14:02:00 nicht erreichbar.") {
			t.Errorf("%s: %s", path, body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for _, w := range []*httptest.ResponseRecorder{ask("GET", "/api/beds", browser), ask("POST", "/api/session", browser)} {
		if got := w.Body.String(); w.Header().Get("Content-Type") != "application/json" || !strings.Contains(got, `"error"`) {
			t.Errorf("the front end gets %q", got)
		}
	}
	for path, want := range map[string]string{
		"/channels/1/feeds.json": "the hub cannot be reached from this workstation\n",
		"/api/admin/wards":       `{"error":"the hub cannot be reached from this workstation"}` + "\n",
	} {
		for _, accept := range []string{"*/*", "application/json"} {
			if got := ask("GET", path, accept).Body.String(); got != want {
				t.Errorf("a program that asks for %s gets %q, want %q", path, got, want)
			}
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/api/beds", nil)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	w := httptest.NewRecorder()
	var said struct {
		Error string
		Heard time.Time `json:"hub_heard"`
	}
	if away(w, r, gone); json.Unmarshal(w.Body.Bytes(), &said) != nil || !strings.Contains(said.Error, "No number here is live") || !said.Heard.Equal(gone.heard) {
		t.Errorf("a page's script gets %q", w.Body)
	}
}

// TestAwaySays: the page says since when the hub is not reached, in the words of the front end, and
// in the language first that the browser prefers.
func TestAwaySays(t *testing.T) {
	now := time.Date(2026, 11, 30, 14, 7, 0, 0, time.Local)
	for name, x := range map[string]struct {
		gone      absence
		languages string
		lang      string
		want      string
	}{
		"today":      {absence{heard: now.Add(-time.Minute), now: now}, "en-GB,en;q=0.9,de;q=0.8", "en", "The hub is not reached since 14:06:00."},
		"in German":  {absence{heard: now.Add(-time.Minute), now: now}, "fr,de-AT;q=0.9,en;q=0.8", "de", "Der Hub ist seit 14:06:00 nicht erreichbar."},
		"yesterday":  {absence{heard: now.Add(-24 * time.Hour), now: now}, "", "en", "The hub is not reached since 2026-11-29 14:07:00."},
		"never":      {absence{began: now.Add(-2 * time.Minute), now: now}, "*", "en", "The hub is not reached. It has not been since this workstation's program (vitalseal connect) started at 14:05:00."},
		"noch nicht": {absence{began: now.Add(-2 * time.Minute), now: now}, "DE", "de", "Der Hub ist nicht erreichbar. Er war es nicht, seit das Programm dieses Arbeitsplatzes (vitalseal connect) um 14:05:00 gestartet wurde."},
	} {
		says := x.gone.says(x.languages)
		if len(says) != 2 || says[0].Lang != x.lang || says[0].What != x.want || says[1].Lang == x.lang {
			t.Errorf("%s: %+v", name, says)
		}
	}
	b, err := os.ReadFile("../../../web/src/words-absent.ts")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range (absence{heard: now, now: now}).says("") {
		texts := []string{strings.Replace(x.What, "14:07:00", "{0}", 1), x.Todo, x.Again}
		for sentence := range strings.SplitSeq(strings.TrimSuffix(x.Bedside, "."), ". ") {
			texts = append(texts, sentence+".")
		}
		for _, text := range texts {
			if !strings.Contains(string(b), x.Lang+": '"+text+"'") {
				t.Errorf("the front end has no text %q", text)
			}
		}
	}
}
