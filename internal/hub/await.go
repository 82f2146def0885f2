package hub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"vitalseal/internal/hub/fleet"
)

const (
	// administrationPatience is how long a hub waits for an overlay that does not answer yet: after a power cut both start at once.
	administrationPatience = 5 * time.Minute
	administrationEach     = 2 * time.Second
)

// notYet reports whether an error of the overlay's management says that its controller is not up yet: it is not reached, it ends the
// connection, or its port is open and does not speak HTTP yet, which net/http tells by a text alone.
func notYet(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "read" || op.Op == "write"
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "malformed HTTP response")
}

// awaitAdministration opens the network's management, and tries again for as long as its controller is not up. Every other error
// (a certificate that is not known, a file that does not read) ends it at once.
func awaitAdministration(ctx context.Context, network Network, file string, log *slog.Logger) (fleet.Administration, error) {
	until := time.Now().Add(administrationPatience)
	for told := false; ; told = true {
		a, err := network.Administer(ctx, file, log)
		if err == nil || !notYet(err) || time.Now().After(until) {
			return a, err
		}
		if !told {
			log.Warn("the overlay's controller does not answer yet; the hub tries again", "for", administrationPatience, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(administrationEach):
		}
	}
}
