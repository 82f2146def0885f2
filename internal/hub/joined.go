package hub

import (
	"context"
	"time"

	"vitalseal/internal/hub/access"
)

// writeJoined has views that were joined with an entry of the audit log written down until ctx ends,
// where no later decision does it.
func writeJoined(ctx context.Context, engine *access.Engine) {
	t := time.NewTicker(access.ViewPause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			engine.WriteJoined(ctx, false)
		}
	}
}
