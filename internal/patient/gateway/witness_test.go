package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// said is a log that may be read while it is written.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestGatewayIsAWitness lets a gateway see a hub's audit log; then the hub, which has disk and key, rolls it back.
func TestGatewayIsAWitness(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 5, Start: time.Now(), CuffFirst: time.Second, CuffEvery: 10 * time.Minute})
	n := overlay.NewLoopback(w.authority)
	hub, err := n.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	t.Cleanup(func() { _ = hub.Close() })
	ln, err := hub.Listen(t.Context(), overlay.ServiceRenew, overlay.AcceptExpired())
	must(t, err)
	dir := t.TempDir()
	open := func(entries int, who string) *audit.Log {
		t.Helper()
		var l *audit.Log
		for range 2 { // closing signs
			var err error
			l, err = audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
			must(t, err)
			for range entries {
				_, err := l.Append(t.Context(), audit.Entry{Person: who, Action: "patient:view", Allowed: true})
				must(t, err)
			}
			if entries == 0 {
				return l
			}
			entries = 0
			must(t, l.Close())
		}
		return l
	}
	var mu sync.Mutex
	trail := open(7, "honest")
	defer func() { must(t, trail.Close()) }()
	background(t, func(ctx context.Context) error {
		return overlay.ServeRenew(ctx, ln, w.authority, overlay.Renewals{
			Admit: func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil },
			Witness: func(_ context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
				from := q.From
				mu.Lock()
				defer mu.Unlock()
				c, err := trail.Consistency(from)
				if err != nil {
					return nil, err
				}
				return json.Marshal(c)
			},
		}, time.Hour, quiet)
	})
	run := func(log *slog.Logger) (stop func()) {
		b, err := newBench(w.profile)
		must(t, err)
		return background(t, func(ctx context.Context) error {
			cfg := w.config()
			cfg.DrainTimeout = 0 // no hub takes in what it measures
			return gateway.Run(ctx, cfg, gateway.Deps{Buses: b, Network: n, Log: log})
		})
	}
	note := filepath.Join(w.data, "witness.note")

	stop := run(quiet)
	eventually(t, "the gateway remembers the log", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Audit.Size == 7 && st.Audit.Alarm == "" && !st.Audit.Proven.IsZero()
	})
	stop()
	remembered, err := os.ReadFile(note)
	must(t, err)

	mu.Lock()
	must(t, trail.Close())
	must(t, os.RemoveAll(filepath.Join(dir, "log")))
	trail = open(3, "honest") // the same beginning, and shorter
	mu.Unlock()
	var log said
	stop = run(slog.New(slog.NewTextHandler(&log, nil)))
	eventually(t, "the alarm stands in the status", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Audit.Alarm != "" && st.Audit.Size == 7
	})
	eventually(t, "the alarm is in the log", func() bool {
		return strings.Contains(log.String(), "level=ERROR") && strings.Contains(log.String(), "AUDIT LOG NOT TO BE TRUSTED")
	})
	eventually(t, "measuring goes on", func() bool {
		st, err := readStatus(w.data)
		produced := uint64(0)
		for _, s := range st.Streams {
			produced += s.Produced
		}
		return err == nil && produced > 5
	})
	stop()
	if now, err := os.ReadFile(note); err != nil || !bytes.Equal(now, remembered) {
		t.Errorf("the good checkpoint was replaced (%v)", err)
	}
	if _, err := os.Stat(note + ".conflict"); err != nil {
		t.Error(err)
	}

	// What is damaged stays as it is, and is loud as well.
	must(t, os.WriteFile(note, []byte("x"), 0o600))
	stop = run(quiet)
	eventually(t, "the damage stands in the status", func() bool {
		st, err := readStatus(w.data)
		return err == nil && strings.Contains(st.Audit.Alarm, "witness")
	})
	stop()
	if now, err := os.ReadFile(note); err != nil || string(now) != "x" {
		t.Errorf("the damaged file was touched: %q %v", now, err)
	}
}
