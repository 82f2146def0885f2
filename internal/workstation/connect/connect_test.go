package connect_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

const domain = "connect.test"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is a door with a hub behind it, which answers with what it was asked.
type place struct {
	t    testing.TB
	data string
	door *connect.Door
	addr string
	log  *logged

	close   func() // ends the door; the test's end does so, too
	stopHub func() // ends the hub before

	mu     sync.Mutex
	answer http.HandlerFunc // of the hub's, in the place of an echo
	asked  []*http.Request
}

// logged is a log that a test may read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type option func(*connect.Config, *connect.Door)

func plain(c *connect.Config, _ *connect.Door) {
	if c != nil {
		c.Plain = true
	}
}

func impatient(c *connect.Config, d *connect.Door) { waiting(time.Second)(c, d) }

// waiting makes a door that waits only so long for what a client has to say.
func waiting(wait time.Duration) option {
	return func(_ *connect.Config, d *connect.Door) {
		if d != nil {
			d.Hurry(wait)
		}
	}
}

func open(t testing.TB, options ...option) *place {
	t.Helper()
	return openWith(t, nil, options...)
}

// openWith is open with a hub that answers with h.
func openWith(t testing.TB, h http.HandlerFunc, options ...option) *place {
	t.Helper()
	p := &place{t: t, log: &logged{}, answer: h}
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	n := overlay.NewLoopback(a)
	hub, err := n.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"})
	must(t, err)
	desk, err := n.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "desk"})
	must(t, err)
	faces, err := hub.Listen(t.Context(), overlay.ServiceFaces)
	must(t, err)
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(faces) }()

	ln, err := connect.Listen("127.0.0.1:0")
	must(t, err)
	p.addr = ln.Addr().String()
	cfg := connect.Config{Data: t.TempDir(), Log: slog.New(slog.NewTextHandler(p.log, nil))}
	for _, o := range options {
		o(&cfg, nil)
	}
	p.data = cfg.Data
	p.door, err = connect.New(ln, cfg)
	must(t, err)
	for _, o := range options {
		o(nil, p.door)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.door.Run(ctx, desk) }()
	p.stopHub = sync.OnceFunc(func() { must(t, server.Close()); must(t, hub.Close()) })
	p.close = sync.OnceFunc(func() {
		cancel()
		must(t, <-ended)
		must(t, desk.Close())
		p.stopHub()
	})
	t.Cleanup(p.close)
	return p
}

func (p *place) answerWith(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = h
}

// ServeHTTP is the hub.
func (p *place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h := p.answer
	if !strings.HasPrefix(r.URL.Path, "/api/audit/") { // a witness asks by itself
		p.asked = append(p.asked, r.Clone(context.Background()))
	}
	p.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "vitalseal_session", Value: "s", Path: "/", HttpOnly: true})
	_, _ = io.Copy(w, r.Body)
}

// last is what the hub was asked last.
func (p *place) last() *http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return nil
	}
	return p.asked[len(p.asked)-1]
}

// file is what connect.json says.
func (p *place) file() client.ConnectFile {
	p.t.Helper()
	f, err := client.ReadConnectFile(connect.FilePath(p.data))
	must(p.t, err)
	return f
}

// browser is an HTTP client that trusts the door's authority, keeps cookies and follows no
// redirect.
func (p *place) browser() *http.Client {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.file().CA))
	jar, err := cookiejar.New(nil)
	must(p.t, err)
	return &http.Client{Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
			},
		}}
}

// ask makes a request; headers are pairs of name and value.
func (p *place) ask(c *http.Client, method, address string, headers ...string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, nil)
	must(p.t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	must(p.t, err)
	p.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	must(t, err)
	return string(b)
}

