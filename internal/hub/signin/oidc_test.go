package signin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

const (
	page      = "https://vitalseal.localhost:8420"
	usersEnv  = "VITALSEAL_TEST_OPENID_USERS"
	listening = "OpenID provider at "
)

// TestMain is the OpenID provider when it is started as one: a process of its own, as a hospital's is.
func TestMain(m *testing.M) {
	if users := os.Getenv(usersEnv); users != "" {
		if err := provide(users); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func provide(users string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + ln.Addr().String() + "/"
	storage.RegisterClients(storage.WebClient("vitalseal", "the client's secret", page+signin.CallbackPath))
	store, err := storage.StoreFromFile(users)
	if err != nil {
		return err
	}
	router := exampleop.SetupServer(issuer, storage.NewStorage(store), slog.New(slog.DiscardHandler), false)
	fmt.Println(listening + issuer)
	return (&http.Server{Handler: router, ReadHeaderTimeout: time.Second}).Serve(ln)
}

// hospital starts the provider's process with people whose given name says what they are.
func startProvider(t *testing.T) (issuer string) {
	t.Helper()
	type user struct{ ID, Username, Password, FirstName, LastName string }
	people := map[string]user{}
	for id, role := range map[string]string{"1": "ward-nurse", "2": "physician", "3": "gardener", "4": "ward-nurse"} {
		people[id] = user{id, "user" + id, "secret " + id, role, "Person " + id}
	}
	b, err := json.Marshal(people)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0]) // #nosec G204,G702 -- this very test
	cmd.Env = append(os.Environ(), usersEnv+"="+file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, listening))
}

var formID = regexp.MustCompile(`name="id" value="([^"]*)"`)

// visit goes to the provider, signs in there, and comes back with the query of the callback.
func visit(t *testing.T, to, user, pw string) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back *url.URL
	c := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), page) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := c.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	m := formID.FindSubmatch(body)
	if err != nil || m == nil {
		t.Fatalf("no form at the provider: %d %.300s", res.StatusCode, body)
	}
	res, err = c.PostForm(res.Request.URL.Scheme+"://"+res.Request.URL.Host+res.Request.URL.Path, url.Values{"id": {string(m[1])}, "username": {user}, "password": {pw}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if back == nil {
		t.Fatalf("not sent back: %d at %s", res.StatusCode, res.Request.URL)
	}
	return back.Query()
}

func openID(issuer string) signin.OIDCConfig {
	return signin.OIDCConfig{Issuer: issuer, ClientID: "vitalseal", ClientSecret: "the client's secret", RoleClaim: "given_name",
		Roles: map[string]access.Role{"ward-nurse": access.RoleNurse, "physician": access.RoleDoctor, "head": access.RoleAdmin}}
}

// TestOIDC signs people in at a real provider in a process of its own.
func TestOIDC(t *testing.T) {
	issuer := startProvider(t)
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d, signin.WithOIDC(openID(issuer)))
	start := func() string {
		t.Helper()
		to, err := e.StartOIDC(t.Context(), station, page)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	back := visit(t, start(), "user1", "secret 1")
	in, err := e.FinishOIDC(t.Context(), back, station, page)
	if err != nil {
		t.Fatal(err, last(t, log))
	}
	p := in.Subject.Person
	if p.Role != access.RoleNurse || p.Login != "user1" || p.DisplayName != "ward-nurse Person 1" || len(p.Wards) != 0 {
		t.Errorf("%+v", p)
	}
	if s, err := e.Authenticate(t.Context(), in.Tokens.Access, station); err != nil || s.Person.ID != p.ID {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := e.Decide(t.Context(), in.Subject, access.ViewPatient, access.OnPatient("own")); !errors.Is(err, access.ErrDenied) {
		t.Errorf("a newcomer sees patients: %v", err)
	}
	if _, err := e.FinishOIDC(t.Context(), back, station, page); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("the same answer twice: %v", err)
	}
	again, err := e.FinishOIDC(t.Context(), visit(t, start(), "user1", "secret 1"), station, page)
	if err != nil || again.Subject.Person.ID != p.ID {
		t.Errorf("the second time somebody else: %+v %v", again.Subject.Person, err)
	}
	for what, f := range map[string]func(url.Values) (string, string){
		"another workstation": func(url.Values) (string, string) { return otherStation, page },
		"another page":        func(url.Values) (string, string) { return station, "https://elsewhere.example" },
		"another state":       func(q url.Values) (string, string) { q.Set("state", "x"); return station, page },
		"no code":             func(q url.Values) (string, string) { q.Del("code"); return station, page },
		"another code":        func(q url.Values) (string, string) { q.Set("code", "x"); return station, page },
		"an error":            func(q url.Values) (string, string) { q.Set("error", "access_denied"); return station, page },
	} {
		q := visit(t, start(), "user2", "secret 2")
		ws, origin := f(q)
		if _, err := e.FinishOIDC(t.Context(), q, ws, origin); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("%s: %v", what, err)
		}
		if got := last(t, log); got.Allowed || strings.Contains(fmt.Sprint(got), q.Get("state")) && q.Get("state") != "x" {
			t.Errorf("%s: audited as %+v", what, got)
		}
	}
	if _, err := e.FinishOIDC(t.Context(), visit(t, start(), "user3", "secret 3"), station, page); !errors.Is(err, signin.ErrSignIn) || !strings.Contains(last(t, log).Reason, "no role") {
		t.Errorf("without a role: %v, %+v", err, last(t, log))
	}
	// A local person of the same login stays who they are.
	d.Set(access.Person{ID: "local", Login: "user4", Role: access.RoleAdmin})
	if in, err := e.FinishOIDC(t.Context(), visit(t, start(), "user4", "secret 4"), station, page); err != nil || in.Subject.Person.ID == "local" || in.Subject.Person.Role != access.RoleNurse {
		t.Errorf("%+v %v", in.Subject.Person, err)
	}
	// What an administrator disabled the provider does not enable; a role that the provider changed changes.
	p.Disabled = true
	d.Set(p)
	if _, err := e.FinishOIDC(t.Context(), visit(t, start(), "user1", "secret 1"), station, page); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("disabled: %v", err)
	}
	p.Disabled, p.Role = false, access.RoleDoctor
	d.Set(p)
	if in, err := e.FinishOIDC(t.Context(), visit(t, start(), "user1", "secret 1"), station, page); err != nil || in.Subject.Person.Role != access.RoleNurse {
		t.Errorf("the role does not follow the provider: %+v %v", in.Subject.Person, err)
	}
}

