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

	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

// TestCheckpoint: an enrolled workstation gets the audit log's statement without a person, no other client gets anything.
func TestCheckpoint(t *testing.T) {
	w := newWard(t)
	from := ""
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: slog.New(slog.DiscardHandler),
		Gate: gateOf(t, api.Config{SignIn: w.signin, Workstation: func(r *http.Request) string { return r.Header.Get("Test-Peer") }}),
		Statement: func(_ context.Context, _ string, n int64, said []byte, _ bool) (json.RawMessage, error) {
			from = fmt.Sprint(n)
			if said != nil {
				t.Errorf("a GET said %q", said)
			}
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

// TestSeenByWorkstations: what a workstation has seen is handed on as it came, bounded, from nothing but an enrolled workstation and no other
// site's page.
func TestSeenByWorkstations(t *testing.T) {
	w := newWard(t)
	asked := ""
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: slog.New(slog.DiscardHandler),
		Gate: gateOf(t, api.Config{SignIn: w.signin, Workstation: func(r *http.Request) string { return r.Header.Get("Test-Peer") }}),
		Statement: func(_ context.Context, who string, _ int64, said []byte, wait bool) (json.RawMessage, error) {
			asked = fmt.Sprintf("%s %s %v", who, said, wait)
			if string(said) == "x" {
				return nil, fmt.Errorf("%w: a detail", dashboard.ErrAsk)
			}
			return json.RawMessage(`{"seen":[]}`), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, peer, own, body, asked string
		want                         int
	}{
		{"checkpoint", station, "1", `{"from":1}`, station + ` {"from":1} false`, 200},
		{"watch", station, "1", `{"from":1}`, station + ` {"from":1} true`, 200},
		{"watch", station, "1", "x", station + " x true", 400},
		{"watch", station, "1", strings.Repeat("x", 21<<10), "", 400},
		{"watch", station, "", `{"from":1}`, "", 403},
		{"watch", "", "1", `{"from":1}`, "", 401},
		{"watch", "spiffe://test.vitalseal.internal/gateway/gw", "1", `{"from":1}`, "", 401},
	} {
		asked = ""
		r := httptest.NewRequest(http.MethodPost, "/api/audit/"+c.path, strings.NewReader(c.body))
		r.Header.Set("Test-Peer", c.peer)
		if c.own != "" {
			r.Header.Set(api.RequestHeader, c.own)
		}
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		if a.Code != c.want || asked != c.asked || strings.Contains(a.Body.String(), "detail") {
			t.Errorf("%s from %q: %d %s, asked %.80q", c.path, c.peer, a.Code, a.Body, asked)
		}
	}
}