func TestLaunch(t *testing.T) {
	p := open(t)
	b := p.browser()
	if got := p.ask(b, "GET", p.door.URL()+"/"); got.StatusCode != http.StatusForbidden || p.last() != nil {
		t.Fatalf("without a link: %d", got.StatusCode)
	}
	link := p.door.LaunchURL()
	got := p.ask(b, "GET", link)
	if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/" || got.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("the link: %d, %v", got.StatusCode, got.Header)
	}
	for _, c := range got.Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("the cookie is %v", c)
		}
	}
	if got := p.ask(b, "GET", p.door.URL()+"/x"); got.StatusCode != http.StatusOK {
		t.Fatalf("with the cookie: %d", got.StatusCode)
	}
	if got := p.ask(b, "GET", link); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the link again in the same browser: %d", got.StatusCode)
	}
	other := p.browser()
	for _, used := range []string{link, p.door.URL() + "/launch", p.door.URL() + "/launch?once=" + strings.Repeat("A", 26), p.door.URL() + "/launch?once=" + strings.Repeat("A", 4000)} {
		if got := p.ask(other, "GET", used); got.StatusCode != http.StatusForbidden || len(got.Cookies()) != 0 {
			t.Errorf("%.80s in another browser: %d", used, got.StatusCode)
		}
	}
	if got := p.ask(other, "GET", p.door.URL()+"/api/beds"); got.StatusCode != http.StatusForbidden || !strings.HasPrefix(body(t, got), `{"error":`) {
		t.Errorf("another browser: %d", got.StatusCode)
	}
	for _, guess := range []string{"", "x", strings.Repeat("x", 100000)} {
		if got := p.ask(other, "GET", p.door.URL()+"/api/beds", "X-Vitalseal-Launch", guess[:min(len(guess), 20000)]); got.StatusCode != http.StatusForbidden {
			t.Errorf("a guessed secret: %d", got.StatusCode)
		}
	}
	if strings.Contains(p.log.String(), strings.TrimPrefix(link[strings.Index(link, "=")+1:], "=")) {
		t.Error("a link's secret is in the log")
	}
}

// TestLinksAreFew: a client that asks for many gets the newest; none of it grows.
func TestLinksAreFew(t *testing.T) {
	p := open(t)
	first := p.door.LaunchURL()
	var last string
	for range 40 {
		last = p.door.LaunchURL()
	}
	if got := p.ask(p.browser(), "GET", first); got.StatusCode != http.StatusForbidden {
		t.Errorf("the oldest of many: %d", got.StatusCode)
	}
	if got := p.ask(p.browser(), "GET", last); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the newest: %d", got.StatusCode)
	}
}

// TestOverTLS goes through with what connect.json says, and nothing of the launching reaches the
// hub.
func TestOverTLS(t *testing.T) {
	p := open(t)
	info, err := os.Stat(connect.FilePath(p.data))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("connect.json has mode %o", info.Mode().Perm())
	}
	c, err := client.FromFile(connect.FilePath(p.data))
	must(t, err)
	must(t, c.Do(t.Context(), http.MethodPut, "/api/x", map[string]int{"a": 1}, nil))
	r := p.last()
	if r.Header.Get("X-Vitalseal-Launch") != "" || r.Host != strings.TrimPrefix(p.door.URL(), "https://") {
		t.Errorf("the hub was asked %v with %v", r.Host, r.Header)
	}
	// A program may have a link made for a browser.
	var out struct{ URL string }
	must(t, c.Do(t.Context(), http.MethodPost, "/launch", nil, &out))
	b := p.browser()
	if got := p.ask(b, "GET", out.URL); got.StatusCode != http.StatusSeeOther {
		t.Errorf("%s: %d", out.URL, got.StatusCode)
	}
	got := p.ask(b, "GET", p.door.URL()+"/")
	for _, c := range got.Cookies() {
		if !c.Secure {
			t.Errorf("the hub's cookie is not Secure: %v", c)
		}
	}
	p.ask(b, "GET", p.door.URL()+"/again")
	if cookies := p.last().Cookies(); len(cookies) != 1 || cookies[0].Name != "vitalseal_session" {
		t.Errorf("the hub was sent %v", cookies)
	}
	if got := p.ask(p.browser(), "POST", p.door.URL()+"/launch"); got.StatusCode != http.StatusForbidden {
		t.Errorf("a link for nobody: %d", got.StatusCode)
	}
}

