package delivery

import (
	"fmt"
	"time"
)

// ClockSlack is how far a gateway's clock may be off, or off by more than is known, before its
// readings' time is not sure.
const ClockSlack = 5 * time.Second

// ClockRight reports whether a clock that was measured to be off by so much, within an error, is
// right enough to say whose a reading is.
func ClockRight(offset, within time.Duration) bool {
	bound := max(ClockSlack, within)
	return offset <= bound && offset >= -bound
}

// ClockWords says how far a gateway's clock is off: "the gateway's clock is 3,600 s ahead of the
// hub's".
func ClockWords(off time.Duration) string {
	way := "ahead of"
	if off < 0 {
		way, off = "behind", -off
	}
	return fmt.Sprintf("the gateway's clock is %s s %s the hub's", grouped(int64(off.Round(time.Second)/time.Second)), way)
}

// grouped writes a whole number with a comma between thousands.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}
