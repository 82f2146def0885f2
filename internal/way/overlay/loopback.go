package overlay

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// loopbackLifetime is how long the SVIDs of Loopback.Endpoint live: longer than any test, also one
// in a synctest bubble.
const loopbackLifetime = MaxSVIDLifetime

// Loopback is an overlay network in memory, for tests of the packages above: the same inner TLS and
// the same proof of the peer as over OpenZiti, no service policies below. It works inside a
// testing/synctest bubble when the Authority was made inside as well. It implements Network. It is
// safe for concurrent use.
type Loopback struct {
	authority *Authority

	mu        sync.Mutex // guards the fields below
	down      bool
	listeners map[string]*loopListener
	conns     map[*loopConn]struct{}
	cutOff    map[ID]bool
	invited   map[string]ID   // tokens that Enrol takes
	redeemed  map[string]bool // tokens that it took
}

// NewLoopback makes a network whose endpoints have identities of a.
func NewLoopback(a *Authority) *Loopback {
	return &Loopback{authority: a, listeners: map[string]*loopListener{}, conns: map[*loopConn]struct{}{},
		cutOff: map[ID]bool{}, invited: map[string]ID{}, redeemed: map[string]bool{}}
}

// Endpoint makes an identity and connects it.
func (l *Loopback) Endpoint(id ID) (Endpoint, error) {
	identity, err := IssueIdentity(l.authority, id, nil, nil, loopbackLifetime)
	if err != nil {
		return nil, err
	}
	return l.Connect(identity, slog.New(slog.DiscardHandler)), nil
}

// Connect connects an identity that the caller made, possibly of another authority.
func (l *Loopback) Connect(identity *Identity, log *slog.Logger) Endpoint {
	return NewEndpoint(identity, l.underlay(identity.id), log)
}

// Cut breaks the open connections that id dialled or hosts; new ones may be dialled.
func (l *Loopback) Cut(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut(func(u *loopUnderlay) bool { return u.id == id })
}

// cut breaks the connections with a chosen end. The caller holds mu.
func (l *Loopback) cut(chosen func(*loopUnderlay) bool) {
	for c := range l.conns {
		if chosen(c.dialler) || chosen(c.host) {
			c.pipe.cut()
			delete(l.conns, c)
		}
	}
}

// SetAllowed lets id dial, or, with false, refuses its dials and breaks its connections, as
// disabling an identity does.
func (l *Loopback) SetAllowed(id ID, allowed bool) {
	l.mu.Lock()
	if allowed {
		delete(l.cutOff, id)
	} else {
		l.cutOff[id] = true
	}
	l.mu.Unlock()
	if !allowed {
		l.Cut(id)
	}
}

// SetDown simulates an outage: with true every connection breaks and every dial fails with
// ErrUnavailable, until false. Listeners stay and work again afterwards.
func (l *Loopback) SetDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	if down {
		l.cut(func(*loopUnderlay) bool { return true })
	}
}

// Invite returns a one-time token for Enrol, in the place of an OpenZiti one.
func (l *Loopback) Invite(id ID) string {
	token := rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.invited[token] = id
	return token
}

// Enrol implements Network.
func (l *Loopback) Enrol(_ context.Context, token string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.redeemed[token] {
		return nil, ErrTicketUsed
	}
	id, ok := l.invited[token]
	if !ok {
		return nil, ErrTicketInvalid
	}
	delete(l.invited, token)
	l.redeemed[token] = true
	return json.Marshal(map[string]string{"loopback": id.String()})
}

// Open implements Network.
func (l *Loopback) Open(_ context.Context, config []byte) (Underlay, error) {
	var c struct {
		Loopback string `json:"loopback"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("overlay: open loopback: %w", err)
	}
	id, err := ParseID(c.Loopback)
	if err != nil {
		return nil, err
	}
	return l.underlay(id), nil
}

func (l *Loopback) underlay(id ID) *loopUnderlay { return &loopUnderlay{net: l, id: id} }

// loopUnderlay is one identity's way into the Loopback.
type loopUnderlay struct {
	net *Loopback
	id  ID
}

func (u *loopUnderlay) Dial(ctx context.Context, service string) (net.Conn, error) {
	u.net.mu.Lock()
	if u.net.down || u.net.cutOff[u.id] || u.net.listeners[service] == nil {
		u.net.mu.Unlock()
		return nil, ErrUnavailable
	}
	l := u.net.listeners[service]
	near, far := newPipe(service, u.id.String())
	c := &loopConn{Conn: near, net: u.net, pipe: near.(*pipeConn), dialler: u, host: l.host}
	u.net.conns[c] = struct{}{}
	u.net.mu.Unlock()
	select {
	case l.backlog <- far:
		return c, nil
	case <-l.done:
	case <-ctx.Done():
	}
	_ = c.Close()
	return nil, ErrUnavailable
}

func (u *loopUnderlay) Listen(_ context.Context, service string) (net.Listener, error) {
	u.net.mu.Lock()
	defer u.net.mu.Unlock()
	if u.net.listeners[service] != nil {
		return nil, fmt.Errorf("overlay: %s is hosted already", service)
	}
	l := &loopListener{net: u.net, service: service, host: u, backlog: make(chan net.Conn), done: make(chan struct{})}
	u.net.listeners[service] = l
	return l, nil
}

// Close breaks what was opened through u, listeners included.
func (u *loopUnderlay) Close() error {
	u.net.mu.Lock()
	var own []*loopListener
	for _, l := range u.net.listeners {
		if l.host == u {
			own = append(own, l)
		}
	}
	u.net.mu.Unlock()
	for _, l := range own {
		_ = l.Close()
	}
	u.net.mu.Lock()
	defer u.net.mu.Unlock()
	u.net.cut(func(end *loopUnderlay) bool { return end == u })
	return nil
}

type loopConn struct {
	net.Conn
	net           *Loopback
	pipe          *pipeConn
	dialler, host *loopUnderlay
}

func (c *loopConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

type loopListener struct {
	net     *Loopback
	service string
	host    *loopUnderlay
	backlog chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *loopListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *loopListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.service] == l {
			delete(l.net.listeners, l.service)
		}
	})
	return nil
}

func (l *loopListener) Addr() net.Addr { return addr(l.service) }
