package legacy

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	maxLegacyConns    = 128 // of one face
	maxLegacyConnsOne = 16  // of one address
	// legacyProvenFor is how long an address counts as a device's after it has shown a key, and maxLegacyProven how many are remembered:
	// the devices of one gateway are at most MaxDevices.
	legacyProvenFor = 24 * time.Hour
	maxLegacyProven = 64
	// legacyCrowdEvery is how often the log says that connections are pushed out or turned away.
	legacyCrowdEvery = time.Minute
)

// bounded is a listener that keeps the number of connections bounded: a flood of them must not take file descriptors and memory that
// the sensors need. When it is full, one more pushes out the oldest of those whose address has shown no key of a device lately: who
// holds many places must open them again and again, and the devices keep theirs. It is safe for concurrent use.
type bounded struct {
	net.Listener
	guard *legacyGuard
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex // guards the fields below
	open   *list.List // of *boundedConn, the oldest in front
	from   map[string]int
	logged time.Time
}

func newBounded(ln net.Listener, guard *legacyGuard, log *slog.Logger) *bounded {
	return &bounded{Listener: ln, guard: guard, log: log, now: time.Now, open: list.New(), from: map[string]int{}}
}

// Accept waits for a connection that may be.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		x := &boundedConn{Conn: c, of: b, from: legacyAddress(c.RemoteAddr().String())}
		in, out := b.enter(x)
		if out != nil {
			_ = out.Conn.Close() // who served it finds it closed
		}
		if in {
			return x, nil
		}
		_ = c.Close()
	}
}

// enter makes room for x: it reports whether x is in, and which other one is pushed out for it, if any.
func (b *bounded) enter(x *boundedConn) (in bool, out *boundedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	full := b.open.Len() >= maxLegacyConns
	//defence:client-bound connections to the local address are bounded
	//defence:legacy-push-out connections that show no key make room for newer ones
	if full && b.from[x.from] < maxLegacyConnsOne {
		out = b.oldest(now)
	}
	//defence:client-bound connections to the local address are bounded
	if b.from[x.from] >= maxLegacyConnsOne || full && out == nil {
		b.tell(now, 0, 1)
		return false, nil
	}
	if out != nil {
		b.remove(out)
		b.tell(now, 1, 0)
	}
	x.place = b.open.PushBack(x)
	b.from[x.from]++
	return true, out
}

// oldest is the connection that was opened first of those whose address has shown no key lately; nil if all have. The caller holds mu.
func (b *bounded) oldest(now time.Time) *boundedConn {
	for e := b.open.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*boundedConn); !b.guard.isProven(x.from, now) {
			return x
		}
	}
	return nil
}

// tell counts, and says it in the log once a minute at most. The caller holds mu.
func (b *bounded) tell(now time.Time, pushedOut, turnedAway uint64) {
	total := b.guard.crowded(pushedOut, turnedAway)
	if !b.logged.IsZero() && now.Sub(b.logged) < legacyCrowdEvery {
		return
	}
	b.logged = now
	b.log.Warn("too many connections on the legacy devices' network: those that show no key are pushed out for new ones, those beyond an address's share are turned away; look for who opens them",
		"listens", b.Addr().String(), "open", b.open.Len(), "pushed_out", total.PushedOut, "turned_away", total.TurnedAway)
}

// remove takes a connection off the list, once. The caller holds mu.
func (b *bounded) remove(x *boundedConn) {
	if x.place == nil {
		return
	}
	b.open.Remove(x.place)
	x.place = nil
	if b.from[x.from]--; b.from[x.from] == 0 {
		delete(b.from, x.from)
	}
}

type boundedConn struct {
	net.Conn
	of    *bounded
	from  string
	place *list.Element // in of.open; nil when it is not there any more
}

// Close makes room for another.
func (c *boundedConn) Close() error {
	c.of.mu.Lock()
	c.of.remove(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// proven notes that an address has shown a device's key. When too many are remembered, the one that did so longest ago is forgotten.
func (g *legacyGuard) proven(from string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.shown[from]; !ok && len(g.shown) >= maxLegacyProven {
		oldest := ""
		for name, at := range g.shown {
			if oldest == "" || at.Before(g.shown[oldest]) {
				oldest = name
			}
		}
		delete(g.shown, oldest)
	}
	g.shown[from] = now
}

// isProven reports whether an address has shown a device's key lately.
func (g *legacyGuard) isProven(from string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.shown[from]
	return ok && now.Sub(at) < legacyProvenFor
}

// crowded counts connections that a full listener ended, and gives all counts.
func (g *legacyGuard) crowded(pushedOut, turnedAway uint64) Strangers {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total.PushedOut += pushedOut
	g.total.TurnedAway += turnedAway
	return g.total
}

// sleep waits for d; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
