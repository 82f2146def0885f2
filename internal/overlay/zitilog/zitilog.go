// Package zitilog leads OpenZiti's logging into log/slog.
//
// OpenZiti, its SDK included, logs through logrus's one standard logger, to standard error, and some of its lines carry
// live session tokens. This package takes that logger over for the whole process: warnings and worse reach slog, one
// level lower, with their text redacted; fields are dropped but for the error; everything below warning is dropped.
//
// It does not protect against a module that logs through another logger.
package zitilog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"

	"vitalseal/internal/overlay"
)

// Redirect sends what OpenZiti logs from now on to log. The last call counts.
func Redirect(log *slog.Logger) {
	logrus.SetOutput(io.Discard)
	logrus.SetReportCaller(false)
	logrus.SetLevel(logrus.WarnLevel)
	hooks := logrus.LevelHooks{}
	hooks.Add(hook{log})
	logrus.StandardLogger().ReplaceHooks(hooks)
}

// unknownSession explains a line that every restore causes and that names neither cause nor remedy. It stays a warning: outside of
// such minutes it is someone who shows a session that the controller did not give.
const unknownSession = "a component shows a session that this overlay does not know: normal for some minutes after the overlay was restored or " +
	"started anew, components then ask for new ones; if it goes on, restart the component"

type hook struct{ log *slog.Logger }

// Levels implements logrus.Hook.
func (hook) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

// Fire implements logrus.Hook.
func (h hook) Fire(e *logrus.Entry) error {
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
		// A port that serves with and without client certificates: every look at whether the controller answers yet makes one
		// such line while it starts, and so does every stranger later.
		if e.Message == "handshake failed" && strings.Contains(fmt.Sprint(err), "client didn't provide a certificate") {
			level = slog.LevelDebug
		}
		attrs = append(attrs, "err", overlay.Redact(fmt.Sprint(err)))
	}
	h.log.Log(context.Background(), level, "openziti", attrs...)
	return nil
}
