package connect_test

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/workstation/connect"
)

// As printed by Linux 6.1 on a little-endian machine.
const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:20E4 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0                     
   1: 0100007F:D2F0 0100007F:20E4 01 00000000:00000000 02:00000450 00000000  1001        0 23456 2 0000000000000000 20 4 30 10 -1                    
   2: 0100007F:20E4 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000  1000        0 34567 1 0000000000000000 20 4 30 10 -1                    
   3: 0100007F:D2F2 0100007F:20E4 06 00000000:00000000 03:00000A00 00000000     0        0 0 3 0000000000000000                                      
   4: 0100007F:D2F4 0100007F:20E4 01 00000000:00000000 02:00000450 00000000  4294967295        0 23457 2 0000000000000000 20 4 30 10 -1
   5: rubbish
`

const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:C000 00000000000000000000000001000000:20E4 01 00000000:00000000 00:00000000 00000000  1002        0 45678 1 0000000000000000 20 4 30 10 -1
   1: 0000000000000000FFFF00000100007F:C002 0000000000000000FFFF00000100007F:20E4 01 00000000:00000000 00:00000000 00000000  1003        0 45679 1 0000000000000000 20 4 30 10 -1
`

func TestSocketTables(t *testing.T) {
	for _, c := range []struct {
		table, client, server string
		want                  int // -1: unknown
	}{
		{table, "127.0.0.1:54000", "127.0.0.1:8420", 1001},
		{table, "127.0.0.1:54002", "127.0.0.1:8420", -1}, // has ended; the 0 in its line is not root's
		{table, "127.0.0.1:54004", "127.0.0.1:8420", 4294967295},
		{table, "127.0.0.1:54000", "127.0.0.1:8421", -1},
		{table, "127.0.0.2:54000", "127.0.0.1:8420", -1},
		{table, "127.0.0.1:1", "127.0.0.1:8420", -1},
		{table6, "[::1]:49152", "[::1]:8420", 1002},
		{table6, "127.0.0.1:49154", "127.0.0.1:8420", 1003}, // an IPv4 address through an IPv6 socket
		{"", "127.0.0.1:1", "127.0.0.1:8420", -1},
	} {
		uid, err := connect.FindSocket(strings.NewReader(c.table), netip.MustParseAddrPort(c.client), netip.MustParseAddrPort(c.server))
		if err != nil {
			uid = -1
		}
		if uid != c.want {
			t.Errorf("%s to %s: %d, want %d", c.client, c.server, uid, c.want)
		}
	}
}

func FuzzSocketTable(f *testing.F) {
	f.Add(table)
	f.Add(table6)
	f.Fuzz(func(t *testing.T, s string) {
		uid, err := connect.FindSocket(strings.NewReader(s), netip.MustParseAddrPort("127.0.0.1:54000"), netip.MustParseAddrPort("127.0.0.1:8420"))
		if err == nil && uid < 0 {
			t.Fatal(uid)
		}
		_, _ = connect.ParseSocket(s)
	})
}

// TestOtherProcessesOfThisUser: the real tables say that we are ourselves, through IPv4 and,
// mapped, through IPv6.
func TestOtherProcessesOfThisUser(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
		for uid, want := range map[int]bool{os.Getuid(): true, os.Getuid() + 1: false} {
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Logf("%s: %v", network, err)
				continue
			}
			if got := admitted(t, connect.GuardAs(ln, uid, quiet), func() (net.Conn, error) { return net.Dial(network, ln.Addr().String()) }); got != want {
				t.Errorf("%s as user %d: let in %v, want %v", network, uid, got, want)
			}
		}
	}
}

// admitted dials and reports whether the guard lets the connection in. It closes the guard.
func admitted(t *testing.T, guard net.Listener, dial func() (net.Conn, error)) bool {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := guard.Accept(); err == nil {
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	defer func() {
		must(t, guard.Close())
		<-done
	}()
	c, err := dial()
	must(t, err)
	defer c.Close()
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = c.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("neither let in nor refused")
	}
	return err == nil
}

// TestOtherUserIsRefused dials as a second real user of this machine, at a door with everything
// that the first user may know.
func TestOtherUserIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("taking on another user's id needs root")
	}
	for name, options := range map[string][]option{"TLS": nil, "plain": {plain}} {
		t.Run(name, func(t *testing.T) {
			p := open(t, options...)
			address, err := netip.ParseAddrPort(p.addr)
			must(t, err)
			for uid, want := range map[int]bool{0: true, 65534: false, 1000: false} {
				got := make(chan error, 1)
				go func() { got <- dialAs(uid, address) }()
				if err := <-got; (err == nil) != want {
					t.Errorf("user %d: %v, want let in: %v", uid, err, want)
				}
			}
			if p.last() != nil {
				t.Error("the hub was asked")
			}
			if !strings.Contains(p.log.String(), "another user") {
				t.Errorf("nobody was told: %s", p.log.String())
			}
			// And this user goes on as before.
			if got := p.ask(p.browser(), http.MethodGet, p.door.LaunchURL()); got.StatusCode >= 400 {
				t.Errorf("this user: %d", got.StatusCode)
			}
		})
	}
}

// dialAs connects as another user: the thread takes on the id and dies with its goroutine. It
// reports whether the door keeps the connection: it does not answer a silent client, but closes at
// once on a client that it does not let in.
func dialAs(uid int, to netip.AddrPort) error {
	runtime.LockOSThread() // never unlocked
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return e
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return err
	}
	// A bad request: a door of either kind says that it is one, to whom it lets in.
	if _, err := syscall.Write(fd, []byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		return err
	}
	b := make([]byte, 1)
	switch n, err := syscall.Read(fd, b); {
	case err != nil:
		return err
	case n == 0:
		return errors.New("closed")
	}
	return nil
}
