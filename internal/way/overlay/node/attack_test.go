package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
	"vitalseal/internal/way/overlay/openziti"
)

// TestRealImpostors attacks the hub with what an enrolled identity that turned bad can make of the
// real network: it lies in the caller id with a changed client, and it has the controller itself
// sign a certificate in the victim's name.
func TestRealImpostors(t *testing.T) {
	d := start(t)
	victim, attacker := id("sensor", "victim"), id("sensor", "attacker")
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(victim, attacker), t.TempDir(), d.log)
	must(t, err)
	mine := identities[1]

	t.Run("a lying caller id", func(t *testing.T) { lyingCaller(t, d, mine, victim) })
	t.Run("a lying caller id and no certificate of ours", func(t *testing.T) {
		raw, err := (&liar{t: t, config: mine.Config(), claim: victim.String()}).Dial(d.ctx, overlay.ServiceIngest)
		must(t, err)
		defer func() { _ = raw.Close() }()
		getsNothing(t, raw, nil)
	})
	t.Run("certificates that the controller signed in the victim's name", func(t *testing.T) {
		names := map[string]*x509.CertificateRequest{
			"the victim's network id":   {Subject: pkix.Name{CommonName: d.tickets.ziti[victim]}},
			"the victim's SPIFFE id":    {Subject: pkix.Name{CommonName: victim.String()}},
			"the victim's SPIFFE URI":   {Subject: pkix.Name{CommonName: "victim"}, URIs: []*url.URL{uri(t, victim.String())}},
			"the hub's SPIFFE URI":      {Subject: pkix.Name{CommonName: "hub"}, URIs: []*url.URL{uri(t, d.hub.ID().String())}},
			"the victim as a host name": {Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{victim.Name}},
		}
		for what, request := range names {
			cert := signedByController(t, d, mine, request)
			if what == "the victim's network id" && cert.Leaf.Subject.CommonName != d.tickets.ziti[victim] {
				t.Errorf("the controller signed %q: the attack of this test does not exist any more", cert.Leaf.Subject)
			}
			u, err := openziti.NewNetwork(d.log).Open(d.ctx, mine.Config())
			must(t, err)
			raw, err := u.Dial(d.ctx, overlay.ServiceIngest)
			must(t, err)
			getsNothing(t, raw, cert)
			_ = u.Close()
		}
	})
	// It was not taken for the victim, and the victim is as welcome as before.
	if _, who := d.dial(d.connect(identities[0])); who != victim.String() {
		t.Errorf("the hub took the victim for %q", who)
	}
}

func uri(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	must(t, err)
	return u
}

// signedByController has the controller sign an API-session certificate for what the request says.
func signedByController(t *testing.T, d *deployment, attacker *overlay.Identity, request *x509.CertificateRequest) *tls.Certificate {
	t.Helper()
	const api = "/edge/client/v1"
	c := zitiConfig(t, attacker.Config())
	own, err := tls.X509KeyPair([]byte(strings.TrimPrefix(c.ID.Cert, "pem:")), []byte(strings.TrimPrefix(c.ID.Key, "pem:")))
	must(t, err)
	at, err := url.Parse(c.ZtAPI)
	must(t, err)
	client, err := mgmt.New(mgmt.Config{URL: "https://" + at.Host, Roots: pool([]byte(strings.TrimPrefix(c.ID.CA, "pem:"))), Certificate: &own})
	must(t, err)
	defer client.Close()
	must(t, client.LoginAt(d.ctx, api))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	must(t, err)
	var out struct {
		Certificate string `json:"certificate"`
	}
	must(t, client.Call(d.ctx, http.MethodPost, api+"/current-api-session/certificates",
		map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &out))
	cert := &tls.Certificate{PrivateKey: key}
	for rest := []byte(out.Certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	if len(cert.Certificate) == 0 {
		t.Fatal("the controller signed nothing")
	}
	cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	must(t, err)
	return cert
}

// getsNothing speaks the hub's inner TLS with a certificate of another authority, or none: not one
// byte comes back.
func getsNothing(t *testing.T, raw net.Conn, cert *tls.Certificate) {
	t.Helper()
	conf := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{overlay.ServiceIngest},
		InsecureSkipVerify: true} // #nosec G402 -- an attacker verifies no identity
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	c := tls.Client(raw, conf)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.Handshake(); err != nil {
		return // refused already
	}
	if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Error("the hub said something to somebody without a certificate of ours")
	}
}

// lyingCaller dials with the SDK while claiming another's name in OpenZiti's caller id, as a
// patched client does.
func lyingCaller(t *testing.T, d *deployment, attacker *overlay.Identity, victim overlay.ID) {
	var u overlay.Underlay = &liar{t: t, config: attacker.Config(), claim: victim.String()}
	e := overlay.NewEndpoint(attacker, u, d.log)
	defer func() { _ = e.Close() }()
	_, who := d.dial(e)
	if who != attacker.ID().String() {
		t.Errorf("the hub took the liar for %q", who)
	}
}

type liar struct {
	t      *testing.T
	config []byte
	claim  string
	zc     ziti.Context
}

type lyingSession struct {
	edge_apis.ApiSession
	claim string
}

func (s *lyingSession) GetIdentityName() string { return s.claim }

func (l *liar) Dial(context.Context, string) (net.Conn, error) {
	var err error
	if l.zc, err = ziti.NewContext(zitiConfig(l.t, l.config)); err != nil {
		return nil, err
	}
	if err := l.zc.Authenticate(); err != nil {
		return nil, err
	}
	client := l.zc.(*ziti.ContextImpl).CtrlClt
	lie := edge_apis.ApiSession(&lyingSession{client.GetCurrentApiSession(), l.claim})
	client.ApiSession.Store(&lie)
	return l.zc.Dial(overlay.ServiceIngest)
}

func (l *liar) Listen(context.Context, string) (net.Listener, error) {
	return nil, overlay.ErrUnavailable
}

func (l *liar) Close() error {
	l.zc.Close()
	return nil
}
