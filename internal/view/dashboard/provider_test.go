package dashboard_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

// TestProviderSilentHere: a person comes back from the hospital's sign-in, and the hub cannot ask it
// whom it let in. The answer is 503 with a text that says so, and no page that says "refused"; the
// log names it, and no code is in it.
func TestProviderSilentHere(t *testing.T) {
	down := false
	var provider *httptest.Server
	provider = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if down || r.URL.Path != "/.well-known/openid-configuration" {
			http.Error(out, "x", http.StatusServiceUnavailable)
			return
		}
		out.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(out).Encode(map[string]any{"issuer": provider.URL, "authorization_endpoint": provider.URL + "/auth", "token_endpoint": provider.URL + "/token",
			"jwks_uri": provider.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	}))
	defer provider.Close()
	w := newWard(t)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	people, err := signin.New(w.engine, w.store, log, signin.WithOIDC(signin.OIDCConfig{Issuer: provider.URL, ClientID: "vitalseal", RoleClaim: "groups",
		Roles: map[string]access.Role{"physicians": access.RoleDoctor}}))
	if err != nil {
		t.Fatal(err)
	}
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: people, Log: log,
		Gate: gateOf(t, api.Config{SignIn: people, Workstation: func(*http.Request) string { return station }})})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(target string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	undecided := func(what string, rec *httptest.ResponseRecorder) {
		t.Helper()
		if body := rec.Body.String(); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" ||
			!strings.Contains(body, "hospital's sign-in does not answer") || !strings.Contains(body, "no refusal") {
			t.Errorf("%s: %d %s", what, rec.Code, body)
		}
	}
	down = true
	undecided("the start", ask("/api/session/oidc"))
	down = false
	start := ask("/api/session/oidc")
	to, err := url.Parse(start.Header().Get("Location"))
	if err != nil || start.Code != http.StatusSeeOther {
		t.Fatal(start.Code, start.Body, err)
	}
	const code = "c0de-of-the-provider"
	back := ask("/api/session/oidc/callback?code="+code+"&state="+url.QueryEscape(to.Query().Get("state")), start.Result().Cookies()...)
	undecided("the way back", back)
	if got := back.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("the way back is answered with %s", got)
	}
	if text := w.log.String(); !strings.Contains(text, "not decided") || strings.Contains(text, code) {
		t.Errorf("log: %s", text)
	}
	// What was not begun here is refused as before.
	if rec := ask("/api/session/oidc/callback?code=x&state=y"); rec.Code != http.StatusSeeOther {
		t.Errorf("a state of another browser: %d", rec.Code)
	}
}
