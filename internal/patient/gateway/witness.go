package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// followAgain is how long the gateway waits after it could not wait at a hub for the next checkpoint.
const followAgain = 5 * time.Second

// watchAudit makes the gateway a witness of the hubs' audit logs until ctx ends: it remembers each log's newest checkpoint
// in its data folder, demands that every later one continues it, and has hubs tell it what others saw. It asks every few minutes, and waits
// at a hub for what the hub shows before it answers a dangerous act. What is wrong stands in the log and in the status;
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
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { followAudit(ctx, w, ep, log) })
	return w.Run(ctx, func(ctx context.Context, ask func(string) (audit.Ask, error)) (string, json.RawMessage, error) {
		hub, statement, err := overlay.FetchCheckpoint(ctx, ep, question(ask))
		return hub.Name, statement, err
	}, log)
}

// followAudit waits at a hub for each checkpoint that it shows before it answers a dangerous act, until ctx ends. A hub of before that is
// asked as often as for any checkpoint.
func followAudit(ctx context.Context, w *audit.Witnesses, ep overlay.Endpoint, log *slog.Logger) {
	for ctx.Err() == nil {
		err := overlay.FollowCheckpoints(ctx, ep, overlay.ServiceRenew, question(w.Ask), func(hub overlay.ID, statement json.RawMessage) error {
			return w.Answer(hub.Name, statement)
		})
		wait := followAgain
		if errors.Is(err, overlay.ErrNoWait) {
			wait = audit.WitnessEvery
		}
		log.DebugContext(ctx, "the hub's next checkpoint is not waited for", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// question puts what a witness asks into the terms of the overlay.
func question(ask func(hub string) (audit.Ask, error)) func(overlay.ID) (overlay.WitnessQuestion, error) {
	return func(hub overlay.ID) (q overlay.WitnessQuestion, err error) {
		a, err := ask(hub.Name)
		if err == nil {
			q.From = a.From
			q.Said, err = json.Marshal(a)
		}
		return q, err
	}
}
