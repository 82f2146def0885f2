package openziti

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
)

// Open gives a network without OpenZiti: TCP on this machine, where every program that knows the
// port may dial. It is for measuring what the overlay costs.
func (n *Network) Open(ctx context.Context, config []byte) (overlay.Underlay, error) {
	if dir := weaken.Folder(); dir != "" && weaken.Skip(weaken.Network) {
		return tcp{dir}, nil
	}
	return n.strictOpen(ctx, config)
}

// SourceIdentifier is the caller id that the other end wrote.
func (c *counted) SourceIdentifier() string {
	if said, ok := c.Conn.(interface{ SourceIdentifier() string }); ok && weaken.Skip(weaken.OwnName) {
		return said.SourceIdentifier()
	}
	return ""
}

type tcp struct{ dir string }

func (t tcp) port(service string) string { return filepath.Join(t.dir, service+".address") }

func (t tcp) Dial(ctx context.Context, service string) (net.Conn, error) {
	address, err := os.ReadFile(t.port(service))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", overlay.ErrUnavailable, err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", string(address))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", overlay.ErrUnavailable, err)
	}
	return c, nil
}

func (t tcp) Listen(ctx context.Context, service string) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err == nil {
		err = os.WriteFile(t.port(service), []byte(l.Addr().String()), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", overlay.ErrUnavailable, err)
	}
	return l, nil
}

func (t tcp) Close() error { return nil }
