package egress_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"

	"vitalseal/internal/hub/sink/egress"
	"vitalseal/internal/way/overlay"
)

const domain = "egress.test.internal"

func id(kind, name string) overlay.ID { return overlay.ID{Domain: domain, Kind: kind, Name: name} }

// network is an overlay with an authority.
type network struct {
	t         *testing.T
	loop      *overlay.Loopback
	authority *overlay.Authority
}

func newNetwork(t *testing.T) *network {
	a, err := overlay.NewAuthority(domain)
	if err != nil {
		t.Fatal(err)
	}
	return &network{t, overlay.NewLoopback(a), a}
}

func (n *network) endpoint(i overlay.ID) overlay.Endpoint {
	n.t.Helper()
	config, err := n.loop.Enrol(n.t.Context(), n.loop.Invite(i))
	if err != nil {
		n.t.Fatal(err)
	}
	identity, err := overlay.IssueIdentity(n.authority, i, config, nil, 3600e9)
	if err != nil {
		n.t.Fatal(err)
	}
	u, err := n.loop.Open(n.t.Context(), config)
	if err != nil {
		n.t.Fatal(err)
	}
	ep := overlay.NewEndpoint(identity, u, slog.New(slog.DiscardHandler))
	n.t.Cleanup(func() { _ = ep.Close() })
	return ep
}

// serve runs an egress for allow, which dials to in its place.
func (n *network) serve(allow, to string) {
	n.t.Helper()
	ep := n.endpoint(id(overlay.KindEgress, "out"))
	ln, err := ep.Listen(n.t.Context(), overlay.ServiceCloud)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	ended := make(chan error, 1)
	s := &egress.Server{Allow: allow, Log: slog.New(slog.DiscardHandler), DialTCP: func(ctx context.Context, address string) (net.Conn, error) {
		if address != allow {
			n.t.Errorf("dialled %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", to)
	}}
	go func() { ended <- s.Serve(ctx, ln) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
}

// echo is a server on the internet that says everything twice.
func echo(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

func anyone(context.Context, *overlay.Conn) error { return nil }

func TestOneAddressAndNoOther(t *testing.T) {
	n := newNetwork(t)
	n.serve("cloud.example.org:443", echo(t))
	hub := n.endpoint(id(overlay.KindHub, "hub"))
	c, err := egress.Dial(t.Context(), hub, "Cloud.example.org:443", anyone)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	for _, target := range []string{"cloud.example.org:80", "other.example.org:443", "127.0.0.1:443", "cloud.example.org.:443"} {
		if _, err := egress.Dial(t.Context(), hub, target, anyone); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: %v, want refused", target, err)
		}
	}
	no := errors.New("disabled")
	if _, err := egress.Dial(t.Context(), hub, "cloud.example.org:443", func(_ context.Context, c *overlay.Conn) error {
		if c.Peer() != id(overlay.KindEgress, "out") {
			t.Errorf("peer %v", c.Peer())
		}
		return no
	}); !errors.Is(err, no) {
		t.Errorf("an egress that the inventory refuses: %v", err)
	}
}

func TestOnlyHubs(t *testing.T) {
	n := newNetwork(t)
	n.serve("cloud.example.org:443", echo(t))
	for _, kind := range []string{overlay.KindSensor, overlay.KindGateway, overlay.KindWorkstation, overlay.KindEgress} {
		if c, err := egress.Dial(t.Context(), n.endpoint(id(kind, "x")), "cloud.example.org:443", anyone); err == nil {
			_ = c.Close()
			t.Errorf("a %s got out", kind)
		}
	}
}

// TestOnlyAnEgressHosts: what answers for the way out must be an egress, even if the network lets
// another host it.
func TestOnlyAnEgressHosts(t *testing.T) {
	n := newNetwork(t)
	ln, err := n.endpoint(id(overlay.KindGateway, "gw")).Listen(t.Context(), overlay.ServiceCloud)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := egress.Dial(t.Context(), n.endpoint(id(overlay.KindHub, "hub")), "cloud.example.org:443", anyone); !errors.Is(err, overlay.ErrPeer) {
		t.Errorf("a gateway as egress: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	n := newNetwork(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	n.serve("cloud.example.org:443", ln.Addr().String())
	if _, err := egress.Dial(t.Context(), n.endpoint(id(overlay.KindHub, "hub")), "cloud.example.org:443", anyone); !errors.Is(err, egress.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"api.thingspeak.com:443", "[::1]:1", "h:0", ":1", "h:01", "a b:1", "h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := egress.ParseTarget(s)
		if err != nil {
			return
		}
		if again, err := egress.ParseTarget(got); err != nil || again != got {
			t.Fatalf("%q becomes %q, then %q, %v", s, got, again, err)
		}
	})
}
