package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// claimsOf reads an access token without verifying it.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// keySet is what the engine publishes.
func keySet(t testing.TB, e *hub) jose.JSONWebKeySet {
	t.Helper()
	b, err := e.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// TestTokenVerifiesWithThePublishedKeys: every party can check a token with the key set alone, and it says no more than it must.
func TestTokenVerifiesWithThePublishedKeys(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d, signin.WithIssuer("ward.example"))
	b := signIn(t, e, "nurse")
	parsed, err := jwt.ParseSigned(b.tokens.Access, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := parsed.Claims(keySet(t, e), &c); err != nil {
		t.Fatal(err)
	}
	if c["iss"] != "ward.example" || c["aud"] != "vitalseal" || c["sub"] != "nurse" || c["cnf"].(map[string]any)["spiffe"] != station {
		t.Errorf("claims %v", c)
	}
	for _, k := range keySet(t, e).Keys {
		if !k.IsPublic() {
			t.Error("a private key is published")
		}
	}
}

// TestTokenIsBoundToItsWorkstation: a stolen token is worth nothing elsewhere, and showing it there ends it.
func TestTokenIsBoundToItsWorkstation(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	var events []access.Event
	e, log := setup(t, d, access.WithEvents(func(x access.Event) { events = append(events, x) }))
	b := signIn(t, e, "nurse")
	if _, err := e.Authenticate(t.Context(), b.tokens.Access, otherStation); !errors.Is(err, access.ErrNoSession) {
		t.Fatal(err)
	}
	if got := last(t, log); got.Allowed || got.Workstation != otherStation || got.Person != "nurse" {
		t.Errorf("audited as %+v", got)
	}
	if len(events) != 1 || events[0].Kind != access.EventTheft {
		t.Errorf("announced %v", events)
	}
	if _, err := b.as(); !errors.Is(err, access.ErrNoSession) {
		t.Errorf("the session went on: %v", err)
	}
}

// TestForgedTokens: everything that is not exactly a token of ours is no session.
func TestForgedTokens(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d)
	b := signIn(t, e, "nurse")
	good := b.tokens.Access
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding
	published := keySet(t, e).Keys[0]
	public := published.Key.(*ecdsa.PublicKey)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(alg jose.SignatureAlgorithm, key any, kid, typ string, change func(map[string]any)) string {
		c := claimsOf(t, good)
		change(c)
		options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	same := func(map[string]any) {}
	raw, _ := public.ECDH()
	header := func(h string) string {
		body := b64.EncodeToString([]byte(h)) + "." + parts[1]
		mac := hmac.New(sha256.New, raw.Bytes())
		mac.Write([]byte(body))
		return body + "." + b64.EncodeToString(mac.Sum(nil))
	}
	changed := func(change func(map[string]any)) string {
		c := claimsOf(t, good)
		change(c)
		body, _ := json.Marshal(c)
		return parts[0] + "." + b64.EncodeToString(body) + "." + parts[2]
	}
	for what, token := range map[string]string{
		"empty": "", "junk": "x", "two parts": parts[0] + "." + parts[1], "no signature": parts[0] + "." + parts[1] + ".",
		"alg none":                      b64.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + ".",
		"public key as a secret":        header(`{"alg":"HS256","typ":"at+jwt","kid":"` + published.KeyID + `"}`),
		"another key, our kid":          signed(jose.ES256, other, published.KeyID, "at+jwt", same),
		"another key, its own kid":      signed(jose.ES256, other, "mine", "at+jwt", same),
		"another key that it carries":   signed(jose.ES256, jose.JSONWebKey{Key: other, KeyID: published.KeyID}, published.KeyID, "at+jwt", same),
		"another type":                  signed(jose.ES256, other, published.KeyID, "JWT", same),
		"another person":                changed(func(c map[string]any) { c["sub"] = "admin" }),
		"another workstation":           changed(func(c map[string]any) { c["cnf"] = map[string]any{"spiffe": otherStation} }),
		"a later end":                   changed(func(c map[string]any) { c["exp"] = float64(time.Now().Add(time.Hour).Unix()) }),
		"very long":                     strings.Repeat("A", 1<<16),
		"a refresh token":               b.tokens.Refresh,
		"the signature of another part": parts[0] + "." + parts[1] + "." + b64.EncodeToString([]byte(strings.Repeat("A", 64))),
	} {
		if _, err := e.Authenticate(t.Context(), token, station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := b.as(); err != nil {
		t.Errorf("the real one no longer works: %v", err)
	}
}

// TestTokensExpire: five minutes, and a few seconds for clocks.
func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, _ := setup(t, d)
		b := signIn(t, e, "nurse")
		time.Sleep(5*time.Minute + 4*time.Second)
		if _, err := e.Authenticate(t.Context(), b.tokens.Access, station); err != nil {
			t.Errorf("within the leeway: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := e.Authenticate(t.Context(), b.tokens.Access, station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("after the leeway: %v", err)
		}
		if b.refresh() != nil || time.Until(b.tokens.AccessExpires) != 5*time.Minute {
			t.Errorf("refreshed: %+v", b.tokens)
		}
		b.subject()
	})
}

// TestRefreshReuse: a refresh token that is shown twice was copied, and its whole family ends.
func TestRefreshReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		var events []access.Event
		e, log := setup(t, d, access.WithEvents(func(x access.Event) { events = append(events, x) }))
		b := signIn(t, e, "nurse")
		first := b.tokens.Refresh
		if err := b.refresh(); err != nil {
			t.Fatal(err)
		}
		// A second tab, a moment later: it gets nothing, and nothing ends.
		if _, err := e.Refresh(t.Context(), first, station); !errors.Is(err, signin.ErrSuperseded) {
			t.Errorf("a second tab: %v", err)
		}
		b.subject()
		for _, held := range []string{first, b.tokens.Refresh} {
			if who, err := e.Holder(t.Context(), held, station); err != nil || who.Person.ID != "nurse" || who.Session != b.subject().Session {
				t.Errorf("who holds it: %+v, %v", who, err)
			}
		}
		if err := b.refresh(); err != nil {
			t.Errorf("a look at who holds a token has used it: %v", err)
		}
		if _, err := e.Holder(t.Context(), strings.Repeat("A", 100), station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("an invented token: %v", err)
		}
		// An invented one of the same session ends nothing either: its id is in every access token.
		parts := strings.Split(first, ".")
		for _, forged := range []string{parts[0] + "." + parts[1] + "." + strings.Repeat("A", 43), parts[0] + "..", parts[0], "x.y.z", "", strings.Repeat("A", 1000)} {
			if _, err := e.Refresh(t.Context(), forged, station); !errors.Is(err, access.ErrNoSession) {
				t.Errorf("forged %.20q: %v", forged, err)
			}
		}
		b.subject()
		time.Sleep(11 * time.Second)
		if _, err := e.Refresh(t.Context(), first, station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("used twice: %v", err)
		}
		if got := last(t, log); got.Allowed || got.Action != "session:refresh" || got.Person != "nurse" {
			t.Errorf("audited as %+v", got)
		}
		if len(events) != 1 || events[0].Kind != access.EventTheft {
			t.Errorf("announced %v", events)
		}
		if _, err := b.as(); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("the family lives on: %v", err)
		}
		if err := b.refresh(); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("the newest token still works: %v", err)
		}
	})
}