func TestHostAndOrigin(t *testing.T) {
	p := open(t)
	_, port, err := net.SplitHostPort(p.addr)
	must(t, err)
	self, secret := p.door.URL(), p.file().Secret
	for _, c := range []struct {
		what    string
		want    int
		headers []string
	}{
		{"a program", 200, nil},
		{"our own page", 200, []string{"Origin", self, "Sec-Fetch-Site", "same-origin"}},
		{"typed in", 200, []string{"Sec-Fetch-Site", "none"}},
		{"by number", 421, []string{"Host", "127.0.0.1:" + port}},
		{"localhost", 421, []string{"Host", "localhost:" + port}},
		{"a rebound name", 421, []string{"Host", "evil.example:" + port}},
		{"another port", 421, []string{"Host", connect.Host + ":1"}},
		{"no port", 421, []string{"Host", connect.Host}},
		{"a name below", 421, []string{"Host", "x." + connect.Host + ":" + port}},
		{"upper case", 421, []string{"Host", strings.ToUpper(connect.Host) + ":" + port}},
		{"another origin", 403, []string{"Origin", "https://evil.example"}},
		{"the origin of another port", 403, []string{"Origin", "https://" + connect.Host + ":1"}},
		{"plain HTTP's origin", 403, []string{"Origin", "http://" + connect.Host + ":" + port}},
		{"a hidden origin", 403, []string{"Origin", "null"}},
		{"an empty origin", 403, []string{"Origin", ""}},
		{"another site", 403, []string{"Sec-Fetch-Site", "cross-site"}},
		{"another port's page", 403, []string{"Sec-Fetch-Site", "same-site"}},
	} {
		for _, method := range []string{"GET", "POST"} {
			got := p.ask(p.browser(), method, self+"/api/beds", append([]string{"X-Vitalseal-Launch", secret}, c.headers...)...)
			if got.StatusCode != c.want {
				t.Errorf("%s, %s: %d, want %d", method, c.what, got.StatusCode, c.want)
			}
		}
	}
}

// TestComingFromElsewhere: a link or an identity provider leads here; our strict cookies come with
// the second try only.
func TestComingFromElsewhere(t *testing.T) {
	p := open(t)
	b := p.browser()
	p.ask(b, "GET", p.door.LaunchURL())
	cross := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for path, want := range map[string]string{
		"/": `content="0;url=/"`,
		`/api/session/oidc/callback?code=a&state="><script>`: `content="0;url=/api/session/oidc/callback?code=a&amp;state=%22%3E%3Cscript%3E"`,
	} {
		got := p.ask(b, "GET", p.door.URL()+strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(path, `"`, "%22"), ">", "%3E"), "<", "%3C"), cross...)
		if text := body(t, got); got.StatusCode != 200 || !strings.Contains(text, want) || strings.Contains(text, "<script>") || p.last() != nil {
			t.Errorf("%s: %d %s", path, got.StatusCode, text)
		}
	}
	for _, c := range [][]string{{"POST", "/"}, {"GET", "/patients"}, {"GET", "/api/beds"}, {"POST", "/api/session/oidc/callback"}} {
		if got := p.ask(b, c[0], p.door.URL()+c[1], cross...); got.StatusCode != 403 || p.last() != nil {
			t.Errorf("%v: %d", c, got.StatusCode)
		}
	}
	frame := p.ask(b, "GET", p.door.URL()+"/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")
	if frame.StatusCode != 403 {
		t.Errorf("in a frame: %d", frame.StatusCode)
	}
}

