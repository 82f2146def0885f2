package connect

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"
)

// Hurry makes the door impatient: everything that takes d or longer is over. It must be called
// before Run.
func (d *Door) Hurry(wait time.Duration) {
	d.wait = patience{header: wait, request: wait, idle: wait, write: wait, silence: time.Hour}
}

// MaxConns is how many connections a door holds at once.
const MaxConns = maxConns

// RequestBurst is how many requests a connection may make at once.
const RequestBurst = requestBurst

// NewPace is a connection's allowance of requests.
func NewPace(now time.Time) interface{ Take(time.Time) bool } { return paceTaker{newPace(now)} }

type paceTaker struct{ p *pace }

func (t paceTaker) Take(now time.Time) bool { return t.p.take(now) }

// Authority is the certificate authority of dir, at a time of the test's own.
type Authority struct{ a *authority }

func OpenAuthority(dir string, log *slog.Logger, now func() time.Time) (Authority, error) {
	a, err := openAuthority(dir, log)
	if err == nil && now != nil {
		a.now = now
	}
	return Authority{a}, err
}

func (a Authority) Leaf() (*tls.Certificate, error) { return a.a.certificate() }
func (a Authority) Root() *x509.Certificate         { return a.a.cert }

// Sign signs whatever the template says, as a thief of the key would.
func (a Authority) Sign(template *x509.Certificate, create func(template, parent *x509.Certificate, signer any) ([]byte, error)) (*x509.Certificate, error) {
	der, err := create(template, a.a.cert, a.a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// GuardAs is ln's guard, believing that it runs as another user.
func GuardAs(ln net.Listener, uid int, log *slog.Logger) net.Listener {
	g := newGuard(ln, time.Minute, log)
	g.self = uid
	return g
}
