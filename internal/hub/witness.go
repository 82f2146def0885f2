package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
)

// statements is what the audit log says about itself to gateways and workstations, who remember it: signed, with the
// proof that it only grew, and without any entry.
func statements(trail *audit.Log, guard *securityGuard, log *slog.Logger) func(context.Context, int64) (json.RawMessage, error) {
	return func(_ context.Context, from int64) (json.RawMessage, error) {
		c, err := trail.Consistency(from)
		if errors.Is(err, audit.ErrTampered) {
			guard.tell(access.Event{Kind: access.EventTampered, Where: guard.self.String()})
			log.Error("THE AUDIT LOG ON DISK IS NOT WHAT WAS SIGNED; stop the hub and keep the folder, it is evidence", "err", err)
		}
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		guard.asked("")
		return json.Marshal(c)
	}
}

// nextStatements is statements for those who wait at the desk.
func nextStatements(desk *audit.Desk, guard *securityGuard) func(context.Context, string, int64) (json.RawMessage, error) {
	return func(ctx context.Context, workstation string, from int64) (json.RawMessage, error) {
		c, err := desk.Wait(ctx, workstation, from)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		guard.asked(workstation)
		return json.Marshal(c)
	}
}
