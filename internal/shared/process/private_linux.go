package process

import (
	"errors"
	"fmt"
	"syscall"
)

// prSetDumpable is PR_SET_DUMPABLE of prctl(2).
const prSetDumpable = 4

// KeepPrivate keeps this process's memory, which holds keys and readings, from core dumps and from
// other processes of the same user: no core file (RLIMIT_CORE, which children inherit), and not
// dumpable, so that neither a dump handler nor ptrace gets it. A child that executes a program
// calls it itself: execve makes a process dumpable again.
func KeepPrivate() error {
	none := syscall.Rlimit{}
	err := syscall.Setrlimit(syscall.RLIMIT_CORE, &none)
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); e != 0 {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("process: core dumps cannot be switched off: %w", err)
	}
	return nil
}
