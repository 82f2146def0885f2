package zitilog_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"vitalseal/internal/overlay/zitilog"
)

// TestUnknownSessions: what a restored overlay says of sessions that it does not know stays a warning, and says what it means.
func TestUnknownSessions(t *testing.T) {
	var b bytes.Buffer
	zitilog.Redirect(slog.New(slog.NewTextHandler(&b, nil)))
	for message, hinted := range map[string]bool{"invalid session": true, "invalid api-session": true, "terminator closed": false} {
		b.Reset()
		logrus.WithField("operation", "connect").WithError(errors.New("invalid session")).Error(message)
		line := b.String()
		if !strings.Contains(line, "level=WARN") || strings.Contains(line, "normal for some minutes after the overlay was restored") != hinted {
			t.Errorf("%s: %s", message, line)
		}
	}
}
