package gateway

import (
	"context"
	"fmt"
	"time"
)

const (
	// clockLook is how often the clock is looked at.
	clockLook = time.Second
	// stepFrom is how far the clock must jump to be called set: more than what a time service corrects by slewing.
	stepFrom = clockStep
	// maxKnownError is above what is worth saying: a clock this far off is not synchronised.
	maxKnownError = time.Minute
)

// HostClock is the machine's clock; tests have another.
type HostClock interface {
	Now() time.Time // with a monotonic reading
	// Error is the time service's own estimate of how far the clock may be off; 0 if no time service keeps it right.
	Error() time.Duration
}

// clockWatch notices when the host's clock is set. A clock that is kept right by slewing is no step.
type clockWatch struct {
	clock HostClock
	last  time.Time
	wall  time.Time
}

// look returns how far the clock has jumped since the last look, 0 if it was not set.
func (c *clockWatch) look() time.Duration {
	now := c.clock.Now()
	return c.compare(now, now.Round(0))
}

// compare is given the same moment by the clock that counts and by the one that is set.
func (c *clockWatch) compare(now, wall time.Time) time.Duration {
	defer func() { c.last, c.wall = now, wall }()
	if c.last.IsZero() {
		return 0
	}
	step := wall.Sub(c.wall) - now.Sub(c.last)
	if step < stepFrom && step > -stepFrom {
		return 0
	}
	return step
}

// run looks at the clock again and again, and tells of its error, until ctx ends. What a step does is the book's.
func (b *clockBook) run(ctx context.Context, led *ledger) error {
	t := time.NewTicker(clockLook)
	defer t.Stop()
	for {
		led.clockError(b.host.Error())
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			b.look()
		}
	}
}

// stepDetail is what a step's event says.
func stepDetail(by time.Duration) string {
	if by < 0 {
		return fmt.Sprintf("back %.3f s", -by.Seconds())
	}
	return fmt.Sprintf("forward %.3f s", by.Seconds())
}
