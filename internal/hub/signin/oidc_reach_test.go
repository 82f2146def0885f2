package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// TestProviderSilent: whatever of a sign-in the provider does not answer, the sign-in is not decided:
// no refusal, and none that counts against the workstation. With an answer it goes on.
func TestProviderSilent(t *testing.T) {
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	breaksOff := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"sub":`))
		panic(http.ErrAbortHandler)
	}
	says := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", status) }
	}
	for name, c := range map[string]struct {
		path    string // what does not answer
		how     http.HandlerFunc
		refused bool
	}{
		"token: hangs up":              {"/token", hangUp, false},
		"token: breaks off":            {"/token", breaksOff, false},
		"token: 503":                   {"/token", says(503), false},
		"token: too many":              {"/token", says(429), false},
		"token: refuses the code":      {"/token", says(400), true},
		"keys: hang up":                {"/keys", hangUp, false},
		"keys: 502":                    {"/keys", says(502), false},
		"keys: not there":              {"/keys", says(404), true},
		"information: hangs up":        {"/info", hangUp, false},
		"information: 500":             {"/info", says(500), false},
		"information: not for the hub": {"/info", says(403), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			key := signingKey(t, "k1")
			f.keys.Keys = []jose.JSONWebKey{key.Public()}
			f.info = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"sub":"s1","given_name":"ward-nurse"}`))
			}
			f.token = func(nonce string) string {
				return payload(t, key, f.URL, nonce, `"preferred_username":"x"`)
			}
			f.broken.Store(&map[string]http.HandlerFunc{c.path: c.how})
			e, log := setup(t, newDirectory(), signin.WithOIDC(openID(f.URL)))
			try := func() error {
				to, err := e.StartOIDC(t.Context(), station, page)
				if err != nil {
					return err
				}
				u, err := url.Parse(to)
				if err != nil {
					return err
				}
				f.nonces["c"] = u.Query().Get("nonce")
				_, err = e.FinishOIDC(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, station, page)
				return err
			}
			err := try()
			entry := last(t, log)
			switch {
			case c.refused && (!errors.Is(err, signin.ErrSignIn) || errors.Is(err, access.ErrUndecided) || entry.Undecided()):
				t.Errorf("%v, %q; want a refusal", err, entry.Reason)
			case !c.refused && (!errors.Is(err, signin.ErrProvider) || !errors.Is(err, access.ErrUndecided) || errors.Is(err, signin.ErrSignIn)):
				t.Errorf("%v; want not decided", err)
			case !c.refused && (!entry.Undecided() || entry.Workstation != station || !strings.Contains(entry.Reason, map[bool]string{true: "user information could not be read", false: "OpenID provider did not answer"}[c.path == "/info"])):
				t.Errorf("audited as %+v", entry)
			}
			f.broken.Store(nil)
			if err := try(); err != nil {
				t.Errorf("the provider answers again: %v, %q", err, last(t, log).Reason)
			}
		})
	}
}

// TestProviderDownAtTheStart: a sign-in cannot begin, which is not decided either; and a browser that
// left while the provider was asked leaves no entry.
func TestProviderDownAtTheStart(t *testing.T) {
	f := newForger(t)
	f.down = true
	e, log := setup(t, newDirectory(), signin.WithOIDC(openID(f.URL)))
	if _, err := e.StartOIDC(t.Context(), station, page); !errors.Is(err, signin.ErrProvider) || !errors.Is(err, access.ErrUndecided) {
		t.Errorf("%v; want not decided", err)
	}
	f.down = false
	to, err := e.StartOIDC(t.Context(), station, page)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(t.Context())
	f.broken.Store(&map[string]http.HandlerFunc{"/token": func(http.ResponseWriter, *http.Request) { leave(); panic(http.ErrAbortHandler) }})
	if _, err := e.FinishOIDC(left, url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, station, page); !errors.Is(err, access.ErrUndecided) {
		t.Errorf("a browser that left: %v", err)
	}
	if got, err := log.Recent(t.Context(), 10); err != nil || len(got) != 0 {
		t.Errorf("entries of a browser that left: %+v, %v", got, err)
	}
}

// payload is an ID token with the claims that it must have and more, in the order in which they are
// written.
func payload(t *testing.T, key jose.JSONWebKey, issuer, nonce, more string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signed, err := signer.Sign(fmt.Appendf(nil, `{"iss":%q,"aud":"vitalseal","sub":"s1","nonce":%q,"iat":%d,"exp":%d,%s}`,
		issuer, nonce, now.Unix(), now.Add(time.Minute).Unix(), more))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestClaimsTwice: an ID token or user information that says two things under one name, at whatever
// depth, is refused with the name, whichever of the two a decoder would take.
func TestClaimsTwice(t *testing.T) {
	for name, c := range map[string]struct {
		token, info string
		twice       string // the name; empty: taken
	}{
		"once":                        {`"given_name":"ward-nurse"`, "", ""},
		"the role":                    {`"given_name":"ward-nurse","given_name":"head"`, "", "given_name"},
		"in other letters":            {`"given_name":"ward-nurse","Given_Name":"head"`, "", "given_name"},
		"the subject":                 {`"given_name":"ward-nurse","sub":"s2"`, "", "sub"},
		"deep inside":                 {`"given_name":"ward-nurse","realm_access":{"roles":["a"],"roles":["b"]}`, "", "roles"},
		"a claim that nothing reads":  {`"given_name":"ward-nurse","hobby":[{"x":1,"x":1}]`, "", "x"},
		"the information: once":       {`"x":1`, `{"sub":"s1","given_name":"ward-nurse"}`, ""},
		"the information: the role":   {`"x":1`, `{"sub":"s1","given_name":"ward-nurse","given_name":"head"}`, "given_name"},
		"the information: in another": {`"given_name":"ward-nurse"`, `{"sub":"s1","a":{"b":1,"B":2}}`, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			key := signingKey(t, "k1")
			f.keys.Keys = []jose.JSONWebKey{key.Public()}
			if c.info != "" {
				f.info = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(c.info))
				}
			}
			f.token = func(nonce string) string { return payload(t, key, f.URL, nonce, c.token) }
			e, log := setup(t, newDirectory(), signin.WithOIDC(openID(f.URL)))
			to, err := e.StartOIDC(t.Context(), station, page)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			f.nonces["c"] = u.Query().Get("nonce")
			_, err = e.FinishOIDC(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, station, page)
			reason := last(t, log).Reason
			if c.twice == "" && err != nil || c.twice != "" && (!errors.Is(err, signin.ErrSignIn) || !strings.Contains(reason, `"`+c.twice+`" is given twice`)) {
				t.Errorf("%v, %q; want the name %q", err, reason, c.twice)
			}
		})
	}
}
