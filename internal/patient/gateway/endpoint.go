package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"vitalseal/internal/way/overlay"
)

// openTimeout bounds one attempt to get onto the network.
const openTimeout = 30 * time.Second

// errDialsOnly is what hosting a service on a gateway is.
var errDialsOnly = errors.New("gateway: dials out only")

// endpoint is an identity that gets onto the network when it first dials, and again until it succeeds: a gateway starts and
// measures while the network is away.
type endpoint struct {
	identity *overlay.Identity
	network  overlay.Network
	log      *slog.Logger

	opening sync.Mutex // one attempt at a time
	mu      sync.Mutex // guards the fields below
	ep      overlay.Endpoint
	closed  bool
}

var _ overlay.Endpoint = (*endpoint)(nil)

// ID is the identity.
func (e *endpoint) ID() overlay.ID { return e.identity.ID() }

// Dial opens the network if need be and dials.
func (e *endpoint) Dial(ctx context.Context, service string) (*overlay.Conn, error) {
	ep, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return ep.Dial(ctx, service)
}

// Listen is refused.
func (e *endpoint) Listen(context.Context, string, ...overlay.ListenOption) (net.Listener, error) {
	return nil, errDialsOnly
}

func (e *endpoint) current() (overlay.Endpoint, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, net.ErrClosed
	}
	return e.ep, nil
}

func (e *endpoint) open(ctx context.Context) (overlay.Endpoint, error) {
	e.opening.Lock()
	defer e.opening.Unlock()
	if ep, err := e.current(); ep != nil || err != nil {
		return ep, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	u, err := e.network.Open(ctx, e.identity.Config())
	if err != nil {
		return nil, e.identity.Explain(fmt.Errorf("gateway: open network: %w: %w", overlay.ErrUnavailable, err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(net.ErrClosed, u.Close())
	}
	e.ep = overlay.NewEndpoint(e.identity, u, e.log)
	return e.ep, nil
}

// Close ends the endpoint.
func (e *endpoint) Close() error {
	e.mu.Lock()
	ep := e.ep
	e.closed = true
	e.mu.Unlock()
	if ep == nil {
		return nil
	}
	return ep.Close()
}

// endpoints are those of one gateway.
type endpoints struct{ all []*endpoint }

func (es *endpoints) add(id *overlay.Identity, n overlay.Network, log *slog.Logger) *endpoint {
	e := &endpoint{identity: id, network: n, log: log}
	es.all = append(es.all, e)
	return e
}

// close ends all at once: over a network that stalls, each takes a while.
func (es *endpoints) close() error {
	errs := make([]error, len(es.all))
	var wg sync.WaitGroup
	for i, e := range es.all {
		wg.Go(func() { errs[i] = e.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
