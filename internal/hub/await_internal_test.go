package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"vitalseal/internal/hub/fleet"
)

// TestHubWaitsForTheOverlay: a controller that is not there yet is waited for; one that refuses, and one that never comes, end the start.
func TestHubWaitsForTheOverlay(t *testing.T) {
	down := fmt.Errorf("overlay: connect admin: %w", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
	halfway := fmt.Errorf("overlay: connect admin: %w", &url.Error{Op: "Post", URL: "https://127.0.0.1/", Err: notHTTP(t)})
	ends := fmt.Errorf("overlay: connect admin: %w", io.EOF)
	refuses := errors.New("overlay: connect admin: certificate of another overlay")
	for name, x := range map[string]struct {
		errs []error // one a try; the last is repeated
		want error
		past int // tries at least
	}{
		"comes up":        {[]error{down, down, down, nil}, nil, 4},
		"comes up slowly": {[]error{down, halfway, ends, nil}, nil, 4},
		"refuses":         {[]error{down, refuses}, refuses, 2},
		"never comes":     {[]error{down}, down, 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				_, err := awaitAdministration(t.Context(), Network{Administer: func(context.Context, string, *slog.Logger) (fleet.Administration, error) {
					err := x.errs[min(tries, len(x.errs)-1)]
					tries++
					return nil, err
				}}, "admin.json", slog.New(slog.DiscardHandler))
				if !errors.Is(err, x.want) || tries < x.past {
					t.Errorf("%v after %d tries, want %v after %d", err, tries, x.want, x.past)
				}
			})
		})
	}
}

// notHTTP is what net/http says of a port that speaks another protocol.
func notHTTP(t *testing.T) error {
	t.Helper()
	_, err := http.ReadResponse(bufio.NewReader(strings.NewReader("\x03\x06\t\r\n\r\n")), nil)
	if err == nil {
		t.Fatal("no error")
	}
	return err
}
