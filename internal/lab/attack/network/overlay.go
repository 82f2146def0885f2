// Package network are the attacks on the overlay (overlay-), of a component that was disabled
// (revoke-), and on the way back into a stopped hub (recover-).
//
// The attacks on the inner TLS put a rogue end in the place of the router, in this process; those
// on OpenZiti's controller and its policies need the running deployment. OpenZiti itself is not
// attacked further than its configuration by the product.
package network

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
	"vitalseal/internal/way/overlay/openziti"
)

// Overlay are the attacks on the overlay and on the inner TLS above it.
func Overlay() []attack.Attack {
	return []attack.Attack{
		impostor("overlay-rogue-router", "a rogue router in the path", "a router leads the connection to itself and answers with a certificate of its own in the hub's name", unknownAuthority, weaken.PeerChain,
			func(_ *overlay.Authority, hub overlay.ID) (*tls.Certificate, error) { return forge(hub, nil) }),
		impostor("overlay-foreign-authority", "the operator of another deployment", "the hub of another deployment, with the same names and another root, answers", unknownAuthority, weaken.PeerChain,
			func(_ *overlay.Authority, hub overlay.ID) (*tls.Certificate, error) {
				other, err := overlay.NewAuthority(hub.Domain)
				if err != nil {
					return nil, err
				}
				return certify(other, hub, time.Hour)
			}),
		impostor("overlay-right-key-wrong-place", "an enrolled sensor in the path", "a sensor's own, rightly signed certificate answers in the place of the hub", "spiffe://"+office.Domain+"/sensor/sensor is not a hub", weaken.PeerKind,
			func(a *overlay.Authority, hub overlay.ID) (*tls.Certificate, error) {
				return certify(a, overlay.ID{Domain: hub.Domain, Kind: overlay.KindSensor, Name: "sensor"}, time.Hour)
			}),
		impostor("overlay-leaf-as-authority", "an enrolled sensor in the path", "a certificate in the hub's name, signed with a sensor's rightly signed key", unknownAuthority, weaken.PeerChain,
			func(a *overlay.Authority, hub overlay.ID) (*tls.Certificate, error) {
				signer, err := certify(a, overlay.ID{Domain: hub.Domain, Kind: overlay.KindSensor, Name: "sensor"}, time.Hour)
				if err != nil {
					return nil, err
				}
				return forge(hub, signer)
			}),
		impostor("overlay-expired", "an attacker who found an old disk of the hub's", "the hub's own certificate of the past, which has expired, answers", "x509svid: could not verify leaf certificate: x509: certificate has expired", weaken.PeerChain,
			func(a *overlay.Authority, hub overlay.ID) (*tls.Certificate, error) {
				c, err := certify(a, hub, 2*time.Second)
				if err == nil {
					// Its end is not in the past when it is made; nothing tells when it is, but the
					// clock.
					time.Sleep(time.Until(c.Leaf.NotAfter) + 50*time.Millisecond)
				}
				return c, err
			}),
		{ID: "overlay-downgrade", Threat: "read what was recorded, later or with a quantum computer", Position: "the network, which changes the hello", Fast: true,
			Does: "a client offers TLS 1.2, then TLS 1.3 without the post-quantum key exchange", Expected: "no handshake: protocol version, or no common key exchange", Right: attack.Says("tls: protocol version not supported").Or(attack.Says("tls: handshake failure")), Control: weaken.TLSFloor, Run: downgrade},
		{ID: "overlay-other-service", Threat: "bring a connection to another service's host", Position: "an OpenZiti router", Fast: true,
			Does: "a connection for the faces is led to the host of ingest", Expected: "no handshake: no common service", Right: attack.Says("no application protocol"), Control: weaken.ServiceName, Run: otherService},
		{ID: "overlay-unenrolled", Threat: "reach anything without being enrolled", Position: "a laptop on the hospital's network",
			Does: "the controller is asked for a session with a certificate that no authority signed; the hub is dialled with it", Expected: "no session", Right: attack.Fails(mgmt.ErrUnauthorized), Control: weaken.None, Run: unenrolled},
		{ID: "overlay-caller-id", Threat: "be taken for another sensor", Position: "an enrolled sensor with a changed OpenZiti client",
			Does: "it dials ingest with the victim's name as OpenZiti's caller id and announces in the victim's name", Expected: "the hub goes by the inner certificate; it does not open", Right: attack.Reads(rogue.Acked(rogue.OutcomeRejected, 3)), Control: weaken.OwnName, Run: callerID},
		{ID: "overlay-controller-signed", Threat: "be taken for another component", Position: "an enrolled sensor that has the controller sign an API-session certificate in another's name",
			Does: "certificates in the victim's and the hub's SPIFFE URI, signed by OpenZiti, are shown to the hub", Expected: "not one byte comes back: bad certificate", Right: attack.Says("remote error: tls: bad certificate"), Control: weaken.PeerChain, Run: controllerSigned},
		{ID: "overlay-no-certificate", Threat: "speak to ingest without an identity of ours", Position: "an OpenZiti identity without one of our certificates",
			Does: "the inner TLS is begun without a certificate", Expected: "not one byte comes back: certificate required", Right: attack.Says("remote error: tls: certificate required"), Control: weaken.None, Run: noCertificate},
		{ID: "overlay-no-policy", Threat: "reach another service", Position: "an enrolled workstation", Does: "a workstation dials ingest, for which no policy names it",
			Expected: "the overlay lists the faces for it, and not ingest, and does not connect it", Right: attack.Reads("faces yes, ingest no"), Control: weaken.PeerKind, Run: noPolicy},
		{ID: "overlay-behind-back", Threat: "open the overlay by hand", Position: "an attacker who has the overlay's offline administrator password",
			Does: "a service policy that lets every component dial every service is written behind the hub's back", Expected: "put right within seconds, and in the audit log", Right: attack.Reads("put right and told"), Control: weaken.Drift, Run: behindBack},
		{ID: "overlay-ticket-twice", Threat: "enrol a second component with one ticket", Position: "an attacker who copied a ticket", Fast: true,
			Does: "a ticket's secret is redeemed a second time", Expected: "refused as used", Right: attack.Fails(directory.ErrTicketUsed), Control: weaken.TicketOnce, Run: office.In(ticketTwice)},
		{ID: "overlay-ticket-stretched", Threat: "enrol more than a ticket is for", Position: "a technician with a sensor's ticket",
			Does: "the ticket of a workstation is changed to ask for a hub's certificate", Expected: "refused", Right: attack.Fails(overlay.ErrTicketInvalid), Control: weaken.None, Run: ticketStretched},
	}
}

