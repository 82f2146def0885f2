package zitilog_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"vitalseal/internal/way/overlay/zitilog"
)

// TestUnknownSessions: what a restored overlay says of sessions that it does not know stays a
// warning, and says what it means.
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

// TestTheSameAgain: what differs in numbers alone is written once a minute with how many there
// were; nothing goes uncounted, and what is new is written at once.
func TestTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		zitilog.Redirect(slog.New(slog.NewTextHandler(&b, nil)))
		refused := func(n int) { logrus.Errorf("dial tcp 127.0.0.1:%d: connection refused", n) }
		for i := range 3000 { // five minutes
			refused(i)
			time.Sleep(100 * time.Millisecond)
		}
		logrus.Error("invalid session")
		time.Sleep(2 * time.Minute)
		logrus.Error("terminator closed")
		written, counted := strings.Count(b.String(), "connection refused"), 0
		for _, line := range strings.Split(b.String(), "\n") {
			if strings.Contains(line, "connection refused") {
				more := 0
				if _, after, ok := strings.Cut(line, "more_like_this="); ok {
					if _, err := fmt.Sscan(after, &more); err != nil {
						t.Errorf("%v: %s", err, line)
					}
				}
				counted += 1 + more
			}
		}
		if counted != 3000 || written < 5 || written > 12 {
			t.Errorf("3000 lines in five minutes: %d written, they count %d", written, counted)
		}
		if strings.Count(b.String(), "invalid session") != 1 || strings.Count(b.String(), "terminator closed") != 1 {
			t.Errorf("what is new is not written at once:\n%s", b.String())
		}
	})
}
