package mgmt_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vitalseal/internal/way/overlay/mgmt"
)

// controller is a server that ends its sessions and has three pages of services.
type controller struct {
	logins  int
	session string
}

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/authenticate"):
		var in struct{ Username, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Password != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c.logins++
		c.session = fmt.Sprintf("session-%d", c.logins)
		_, _ = fmt.Fprintf(w, `{"data":{"token":%q}}`, c.session)
	case r.Header.Get("zt-session") != c.session:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":{"code":"UNAUTHORIZED","message":"no"}}`)
	case strings.HasSuffix(r.URL.Path, "/services"):
		var skip, limit int
		_, _ = fmt.Sscanf(r.URL.Query().Get("filter"), "true skip %d limit %d", &skip, &limit)
		page := []map[string]any{}
		for i := skip; i < min(skip+limit, 450); i++ {
			page = append(page, map[string]any{"id": i})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": page})
	case strings.HasSuffix(r.URL.Path, "/huge"):
		_, _ = fmt.Fprintf(w, `{"data":%q}`, strings.Repeat("x", 9<<20))
	case strings.HasSuffix(r.URL.Path, "/twice"):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":{"code":"COULD_NOT_VALIDATE","message":"invalid","cause":{"reason":"duplicate value 'x' in unique index"}}}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestClient(t *testing.T) {
	c := &controller{}
	server := httptest.NewTLSServer(c)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	conf := mgmt.Config{URL: server.URL, Roots: roots, User: "u", Password: "right"}
	client, err := mgmt.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	type service struct {
		ID int `json:"id"`
	}
	got, err := mgmt.List[service](ctx, client, mgmt.Edge+"/services", "")
	if err != nil || len(got) != 450 || got[449].ID != 449 {
		t.Errorf("list: %d services, %v", len(got), err)
	}
	c.session = "ended"
	if _, err := mgmt.List[service](ctx, client, mgmt.Edge+"/services", ""); err != nil || c.logins != 2 {
		t.Errorf("after the session ended: %v, %d logins", err, c.logins)
	}
	for path, want := range map[string]error{"/nothing": mgmt.ErrNotFound, "/twice": mgmt.ErrExists} {
		if err := client.Call(ctx, http.MethodPost, mgmt.Edge+path, nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if err := client.Call(ctx, http.MethodGet, mgmt.Edge+"/huge", nil, nil); err == nil {
		t.Error("an endless answer was read")
	}

	conf.Password = "wrong"
	if client, err = mgmt.New(conf); err != nil {
		t.Fatal(err)
	}
	if err := client.Call(ctx, http.MethodGet, mgmt.Edge+"/services", nil, nil); !errors.Is(err, mgmt.ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	conf.Roots = x509.NewCertPool()
	if client, err = mgmt.New(conf); err != nil {
		t.Fatal(err)
	}
	if err := client.Login(ctx); !errors.Is(err, mgmt.ErrUnavailable) {
		t.Errorf("a controller of unknown roots: %v", err)
	}
	if _, err := mgmt.New(mgmt.Config{URL: "http://x", Roots: roots}); err == nil {
		t.Error("plain HTTP was accepted")
	}
}