// TestRefreshAtOnce: of many at the same time one gets new tokens, and no client is taken for a thief.
func TestRefreshAtOnce(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d)
	b := signIn(t, e, "nurse")
	var wg sync.WaitGroup
	got := make(chan error, 16)
	for range cap(got) {
		wg.Go(func() {
			_, err := e.Refresh(t.Context(), b.tokens.Refresh, station)
			got <- err
		})
	}
	wg.Wait()
	close(got)
	won := 0
	for err := range got {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, signin.ErrSuperseded):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

// TestKeyRotation: a new key every day; tokens of the old one are good until they expire; a restart keeps the keys.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, log := setup(t, d)
		signIn(t, e, "nurse")
		time.Sleep(24*time.Hour - time.Minute)
		b := signIn(t, e, "nurse")
		first := keySet(t, e)
		time.Sleep(2 * time.Minute)
		second := keySet(t, e)
		if len(first.Keys) != 1 || len(second.Keys) != 2 || second.Keys[0].KeyID != first.Keys[0].KeyID {
			t.Errorf("%d keys, then %d", len(first.Keys), len(second.Keys))
		}
		if _, err := e.Authenticate(t.Context(), b.tokens.Access, station); err != nil {
			t.Errorf("a token of yesterday's key: %v", err)
		}
		again := newHub(t, d, log)
		if _, err := again.Authenticate(t.Context(), b.tokens.Access, station); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		time.Sleep(25 * time.Hour)
		for _, k := range keySet(t, e).Keys {
			if k.KeyID == first.Keys[0].KeyID {
				t.Error("the first key is still published")
			}
		}
	})
}

func FuzzAuthenticate(f *testing.F) {
	d := withPassword(f, newDirectory().WithEveryRole())
	e, _ := setup(f, d)
	b := signIn(f, e, "nurse")
	f.Add(b.tokens.Access)
	f.Add(b.tokens.Refresh)
	f.Add("eyJhbGciOiJub25lIn0..")
	f.Fuzz(func(t *testing.T, token string) {
		if token == b.tokens.Access || token == b.tokens.Refresh {
			return
		}
		if _, err := e.Authenticate(t.Context(), token, station); !errors.Is(err, access.ErrNoSession) {
			t.Fatalf("authenticated: %v", err)
		}
		if _, err := e.Refresh(t.Context(), token, station); !errors.Is(err, access.ErrNoSession) {
			t.Fatalf("refreshed: %v", err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	d := withPassword(b, newDirectory().WithEveryRole())
	e, _ := setup(b, d)
	token := signIn(b, e, "nurse").tokens.Access
	for b.Loop() {
		if _, err := e.Authenticate(b.Context(), token, station); err != nil {
			b.Fatal(err)
		}
	}
}

// signingKey is a fresh ES256 key of another issuer.
func signingKey(t testing.TB, kid string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}
