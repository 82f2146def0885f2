package overlay

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	dialTimeout      = 20 * time.Second // underlay and handshake together, unless the caller's context ends earlier
	handshakeTimeout = 10 * time.Second // a client that has not proven itself by then is dropped
)

// greeting is the byte that a server sends once it accepts the client. In TLS 1.3 a client's
// handshake ends before the server has looked at its certificate; without the greeting Dial would
// succeed for a client that is about to be refused.
const greeting = 0x01

// ListenOption changes whom a listener accepts.
type ListenOption func(*listenOptions)

type listenOptions struct{ anonymous, expired bool }

// AcceptAnonymous asks clients for no certificate: only for enrolment, where the secret is the
// proof. Peer is the zero ID.
func AcceptAnonymous() ListenOption { return func(o *listenOptions) { o.anonymous = true } }

// AcceptExpired also accepts a certificate that is past its end, never one that is not yet valid:
// only for renewal, where the hub then asks its inventory.
func AcceptExpired() ListenOption { return func(o *listenOptions) { o.expired = true } }

// verifySVID checks a peer's chain against our only root, step by step, and returns whom it names.
//
//defence:peer-chain a peer's certificate is of our own authority
func verifySVID(certs []*x509.Certificate, root *x509.Certificate, domain string, now time.Time, expired bool) (ID, error) {
	refuse := func(err error) (ID, error) { return ID{}, fmt.Errorf("%w: %w", ErrPeer, err) }
	if len(certs) == 0 {
		return refuse(errors.New("no certificate"))
	}
	leaf := certs[0]
	if expired && now.After(leaf.NotAfter) {
		now = leaf.NotAfter
	}
	td, err := spiffeid.TrustDomainFromString(domain)
	if err != nil {
		return refuse(err)
	}
	// go-spiffe checks: exactly one URI, a SPIFFE id; not a CA certificate; our trust domain (the
	// bundle knows no other); signed by our root; valid now.
	bundle := x509bundle.FromX509Authorities(td, []*x509.Certificate{root})
	spiffe, _, err := x509svid.Verify(certs, bundle, x509svid.WithTime(now))
	if err != nil {
		return refuse(err)
	}
	// Both uses, because a component can stand at either end; a certificate without them isn't one
	// of ours.
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if !slices.Contains(leaf.ExtKeyUsage, use) {
			return refuse(errors.New("certificate is not for both ends of a connection"))
		}
	}
	id, err := ParseID(spiffe.String())
	if err != nil {
		return refuse(err)
	}
	if id.Domain != domain {
		return refuse(fmt.Errorf("trust domain %s is not %s", id.Domain, domain))
	}
	return id, nil
}

// baseTLS is what both ends share. The service is also the TLS application protocol, so that a
// router that leads a connection to the host of another service gains a failed handshake.
//
//defence:tls-floor nothing older than TLS 1.3 with ML-KEM
//defence:service-name a connection is for one service
func baseTLS(service string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:             []string{service},
		SessionTicketsDisabled: true, // a resumed session would outlive its certificate's expiry and the identity's revocation
	}
}

func clientTLS(service string, own *Identity) *tls.Config {
	c := baseTLS(service)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.certificate(), nil }
	c.InsecureSkipVerify = true // #nosec G402 -- SVIDs carry no host name; VerifyConnection on the next line verifies chain, trust domain and kind
	c.VerifyConnection = func(s tls.ConnectionState) error {
		id, err := verifySVID(s.PeerCertificates, own.root, own.id.Domain, time.Now(), false)
		if err != nil {
			return err
		}
		return wantHost(id, s, service)
	}
	return c
}

// pinnedTLS is how a component without an identity yet meets the hub: it shows nothing of itself,
// and the hub must send its chain up to the root whose fingerprint the ticket carries.
func pinnedTLS(service string, fingerprint [32]byte, domain string, root **x509.Certificate) *tls.Config {
	c := baseTLS(service)
	c.InsecureSkipVerify = true // #nosec G402 -- no root is known yet; VerifyConnection on the next line demands the pinned one
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) < 2 {
			return fmt.Errorf("%w: the hub did not send its root", ErrPeer)
		}
		last := s.PeerCertificates[len(s.PeerCertificates)-1]
		if sum := sha256.Sum256(last.Raw); subtle.ConstantTimeCompare(sum[:], fingerprint[:]) != 1 {
			return fmt.Errorf("%w: %w: the hub's root is not the one in the ticket", ErrPeer, ErrTicketInvalid)
		}
		if d, err := rootDomain(last); err != nil || d != domain {
			return fmt.Errorf("%w: %w: the hub's root is for another trust domain", ErrPeer, ErrTicketInvalid)
		}
		id, err := verifySVID(s.PeerCertificates, last, domain, time.Now(), false)
		if err != nil {
			return err
		}
		*root = last
		return wantHost(id, s, service)
	}
	return c
}

