package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// sweepEvery is how often every live connection is held against the inventory, in case a change was not reported.
const sweepEvery = time.Second

// closeWithin is how long a revocation waits for the connections that it closes: over a network that stalls a close takes
// seconds, and what was revoked is refused meanwhile.
const closeWithin = time.Second

// live are the connections that are open at this hub, on whichever service: the one list of them.
type live struct {
	mu      sync.Mutex // guards conns
	conns   map[*overlay.Conn]*liveConn
	closing sync.WaitGroup // connections that are being closed
}

// liveConn is what is known of a connection.
type liveConn struct {
	service Service
	asked   bool // its end was asked for
}

// enter registers a connection, unless its peer has as many as the service allows.
func (l *live) enter(c *overlay.Conn, s Service) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for have, x := range l.conns {
		if x.service.Name == s.Name && have.Peer() == c.Peer() {
			same++
		}
	}
	//defence:station-bound connections of one workstation are bounded
	if s.PerPeer > 0 && same >= s.PerPeer {
		return false
	}
	if l.conns == nil {
		l.conns = map[*overlay.Conn]*liveConn{}
	}
	l.conns[c] = &liveConn{service: s}
	return true
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

// impolite are the connections of a peer on services that say no goodbye.
func (l *live) impolite(peer overlay.ID) (out []*overlay.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, x := range l.conns {
		if c.Peer() == peer && !x.service.Goodbye {
			out = append(out, c)
		}
	}
	return out
}

// asked tells whether a connection's end was asked for before, and notes that it is now.
func (l *live) asked(c *overlay.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x, ok := l.conns[c]
	if !ok {
		return false
	}
	was := x.asked
	x.asked = true
	return was
}

func (l *live) close(c *overlay.Conn) { l.closing.Go(func() { _ = c.Close() }) }

// endLive ends the connections of a component at this hub: it tells the services, closes the connections of those that say
// no goodbye, and leaves the rest to the next sweep.
func (v *Inventory) endLive(id overlay.ID) {
	for _, f := range v.cut {
		f(id)
	}
	var each sync.WaitGroup
	for _, c := range v.live.impolite(id) {
		each.Add(1)
		v.live.closing.Go(func() { defer each.Done(); _ = c.Close() })
	}
	closed := make(chan struct{})
	v.live.closing.Go(func() { each.Wait(); close(closed) })
	select {
	case <-closed:
	case <-time.After(closeWithin):
	}
}

// Service is one that the hub serves.
type Service struct {
	Name    string // the same for listeners that share a bound
	PerPeer int    // connections of one component at a time; zero: no bound
	Goodbye bool   // the service ends a connection with a word of its own when it is told of the cut
}

// Watched makes a listener whose connections are among the live ones from before they are looked at, so that a change
// that comes in between finds them, and that lets in no component whose key was replaced or that no rule lets reach the service.
func (v *Inventory) Watched(ctx context.Context, ln net.Listener, s Service) net.Listener {
	return &watchedListener{Listener: ln, v: v, service: s, ctx: ctx, quiet: overlay.NewFlood(v.log)}
}

type watchedListener struct {
	net.Listener
	v       *Inventory
	service Service
	ctx     context.Context // the serving context; Accept has none of its own

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
		if !w.v.live.enter(c, w.service) {
			w.quiet.Warn("too many connections of one component", "identity", c.Peer().String())
			_ = c.Close()
			continue
		}
		if err := w.v.takeKey(w.ctx, c, w.Addr().String()); err != nil {
			w.quiet.Warn(Refusal("connection", err), "identity", c.Peer().String(), "err", err)
			_ = c.Close()
			continue
		}
		return c, nil
	}
}

// Refusal says, for the log, that something is kept out: refused, or not decided.
func Refusal(what string, err error) string {
	if errors.Is(err, access.ErrUndecided) {
		return what + " not let in yet: the hub could not decide about it"
	}
	return what + " refused"
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
func (v *Inventory) takeKey(ctx context.Context, c *overlay.Conn, service string) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", access.ErrUndecided, err)
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
func (v *Inventory) checkKey(ctx context.Context, c *overlay.Conn, d directory.Device) error {
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
		return v.Issued(ctx, c.Peer(), c.Certificate())
	}
	return errOldKey
}

// superseded tells whether a key is none of a component's any more.
//
//defence:peer-chain a connection whose key was replaced does not stay
//defence:own-name a connection under another's name does not stay
func superseded(d directory.Device, key string) bool {
	return d.Certificate.KeySHA256 != "" && key != d.Certificate.KeySHA256 && key != d.NextKey
}

// sweep ends every live connection of a component that the inventory does not let in any more.
func (v *Inventory) sweep(ctx context.Context) {
	conns := v.live.all()
	if len(conns) == 0 {
		return
	}
	all, err := v.Devices(context.WithoutCancel(ctx))
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
				v.endLive(c.Peer())
				continue
			}
			v.live.close(c)
		case superseded(d, key):
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
func (v *Inventory) guard(ctx context.Context) {
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