// unknownAuthority is how go-spiffe refuses a certificate of another authority.
const unknownAuthority = "x509svid: could not verify leaf certificate: x509: certificate signed by unknown authority"

// certify is a certificate of an authority with its key.
func certify(a *overlay.Authority, id overlay.ID, ttl time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := a.Issue(id, key.Public(), ttl)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// forge is a certificate in a name, signed by itself or by signer.
func forge(id overlay.ID, signer *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(id.String())
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: id.Name}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	parent, by := template, any(key)
	if signer != nil {
		parent, by = signer.Leaf, signer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if signer != nil {
		c.Certificate = append(c.Certificate, signer.Certificate...)
	}
	c.Leaf, err = x509.ParseCertificate(der)
	return c, err
}

// path is a way on which the attacker sits: what is dialled comes out at serve.
type path struct {
	overlay.Underlay
	serve func(net.Conn)
}

func (p *path) Dial(ctx context.Context, _ string) (net.Conn, error) {
	// TCP and not a pipe in memory: it buffers, so that both ends may speak at once.
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer ln.Close()
		if c, err := ln.Accept(); err == nil {
			p.serve(c)
		}
	}()
	return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
}

func (p *path) Close() error { return nil }

// impostor is an attack on a dialler by an attacker who answers in the hub's place.
func impostor(id, position, does, refusal string, control weaken.Defence, make func(*overlay.Authority, overlay.ID) (*tls.Certificate, error)) attack.Attack {
	return attack.Attack{ID: id, Threat: "be taken for the hub, and be sent readings and passwords", Position: position, Does: does, Expected: "the dialler refuses the peer", Right: attack.Says(overlay.ErrPeer.Error() + ": " + refusal), Control: control, Fast: true,
		Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
			a, err := overlay.NewAuthority(office.Domain)
			if err != nil {
				return attack.Result{}, err
			}
			cert, err := make(a, overlay.ID{Domain: office.Domain, Kind: overlay.KindHub, Name: "hub"})
			if err != nil {
				return attack.Result{}, err
			}
			me, err := overlay.IssueIdentity(a, overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "victim"}, nil, nil, time.Hour)
			if err != nil {
				return attack.Result{}, err
			}
			ep := overlay.NewEndpoint(me, &path{serve: func(raw net.Conn) {
				c := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert,
					NextProtos: []string{overlay.ServiceIngest}})
				_, _ = c.Write([]byte{1})
				_, _ = io.Copy(io.Discard, c)
			}}, attack.Quiet)
			defer func() { _ = ep.Close() }()
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c, err := ep.Dial(ctx, overlay.ServiceIngest)
			if err == nil {
				_ = c.Close()
			}
			return attack.Judge(err == nil, attack.Failure(err), "taken for the hub", "not accepted", "%v", err)
		}}
}

