package connect

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAway: a page that is opened while the hub is away asks again by itself; the front end and
// programs get what they can read.
func TestAway(t *testing.T) {
	ask := func(method, path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		away(w, r)
		if w.Code != http.StatusBadGateway || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d, Cache-Control %q", method, path, w.Code, w.Header().Get("Cache-Control"))
		}
		return w
	}
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, path := range []string{"/", "/display", "/patient/p-1"} {
		w := ask("GET", path, browser)
		if body := w.Body.String(); !strings.Contains(body, `http-equiv="refresh"`) || !strings.Contains(body, "No number here is live") || !strings.Contains(body, `lang="de"`) {
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
	if away(w, r); !strings.Contains(w.Body.String(), "No number here is live") {
		t.Errorf("a page's script gets %q", w.Body)
	}
}
