package sessions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
)

// byProvider signs a person in at an OpenID provider whose ID token, which it signs, has the claims
// that say makes of those that every token must have: "name":value pairs without braces.
func byProvider(ctx context.Context, o *office.Office, say func(must string) string) (in signin.SignedIn, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return in, err
	}
	key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: string(jose.ES256)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return in, err
	}
	issuer, token := "http://"+ln.Addr().String(), ""
	mux := http.NewServeMux()
	says := func(path string, answer func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer()) // who asks has gone: the attack finds out
		})
	}
	says("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}}
	})
	says("/keys", func() any { return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}} })
	says("/token", func() any {
		return map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": token}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		cerr := server.Close()
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			cerr = errors.Join(cerr, serr)
		}
		err = errors.Join(err, cerr)
	}()
	people, err := signin.New(o.Engine, o.Store, o.Log, signin.WithIssuer(office.Domain), signin.WithOIDC(signin.OIDCConfig{Issuer: issuer, ClientID: "vitalseal",
		RoleClaim: "groups", Roles: map[string]access.Role{"physicians": access.RoleDoctor, "nurses": access.RoleNurse}}))
	if err != nil {
		return in, err
	}
	const page = "https://" + signin.DefaultHost + ":8420"
	to, err := people.StartOIDC(ctx, office.Desk, page)
	if err != nil {
		return in, err
	}
	u, err := url.Parse(to)
	if err != nil {
		return in, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return in, err
	}
	now := time.Now()
	must, err := json.Marshal(map[string]any{"iss": issuer, "aud": "vitalseal", "sub": "s", "nonce": u.Query().Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"preferred_username": "somebody", "name": "Somebody"})
	if err != nil {
		return in, err
	}
	signed, err := signer.Sign([]byte("{" + say(strings.Trim(string(must), "{}")) + "}"))
	if err != nil {
		return in, err
	}
	if token, err = signed.CompactSerialize(); err != nil {
		return in, err
	}
	return people.FinishOIDC(ctx, url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, office.Desk, page)
}

func oldLogin(ctx context.Context, o *office.Office) (attack.Result, error) {
	in, err := byProvider(ctx, o, func(must string) string {
		return fmt.Sprintf(`%s,"groups":["physicians"],"auth_time":%d`, must, time.Now().Add(-3*time.Hour).Unix())
	})
	if err != nil && !errors.Is(err, signin.ErrSignIn) {
		return attack.Result{}, err
	}
	return attack.Judge(err == nil, attack.Failure(err), "a sign-in of three hours ago counts as one of now", "refused", "%v; proven %v ago", err, time.Since(in.Subject.Proven).Round(time.Minute))
}

func claimsTwice(ctx context.Context, o *office.Office) (attack.Result, error) {
	now := time.Now().Unix()
	once := fmt.Sprintf(`,"auth_time":%d,"groups":["nurses"]`, now)
	if _, err := byProvider(ctx, o, func(must string) string { return must + once }); err != nil {
		return attack.Result{}, fmt.Errorf("a token that says it once: %w", err)
	}
	in, err := byProvider(ctx, o, func(must string) string { return must + once + `,"groups":["physicians"]` })
	if err != nil && !errors.Is(err, signin.ErrSignIn) {
		return attack.Result{}, err
	}
	return attack.Judge(err == nil && in.Subject.Person.Role == access.RoleDoctor, attack.Failure(err), "signed in with the role that was added", "refused", "%v; role %q", err, in.Subject.Person.Role)
}
