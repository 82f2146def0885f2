package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"vitalseal/internal/audit"
)

// statements is what the audit log says about itself to gateways and workstations, who remember it: signed, with the
// proof that it only grew, and without any entry.
func statements(trail *audit.Log, log *slog.Logger) func(context.Context, int64) (json.RawMessage, error) {
	return func(_ context.Context, from int64) (json.RawMessage, error) {
		c, err := trail.Consistency(from)
		if errors.Is(err, audit.ErrTampered) {
			log.Error("THE AUDIT LOG ON DISK IS NOT WHAT WAS SIGNED; stop the hub and keep the folder, it is evidence", "err", err)
		}
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		return json.Marshal(c)
	}
}

// nextStatements is statements for those who wait at the desk.
func nextStatements(desk *audit.Desk) func(context.Context, string, int64) (json.RawMessage, error) {
	return func(ctx context.Context, workstation string, from int64) (json.RawMessage, error) {
		c, err := desk.Wait(ctx, workstation, from)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		return json.Marshal(c)
	}
}
