package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"

	"vitalseal/internal/audit"
	"vitalseal/internal/overlay"
)

// watchAudit makes the gateway a witness of the hub's audit log until ctx ends: it remembers the log's newest checkpoint
// in its data folder and demands that every later one continues it. What is wrong stands in the log and in the status;
// measuring goes on.
func watchAudit(ctx context.Context, data string, ep overlay.Endpoint, led *ledger, log *slog.Logger) error {
	w, err := audit.OpenWitness(filepath.Join(data, "witness.note"), "")
	if err != nil {
		log.Error("THE AUDIT LOG IS NOT WITNESSED: what this gateway remembers of it is damaged; keep the file, it is evidence", "err", err)
		led.witnessed(func() audit.WitnessState { return audit.WitnessState{Alarm: err.Error()} })
		<-ctx.Done()
		return nil
	}
	led.witnessed(w.State)
	return w.Run(ctx, func(ctx context.Context, from int64) (json.RawMessage, error) {
		return overlay.FetchCheckpoint(ctx, ep, from)
	}, log)
}
