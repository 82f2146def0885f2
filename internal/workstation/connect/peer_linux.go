package connect

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// The kernel's tables of TCP sockets. A program may reach an IPv4 address through an IPv6 socket.
var socketTables = []string{"/proc/net/tcp", "/proc/net/tcp6"}

func seesPeers() bool {
	f, err := os.Open(socketTables[0])
	if err != nil {
		return false
	}
	_ = f.Close() // nothing was written
	return true
}

// peerUID is the user whose socket is bound to client and connected to server, both on this
// machine.
func peerUID(client, server netip.AddrPort) (int, error) {
	client, server = plain(client), plain(server)
	for _, path := range socketTables {
		f, err := os.Open(path) // #nosec G304 -- one of two names
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6 here
		}
		if err != nil {
			return 0, fmt.Errorf("connect: peer: %w", err)
		}
		uid, err := findSocket(f, client, server)
		_ = f.Close() // nothing was written
		if !errors.Is(err, errUnknownPeer) {
			return uid, err
		}
	}
	return 0, errUnknownPeer
}

// findSocket reads a table of proc_net_tcp(5). A socket that no process holds any more (it waits
// for its end) belongs to no user, although the table calls its user 0.
func findSocket(table io.Reader, client, server netip.AddrPort) (int, error) {
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
		// ...
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		local, err1 := parseSocket(f[1])
		remote, err2 := parseSocket(f[2])
		if err1 != nil || err2 != nil || local != client || remote != server {
			continue
		}
		uid, err := strconv.ParseUint(f[7], 10, 32)
		if err != nil || f[9] == "0" {
			return 0, errUnknownPeer
		}
		return int(uid), nil
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("connect: peer: %w", err)
	}
	return 0, errUnknownPeer
}

// parseSocket reads an address as the kernel prints it: 32-bit words in the machine's byte order,
// and a port.
func parseSocket(s string) (netip.AddrPort, error) {
	ip, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(ip)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("connect: peer: %q is not an address", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("connect: peer: %q is not a port", port)
	}
	addr, _ := netip.AddrFromSlice(b)
	return plain(netip.AddrPortFrom(addr, uint16(n))), nil
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
