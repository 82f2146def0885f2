package overlay

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	floodWindow = time.Minute
	floodLines  = 10 // a window, one by one; the others are counted
)

// Flood says the first ten warnings of a minute one by one and then how many more there were, so
// that a client that is refused for ever fills no disk, and nothing goes uncounted. It is safe for
// concurrent use.
type Flood struct {
	log     *slog.Logger
	level   slog.Level
	summary string // what is said of the others, with their count
	lines   int    // a window, one by one; 0: floodLines

	mu     sync.Mutex // guards the fields below
	said   int
	more   int
	window *time.Timer // runs while a window is open
	closed bool
}

// NewFlood makes one that writes to log. Close it.
func NewFlood(log *slog.Logger) *Flood {
	return &Flood{log: log, level: slog.LevelWarn, summary: "more clients were refused and not named one by one"}
}

// newLeft makes one for clients that nothing refused: they left, or their connection broke.
func newLeft(log *slog.Logger) *Flood {
	return &Flood{log: log, level: slog.LevelInfo, summary: "more clients left during the handshake and are not named one by one"}
}

// newSlow makes one for clients that did not finish the handshake in time: slow, or this process or
// the network stood still, which concerns many at once. One line says it.
func newSlow(log *slog.Logger) *Flood {
	return &Flood{log: log, level: slog.LevelWarn, summary: "more clients were too slow in the handshake and are not named one by one", lines: 1}
}

// Warn logs or counts a warning.
func (f *Flood) Warn(text string, args ...any) {
	f.mu.Lock()
	if f.window == nil && !f.closed {
		f.said, f.more = 0, 0
		f.window = time.AfterFunc(floodWindow, f.flush)
	}
	f.said++
	silent := f.said > cmp.Or(f.lines, floodLines)
	if silent {
		f.more++
	}
	f.mu.Unlock()
	if !silent {
		f.log.Log(context.Background(), f.level, text, args...)
	}
}

// flush ends a window.
func (f *Flood) flush() {
	f.mu.Lock()
	more := f.more
	f.more = 0
	if f.window != nil {
		f.window.Stop()
		f.window = nil
	}
	f.mu.Unlock()
	if more > 0 {
		f.log.Log(context.Background(), f.level, f.summary, "count", more, "within", floodWindow.String())
	}
}

// Close says what was counted and not said yet.
func (f *Flood) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.flush()
}
