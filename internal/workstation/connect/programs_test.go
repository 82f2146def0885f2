package connect_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/workstation/connect"
)

// counter is programs' addresses with a hub behind them that says what it was asked, and echoes
// what comes to /mqtt.
type counter struct {
	http, https, mqtt, mqtts string
	roots                    *x509.CertPool
	asked                    chan *http.Request
}

func openCounter(t *testing.T) *counter {
	t.Helper()
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	n := overlay.NewLoopback(a)
	hub, err := n.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"})
	must(t, err)
	desk, err := n.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "desk"})
	must(t, err)
	faces, err := hub.Listen(t.Context(), overlay.ServiceFaces)
	must(t, err)
	c := &counter{asked: make(chan *http.Request, 16)}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mqtt" {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
			if err != nil {
				return
			}
			conn := websocket.NetConn(r.Context(), ws, websocket.MessageBinary)
			_, _ = io.Copy(conn, conn)
			return
		}
		c.asked <- r
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
		_, _ = io.WriteString(w, "1")
	})}
	go func() { _ = server.Serve(faces) }()

	cfg := connect.ProgramsConfig{Data: t.TempDir(), Paths: []string{"/update", "/update.json", "/channels/"}, MQTTPath: "/mqtt", Log: slog.New(slog.DiscardHandler)}
	for _, x := range []struct {
		to      *net.Listener
		address *string
	}{{&cfg.HTTP, &c.http}, {&cfg.HTTPS, &c.https}, {&cfg.MQTT, &c.mqtt}, {&cfg.MQTTS, &c.mqtts}} {
		*x.to, err = connect.Listen("127.0.0.1:0")
		must(t, err)
		*x.address = (*x.to).Addr().String()
	}
	p, err := connect.NewPrograms(cfg)
	must(t, err)
	pem, err := os.ReadFile(filepath.Join(cfg.Data, "connect-ca.pem"))
	must(t, err)
	c.roots = x509.NewCertPool()
	c.roots.AppendCertsFromPEM(pem)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, desk) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		must(t, server.Close())
		must(t, desk.Close())
		must(t, hub.Close())
	})
	return c
}

func (c *counter) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.roots}}}
}

// TestProgramsPaths: what a program may ask for reaches the hub, without anything that could be a
// session; nothing else does.
func TestProgramsPaths(t *testing.T) {
	c := openCounter(t)
	for _, base := range []string{"http://" + c.http, "https://" + c.https} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/update?field1=1", strings.NewReader("a=b"))
		must(t, err)
		for _, h := range []string{"Cookie", "Authorization", "Proxy-Authorization"} {
			req.Header.Set(h, "secret")
		}
		req.Header.Set("X-THINGSPEAKAPIKEY", "KEY")
		res, err := c.client().Do(req)
		must(t, err)
		_ = res.Body.Close()
		got := <-c.asked
		if res.StatusCode != http.StatusOK || len(res.Header["Set-Cookie"]) != 0 || got.Header.Get("X-THINGSPEAKAPIKEY") != "KEY" ||
			got.Header.Get("Cookie")+got.Header.Get("Authorization")+got.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("%s: %d %v; the hub got %v", base, res.StatusCode, res.Header, got.Header)
		}
	}
	for _, x := range []struct {
		path, host string
		want       int
	}{
		{"/", "", 404}, {"/api/session", "", 404}, {"/api/admin/persons", "", 404}, {"/updates", "", 404}, {"/channels", "", 404},
		{"/channels/../api/session", "", 404}, {"/update", "evil.example", 421}, {"/update", "127.0.0.1:1", 421}, {"/channels/1/feeds.json", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.http, nil)
		must(t, err)
		req.URL.Path, req.Host = x.path, x.host
		res, err := c.client().Do(req)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != x.want && (x.path != "/channels/../api/session" || res.StatusCode == 200 && strings.HasPrefix((<-c.asked).URL.Path, "/api")) {
			t.Errorf("%s of %q: %d, want %d", x.path, x.host, res.StatusCode, x.want)
		}
	}
}

// TestProgramsQueries: what a program asks reaches the hub as it is, so that the hub refuses what
// is malformed; the proxy would drop it, and store half an entry, or one at another time. Careless
// request lines and two slashes are put right, never redirected.
func TestProgramsQueries(t *testing.T) {
	c := openCounter(t)
	for _, x := range []struct{ line, path, query string }{
		{"GET /update.json?key=KEY&field1=98%&field2=5 HTTP/1.1", "/update.json", "key=KEY&field1=98%&field2=5"},
		{"GET /update?key=KEY&field1=97&created_at=2026-11-28T10:00:00% HTTP/1.1", "/update", "key=KEY&field1=97&created_at=2026-11-28T10:00:00%"},
		{"GET /channels/5/feeds.json?end=2020-01-01%2000:00:00%&results=2 HTTP/1.1", "/channels/5/feeds.json", "end=2020-01-01%2000:00:00%&results=2"},
		{"GET /update?key=KEY&field1=97;field2=5 HTTP/1.1", "/update", "key=KEY&field1=97;field2=5"},
		{"GET //channels/5/feeds.json?api_key=KEY HTTP/1.1", "/channels/5/feeds.json", "api_key=KEY"},
		{"GET /update?key=KEY&field1= 72.5 HTTP/1.1", "/update", "key=KEY&field1=%2072.5"},
		{"GET /update?key=KEY&field1=72", "/update", "key=KEY&field1=72"},
	} {
		conn, err := net.Dial("tcp", c.http)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.WriteString(conn, x.line+"\r\nHost: "+c.http+"\r\n\r\n")
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %v", x.line, res.StatusCode, res.Header)
		} else if got := <-c.asked; got.URL.Path != x.path || got.URL.RawQuery != x.query {
			t.Errorf("%s: the hub was asked for %s?%s", x.line, got.URL.Path, got.URL.RawQuery)
		}
		_ = res.Body.Close()
		_ = conn.Close()
	}
}

// TestProgramsMQTT: bytes go both ways, plain, over TLS and over WebSockets, and the end of one
// side is the end of the other.
func TestProgramsMQTT(t *testing.T) {
	c := openCounter(t)
	dials := map[string]func() (net.Conn, error){
		"tcp": func() (net.Conn, error) { return net.Dial("tcp", c.mqtt) },
		"tls": func() (net.Conn, error) { return tls.Dial("tcp", c.mqtts, &tls.Config{RootCAs: c.roots}) },
	}
	for scheme, address := range map[string]string{"ws": c.http, "wss": c.https} {
		dials[scheme] = func() (net.Conn, error) {
			//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
			ws, _, err := websocket.Dial(t.Context(), scheme+"://"+address+"/mqtt", &websocket.DialOptions{HTTPClient: c.client(), Subprotocols: []string{"mqtt"}})
			if err != nil {
				return nil, err
			}
			if ws.Subprotocol() != "mqtt" {
				return nil, errors.New("no subprotocol")
			}
			return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
		}
	}
	for name, dial := range dials {
		conn, err := dial()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		sent := bytes.Repeat([]byte("0123456789"), 5000)
		go func() { _, _ = conn.Write(sent) }()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close()
	}
}

// TestProgramsNeedsSomething: no address at all, and TLS without a place for its authority, are
// mistakes.
func TestProgramsNeedsSomething(t *testing.T) {
	if _, err := connect.NewPrograms(connect.ProgramsConfig{}); err == nil {
		t.Error("no address")
	}
	ln, err := connect.Listen("127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	if _, err := connect.NewPrograms(connect.ProgramsConfig{MQTTS: ln}); err == nil {
		t.Error("TLS without a folder")
	}
}
