package hub

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

const (
	// administrationPatience is how long a hub waits for an overlay that does not answer yet: after a power cut both start at once.
	administrationPatience = 5 * time.Minute
	administrationEach     = 2 * time.Second
)

// awaitAdministration opens the network's management, and tries again for as long as its controller is not reached. Every other error
// (a certificate that is not known, a file that does not read) ends it at once.
func awaitAdministration(ctx context.Context, network Network, file string, log *slog.Logger) (Administration, error) {
	until := time.Now().Add(administrationPatience)
	for told := false; ; told = true {
		a, err := network.Administer(ctx, file, log)
		var unreached *net.OpError
		if err == nil || !errors.As(err, &unreached) || unreached.Op != "dial" || time.Now().After(until) {
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
