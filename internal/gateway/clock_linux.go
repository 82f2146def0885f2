package gateway

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// staUnsync is STA_UNSYNC of adjtimex(2): nobody keeps the clock right.
const staUnsync = 0x40

// systemClock is the kernel's.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Error() time.Duration {
	var x syscall.Timex
	if _, err := syscall.Adjtimex(&x); err != nil || x.Status&staUnsync != 0 {
		return 0
	}
	// A time service that gives no estimate leaves the bound that the kernel lets grow.
	off := time.Duration(x.Esterror) * time.Microsecond
	if off <= 0 {
		off = time.Duration(x.Maxerror) * time.Microsecond
	}
	if off > maxKnownError {
		return 0
	}
	return max(off, time.Microsecond) // zero would mean not known
}

// clockBoottime is CLOCK_BOOTTIME of clock_gettime(2): since the machine was switched on, suspended time included.
const clockBoottime = 7

// Uptime implements uptimeClock.
func (systemClock) Uptime() (run string, d time.Duration, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, false
	}
	var at syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&at)), 0); e != 0 { // #nosec G103 -- the call's result
		return "", 0, false
	}
	return strings.TrimSpace(string(id)), time.Duration(at.Nano()), true
}
