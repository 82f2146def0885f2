package overlay

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// NewEndpoint puts an identity on an underlay. The endpoint owns the underlay from then on.
func NewEndpoint(identity *Identity, u Underlay, log *slog.Logger) Endpoint {
	return &endpoint{identity: identity, underlay: u, log: log.With("at", identity.id.String()), open: map[closer]struct{}{}}
}

type closer interface{ Close() error }

type endpoint struct {
	identity *Identity
	underlay Underlay
	log      *slog.Logger

	mu     sync.Mutex // guards the fields below
	closed bool
	open   map[closer]struct{} // connections and listeners to end with the endpoint
}

func (e *endpoint) ID() ID { return e.identity.id }

func (e *endpoint) Dial(ctx context.Context, service string) (*Conn, error) {
	c, err := e.dial(ctx, service)
	return c, e.identity.Explain(err)
}

func (e *endpoint) dial(ctx context.Context, service string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := e.underlay.Dial(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("overlay: dial %s: %w", service, err)
	}
	plain, _ := SplitAt(service)
	c, err := clientHandshake(ctx, raw, clientTLS(plain, e.identity))
	if err != nil {
		return nil, fmt.Errorf("overlay: dial %s: %w", service, err)
	}
	if !e.own(c.Conn) {
		_ = c.Conn.Close()
		return nil, fmt.Errorf("overlay: dial %s: %w", service, net.ErrClosed)
	}
	c.Conn = &owned{Conn: c.Conn, e: e}
	return c, nil
}

func (e *endpoint) Listen(ctx context.Context, service string, opts ...ListenOption) (net.Listener, error) {
	var o listenOptions
	for _, f := range opts {
		f(&o)
	}
	raw, err := e.underlay.Listen(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("overlay: listen %s: %w", service, err)
	}
	plain, _ := SplitAt(service)
	l := newListener(raw, plain, serverTLS(plain, e.identity, o), e)
	if !e.own(l) {
		_ = l.Close()
		return nil, fmt.Errorf("overlay: listen %s: %w", service, net.ErrClosed)
	}
	return l, nil
}

func (e *endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	open := make([]closer, 0, len(e.open))
	for c := range e.open {
		open = append(open, c)
	}
	e.mu.Unlock()
	// Each says goodbye on its own, because over a network that stalls that takes crypto/tls up to
	// five seconds.
	var wg sync.WaitGroup
	for _, c := range open {
		wg.Go(func() {
			_ = c.Close() // the connection is gone either way
			e.disown(c)
		})
	}
	wg.Wait()
	return e.underlay.Close()
}

// own remembers c until it is closed; false when the endpoint is closed already.
func (e *endpoint) own(c closer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.open[c] = struct{}{}
	}
	return !e.closed
}

func (e *endpoint) disown(c closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
}

// owned tells its endpoint when it is closed.
type owned struct {
	net.Conn
	e *endpoint
}

func (o *owned) Close() error {
	o.e.disown(o.Conn)
	return o.Conn.Close()
}

// NetConn returns the connection below, as tls.Conn.NetConn does; tests look at the TLS state
// through it.
func (o *owned) NetConn() net.Conn { return o.Conn }
