package hub

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"vitalseal/internal/overlay"
	"vitalseal/internal/store"
)

// sweepEvery is how often every live connection is held against the inventory, in case a change was not reported.
const sweepEvery = time.Second

// live are the connections that are open at this hub, on whichever service.
type live struct {
	mu      sync.Mutex             // guards conns
	conns   map[*overlay.Conn]bool // true: its end was asked for
	closing sync.WaitGroup         // connections that are being closed, which over a network that stalls takes seconds
}

func (l *live) enter(c *overlay.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[*overlay.Conn]bool{}
	}
	l.conns[c] = false
}

func (l *live) leave(c *overlay.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *live) all() []*overlay.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*overlay.Conn, 0, len(l.conns))
	for c := range l.conns {
		out = append(out, c)
	}
	return out
}

// asked tells whether a connection's end was asked for before, and notes that it is now.
func (l *live) asked(c *overlay.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.conns[c]
	if ok {
		l.conns[c] = true
	}
	return was
}

func (l *live) close(c *overlay.Conn) { l.closing.Go(func() { _ = c.Close() }) }

// watched makes a listener whose connections are among the live ones from before they are looked at, so that a change
// that comes in between finds them, and that lets in no component whose key was replaced or that no rule lets reach the service.
func (v *inventory) watched(ctx context.Context, ln net.Listener) net.Listener {
	return &watchedListener{Listener: ln, v: v, ctx: ctx, quiet: overlay.NewFlood(v.log)}
}

type watchedListener struct {
	net.Listener
	v   *inventory
	ctx context.Context // the serving context; Accept has none of its own

	quiet *overlay.Flood // for refused connections
}

func (w *watchedListener) Close() error {
	defer w.quiet.Close()
	return w.Listener.Close()
}

func (w *watchedListener) Accept() (net.Conn, error) {
	for {
		raw, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, ok := raw.(*overlay.Conn)
		if !ok {
			_ = raw.Close()
			continue
		}
		c.Conn = &watchedConn{Conn: c.Conn, left: func() { w.v.live.leave(c) }}
		w.v.live.enter(c)
		if err := w.v.takeKey(w.ctx, c, w.Addr().String()); err != nil {
			w.quiet.Warn("connection refused", "identity", c.Peer().String(), "err", err)
			_ = c.Close()
			continue
		}
		return c, nil
	}
}

// watchedConn leaves the live ones when it closes.
type watchedConn struct {
	net.Conn
	left func()
}

func (w *watchedConn) Close() error {
	w.left()
	return w.Conn.Close()
}

// takeKey checks that a connection's key is the identity's, and that the rules let it reach the service. The first use of the key of a rotation makes it so, and ends
// what is still connected with the old one.
func (v *inventory) takeKey(ctx context.Context, c *overlay.Conn, service string) error {
	all, err := v.devices(ctx)
	if err != nil {
		return err
	}
	d, ok := all[c.Peer().String()]
	if !ok {
		return errInactive
	}
	if !v.project.may(d, service) {
		return errNoRule
	}
	return v.checkKey(ctx, c, d)
}

// checkKey checks that a connection's key is one that was issued to the component.
//
//defence:peer-chain a peer's key is the one that its certificate was issued for
//defence:own-name a peer is what its certificate says
func (v *inventory) checkKey(ctx context.Context, c *overlay.Conn, d store.Device) error {
	_, key := overlay.Fingerprint(c.Certificate())
	switch key {
	case d.Certificate.KeySHA256:
		return nil
	case d.NextKey:
		if err := v.store.UseKey(ctx, d.ID, key); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		v.log.Info("component uses its new key; the old one is refused from now on", "identity", d.ID)
		v.poke.sweep()
		return nil
	}
	if d.Certificate.KeySHA256 == "" { // enrolled before the inventory kept keys: the first it shows is its own
		return v.issued(ctx, c.Peer(), c.Certificate())
	}
	return errOldKey
}

// sweep ends every live connection of a component that the inventory does not let in any more.
func (v *inventory) sweep(ctx context.Context) {
	conns := v.live.all()
	if len(conns) == 0 {
		return
	}
	all, err := v.devices(context.WithoutCancel(ctx))
	if err != nil {
		v.log.Error("the inventory cannot be read; live connections stay until it can", "err", err)
		return
	}
	for _, c := range conns {
		d, ok := all[c.Peer().String()]
		_, key := overlay.Fingerprint(c.Certificate())
		switch {
		case !ok || !standing(d, all):
			if !v.live.asked(c) { // politely first, where a service has a word for it
				v.log.Warn("live connection ended", "identity", c.Peer().String())
				v.cut(c.Peer())
				continue
			}
			v.live.close(c)
		case d.Certificate.KeySHA256 != "" && key != d.Certificate.KeySHA256 && key != d.NextKey:
			v.log.Warn("live connection ended: its key was replaced", "identity", c.Peer().String())
			v.live.close(c)
		}
	}
}

// pokes wake the two loops of run at once.
type pokes struct{ sweepNow, reconcileNow chan struct{} }

func newPokes() pokes { return pokes{make(chan struct{}, 1), make(chan struct{}, 1)} }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake already
	}
}

func (p pokes) sweep()     { poke(p.sweepNow) }
func (p pokes) reconcile() { poke(p.reconcileNow) }

// guard sweeps until ctx ends: when told to, and each second.
func (v *inventory) guard(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer v.live.closing.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-v.poke.sweepNow:
		}
		v.sweep(ctx)
	}
}
