package process

import (
	"context"
	"log/slog"
	"time"
)

const (
	// stallTick is how often a watched process notes that it runs, and stallFrom how long it must
	// not have for that to be told: a busy machine is late by less.
	stallTick = time.Second
	stallFrom = 5 * time.Second
)

// WatchStalls tells, until ctx ends, when this process stood still: it was stopped (SIGSTOP, a
// debugger, a frozen container), or the machine gave it no time. What others say of it in that time
// has its reason in this one line. told is called with when it began and how long it took; nil:
// only the log has it. It is called by the caller's goroutine, which it keeps.
func WatchStalls(ctx context.Context, log *slog.Logger, told func(from time.Time, d time.Duration)) {
	t := time.NewTicker(stallTick)
	defer t.Stop()
	watchStalls(ctx, t.C, time.Now, log, told)
}

// watchStalls is WatchStalls by ticks and a clock. The clock is asked when a tick is taken: a tick
// itself may have waited through the time in which the process stood still.
func watchStalls(ctx context.Context, ticks <-chan time.Time, now func() time.Time, log *slog.Logger, told func(from time.Time, d time.Duration)) {
	last := now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		at := now()
		d := at.Sub(last) // by the monotonic clock: setting the wall clock is no stall
		if d >= stallFrom {
			log.WarnContext(ctx, "this process stood still: it was stopped, or the machine gave it no time", "for", d.Round(100*time.Millisecond).String(),
				"from", last.UTC().Format(time.RFC3339))
			if told != nil {
				told(last, d)
			}
		}
		last = at
	}
}
