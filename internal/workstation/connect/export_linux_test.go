package connect

import (
	"io"
	"net/netip"
)

// FindSocket and ParseSocket read the kernel's tables.
func FindSocket(table io.Reader, client, server netip.AddrPort) (int, error) {
	return findSocket(table, client, server)
}

func ParseSocket(s string) (netip.AddrPort, error) { return parseSocket(s) }
