package overlay

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
)

const (
	// maxHandshakes bounds the clients that have not proven themselves. One more pushes the oldest
	// of them out, so clients that stall delay no other: an honest handshake takes milliseconds.
	maxHandshakes = 256
	// maxAccepted bounds the proven connections that Accept has not returned yet.
	maxAccepted = 256
)

// listener turns connections of the underlay into *Conn.
type listener struct {
	raw     net.Listener
	service string
	conf    *tls.Config
	e       *endpoint
	log     *slog.Logger
	quiet   *Flood // for refused clients
	left    *Flood // for clients that left during the handshake
	slow    *Flood // for clients that did not finish it in time
	ready   chan *Conn
	ctx     context.Context // ends with the listener; bounds its handshakes
	cancel  context.CancelFunc
	wg      sync.WaitGroup // the accept loop and the handshakes

	mu      sync.Mutex // guards pending
	pending *list.List // of context.CancelFunc, the oldest handshake in front
}

func newListener(raw net.Listener, service string, conf *tls.Config, e *endpoint) *listener {
	l := &listener{raw: raw, service: service, conf: conf, e: e, log: e.log.With("service", service),
		ready: make(chan *Conn, maxAccepted), pending: list.New()}
	l.quiet, l.left, l.slow = NewFlood(l.log), newLeft(l.log), newSlow(l.log)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l
}

func (l *listener) run() {
	defer l.cancel()
	for {
		raw, err := l.raw.Accept()
		if err != nil {
			if l.ctx.Err() == nil {
				l.log.Warn("overlay listener ended", "err", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
		slot := l.admit(cancel)
		l.wg.Go(func() {
			defer cancel()
			defer l.leave(slot)
			l.handshake(ctx, raw)
		})
	}
}

func (l *listener) admit(cancel context.CancelFunc) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending.Len() >= maxHandshakes {
		oldest := l.pending.Remove(l.pending.Front()).(context.CancelFunc)
		oldest()
	}
	return l.pending.PushBack(cancel)
}

func (l *listener) leave(slot *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.Remove(slot) // no-op when it was pushed out
}

func (l *listener) handshake(ctx context.Context, raw net.Conn) {
	c, err := serverHandshake(ctx, raw, l.conf)
	if err != nil {
		switch {
		case l.ctx.Err() != nil:
		case errors.Is(err, context.DeadlineExceeded):
			l.slow.Warn("overlay client too slow: it did not finish the handshake in time, and may come again", "within", handshakeTimeout.String())
		case ctx.Err() != nil:
			l.quiet.Warn("overlay client refused: too many handshakes at once, and its was the oldest", "most", maxHandshakes)
		case errors.Is(err, ErrUnavailable): // it has shown nothing that could be refused
			l.left.Warn("overlay client closed the connection during the handshake", "err", errors.Unwrap(err))
		default:
			l.quiet.Warn("overlay client refused", "err", err)
		}
		return
	}
	if !l.e.own(c.Conn) {
		_ = c.Conn.Close()
		return
	}
	c.Conn = &owned{Conn: c.Conn, e: l.e}
	select {
	case l.ready <- c:
	default:
		l.quiet.Warn("overlay connection dropped: too many wait to be accepted")
		_ = c.Close()
	}
}

// Accept returns the next proven connection, a *Conn.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listener, its handshakes and the connections not accepted, and waits for them to
// end.
func (l *listener) Close() error {
	l.cancel()
	err := l.raw.Close()
	l.wg.Wait()
	l.quiet.Close()
	l.left.Close()
	l.slow.Close()
	l.e.disown(l)
	for {
		select {
		case c := <-l.ready:
			_ = c.Close()
		default:
			return err
		}
	}
}

// Addr names the service.
func (l *listener) Addr() net.Addr { return addr(l.service) }

// addr is the address of a service, or of the component that dialled it.
type addr string

func (addr) Network() string  { return "overlay" }
func (a addr) String() string { return string(a) }
