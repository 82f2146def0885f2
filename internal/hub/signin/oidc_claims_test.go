package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// claimed signs a person in at a provider that says claims in its ID token, and what info answers about the person.
func claimed(t *testing.T, cfg signin.OIDCConfig, claims map[string]any, info http.HandlerFunc) (in signin.SignedIn, e *hub, reason string, err error) {
	t.Helper()
	f := newForger(t)
	f.info = info
	key := signingKey(t, "k1")
	f.keys.Keys = []jose.JSONWebKey{key.Public()}
	f.token = func(nonce string) string {
		now := time.Now()
		c := map[string]any{"iss": f.URL, "aud": "vitalseal", "sub": "s1", "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
			"preferred_username": "mira.lang", "name": "Mira"}
		for k, v := range claims {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	cfg.Issuer, cfg.ClientID, cfg.ClientSecret = f.URL, "vitalseal", "x"
	cfg.Roles = map[string]access.Role{"ward-nurses": access.RoleNurse, "physicians": access.RoleDoctor, "/physicians": access.RoleDoctor}
	e, log := setup(t, newDirectory(), signin.WithOIDC(cfg))
	to, err := e.StartOIDC(t.Context(), station, page)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	if u.Query().Get("max_age") != "0" || u.Query().Get("prompt") != "login" {
		t.Errorf("a proof of now is not asked for: %s", u.RawQuery)
	}
	f.nonces["c"] = u.Query().Get("nonce")
	in, err = e.FinishOIDC(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, station, page)
	return in, e, last(t, log).Reason, err
}

// TestOIDCClaims: claims as real providers send them (akhq 840, NextExplorer 279, hivemq-edge 1706).
func TestOIDCClaims(t *testing.T) {
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprint("grp-", i))
		}
		return append(out, "physicians")
	}
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, text)
		}
	}
	broken := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusInternalServerError) }
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"sub":"s1","groups":["physicians"],"x":"`)
		line := strings.Repeat("x", 1<<16)
		for range 64 {
			if _, err := fmt.Fprint(w, line); err != nil {
				return
			}
		}
		fmt.Fprint(w, `"}`)
	}
	nested := map[string]any{"realm_access": map[string]any{"roles": []string{"offline_access", "physicians"}}}
	for name, c := range map[string]struct {
		claim  string
		claims map[string]any
		info   http.HandlerFunc
		want   string // the reason of a refusal; empty: a doctor
	}{
		"list":                        {"groups", map[string]any{"groups": []string{"physicians"}}, nil, ""},
		"one text":                    {"groups", map[string]any{"groups": "physicians"}, nil, ""},
		"nested":                      {"realm_access.roles", nested, nil, ""},
		"dots in the claim's name":    {"hospital.example.roles", map[string]any{"hospital.example.roles": "physicians", "hospital": map[string]any{"example": 1}}, nil, ""},
		"nested, not there":           {"realm_access.role", nested, nil, "sent no role claim"},
		"nested in a text":            {"name.roles", nil, nil, "sent no role claim"},
		"nested, not to its end":      {"realm_access", nested, nil, "neither a text nor a list of texts"},
		"a path":                      {"groups", map[string]any{"groups": []string{"/physicians"}}, nil, ""},
		"commas":                      {"groups", map[string]any{"groups": "staff,physicians"}, nil, "one text with several values"},
		"spaces":                      {"groups", map[string]any{"groups": "staff physicians"}, nil, "one text with several values"},
		"257th":                       {"groups", map[string]any{"groups": many(256)}, nil, ""},
		"3001st":                      {"groups", map[string]any{"groups": many(3000)}, nil, ""},
		"another case":                {"groups", map[string]any{"groups": []string{"Physicians"}}, nil, "mean no role"},
		"two roles":                   {"groups", map[string]any{"groups": []string{"physicians", "ward-nurses"}}, nil, "mean several roles"},
		"no claim":                    {"groups", nil, nil, "sent no role claim"},
		"a number":                    {"groups", map[string]any{"groups": 7}, nil, "neither a text nor a list of texts"},
		"a list of objects":           {"groups", map[string]any{"groups": []any{map[string]any{"name": "physicians"}}}, nil, "neither a text nor a list of texts"},
		"an empty list":               {"groups", map[string]any{"groups": []string{}}, nil, "mean no role"},
		"in the user information":     {"groups", nil, says(`{"sub":"s1","groups":["physicians"]}`), ""},
		"nested there":                {"realm_access.roles", nil, says(`{"sub":"s1","realm_access":{"roles":["physicians"]}}`), ""},
		"signed goes before":          {"groups", map[string]any{"groups": "physicians", "name": nil}, says(`{"sub":"s1","groups":["ward-nurses"],"name":"x"}`), ""},
		"about another":               {"groups", nil, says(`{"sub":"s2","groups":["physicians"]}`), "not valid"},
		"broken, all in the token":    {"groups", map[string]any{"groups": "physicians"}, broken, ""},
		"broken, the role is there":   {"groups", map[string]any{"groups": "physicians", "name": nil}, broken, ""},
		"broken, the role is missing": {"groups", nil, broken, "user information could not be read"},
		"endless":                     {"groups", nil, endless, "user information could not be read"},
		"several audiences":           {"groups", map[string]any{"groups": "physicians", "aud": []string{"vitalseal", "account"}}, nil, ""},
		"issued ahead":                {"groups", map[string]any{"groups": "physicians", "iat": time.Now().Add(3 * time.Minute).Unix()}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in, _, reason, err := claimed(t, signin.OIDCConfig{RoleClaim: c.claim}, c.claims, c.info)
			switch {
			case c.want == "" && (err != nil || in.Subject.Person.Role != access.RoleDoctor):
				t.Errorf("%v, role %q, %q", err, in.Subject.Person.Role, reason)
			case c.want != "" && (err == nil || !strings.Contains(reason, c.want)):
				t.Errorf("%v, %q; want %q", err, reason, c.want)
			}
		})
	}
}

