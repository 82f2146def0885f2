//go:build !weaken

package overlay

import (
	"context"
	"crypto/tls"
	"net"
)

// bareClient and bareServer are in the test build alone: in the product no connection goes without
// TLS.
func bareClient(_ context.Context, raw net.Conn, _ *tls.Config) (*Conn, error) {
	_ = raw.Close()
	return nil, ErrPeer
}

func bareServer(_ context.Context, raw net.Conn, _ *tls.Config) (*Conn, error) {
	_ = raw.Close()
	return nil, ErrPeer
}