func TestPlain(t *testing.T) {
	p := open(t, plain)
	_, port, err := net.SplitHostPort(p.addr)
	must(t, err)
	if p.door.URL() != "http://"+connect.Host+":"+port || p.door.LaunchURL() != p.door.URL() {
		t.Errorf("%s, %s", p.door.URL(), p.door.LaunchURL())
	}
	b := p.browser()
	for host, want := range map[string]int{p.addr: 200, "localhost:" + port: 200, connect.Host + ":" + port: 200, "evil.example:" + port: 421, "127.0.0.2:" + port: 421} {
		if got := p.ask(b, "GET", "http://"+p.addr+"/", "Host", host); got.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, got.StatusCode, want)
		}
	}
	if got := p.ask(b, "GET", "http://"+p.addr+"/", "Origin", "http://"+connect.Host+":"+port); got.StatusCode != 403 {
		t.Errorf("the other name's origin: %d", got.StatusCode)
	}
	f := p.file()
	if f.Secret != "" || f.CA != "" {
		t.Errorf("%+v", f)
	}
	c, err := f.Client()
	must(t, err)
	must(t, c.Do(t.Context(), http.MethodGet, "/api/x", nil, nil))
	if _, err := os.Stat(filepath.Join(p.data, "connect-ca.key.pem")); err == nil {
		t.Error("an authority for nothing")
	}
}

func TestWithoutAHub(t *testing.T) {
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	desk, err := overlay.NewLoopback(a).Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "desk"})
	must(t, err)
	ln, err := connect.Listen("127.0.0.1:0")
	must(t, err)
	door, err := connect.New(ln, connect.Config{Plain: true, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- door.Run(ctx, desk) }()
	res, err := http.Get("http://" + ln.Addr().String() + "/api/beds")
	must(t, err)
	if text := body(t, res); res.StatusCode != http.StatusBadGateway || !strings.Contains(text, `{"error":"the hub cannot be reached from this workstation"}`) {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	_ = res.Body.Close()
	cancel()
	must(t, <-ended)
}

// TestHubHeard: while the hub is away the page's script learns when this workstation last heard it,
// from whatever the hub said.
func TestHubHeard(t *testing.T) {
	p := open(t, plain)
	b := p.browser()
	before := time.Now()
	if res := p.ask(b, "GET", p.door.URL()+"/api/beds", "Sec-Fetch-Mode", "cors"); res.StatusCode != http.StatusOK {
		t.Fatalf("the hub answers %d", res.StatusCode)
	}
	p.stopHub()
	after := time.Now()
	var said struct {
		Heard time.Time `json:"hub_heard"`
	}
	res := p.ask(b, "GET", p.door.URL()+"/api/beds", "Sec-Fetch-Mode", "cors")
	if text := body(t, res); res.StatusCode != http.StatusBadGateway || json.Unmarshal([]byte(text), &said) != nil || said.Heard.Before(before) || said.Heard.After(after) {
		t.Errorf("%d %s, want a time between %v and %v", res.StatusCode, text, before, after)
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.org:80", "127.0.0.1", "[::]:0"} {
		if ln, err := connect.Listen(bad); err == nil {
			_ = ln.Close()
			t.Errorf("%s was listened on", bad)
		}
	}
	for _, good := range []string{"127.0.0.1:0", "localhost:0", connect.Host + ":0"} {
		ln, err := connect.Listen(good)
		must(t, err)
		if !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("%s is %s", good, ln.Addr())
		}
		must(t, ln.Close())
	}
}

// TestFileEndsWithTheDoor: connect.json goes when its secret has ended, unless another door has
// written its own.
func TestFileEndsWithTheDoor(t *testing.T) {
	data := t.TempDir()
	run := func() (stop func()) {
		a, err := overlay.NewAuthority(domain)
		must(t, err)
		desk, err := overlay.NewLoopback(a).Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "desk"})
		must(t, err)
		ln, err := connect.Listen("127.0.0.1:0")
		must(t, err)
		door, err := connect.New(ln, connect.Config{Data: data, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- door.Run(ctx, desk) }()
		return func() { cancel(); must(t, <-ended) }
	}
	first := run()
	one, err := os.ReadFile(connect.FilePath(data))
	must(t, err)
	second := run()
	first()
	two, err := os.ReadFile(connect.FilePath(data))
	must(t, err)
	var a, b client.ConnectFile
	must(t, json.Unmarshal(one, &a))
	must(t, json.Unmarshal(two, &b))
	if a.Secret == b.Secret || a.CA != b.CA {
		t.Error("every start has a secret of its own, and the same authority")
	}
	second()
	if _, err := os.Stat(connect.FilePath(data)); err == nil {
		t.Error("connect.json outlives what it describes")
	}
}