// hosted is a real hub's listener in this process, and a client's certificate that it would accept.
func hosted(ctx context.Context, service string) (*overlay.Loopback, *overlay.Authority, func(), error) {
	a, err := overlay.NewAuthority(office.Domain)
	if err != nil {
		return nil, nil, nil, err
	}
	n := overlay.NewLoopback(a)
	hub, err := n.Endpoint(overlay.ID{Domain: office.Domain, Kind: overlay.KindHub, Name: "hub"})
	if err != nil {
		return nil, nil, nil, err
	}
	ln, err := hub.Listen(ctx, service)
	if err != nil {
		return nil, nil, nil, err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	return n, a, func() { _ = hub.Close() }, nil
}

// rawly dials below the inner TLS, as a sensor that the network lets through.
func rawly(ctx context.Context, n *overlay.Loopback, service string) (net.Conn, error) {
	config, err := n.Enrol(ctx, n.Invite(overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "raw"}))
	if err != nil {
		return nil, err
	}
	u, err := n.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	return u.Dial(ctx, service)
}

func downgrade(ctx context.Context, _ *attack.Target) (attack.Result, error) {
	n, a, end, err := hosted(ctx, overlay.ServiceIngest)
	if err != nil {
		return attack.Result{}, err
	}
	defer end()
	cert, err := certify(a, overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "raw"}, time.Hour)
	if err != nil {
		return attack.Result{}, err
	}
	var spoken []string
	var seen []attack.Seen
	for what, conf := range map[string]*tls.Config{
		"TLS 1.2":             {MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, // #nosec G402 -- the attack
		"TLS 1.3 with P-256":  {MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}},
		"TLS 1.3 with X25519": {MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}},
	} {
		raw, err := rawly(ctx, n, overlay.ServiceIngest)
		if err != nil {
			return attack.Result{}, err
		}
		conf.InsecureSkipVerify, conf.NextProtos, conf.Certificates = true, []string{overlay.ServiceIngest}, []tls.Certificate{*cert} // #nosec G402 -- the attack
		n, err := hear(raw, conf)
		if n > 0 {
			spoken = append(spoken, what)
		}
		seen = append(seen, attack.Failure(err)...)
	}
	return attack.Judge(len(spoken) > 0, seen, "the hub spoke it", "no handshake", "3 tried; spoken: %v", spoken)
}

// hear speaks TLS and counts the bytes that come back after the handshake.
func hear(raw net.Conn, conf *tls.Config) (int, error) {
	c := tls.Client(raw, conf)
	defer func() { _ = raw.Close() }()
	if err := c.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
		return 0, err
	}
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	return c.Read(make([]byte, 1))
}

func otherService(ctx context.Context, _ *attack.Target) (attack.Result, error) {
	n, a, end, err := hosted(ctx, overlay.ServiceIngest)
	if err != nil {
		return attack.Result{}, err
	}
	defer end()
	me, err := overlay.IssueIdentity(a, overlay.ID{Domain: office.Domain, Kind: overlay.KindWorkstation, Name: "desk"}, nil, nil, time.Hour)
	if err != nil {
		return attack.Result{}, err
	}
	ep := overlay.NewEndpoint(me, &redirected{n}, attack.Quiet)
	defer func() { _ = ep.Close() }()
	c, err := ep.Dial(ctx, overlay.ServiceFaces)
	if err == nil {
		_ = c.Close()
	}
	return attack.Judge(err == nil, attack.Failure(err), "connected to another service's host", "no handshake", "%v", err)
}

// redirected leads every connection to the host of ingest.
type redirected struct{ n *overlay.Loopback }

func (r *redirected) Dial(ctx context.Context, _ string) (net.Conn, error) {
	return rawly(ctx, r.n, overlay.ServiceIngest)
}

func (r *redirected) Listen(context.Context, string) (net.Listener, error) {
	return nil, overlay.ErrUnavailable
}

func (r *redirected) Close() error { return nil }

// zitiIdentity is what an enrolled identity's file says of the OpenZiti network.
type zitiIdentity struct {
	API string `json:"ztAPI"`
	ID  struct {
		Cert string `json:"cert"`
		Key  string `json:"key"`
		CA   string `json:"ca"`
	} `json:"id"`
}

// controller is a client of the controller with an identity's certificate, or another.
func controller(id *overlay.Identity, cert *tls.Certificate) (*mgmt.Client, error) {
	var z zitiIdentity
	if err := json.Unmarshal(id.Config(), &z); err != nil {
		return nil, err
	}
	if cert == nil {
		own, err := tls.X509KeyPair([]byte(strings.TrimPrefix(z.ID.Cert, "pem:")), []byte(strings.TrimPrefix(z.ID.Key, "pem:")))
		if err != nil {
			return nil, err
		}
		cert = &own
	}
	at, err := url.Parse(z.API)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(strings.TrimPrefix(z.ID.CA, "pem:"))) {
		return nil, errors.New("no roots in the identity")
	}
	return mgmt.New(mgmt.Config{URL: "https://" + at.Host, Roots: roots, Certificate: cert})
}