// wantHost checks that the answering peer is of the kind that hosts the service, and answered for
// that service.
func wantHost(id ID, s tls.ConnectionState, service string) error {
	kind, name := KindHub, "a hub"
	if service == ServiceCloud {
		kind, name = KindEgress, "an egress"
	}
	//defence:peer-kind only a hub answers for a hub's services
	if id.Kind != kind {
		return fmt.Errorf("%w: %s is not %s", ErrPeer, id, name)
	}
	//defence:service-name a connection is for one service
	if s.NegotiatedProtocol != service {
		return fmt.Errorf("%w: %s answered for service %q", ErrPeer, id, s.NegotiatedProtocol)
	}
	return nil
}

func serverTLS(service string, own *Identity, o listenOptions) *tls.Config {
	c := baseTLS(service)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := own.certificate()
		if o.anonymous {
			cert.Certificate = append(cert.Certificate, own.root.Raw) // the client knows only the root's fingerprint
		}
		return cert, nil
	}
	if !o.anonymous {
		// Any certificate is asked for and none is verified by crypto/tls; VerifyConnection on the
		// next lines does.
		c.ClientAuth = tls.RequireAnyClientCert
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		//defence:service-name a connection is for one service
		if s.NegotiatedProtocol != service {
			return fmt.Errorf("%w: the client did not ask for %s", ErrPeer, service)
		}
		if o.anonymous {
			return nil
		}
		_, err := verifySVID(s.PeerCertificates, own.root, own.id.Domain, time.Now(), o.expired)
		return err
	}
	return c
}

// clientHandshake runs the dialler's side over raw and closes raw on any error.
//
//defence:inner-tls connections are encrypted end to end
func clientHandshake(ctx context.Context, raw net.Conn, conf *tls.Config) (*Conn, error) {
	t := tls.Client(raw, conf)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	var hello [1]byte
	err := t.HandshakeContext(ctx)
	if err == nil {
		_, err = io.ReadFull(t, hello[:])
	}
	if err == nil && hello[0] != greeting {
		err = fmt.Errorf("%w: unexpected greeting", ErrPeer)
	}
	if err != nil {
		_ = raw.Close()
		return nil, handshakeError(ctx, err)
	}
	return newConn(t), nil
}

// serverHandshake runs the host's side over raw and closes raw on any error.
//
//defence:inner-tls connections are encrypted end to end
func serverHandshake(ctx context.Context, raw net.Conn, conf *tls.Config) (*Conn, error) {
	t := tls.Server(raw, conf)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	err := t.HandshakeContext(ctx)
	if err == nil {
		_, err = t.Write([]byte{greeting})
	}
	if err != nil {
		_ = raw.Close()
		return nil, handshakeError(ctx, err)
	}
	return newConn(t), nil
}

// handshakeError tells a refusal apart from a connection that broke.
func handshakeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("overlay: handshake: %w", context.Cause(ctx))
	}
	if errors.Is(err, ErrPeer) {
		return fmt.Errorf("overlay: handshake: %w", err)
	}
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var remote *net.OpError // crypto/tls wraps an alert from the other end like this
	if errors.As(err, &alert) || errors.As(err, &record) || (errors.As(err, &remote) && remote.Op == "remote error") {
		return fmt.Errorf("overlay: handshake: %w: %w", ErrPeer, err)
	}
	return fmt.Errorf("overlay: handshake: %w: %w", ErrUnavailable, err)
}

// newConn wraps a connection whose handshake verified the peer.
func newConn(t *tls.Conn) *Conn {
	c := &Conn{Conn: t}
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		id, err := peerOf(t)
		if err != nil {
			panic("overlay: a verified certificate lost its name: " + err.Error())
		}
		c.cert, c.peer = certs[0], id
	}
	return c
}

// peerOf is whom the certificate names that the peer of a connection has shown.
//
//defence:peer-chain a peer's certificate is of our own authority
//defence:own-name a peer is what its certificate says, never the caller id
func peerOf(t *tls.Conn) (ID, error) {
	spiffe, err := x509svid.IDFromCert(t.ConnectionState().PeerCertificates[0])
	if err != nil {
		return ID{}, err
	}
	return ParseID(spiffe.String())
}
