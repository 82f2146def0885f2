package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vitalseal/internal/shared/disk"
	"vitalseal/internal/workstation/client"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// faces is a hub whose access tokens can be ended.
type faces struct {
	mu        sync.Mutex
	access    int // number of the token that is good
	refresh   int
	refreshes atomic.Int64
	dead      atomic.Bool // refreshing is refused
	asked     atomic.Int64
}

func (f *faces) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.access++
}

func (f *faces) give(w http.ResponseWriter) {
	f.refresh++
	http.SetCookie(w, &http.Cookie{Name: "vitalseal_session", Value: strings.Repeat("a", f.access+1), Path: "/", HttpOnly: true})
	http.SetCookie(w, &http.Cookie{Name: "vitalseal_refresh", Value: strings.Repeat("r", f.refresh), Path: "/api/session", HttpOnly: true})
}

func fail(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (f *faces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("X-Vitalseal-Request") != "1" {
		fail(w, 403, `{"error":"foreign"}`)
		return
	}
	var in struct{ Login, Password, ID, TOTP, Recovery string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch r.Method + " " + r.URL.Path {
	case "POST /api/session":
		switch {
		case in.Password != "right":
			fail(w, 401, `{"error":"wrong"}`)
		case in.Login == "careful":
			_, _ = w.Write([]byte(`{"second_factor":{"id":"pending-1","methods":["totp","recovery"]}}`))
		default:
			f.give(w)
			_, _ = w.Write([]byte(`{"login":"x"}`))
		}
	case "POST /api/session/second", "POST /api/session/step-up":
		if in.TOTP != "123456" && in.Recovery != "abc" && in.Password != "right" || r.URL.Path == "/api/session/second" && in.ID != "pending-1" {
			fail(w, 401, `{"error":"wrong"}`)
			return
		}
		f.give(w)
	case "POST /api/session/refresh":
		f.refreshes.Add(1)
		if c, err := r.Cookie("vitalseal_refresh"); err != nil || len(c.Value) != f.refresh || f.dead.Load() {
			fail(w, 401, `{"error":"Not signed in."}`)
			return
		}
		f.give(w)
	case "GET /api/dangerous":
		fail(w, 403, `{"error":"Prove who you are.","step_up":true}`)
	case "GET /api/elsewhere":
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	default:
		f.asked.Add(1)
		if c, err := r.Cookie("vitalseal_session"); err != nil || len(c.Value) != f.access+1 {
			fail(w, 401, `{"error":"Not signed in."}`)
			return
		}
		if _, err := r.Cookie("vitalseal_refresh"); err == nil {
			fail(w, 500, `{"error":"the refresh token travels where it has no business"}`)
			return
		}
		_, _ = w.Write([]byte(`{"ok":true}`))
	}
}

func session(t testing.TB) (*client.Client, *faces) {
	f := &faces{}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL)
	must(t, err)
	return c, f
}

func TestRefreshesOnce(t *testing.T) {
	c, f := session(t)
	ctx := t.Context()
	if err := c.SignIn(ctx, "x", "wrong"); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("wrong password: %v", err)
	}
	must(t, c.SignIn(ctx, "x", "right"))
	must(t, c.Do(ctx, "GET", "/api/x", nil, nil))
	for range 3 {
		f.expire()
		must(t, c.Do(ctx, "GET", "/api/x", nil, nil))
	}
	if n := f.refreshes.Load(); n != 3 {
		t.Errorf("%d refreshes for 3 expired tokens", n)
	}
	// Many at once need one.
	f.expire()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.Do(ctx, "GET", "/api/x", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.refreshes.Load(); n < 4 || n > 5 { // one that asked before and was answered after the first of them may do so again
		t.Errorf("%d refreshes, want 4", n)
	}
	// A session that has ended is not asked for again and again.
	f.dead.Store(true)
	f.expire()
	before, asked := f.refreshes.Load(), f.asked.Load()
	var status *client.StatusError
	if err := c.Do(ctx, "GET", "/api/x", nil, nil); !errors.As(err, &status) || status.Status != 401 {
		t.Errorf("an ended session: %v", err)
	}
	if f.refreshes.Load() != before+1 || f.asked.Load() != asked+1 {
		t.Errorf("%d refreshes and %d requests more", f.refreshes.Load()-before, f.asked.Load()-asked)
	}
}

func TestNobodySignedInRefreshesNothing(t *testing.T) {
	c, f := session(t)
	if err := c.Do(t.Context(), "GET", "/api/x", nil, nil); err == nil {
		t.Error("let in")
	}
	if f.refreshes.Load() != 0 {
		t.Error("refreshed without a session")
	}
}

func TestSecondFactorAndStepUp(t *testing.T) {
	c, _ := session(t)
	ctx := t.Context()
	var second *client.SecondFactor
	if err := c.SignIn(ctx, "careful", "right"); !errors.As(err, &second) || second.ID != "pending-1" || len(second.Methods) != 2 {
		t.Fatalf("%v", err)
	}
	if err := c.Second(ctx, second.ID, client.Proof{TOTP: "000000"}); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("wrong code: %v", err)
	}
	must(t, c.Second(ctx, second.ID, client.Proof{TOTP: "123456"}))
	must(t, c.Do(ctx, "GET", "/api/x", nil, nil))
	err := c.Do(ctx, "GET", "/api/dangerous", nil, nil)
	var status *client.StatusError
	if !errors.Is(err, client.ErrStepUp) || !errors.As(err, &status) || status.Status != 403 || status.Message != "Prove who you are." {
		t.Errorf("%v", err)
	}
	if err := c.StepUp(ctx, client.Proof{Recovery: "no"}); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("wrong proof: %v", err)
	}
	must(t, c.StepUp(ctx, client.Proof{Recovery: "abc"}))
}

