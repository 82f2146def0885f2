package main_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/workstation/client"
)

// TestDoorInABrowser lets a real browser in at a workstation's address as a deployment has it: TLS, a launch link, and the
// dashboard with its live view behind it. Without the link, the same browser gets nothing.
func TestDoorInABrowser(t *testing.T) {
	seed := startDemo(t, "--patients", "2", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	in := func(elem ...string) string { return filepath.Join(append([]string{seed.dir}, elem...)...) }
	logs := t.TempDir()
	start(t, logs, "overlay", "--data", in("overlay"))
	start(t, logs, "hub", "--config", in("hub.yaml"))
	start(t, logs, "connect", "--data", in("connect"), "--listen", seed.listen)
	start(t, logs, "gateway", "--config", in("gw-a1", "gateway.yaml"), "--bench", in("gw-a1", "bench.yaml"))

	door, err := client.ReadConnectFile(in("connect", "connect.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := door.Client()
	if err != nil {
		t.Fatal(err)
	}
	awaitHub(t, c)
	p := openBrowser(t, door.URL+"/", chromedp.Flag("ignore-certificate-errors-spki-list", leafPin(t, door)))
	p.do(chromedp.Navigate(door.URL+"/"), chromedp.WaitVisible(chromedp.CSS("body")))
	p.is("without the link the browser is refused", `document.body.innerText.includes('Only the user who started vitalseal connect')`)

	link := strings.TrimSpace(command(t, "connect", "launch", "--data", in("connect")).out)
	if !strings.HasPrefix(link, door.URL+"/launch?once=") {
		t.Fatalf("the link is %q", link)
	}
	p.do(chromedp.Navigate(link), chromedp.WaitVisible(testid("signin-form")))
	p.is("the link's secret is out of sight", `location.pathname === '/' && location.search === ''`)
	p.signIn(seed.ward(t).signIn(t, "doctor"))
	p.await("a live number", `!!document.querySelector('[data-testid^="bed-a-"] [data-testid="hr"][data-state="live"]')`)
	p.is("the address is the one that passkeys are bound to", `isSecureContext && location.hostname === 'vitalseal.localhost'`)
	p.is("no script can read a secret of the session or of the door", `document.cookie === ''`)
}

// leafPin is the SHA-256 of the public key that the door shows to a client that trusts its authority.
func leafPin(t *testing.T, door client.ConnectFile) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(door.CA))
	host, _, err := net.SplitHostPort(strings.TrimPrefix(door.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", door.Address, &tls.Config{RootCAs: roots, ServerName: host})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sum := sha256.Sum256(c.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
