package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// crowd is a bounded listener whose connections come from any address that the test names.
type crowd struct {
	*bounded
	t      *testing.T
	logged bytes.Buffer
	clock  time.Time
}

type addressed struct {
	net.Conn
	from string
}

type text string

func (a text) Network() string { return "tcp" }
func (a text) String() string  { return string(a) }

func (a addressed) RemoteAddr() net.Addr { return text(a.from) }

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, clock: time.Now()}
	c.bounded = newBounded(source{}, newLegacyGuard(), slog.New(slog.NewTextHandler(&c.logged, nil)))
	c.bounded.now = func() time.Time { return c.clock }
	return c
}

// source is the listener below.
type source struct{}

func (source) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (source) Close() error              { return nil }
func (source) Addr() net.Addr            { return text("10.0.8.1:8080") }

// connect is a connection from an address, at its client's end; in reports whether it was taken.
func (c *crowd) connect(from string) (client net.Conn, in bool) {
	c.t.Helper()
	client, server := net.Pipe()
	c.t.Cleanup(func() { _ = client.Close() })
	x := &boundedConn{Conn: addressed{server, from}, of: c.bounded, from: legacyAddress(from)}
	ok, out := c.enter(x)
	if out != nil {
		_ = out.Conn.Close()
	}
	if !ok {
		_ = server.Close()
	}
	return client, ok
}

// alive reports whether the listener's end of a connection is still open.
func (c *crowd) alive(client net.Conn) bool {
	c.t.Helper()
	err := client.SetReadDeadline(time.Now().Add(-time.Second))
	if err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatal(err)
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// TestLegacyCrowd: one who holds connections from many addresses keeps no device out: those that have shown no key are pushed out, the
// oldest first; a device that has shown its key keeps its place; what is ended is counted, and said once a minute.
func TestLegacyCrowd(t *testing.T) {
	c := newCrowd(t)
	device, in := c.connect("10.0.8.9:4000")
	if !in {
		t.Fatal("the first connection is turned away")
	}
	c.guard.proven("10.0.8.9", c.clock)
	var flood []net.Conn
	for i := range 170 {
		x, in := c.connect(fmt.Sprintf("10.0.8.%d:%d", 20+i%11, 1000+i))
		if !in {
			t.Fatalf("connection %d is turned away", i)
		}
		flood = append(flood, x)
	}
	fresh, in := c.connect("10.0.8.10:4000") // a device that starts now
	if !in || !c.alive(fresh) {
		t.Fatal("a device that starts now is kept out")
	}
	again, in := c.connect("10.0.8.9:4001") // a device whose connection was lost
	if !in || !c.alive(again) || !c.alive(device) {
		t.Fatal("a device with a key has lost its place")
	}
	const pushed = 1 + 170 + 2 - maxLegacyConns
	for i, x := range flood {
		if c.alive(x) != (i >= pushed) {
			t.Fatalf("connection %d of the flood: alive %v; the oldest %d are to go", i, c.alive(x), pushed)
		}
	}
	for range maxLegacyConnsOne - 1 {
		if _, in := c.connect("10.0.8.10:1"); !in {
			t.Fatal("turned away within its share")
		}
	}
	if _, in := c.connect("10.0.8.10:2"); in {
		t.Error("one address has more than its share")
	}
	got := c.guard.count()
	if got.PushedOut != pushed+maxLegacyConnsOne-1 || got.TurnedAway != 1 {
		t.Errorf("counted %+v", got)
	}
	if n := strings.Count(c.logged.String(), "too many connections"); n != 1 {
		t.Errorf("said %d times within a minute: %s", n, c.logged.String())
	}
	c.clock = c.clock.Add(legacyCrowdEvery)
	c.connect("10.0.8.11:1")
	if s := c.logged.String(); strings.Count(s, "too many connections") != 2 || !strings.Contains(s, fmt.Sprint("pushed_out=", got.PushedOut+1)) || strings.Contains(s, "10.0.8.2") {
		t.Errorf("a minute later: %s", s)
	}
	// Who has shown a key long ago has no place of its own any more.
	c.clock = c.clock.Add(legacyProvenFor)
	c.connect("10.0.8.12:1")
	if c.alive(device) {
		t.Error("a device of the day before keeps its place")
	}
	// Places are given back.
	before := c.open.Len()
	if err := c.open.Back().Value.(*boundedConn).Close(); err != nil || c.open.Len() != before-1 {
		t.Errorf("%d of %d left, %v", c.open.Len(), before, err)
	}
}
