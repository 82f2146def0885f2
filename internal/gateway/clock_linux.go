package gateway

import (
	"syscall"
	"time"
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
