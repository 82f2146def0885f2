// Package zitilog leads OpenZiti's logging into log/slog.
//
// OpenZiti, its SDK included, logs through logrus's one standard logger, to standard error, and
// some of its lines carry live session tokens. This package takes that logger over for the whole
// process: warnings and worse reach slog, one level lower, with their text redacted; fields are
// dropped but for the error; everything below warning is dropped. What is said again within a
// minute is counted, not written: beside a dead overlay the SDK says the same hundreds of times a
// minute, for days.
//
// It does not protect against a module that logs through another logger.
package zitilog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"vitalseal/internal/way/overlay"
)

// Redirect sends what OpenZiti logs from now on to log. The last call counts.
func Redirect(log *slog.Logger) {
	logrus.SetOutput(io.Discard)
	logrus.SetReportCaller(false)
	logrus.SetLevel(logrus.WarnLevel)
	hooks := logrus.LevelHooks{}
	hooks.Add(&hook{log: log, said: map[string]*repeated{}})
	logrus.StandardLogger().ReplaceHooks(hooks)
}

// unknownSession explains a line that every restore causes and that names neither cause nor remedy.
// It stays a warning: outside of such minutes it is someone who shows a session that the controller
// did not give.
const unknownSession = "a component shows a session that this overlay does not know: normal for some minutes after the overlay was restored or " +
	"started anew, components then ask for new ones; if it goes on, restart the component"

const (
	// sayAgain is how long one line stands for all that differ from it in numbers alone.
	sayAgain = time.Minute
	// mostKinds is how many different lines are remembered; more are written each time.
	mostKinds = 512
)

type hook struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]*repeated // by level, text and error, numbers left out
}

// repeated is a line that was written, and what has been counted since.
type repeated struct {
	level slog.Level
	attrs []any // of the last one
	at    time.Time
	more  int
}

// Levels implements logrus.Hook.
func (*hook) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

// Fire implements logrus.Hook.
func (h *hook) Fire(e *logrus.Entry) error {
	// One level down: OpenZiti calls every connection that ends an error.
	level := slog.LevelInfo
	switch e.Level {
	case logrus.PanicLevel, logrus.FatalLevel:
		level = slog.LevelError
	case logrus.ErrorLevel:
		level = slog.LevelWarn
	}
	attrs := []any{"text", overlay.Redact(e.Message)}
	if e.Message == "invalid session" || e.Message == "invalid api-session" {
		attrs = append(attrs, "hint", unknownSession)
	}
	if err, ok := e.Data[logrus.ErrorKey]; ok {
		// A port that serves with and without client certificates: every look at whether the
		// controller answers yet makes one such line while it starts, and so does every stranger
		// later.
		if e.Message == "handshake failed" && strings.Contains(fmt.Sprint(err), "client didn't provide a certificate") {
			level = slog.LevelDebug
		}
		attrs = append(attrs, "err", overlay.Redact(fmt.Sprint(err)))
	}
	for _, r := range h.due(level, attrs, time.Now()) {
		if r.more > 0 {
			r.attrs = append(r.attrs, "more_like_this", r.more)
		}
		h.log.Log(context.Background(), r.level, "openziti", r.attrs...)
	}
	return nil
}

// due is what is to be written now that a line has come: the line, unless one like it was written
// within the last minute; and the last of those that were only counted in a minute that is over.
func (h *hook) due(level slog.Level, attrs []any, now time.Time) (out []repeated) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for kind, r := range h.said {
		if now.Sub(r.at) < sayAgain {
			continue
		}
		delete(h.said, kind)
		if r.more > 0 { // the last of them is this one
			r.more--
			out = append(out, *r)
		}
	}
	kind := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, fmt.Sprint(level, attrs))
	if r := h.said[kind]; r != nil {
		r.attrs, r.more = attrs, r.more+1
		return out
	}
	if len(h.said) < mostKinds {
		h.said[kind] = &repeated{level: level, attrs: attrs, at: now}
	}
	return append(out, repeated{level: level, attrs: attrs})
}
