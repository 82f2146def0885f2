package overlay

import "syscall"

// childAttributes makes the kernel kill the child when its parent dies. The database below survives
// that.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
