//go:build !linux

package faces

import (
	"context"
	"errors"
	"net"
)

func otherPossible() error { return errors.New("connecting as another user is tried on Linux only") }

// dialAsOther cannot be done here.
func dialAsOther(context.Context, string) (net.Conn, error) { return nil, otherPossible() }
