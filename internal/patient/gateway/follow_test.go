package gateway_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// TestGatewaySeesTheActBeforeItsAnswer: a hub that shows its log to a gateway before it answers finds that the gateway has kept it, long
// before the next poll.
func TestGatewaySeesTheActBeforeItsAnswer(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 5, Start: time.Now(), CuffFirst: time.Second, CuffEvery: 10 * time.Minute})
	n := overlay.NewLoopback(w.authority)
	hub, err := n.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	t.Cleanup(func() { _ = hub.Close() })
	ln, err := hub.Listen(t.Context(), overlay.ServiceRenew, overlay.AcceptExpired())
	must(t, err)
	dir := t.TempDir()
	l, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	desk := audit.NewDesk(l)
	others, err := audit.OpenWitnesses(filepath.Join(dir, "witness.note"), "")
	must(t, err)
	x, err := audit.NewExchange("hub", l, desk, others, filepath.Join(dir, "split"), func(_ context.Context, c audit.Contradiction) { t.Error(c) })
	must(t, err)
	source := func(wait bool) overlay.CheckpointSource {
		return func(ctx context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
			a, err := audit.ReadAsk(q.Said)
			if err != nil {
				return nil, err
			}
			c, err := x.Answer(ctx, q.Witness.String(), a, wait)
			if err != nil {
				return nil, err
			}
			return json.Marshal(c)
		}
	}
	background(t, func(ctx context.Context) error {
		return overlay.ServeRenew(ctx, ln, w.authority, overlay.Renewals{
			Admit:   func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil },
			Witness: source(false), Next: source(true),
		}, time.Hour, quiet)
	})
	b, err := newBench(w.profile)
	must(t, err)
	background(t, func(ctx context.Context) error {
		cfg := w.config()
		cfg.DrainTimeout = 0 // no hub takes in what it measures
		return gateway.Run(ctx, cfg, gateway.Deps{Buses: b, Network: n, Log: quiet})
	})
	_, err = l.Append(t.Context(), audit.Entry{Person: "hub", Action: "hub:start", Allowed: true})
	must(t, err)
	// A slow machine may need longer than an act waits for its witness; only the next poll would be too late.
	shown := func() bool { return desk.Push(t.Context()) == nil }
	eventually(t, "the gateway waits at the hub", shown)
	for range 3 {
		_, err := l.Append(t.Context(), audit.Entry{Person: "doctor", Action: "patient:break-glass", Allowed: true})
		must(t, err)
		eventually(t, "the gateway keeps what it is shown", shown)
		_, c, err := audit.ReadWitness(filepath.Join(w.data, "witness.note"))
		must(t, err)
		if want := l.Checkpoint().Size; c.Size != want {
			t.Errorf("answered with %d entries at the gateway, of %d", c.Size, want)
		}
	}
}