const clientAPI = "/edge/client/v1"

func unenrolled(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	stranger, err := forge(r.IDs["one"].ID(), nil)
	if err != nil {
		return attack.Result{}, err
	}
	var seen []attack.Seen
	for _, prefix := range []string{clientAPI, mgmt.Edge} {
		c, err := controller(r.IDs["one"], stranger)
		if err != nil {
			return attack.Result{}, err
		}
		err = c.LoginAt(ctx, prefix)
		c.Close()
		if err == nil {
			return attack.Through("a session for a stranger", "%s", prefix)
		}
		seen = append(seen, attack.Failure(err)...)
	}
	return attack.RefusedWith(seen, "no session", "refused as unauthorised, as client and as manager")
}

// underlay dials ingest below the inner TLS with a rogue sensor's real OpenZiti identity.
func underlay(ctx context.Context, t *attack.Target) (net.Conn, func(), error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	u, err := openziti.NewNetwork(t.Log).Open(ctx, r.IDs["one"].Config())
	if err != nil {
		return nil, nil, err
	}
	var raw net.Conn
	err = attack.Await(ctx, func() (err error) {
		raw, err = u.Dial(ctx, overlay.ServiceIngest)
		return err
	})
	return raw, func() { _ = u.Close() }, err
}

func controllerSigned(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	victim, hub := r.IDs["two"].ID(), r.IDs["two"].ID()
	hub.Kind, hub.Name = overlay.KindHub, "hub"
	var seen []attack.Seen
	for _, name := range []overlay.ID{victim, hub} {
		cert, err := signedByController(ctx, r.IDs["one"], name)
		if err != nil {
			return attack.Result{}, err
		}
		raw, end, err := underlay(ctx, t)
		if err != nil {
			return attack.Result{}, err
		}
		n, err := hear(raw, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{overlay.ServiceIngest}, InsecureSkipVerify: true, Certificates: []tls.Certificate{*cert}}) // #nosec G402 -- an attacker verifies no identity
		end()
		if n > 0 {
			return attack.Through("the hub took it", "as %s", name)
		}
		seen = append(seen, attack.Failure(err)...)
	}
	return attack.RefusedWith(seen, "refused", "two certificates that OpenZiti's controller signed without a question")
}

// signedByController has the controller sign an API-session certificate in another's name.
func signedByController(ctx context.Context, attacker *overlay.Identity, name overlay.ID) (*tls.Certificate, error) {
	c, err := controller(attacker, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.LoginAt(ctx, clientAPI); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(name.String())
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name.String()}, URIs: []*url.URL{u}}, key)
	if err != nil {
		return nil, err
	}
	var out struct {
		Certificate string `json:"certificate"`
	}
	if err := c.Call(ctx, http.MethodPost, clientAPI+"/current-api-session/certificates",
		map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &out); err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key}
	for rest := []byte(out.Certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	if len(cert.Certificate) == 0 {
		return nil, errors.New("the controller signed nothing")
	}
	return cert, nil
}

func noCertificate(ctx context.Context, t *attack.Target) (attack.Result, error) {
	raw, end, err := underlay(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer end()
	n, err := hear(raw, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{overlay.ServiceIngest}, InsecureSkipVerify: true}) // #nosec G402 -- as above
	return attack.Judge(n > 0, attack.Failure(err), "the hub spoke", "not one byte", "%v", err)
}

func ticketStretched(ctx context.Context, t *attack.Target) (attack.Result, error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	var raw json.RawMessage
	desk := t.Name("desk-")
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/workstations", map[string]string{"id": desk}, &raw); err != nil {
		return attack.Result{}, err
	}
	ticket, err := overlay.ParseTicket([]byte(strings.ReplaceAll(string(raw), "/workstation/"+desk, "/hub/hub")))
	if err != nil {
		return attack.RefusedWith(attack.Failure(err), "the ticket does not read", "%v", err)
	}
	dir, err := os.MkdirTemp(t.Dir, "stretched-")
	if err != nil {
		return attack.Result{}, err
	}
	ids, err := overlay.Enrol(ctx, openziti.NewNetwork(t.Log), ticket, dir, t.Log)
	return attack.Judge(err == nil && len(ids) > 0, attack.Failure(err), "a hub's certificate for a workstation's ticket", "refused", "%v", err)
}
