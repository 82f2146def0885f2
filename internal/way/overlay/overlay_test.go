package overlay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/way/overlay"
)

const domain = "test.vitalseal.internal"

var quiet = slog.New(slog.DiscardHandler)

func id(kind, name string) overlay.ID { return overlay.ID{Domain: domain, Kind: kind, Name: name} }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func authority(t testing.TB, domain string) *overlay.Authority {
	t.Helper()
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	return a
}

func identity(t testing.TB, a *overlay.Authority, id overlay.ID, ttl time.Duration) *overlay.Identity {
	t.Helper()
	i, err := overlay.IssueIdentity(a, id, nil, nil, ttl)
	must(t, err)
	return i
}

// host echoes on ingest as the hub of a, and says who the peer is first.
func host(t testing.TB, l *overlay.Loopback, i *overlay.Identity) overlay.Endpoint {
	t.Helper()
	hub := l.Connect(i, quiet)
	ln, err := hub.Listen(context.Background(), overlay.ServiceIngest)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, c.(*overlay.Conn).Peer().String()+"\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = hub.Close()
		<-done
	})
	return hub
}

func readLine(t testing.TB, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("read: %v", err)
		}
		if b[0] == '\n' {
			return string(line)
		}
	}
}

func TestParseID(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{"spiffe://demo.vitalseal.internal/sensor/gw-a-oxi-1", true},
		{"spiffe://d/hub/h", true},
		{"spiffe://d/hub/" + strings.Repeat("a", 63), true},
		{"spiffe://d/hub/" + strings.Repeat("a", 64), false},
		{"spiffe://d/nurse/h", false},
		{"spiffe://d/hub/", false},
		{"spiffe://d/hub/-a", false},
		{"spiffe://d/hub/a..b", false},
		{"spiffe://d/hub/A", false},
		{"spiffe://d/hub/a/b", false},
		{"spiffe://D/hub/a", false},
		{"spiffe:///hub/a", false},
		{"spiffe://d:1/hub/a", false},
		{"spiffe://u@d/hub/a", false},
		{"spiffe://d/hub/a?q", false},
		{"https://d/hub/a", false},
		{"", false},
	} {
		got, err := overlay.ParseID(c.in)
		if (err == nil) != c.ok {
			t.Errorf("ParseID(%q): %v, want ok = %v", c.in, err, c.ok)
		}
		if err == nil && got.String() != c.in {
			t.Errorf("ParseID(%q) prints %q", c.in, got)
		}
	}
}

func TestLoopback(t *testing.T) {
	a := authority(t, domain)
	l := overlay.NewLoopback(a)
	host(t, l, identity(t, a, id("hub", "hub"), time.Hour))
	one, err := l.Endpoint(id("sensor", "one"))
	must(t, err)
	two, err := l.Endpoint(id("sensor", "two"))
	must(t, err)
	dial := func(e overlay.Endpoint) *overlay.Conn {
		t.Helper()
		c, err := e.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		if got := readLine(t, c); got != e.ID().String() {
			t.Errorf("the hub took %s for %s", e.ID(), got)
		}
		if c.Peer() != id("hub", "hub") {
			t.Errorf("peer is %s", c.Peer())
		}
		return c
	}
	c1, c2 := dial(one), dial(two)
	state := c1.Conn.(interface{ NetConn() net.Conn }).NetConn().(*tls.Conn).ConnectionState()
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 || state.DidResume {
		t.Errorf("TLS state: version %x, curve %s, resumed %v", state.Version, state.CurveID, state.DidResume)
	}
	l.Cut(one.ID())
	if _, err := io.ReadFull(c1, make([]byte, 1)); err == nil {
		t.Error("a cut connection still reads")
	}
	_, err = io.WriteString(c2, "still here\n")
	must(t, err)
	if got := readLine(t, c2); got != "still here" {
		t.Errorf("neighbour reads %q", got)
	}
	must(t, dial(one).Close())

	l.SetAllowed(one.ID(), false)
	if _, err := one.Dial(t.Context(), overlay.ServiceIngest); !errors.Is(err, overlay.ErrUnavailable) {
		t.Errorf("dial of a disabled identity: %v", err)
	}
	l.SetAllowed(one.ID(), true)
	l.SetDown(true)
	if _, err := c2.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the outage")
	}
	if _, err := two.Dial(t.Context(), overlay.ServiceIngest); !errors.Is(err, overlay.ErrUnavailable) {
		t.Errorf("dial during an outage: %v", err)
	}
	l.SetDown(false)
	c2 = dial(two)
	must(t, two.Close())
	if _, err := c2.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its endpoint")
	}
	if _, err := two.Dial(t.Context(), overlay.ServiceFaces); err == nil {
		t.Error("a closed endpoint dials")
	}
}

