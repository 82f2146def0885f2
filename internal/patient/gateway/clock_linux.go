package gateway

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// staUnsync is STA_UNSYNC of adjtimex(2): no time service keeps the clock right.
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

// Uptime implements uptimeClock, by what the kernel says in hundredths of a second, suspended time included.
func (systemClock) Uptime() (run string, d time.Duration, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, false
	}
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return "", 0, false
	}
	first, _, _ := strings.Cut(string(up), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) {
		return "", 0, false
	}
	return strings.TrimSpace(string(id)), time.Duration(seconds * float64(time.Second)), true
}