// forger is a provider that says whatever a test wants. Its key set can be changed.
type forger struct {
	*httptest.Server
	keys   jose.JSONWebKeySet
	token  func(nonce string) string
	nonces map[string]string // by code
	down   bool
	info   http.HandlerFunc                            // about a person; nil: it has no such address
	broken atomic.Pointer[map[string]http.HandlerFunc] // what answers in the place of a path; a handler may outlive its client
}

func newForger(t *testing.T) *forger {
	f := &forger{nonces: map[string]string{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if f.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		about := map[string]any{"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}}
		if f.info != nil {
			about["userinfo_endpoint"] = f.URL + "/info"
		}
		answer(w, about)
	})
	mux.HandleFunc("/info", func(w http.ResponseWriter, r *http.Request) { f.info(w, r) })
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.keys) })
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": f.token(f.nonces[r.FormValue("code")])})
	})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken := f.broken.Load(); broken != nil && (*broken)[r.URL.Path] != nil {
			(*broken)[r.URL.Path](w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// TestOIDCForged: answers of the provider that are almost right.
func TestOIDCForged(t *testing.T) {
	f := newForger(t)
	d := newDirectory()
	e, log := setup(t, d, signin.WithOIDC(openID(f.URL)))
	f.down = true
	if _, err := e.StartOIDC(t.Context(), station, page); err == nil || !strings.Contains(err.Error(), f.URL) {
		t.Errorf("a provider that is down: %v", err)
	}
	f.down = false
	key, other := signingKey(t, "k1"), signingKey(t, "k2")
	f.keys.Keys = []jose.JSONWebKey{key.Public()}
	sign := func(k jose.JSONWebKey, change func(map[string]any)) func(string) string {
		return func(nonce string) string {
			now := time.Now()
			c := map[string]any{"iss": f.URL, "aud": "vitalseal", "sub": "s1", "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
				"given_name": "ward-nurse", "preferred_username": "forged"}
			change(c)
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, nil)
			if err != nil {
				t.Fatal(err)
			}
			token, err := jwt.Signed(signer).Claims(c).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
	}
	same := func(map[string]any) {}
	set := func(k string, v any) func(map[string]any) { return func(c map[string]any) { c[k] = v } }
	try := func() error {
		to, err := e.StartOIDC(t.Context(), station, page)
		if err != nil {
			return err
		}
		u, err := url.Parse(to)
		if err != nil {
			return err
		}
		q := u.Query()
		if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" {
			t.Error("no PKCE")
		}
		f.nonces["c"] = q.Get("nonce")
		_, err = e.FinishOIDC(t.Context(), url.Values{"state": {q.Get("state")}, "code": {"c"}}, station, page)
		return err
	}
	f.token = sign(key, same)
	if err := try(); err != nil {
		t.Fatal(err, last(t, log))
	}
	none := func(nonce string) string {
		good := strings.Split(sign(key, same)(nonce), ".")
		return "eyJhbGciOiJub25lIn0." + good[1] + "."
	}
	for what, token := range map[string]func(string) string{
		"another nonce":     sign(key, set("nonce", "x")),
		"no nonce":          sign(key, func(c map[string]any) { delete(c, "nonce") }),
		"another audience":  sign(key, set("aud", "somebody-else")),
		"another issuer":    sign(key, set("iss", "https://elsewhere.example")),
		"expired":           sign(key, set("exp", time.Now().Add(-time.Hour).Unix())),
		"no subject":        sign(key, set("sub", "")),
		"another key":       sign(other, same),
		"alg none":          none,
		"no token":          func(string) string { return "" },
		"several roles":     sign(key, set("given_name", []string{"ward-nurse", "head"})),
		"a role of our own": sign(key, set("given_name", "admin")),
	} {
		f.token = token
		if err := try(); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The provider changes its key.
	f.keys.Keys = []jose.JSONWebKey{other.Public()}
	f.token = sign(other, same)
	if err := try(); err != nil {
		t.Errorf("a new key of the provider: %v, %+v", err, last(t, log))
	}
}