// TestPeerRefused shows that neither end accepts whom it should not.
func TestPeerRefused(t *testing.T) {
	ours, foreign, elsewhere := authority(t, domain), authority(t, domain), authority(t, "other.vitalseal.internal")
	hub := id("hub", "hub")
	sensor := id("sensor", "one")
	for _, c := range []struct {
		name   string
		host   *overlay.Identity
		client *overlay.Identity
	}{
		{"client of a foreign authority", identity(t, ours, hub, time.Hour), identity(t, foreign, sensor, time.Hour)},
		{"hub of a foreign authority", identity(t, foreign, hub, time.Hour), identity(t, ours, sensor, time.Hour)},
		{"client of another domain", identity(t, ours, hub, time.Hour), identity(t, elsewhere, overlay.ID{Domain: "other.vitalseal.internal", Kind: "sensor", Name: "one"}, time.Hour)},
		{"client expired", identity(t, ours, hub, time.Hour), expired(t, ours, sensor)},
		{"hub expired", expired(t, ours, hub), identity(t, ours, sensor, time.Hour)},
		{"a sensor plays the hub", identity(t, ours, id("sensor", "two"), time.Hour), identity(t, ours, sensor, time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := overlay.NewLoopback(ours)
			host(t, l, c.host)
			_, err := l.Connect(c.client, quiet).Dial(t.Context(), overlay.ServiceIngest)
			if !errors.Is(err, overlay.ErrPeer) {
				t.Errorf("dial: %v, want ErrPeer", err)
			}
		})
	}
}

// expired returns an identity whose certificate has run out. It costs the test its lifetime: 1 ms.
func expired(t testing.TB, a *overlay.Authority, id overlay.ID) *overlay.Identity {
	t.Helper()
	i := identity(t, a, id, time.Millisecond)
	// Certificates count in seconds, so the end was cut off already or is a moment away.
	for !time.Now().After(i.Expires()) {
		time.Sleep(time.Until(i.Expires()) + time.Millisecond)
	}
	return i
}

// TestRawClients meets the listener with what no Endpoint would send.
func TestRawClients(t *testing.T) {
	a := authority(t, domain)
	l := overlay.NewLoopback(a)
	host(t, l, identity(t, a, id("hub", "hub"), time.Hour))
	good := identity(t, a, id("sensor", "one"), time.Hour)
	raw := func(t *testing.T, conf *tls.Config) error {
		u, err := l.Open(t.Context(), []byte(`{"loopback":"`+good.ID().String()+`"}`))
		must(t, err)
		c, err := u.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		defer func() { _ = c.Close() }()
		conf.InsecureSkipVerify = true
		tc := tls.Client(c, conf)
		if err := tc.Handshake(); err != nil {
			return err
		}
		_, err = io.ReadFull(tc, make([]byte, 1))
		return err
	}
	cert := func() []tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		leaf, err := a.Issue(good.ID(), key.Public(), time.Hour)
		must(t, err)
		return []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}
	}()
	protos := []string{overlay.ServiceIngest}
	for _, c := range []struct {
		name string
		conf *tls.Config
		ok   bool
	}{
		{"as it should be", &tls.Config{Certificates: cert, NextProtos: protos}, true},
		{"no certificate", &tls.Config{NextProtos: protos}, false},
		{"TLS 1.2", &tls.Config{Certificates: cert, NextProtos: protos, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, false},
		{"no post-quantum key exchange", &tls.Config{Certificates: cert, NextProtos: protos, CurvePreferences: []tls.CurveID{tls.X25519}}, false},
		{"another service", &tls.Config{Certificates: cert, NextProtos: []string{overlay.ServiceRenew}}, false},
		{"no service", &tls.Config{Certificates: cert}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := raw(t, c.conf); (err == nil) != c.ok {
				t.Errorf("error %v, want ok = %v", err, c.ok)
			}
		})
	}
}

