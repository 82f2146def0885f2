package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"

	"vitalseal/internal/audit"
	"vitalseal/internal/overlay"
)

// watchAudit makes the gateway a witness of the hubs' audit logs until ctx ends: it remembers each log's newest checkpoint
// in its data folder and demands that every later one continues it. What is wrong stands in the log and in the status;
// measuring goes on.
func watchAudit(ctx context.Context, data string, ep overlay.Endpoint, led *ledger, log *slog.Logger) error {
	w, err := audit.OpenWitnesses(filepath.Join(data, "witness.note"), "")
	if err != nil {
		log.Error("THE AUDIT LOG IS NOT WITNESSED: what this gateway remembers of it is damaged; keep the file, it is evidence", "err", err)
		led.witnessed(func() audit.WitnessState { return audit.WitnessState{Alarm: err.Error()} })
		<-ctx.Done()
		return nil
	}
	led.witnessed(w.State)
	return w.Run(ctx, func(ctx context.Context, from func(string) (int64, error)) (string, json.RawMessage, error) {
		hub, statement, err := overlay.FetchCheckpoint(ctx, ep, func(hub overlay.ID) (int64, error) { return from(hub.Name) })
		return hub.Name, statement, err
	}, log)
}
