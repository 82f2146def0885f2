package dashboard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestUndecidedRequests: a request that the hub cannot decide, because the directory does not answer
// or the client has left, is answered 503 with a text that says so, and without data. No refusal of
// the person is in the audit log.
func TestUndecidedRequests(t *testing.T) {
	w := newWard(t)
	nurse := w.signedIn("nurse")
	nurse.get("/api/patients/"+w.ada, &struct{}{})
	paths := []string{"/api/session", "/api/beds", "/api/patients/" + w.ada, "/api/patients/" + w.ada + "/trends?hours=1", "/api/security", "/api/live?patient=" + w.ada}

	left, leave := context.WithCancel(t.Context())
	leave()
	for _, path := range paths[2:3] {
		r := httptest.NewRequestWithContext(left, http.MethodGet, path, nil)
		for _, c := range nurse.client.Jar.Cookies(mustURL(t, w.server.URL)) {
			r.AddCookie(c)
		}
		r.Header.Set(header, "1")
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "Ada") {
			t.Errorf("%s for a client that left: %d %s", path, rec.Code, rec.Body)
		}
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		status, body := nurse.do("GET", path, nil, func(r *http.Request) { r.Header.Set("Accept", "application/json") })
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "could not decide") || !strings.Contains(body, `"retry_after":2`) {
			t.Errorf("%s without a directory: %d %s", path, status, body)
		}
	}
	all, err := w.trail.Recent(t.Context(), audit.MaxRecent)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.Allowed && !e.Undecided() {
			t.Errorf("a refusal that no person caused: %+v", e)
		}
	}
}
