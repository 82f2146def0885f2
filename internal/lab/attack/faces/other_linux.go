package faces

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
)

// The system's user "nobody" owns nothing.
const nobody = 65534

// errNotRoot says that this process cannot become another user.
var errNotRoot = errors.New("connecting as another user takes root; run the suite as root, in a container, to have this carried out")

func otherPossible() error {
	if os.Getuid() != 0 {
		return errNotRoot
	}
	return nil
}

// dialAsOther connects as another user of this machine. Only the one thread changes its user, and
// it ends afterwards.
func dialAsOther(ctx context.Context, address string) (net.Conn, error) {
	if err := otherPossible(); err != nil {
		return nil, err
	}
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, no := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); no != 0 {
			done <- result{nil, no}
			return
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}
