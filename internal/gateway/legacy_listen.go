package gateway

import (
	"net"
	"sync"

	"vitalseal/internal/weaken"
)

const (
	maxLegacyConns    = 128 // of one face
	maxLegacyConnsOne = 16  // of one address
)

// bounded is a listener that ends connections beyond a number at once: a flood of them must not take file descriptors and memory that
// the sensors need.
type bounded struct {
	net.Listener

	mu    sync.Mutex // guards the fields below
	total int
	from  map[string]int
}

func newBounded(ln net.Listener) *bounded { return &bounded{Listener: ln, from: map[string]int{}} }

// Accept waits for a connection that may be.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := legacyAddress(c.RemoteAddr().String())
		if b.enter(from) {
			return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { b.leave(from) })}, nil
		}
		_ = c.Close()
	}
}

func (b *bounded) enter(from string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if (b.total >= maxLegacyConns || b.from[from] >= maxLegacyConnsOne) && !weaken.Skip(weaken.ClientBound) {
		return false
	}
	b.total++
	b.from[from]++
	return true
}

func (b *bounded) leave(from string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.from[from]--; b.from[from] == 0 {
		delete(b.from, from)
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close makes room for another.
func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
