// Package overlay puts a component of Vitalseal on the zero-trust network and proves who is at the
// other end.
//
// Two layers lie on each other. Below is an [Underlay]: the real OpenZiti network (package
// overlay/openziti), or [Loopback] in memory for tests. It decides whether a dialler reaches a
// service at all. Above it, on every connection, runs mutual TLS 1.3 with X.509-SVIDs of our own
// [Authority]; [Conn.Peer] comes from there and from nothing else. OpenZiti's caller id is a header
// that the client writes, so nothing here reads it.
//
// It hides: SPIFFE verification, handshakes that stall, one-time tokens and enrolment, renewal of
// certificates and the supervision of the embedded node ([Supervise]; the node itself is package
// overlay/node; the network's administration is overlay/manage). This package does not import
// OpenZiti, so that a package that needs only [Loopback] builds quickly.
//
// It guarantees: a *Conn that Dial or Accept returned has a verified peer of the same trust domain,
// and for a dialler the peer is of kind hub (of kind egress on ServiceCloud); every connection uses
// the post-quantum key exchange X25519MLKEM768; no session is resumed; a client that stalls in its
// handshake blocks no other; identity files appear whole or not at all, with mode 0600.
//
// It does not protect against a stolen identity file (disable the identity at the hub), and a
// verified peer is not yet an allowed one: whether that identity is still enabled is asked of the
// inventory by the hub.
package overlay

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
)

// The OpenZiti services of a deployment. All but ServiceCloud are hosted by the hub.
const (
	ServiceIngest = "vitalseal.ingest" // dialled by sensors and gateways
	ServiceFaces  = "vitalseal.faces"  // dialled by workstations
	ServiceEnrol  = "vitalseal.enrol"  // dialled by identities that hold a ticket
	ServiceRenew  = "vitalseal.renew"  // dialled by sensors, gateways, workstations and egresses
	ServiceCloud  = "vitalseal.cloud"  // hosted by an egress, dialled by the hub
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrPeer says that the other end is not who it must be: foreign authority, wrong trust domain,
	// wrong kind, expired.
	ErrPeer = errors.New("overlay: peer not accepted")
	// ErrUnavailable says that the service cannot be reached now: not permitted, not hosted, or the
	// network is down. Retry with back-off.
	ErrUnavailable = errors.New("overlay: service not reachable")
	// ErrRefused says that the hub refuses to renew: the identity is disabled or deleted.
	ErrRefused = errors.New("overlay: identity refused by the hub")
	// ErrNewKey says that the hub renews only with a new key: an administrator asked for a
	// rotation. Renewer brings one.
	ErrNewKey = errors.New("overlay: the hub demands a new key")
	// ErrTicketInvalid says that a ticket is malformed or does not fit the hub that answered.
	ErrTicketInvalid = errors.New("overlay: ticket not valid")
	// ErrTicketExpired says that a ticket is past its time.
	ErrTicketExpired = errors.New("overlay: ticket expired")
	// ErrTicketUsed says that a ticket, or one of its one-time tokens, was redeemed before.
	ErrTicketUsed = errors.New("overlay: ticket already used")
)

