package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"vitalseal/internal/shared/cli"
)

// listens is an address that a flag gave to listen on.
type listens struct{ flag, address string }

// ownAddresses refuses addresses that this machine does not have, before the child that would listen there is started and, as it ends
// at once, started again without end. A router behind address translation has another address inside than its clients use.
func ownAddresses(ctx context.Context, given ...listens) error {
	for _, g := range given {
		host, _, err := net.SplitHostPort(g.address)
		if err != nil {
			continue // empty, or a mistake that the child names
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if err == nil {
			_ = l.Close() // it was only a question
			continue
		}
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return cli.Usage(fmt.Errorf("--%s %s: this machine has no address %s; it has %s", g.flag, g.address, host, strings.Join(machineAddresses(), ", ")),
				"give one of them with --"+g.flag+" (0.0.0.0 is all), and the name or address that others reach it under with --advertise")

		}
	}
	return nil
}

// machineAddresses are this machine's addresses without those that hold on one link only.
func machineAddresses() (found []string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"addresses that the system does not tell"}
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			found = append(found, n.IP.String())
		}
	}
	return found
}
