package connect_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/workstation/connect"
)

// TestWorkstationSeesTheActBeforeItsAnswer: a hub that shows its log to the workstation before it
// answers finds that the workstation has kept it, long before the next poll.
func TestWorkstationSeesTheActBeforeItsAnswer(t *testing.T) {
	hub, data := t.TempDir(), t.TempDir()
	l := trail(t, hub, 5, "honest")
	defer func() { must(t, l.Close()) }()
	desk := audit.NewDesk(l)
	polled := stating(l, nil)
	openWith(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/audit/watch" {
			polled(w, r)
			return
		}
		from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
		if err != nil {
			http.Error(w, "from", http.StatusBadRequest)
			return
		}
		c, err := desk.Wait(r.Context(), "spiffe://x/workstation/desk", from)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(c)
	}, func(c *connect.Config, _ *connect.Door) {
		if c != nil {
			c.Data = data
		}
	}, plain)
	// A slow machine may need longer than an act waits for its witness; only the next poll would be
	// too late.
	shown := func() bool { return desk.Push(t.Context()) == nil }
	within(t, "the workstation to wait at the hub", shown)
	for range 3 {
		_, err := l.Append(t.Context(), audit.Entry{Person: "doctor", Action: "patient:break-glass", Allowed: true})
		must(t, err)
		within(t, "the workstation to keep what it is shown", shown)
		_, c, err := audit.ReadWitness(filepath.Join(data, "witness.note"))
		must(t, err)
		if want := l.Checkpoint().Size; c.Size != want {
			t.Errorf("answered with %d entries at the workstation, of %d", c.Size, want)
		}
	}
}