// Hint returns what a person can do about err, or "" when there is nothing particular to say.
func Hint(err error) string {
	switch {
	case errors.Is(err, ErrClock):
		return "set this machine's clock (timedatectl shows it) and try again; a ticket is not used up: enrol again with the same one"
	case errors.Is(err, ErrFolder):
		return "name another folder with --data: an empty one, or the one of the component that the ticket is for"
	case errors.Is(err, ErrNoRoom):
		return "make room on the disk, or name a folder of your own with --data; then enrol again with the same ticket"
	case errors.Is(err, ErrTicketSpent):
		return "put this machine right, then ask an administrator for a new ticket: `vitalseal identity ticket KIND/NAME --out FILE`"
	case errors.Is(err, ErrTicketExpired):
		return "tickets are short-lived; ask an administrator for a new one (`vitalseal identity ticket KIND/NAME --out FILE`), and check this machine's clock"
	case errors.Is(err, ErrTicketUsed):
		return "a ticket works once; if it was not you who used it, tell an administrator, who disables its components, or writes a new ticket: " +
			"`vitalseal identity ticket KIND/NAME --out FILE`. If no workstation is left to do that at: `vitalseal hub recover --workstation NAME` on the hub's machine"
	case errors.Is(err, ErrTicketInvalid):
		return "the ticket was damaged or belongs to another deployment; ask an administrator for a new one"
	case errors.Is(err, ErrRefused):
		return "this identity was disabled or deleted at the hub; an administrator can enable it or issue a new ticket"
	case errors.Is(err, ErrPeer):
		return "the other end could not prove that it belongs to this deployment; check both clocks, then the identity file"
	case errors.Is(err, ErrUnavailable):
		return "the overlay or the hub may be down, or no policy lets this identity reach the service"
	}
	return ""
}

// At names a service as one hub hosts it, beside the same service that all hubs host together: for
// a client that a hub remembers something about, to dial that one again. It is a matter of finding,
// not of trust: the inner TLS proves a hub, and Conn.Peer says which.
func At(service string, hub ID) string { return hub.Name + "@" + service }

// SplitAt is a service's name and whose it is, "" for one that all hubs host.
func SplitAt(name string) (service, hub string) {
	if hub, service, ok := strings.Cut(name, "@"); ok {
		return service, hub
	}
	return name, ""
}

// Endpoint is one identity on the network. It is safe for concurrent use.
type Endpoint interface {
	// ID is the identity as which this endpoint dials and listens.
	ID() ID
	// Dial connects to a service, or to one hub's (At), and proves that a hub (on ServiceCloud: an
	// egress) of the pinned root and trust domain answers. Callers retry with back-off. Errors:
	// ErrUnavailable, ErrPeer, the context's.
	Dial(ctx context.Context, service string) (*Conn, error)
	// Listen hosts a service; Accept returns *Conn. The context bounds the set-up only; Close ends
	// the listener. Without options, a peer must prove an unexpired identity of our trust domain.
	Listen(ctx context.Context, service string, opts ...ListenOption) (net.Listener, error)
	// Close ends the endpoint with all its listeners and connections.
	Close() error
}

// Underlay is the network below the inner TLS: it moves bytes between a dialler and the host of a
// service, and nothing that it says about who the peer is gets believed.
type Underlay interface {
	Dial(ctx context.Context, service string) (net.Conn, error)
	Listen(ctx context.Context, service string) (net.Listener, error)
	Close() error
}

// Network makes underlays: the OpenZiti network, or a Loopback.
type Network interface {
	// Enrol redeems a one-time token for a configuration, which is a secret. Errors:
	// ErrTicketExpired, ErrTicketUsed.
	Enrol(ctx context.Context, token string) (config []byte, err error)
	// Open connects with a configuration.
	Open(ctx context.Context, config []byte) (Underlay, error)
}

// Conn is an overlay connection with a proven peer: inner TLS 1.3 over the underlay.
type Conn struct {
	net.Conn
	peer ID
	cert *x509.Certificate // the peer's, as proven in the handshake; nil on a listener opened with AcceptAnonymous
}

// Peer returns the identity that the other end proved. It is the zero ID only on a listener opened
// with AcceptAnonymous.
func (c *Conn) Peer() ID { return c.peer }

// Certificate returns the certificate by which the other end proved its identity, or nil where it
// showed none.
func (c *Conn) Certificate() *x509.Certificate { return c.cert }

// Fingerprint returns the SHA-256 of a certificate and of its public key, hexadecimal, as the
// inventory keeps them.
func Fingerprint(c *x509.Certificate) (certificate, key string) {
	return HexSHA256(c.Raw), HexSHA256(c.RawSubjectPublicKeyInfo)
}
