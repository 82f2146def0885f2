package connect

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxConns = 128
	// A page loads some twenty files; a program that polls asks a few times a second.
	requestBurst = 400
	requestsEach = time.Second / 100
	complainEach = time.Minute
)

// errUnknownPeer means that this system does not tell which user has a connection.
var errUnknownPeer = errors.New("connect: this system does not tell who is at the other end")

// guard accepts connections of the user who runs this process, and no more than maxConns of them.
type guard struct {
	net.Listener
	log  *slog.Logger
	self int
	peer func(client, server netip.AddrPort) (uid int, err error)
	sees bool
	wait time.Duration // for a client to take what is written to it

	mu         sync.Mutex // guards what follows
	open       int
	complained time.Time
}

func newGuard(ln net.Listener, wait time.Duration, log *slog.Logger) *guard {
	return &guard{Listener: ln, log: log, self: os.Getuid(), peer: peerUID, sees: seesPeers(), wait: wait}
}

// knows reports whether the system tells whose a connection is.
func (g *guard) knows() bool { return g.sees }

// Accept implements net.Listener.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := g.admit(c); err != nil {
			_ = c.Close()
			g.complain(err)
			continue
		}
		return &client{Conn: c, guard: g}, nil
	}
}

var (
	errForeignUser = errors.New("a connection of another user of this machine was refused")
	errTooMany     = errors.New("too many connections at once")
)

func (g *guard) admit(c net.Conn) error {
	if g.sees {
		remote, ok1 := c.RemoteAddr().(*net.TCPAddr)
		local, ok2 := c.LocalAddr().(*net.TCPAddr)
		if !ok1 || !ok2 {
			return errUnknownPeer
		}
		uid, err := g.peer(remote.AddrPort(), local.AddrPort())
		if err != nil {
			return err // a client whose user is unknown is not let in
		}
		//defence:peer-user only the user who started it is answered
		if uid != g.self {
			return errForeignUser
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	//defence:client-bound connections to the loopback address are bounded
	if g.open >= maxConns {
		return errTooMany
	}
	g.open++
	return nil
}

// complain logs a refusal, once a minute at most: a refused client must not fill the log.
func (g *guard) complain(err error) {
	g.mu.Lock()
	now := time.Now()
	quiet := now.Sub(g.complained) < complainEach
	if !quiet {
		g.complained = now
	}
	g.mu.Unlock()
	if !quiet {
		g.log.Warn("connection refused; more of them in the next minute are not logged", "err", err)
	}
}

func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
}

// client is an admitted connection. A client that does not read is dropped after a while, also on a
// WebSocket, whose connection net/http no longer watches over.
type client struct {
	net.Conn
	guard *guard
	once  sync.Once

	mu    sync.Mutex // guards until
	until time.Time  // the deadline that was asked for; zero: none
}

// SetWriteDeadline implements net.Conn.
func (c *client) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *client) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *client) Write(b []byte) (int, error) {
	c.mu.Lock()
	by := time.Now().Add(c.guard.wait)
	if !c.until.IsZero() && c.until.Before(by) {
		by = c.until
	}
	err := c.Conn.SetWriteDeadline(by)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *client) Close() error {
	c.once.Do(c.guard.leave)
	return c.Conn.Close()
}

// speaking is a connection to the hub, which ends when the hub is silent for too long.
type speaking struct {
	net.Conn
	wait patience
	// heard is when a hub last said something, in ns since 1970; nil: it is not noted.
	heard *atomic.Int64
}

func (s *speaking) Read(b []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(s.wait.silence)); err != nil {
		return 0, err
	}
	n, err := s.Conn.Read(b)
	if n > 0 && s.heard != nil {
		s.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (s *speaking) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(s.wait.write)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

type paceKey struct{}

// pace is a connection's allowance of requests, which grows back with time.
type pace struct {
	mu   sync.Mutex // guards free
	free time.Time  // when the whole allowance is there again
}

func newPace(now time.Time) *pace { return &pace{free: now} }

func (p *pace) take(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	if p.free.Sub(now) >= requestBurst*requestsEach {
		return false
	}
	p.free = p.free.Add(requestsEach)
	return true
}

// paced refuses requests of a connection that makes too many.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := paceOf(r.Context()); p != nil && !p.take(time.Now()) {
			w.Header().Set("Retry-After", "1")
			answer(w, r, http.StatusTooManyRequests, "Too many requests on one connection.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func paceOf(ctx context.Context) *pace {
	p, _ := ctx.Value(paceKey{}).(*pace)
	return p
}
