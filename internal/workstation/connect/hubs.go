package connect

import (
	"context"
	"sync"
	"time"

	"vitalseal/internal/way/overlay"
)

// againTimeout bounds the dial of the hub that was reached before; then any other is as good.
const againTimeout = 3 * time.Second

// hubs dials one hub of several again and again while it answers: it remembers what is under way
// between two requests, the steps of a sign-in, and counts against this workstation. When it is
// gone another takes its place: signed-in users stay signed in.
type hubs struct {
	ep overlay.Endpoint

	finding chan struct{} // holds one token: one dials for all while no hub is known

	mu   sync.Mutex // guards last
	last overlay.ID // the zero ID: none is known
}

func newHubs(ep overlay.Endpoint) *hubs { return &hubs{ep: ep, finding: make(chan struct{}, 1)} }

func (h *hubs) known() overlay.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *hubs) note(id overlay.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = id
}

// dial reaches the faces of the hub that was reached before, or of any.
func (h *hubs) dial(ctx context.Context) (*overlay.Conn, error) {
	if c := h.again(ctx, h.known()); c != nil {
		return c, nil
	}
	select {
	case h.finding <- struct{}{}:
		defer func() { <-h.finding }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := h.again(ctx, h.known()); c != nil { // another request found one meanwhile
		return c, nil
	}
	c, err := h.ep.Dial(ctx, overlay.ServiceFaces)
	if err != nil {
		return nil, err
	}
	h.note(c.Peer())
	return c, nil
}

// again dials a known hub; nil and forgotten if it is not there any more.
func (h *hubs) again(ctx context.Context, hub overlay.ID) *overlay.Conn {
	if hub == (overlay.ID{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, againTimeout)
	defer cancel()
	c, err := h.ep.Dial(ctx, overlay.At(overlay.ServiceFaces, hub))
	if err == nil && c.Peer() == hub {
		return c
	}
	if err == nil {
		_ = c.Close()
	}
	if h.known() == hub {
		h.note(overlay.ID{})
	}
	return nil
}