// TestStalledHandshakes opens more connections that never speak than the listener holds; an honest
// one gets through, and in the end all stalled ones are gone.
func TestStalledHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t, domain)
		l := overlay.NewLoopback(a)
		hub := host(t, l, identity(t, a, id("hub", "hub"), time.Hour))
		u, err := l.Open(t.Context(), []byte(`{"loopback":"`+id("sensor", "bad").String()+`"}`))
		must(t, err)
		var stalled []net.Conn
		for range 400 {
			c, err := u.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			stalled = append(stalled, c)
		}
		e, err := l.Endpoint(id("sensor", "good"))
		must(t, err)
		c, err := e.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		if got := readLine(t, c); got != e.ID().String() {
			t.Errorf("the hub took it for %q", got)
		}
		for _, s := range stalled { // synctest's clock jumps to the handshake deadline
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Fatal("a stalled client got an answer")
			}
		}
		must(t, e.Close())
		must(t, hub.Close())
	})
}

func TestAuthority(t *testing.T) {
	a := authority(t, domain)
	b, err := overlay.ParseAuthority(a.Bytes())
	must(t, err)
	if b.Domain() != domain || !b.Root().Equal(a.Root()) {
		t.Error("the authority changed on its way through Bytes")
	}
	if _, err := overlay.ParseAuthority(append(authority(t, domain).Bytes()[:500], a.Bytes()[500:]...)); err == nil {
		t.Error("a mixed authority parses")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for _, c := range []struct {
		name string
		id   overlay.ID
		key  any
		ttl  time.Duration
	}{
		{"other domain", overlay.ID{Domain: "other.internal", Kind: "sensor", Name: "x"}, key.Public(), time.Hour},
		{"no id", overlay.ID{}, key.Public(), time.Hour},
		{"wrong key", id("sensor", "x"), big.Public(), time.Hour},
		{"no lifetime", id("sensor", "x"), key.Public(), 0},
		{"too long", id("sensor", "x"), key.Public(), 400 * 24 * time.Hour},
	} {
		if _, err := a.Issue(c.id, c.key, c.ttl); err == nil {
			t.Errorf("%s: issued", c.name)
		}
	}
	leaf, err := a.Issue(id("sensor", "x"), key.Public(), time.Hour)
	must(t, err)
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Error("a leaf can sign certificates")
	}
}

func TestIdentityFile(t *testing.T) {
	a := authority(t, domain)
	i, err := overlay.IssueIdentity(a, id("sensor", "one"), []byte(`{"ztAPI":"x"}`), []byte("recipient"), time.Hour)
	must(t, err)
	path := filepath.Join(t.TempDir(), "i.json")
	must(t, i.Save(path))
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %o", info.Mode().Perm())
	}
	got, err := overlay.LoadIdentity(path)
	must(t, err)
	if got.ID() != i.ID() || string(got.Recipient()) != "recipient" || !got.Expires().Equal(i.Expires()) {
		t.Error("the identity changed on its way through the file")
	}
	must(t, os.Chmod(path, 0o640))
	if _, err := overlay.LoadIdentity(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(b), "sensor/one", "sensor/two", 1)), 0o600))
	if _, err := overlay.LoadIdentity(path); err == nil {
		t.Error("a file whose id is not its certificate's loads")
	}
	// What was installed is on disk, and nothing older or foreign gets in.
	must(t, i.Save(path))
	other := identity(t, a, id("sensor", "one"), 2*time.Hour)
	if err := i.Install(other.SVID()); err == nil {
		t.Error("a certificate for another key was installed")
	}
	if err := i.Install(i.SVID()); err == nil {
		t.Error("a certificate that ends no later was installed")
	}
}

func TestRedact(t *testing.T) {
	for _, c := range []struct{ in, secret string }{
		{`session 3f2b8a4e-0b1c-4f7e-9a55-0123456789ab ended`, "0b1c"},
		{`token=abc123XYZ rest`, "abc123XYZ"},
		{`"sessionToken":"abc123XYZ"`, "abc123XYZ"},
		{`{\"apiSessionToken\":\"abc123XYZ\"}`, "abc123XYZ"},
		{`got eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln`, "c2ln"},
		{"key -----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", "MHcCAQ"},
		{`id cm9x1y2z3a4b5c6d7e8f9g0h1`, "cm9x1y2z3a4b5c6d7e8f9g0h1"},
	} {
		if got := overlay.Redact(c.in); strings.Contains(got, c.secret) {
			t.Errorf("Redact(%q) = %q", c.in, got)
		}
	}
	if got := overlay.Redact("service vitalseal.ingest not found"); got != "service vitalseal.ingest not found" {
		t.Errorf("harmless line became %q", got)
	}
}