// TestOIDCAuthTime: a sign-in at the provider counts as a proof of the moment in which it was one.
func TestOIDCAuthTime(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		at     any
		word   bool   // the provider's word is taken without
		reason string // of a refusal
		fresh  bool
	}{
		"now":                   {now.Unix(), false, "", true},
		"the clocks differ":     {now.Add(-4 * time.Minute).Unix(), false, "", true},
		"an hour ago":           {now.Add(-time.Hour).Unix(), false, "had signed in there before", false},
		"six minutes ago":       {now.Add(-6 * time.Minute).Unix(), true, "had signed in there before", false},
		"ahead":                 {now.Add(time.Hour).Unix(), false, "in the future", false},
		"not said":              {nil, false, "", false},
		"not said, word taken":  {nil, true, "", true},
		"no time":               {"yesterday", false, "", false},
		"a time of no clock":    {1e30, false, "", false},
		"before all clocks":     {-5, false, "", false},
		"seconds of a fraction": {float64(now.Unix()) + 0.5, false, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			in, e, reason, err := claimed(t, signin.OIDCConfig{RoleClaim: "groups", NoAuthTime: c.word}, map[string]any{"groups": "physicians", "auth_time": c.at}, nil)
			if c.reason != "" {
				if err == nil || !strings.Contains(reason, c.reason) {
					t.Errorf("%v, %q", err, reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err, reason)
			}
			if _, _, err := e.BeginTOTP(t.Context(), in.Subject); (err == nil) != c.fresh {
				t.Errorf("an act that needs a fresh proof: %v", err)
			}
			s, err := e.Authenticate(t.Context(), in.Tokens.Access, station)
			if err != nil || !s.Proven.Equal(in.Subject.Proven) || s.Proven.After(time.Now()) {
				t.Errorf("%v, proven %v", err, s.Proven)
			}
		})
	}
}
