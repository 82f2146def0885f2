package dashboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vitalseal/internal/view/dashboard"
)

// TestCheckpoint: an enrolled workstation gets the audit log's statement without a person, nobody else gets anything.
func TestCheckpoint(t *testing.T) {
	w := newWard(t)
	from := ""
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, Log: slog.New(slog.DiscardHandler),
		Workstation: func(r *http.Request) string { return r.Header.Get("Test-Peer") },
		Checkpoint: func(_ context.Context, n int64) (json.RawMessage, error) {
			from = fmt.Sprint(n)
			if n == 13 {
				return nil, errors.New("a detail of the disk")
			}
			return json.RawMessage(`{"checkpoint":"c"}`), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query, peer, asked string
		want               int
	}{
		{"?from=12", station, "12", 200},
		{"", station, "0", 200},
		{"?from=-1", station, "", 400},
		{"?from=x", station, "", 400},
		{"?from=99999999999999999999", station, "", 400},
		{"?from=13", station, "13", 500},
		{"?from=12", "", "", 401},
		{"?from=12", "spiffe://test.vitalseal.internal/sensor/oxi-1", "", 401},
	} {
		from = ""
		r := httptest.NewRequest(http.MethodGet, "/api/audit/checkpoint"+c.query, nil)
		r.Header.Set("Test-Peer", c.peer)
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		if a.Code != c.want || from != c.asked || strings.Contains(a.Body.String(), "disk") || c.want == 200 && strings.TrimSpace(a.Body.String()) != `{"checkpoint":"c"}` {
			t.Errorf("%q from %q: %d %s, asked from %q", c.query, c.peer, a.Code, a.Body, from)
		}
	}
}