func TestLeadsNowhereElse(t *testing.T) {
	c, f := session(t)
	must(t, c.SignIn(t.Context(), "x", "right"))
	for _, path := range []string{"http://127.0.0.1:1/api/x", "//127.0.0.1:1/api/x", "/api/elsewhere", ":"} {
		before := f.asked.Load()
		if err := c.Do(t.Context(), "GET", path, nil, nil); err == nil || f.asked.Load() != before {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFromFile(t *testing.T) {
	f := &faces{}
	var secret atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret.Store(r.Header.Get("X-Vitalseal-Launch"))
		f.ServeHTTP(w, r)
	}))
	s.StartTLS()
	defer s.Close()
	// The test server's certificate is for example.com, which stands for our host here: the name must not be looked up.
	good := client.ConnectFile{URL: "https://example.com:" + strings.Split(s.Listener.Addr().String(), ":")[1], Address: s.Listener.Addr().String(),
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), Secret: "the-launch-secret"}
	c, err := good.Client()
	must(t, err)
	must(t, c.SignIn(t.Context(), "x", "right"))
	must(t, c.Do(t.Context(), "GET", "/api/x", nil, nil))
	if secret.Load() != "the-launch-secret" || c.Cookies().Get("X-Vitalseal-Launch") != "the-launch-secret" {
		t.Error("the launch secret is not sent")
	}
	foreign := httptest.NewUnstartedServer(f)
	foreign.StartTLS()
	defer foreign.Close()
	other := good
	other.URL = strings.Replace(good.URL, "example.com", "vitalseal.localhost", 1)
	c, err = other.Client()
	must(t, err)
	if err := c.SignIn(context.Background(), "x", "right"); err == nil {
		t.Error("a certificate for another name is good enough")
	}
	for what, change := range map[string]func(*client.ConnectFile){
		"no url":               func(f *client.ConnectFile) { f.URL = "" },
		"ftp":                  func(f *client.ConnectFile) { f.URL = "ftp://x" },
		"another machine":      func(f *client.ConnectFile) { f.Address = "192.0.2.1:443" },
		"a name":               func(f *client.ConnectFile) { f.Address = "localhost:443" },
		"no authority":         func(f *client.ConnectFile) { f.CA = "" },
		"no secret":            func(f *client.ConnectFile) { f.Secret = "" },
		"a secret without TLS": func(f *client.ConnectFile) { f.URL = strings.Replace(f.URL, "https", "http", 1) },
	} {
		bad := good
		change(&bad)
		if _, err := bad.Client(); err == nil || strings.Contains(err.Error(), good.Secret) {
			t.Errorf("%s: %v", what, err)
		}
	}

	path := filepath.Join(t.TempDir(), "connect.json")
	b, err := json.Marshal(good)
	must(t, err)
	for what, content := range map[string]string{"rubbish": `{"secret":"the-launch-secret"`, "too much": strings.Repeat(" ", 70<<10) + string(b)} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if _, err := client.FromFile(path); err == nil || strings.Contains(err.Error(), good.Secret) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.WriteFile(path, b, 0o600))
	_, err = client.FromFile(path)
	must(t, err)
	must(t, os.Chmod(path, 0o644)) //nolint:gosec // that is the test
	if _, err := client.FromFile(path); err == nil || !errors.Is(err, disk.ErrShared) {
		t.Errorf("a file that others may read: %v", err)
	}
	if _, err := client.FromFile(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
