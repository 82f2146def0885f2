package hub

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

func testGuard(t *testing.T) (*securityGuard, *store.Store) {
	t.Helper()
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store"), keys, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	g := newSecurityGuard(overlay.ID{Domain: "test.internal", Kind: overlay.KindHub, Name: "hub"}, st, slog.New(slog.DiscardHandler))
	return g, st
}

func kindsOf(t *testing.T, st *store.Store) string {
	t.Helper()
	all, err := st.SecurityEvents(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Kind+" "+e.Place[max(0, strings.LastIndex(e.Place, "/")+1):])
	}
	return strings.Join(out, ", ")
}

// TestSecurityEventsAreKept: what ingest refuses is shown under what it means; the queue is bounded, and counts what it cannot tell apart;
// what waits at the end is written; pages of their own show emergencies and approvals.
func TestSecurityEventsAreKept(t *testing.T) {
	g, st := testGuard(t)
	for r, want := range map[delivery.Reason]string{delivery.OtherContent: access.EventNonce, delivery.EpochJump: access.EventJump, delivery.StartJump: access.EventJump,
		delivery.Fenced: access.EventCopy, delivery.OlderStart: access.EventCopy, delivery.EpochReused: access.EventCopy, delivery.DoesNotOpen: access.EventForgery} {
		g.forged("spiffe://test.internal/sensor/oxi-1", r)
		if id := directory.SecurityID(want, "spiffe://test.internal/sensor/oxi-1", ""); g.pending[id].Detail != r.String() {
			t.Errorf("%v is shown as %+v", r, g.pending[id])
		}
	}
	g.tell(access.Event{Kind: access.EventEmergency, Person: "p-1"})
	g.tell(access.Event{Kind: access.EventApproval, Person: "p-1"})
	for i := range 1000 {
		g.tell(access.Event{Kind: access.EventGuessing, Where: fmt.Sprintf("spiffe://test.internal/workstation/w%d", i)})
	}
	if len(g.pending) > maxPendingEvents+1 {
		t.Errorf("%d events wait", len(g.pending))
	}
	times := int64(0)
	for _, e := range g.pending {
		if e.Kind == access.EventGuessing {
			times += e.Times
		}
	}
	if times != 1000 {
		t.Errorf("%d of 1000 guesses are counted", times)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	g.run(ctx)
	if got := kindsOf(t, st); !strings.Contains(got, access.EventNonce+" oxi-1") || strings.Contains(got, access.EventEmergency+" ") || strings.Contains(got, access.EventApproval) {
		t.Errorf("kept: %.300s", got)
	}
}

// TestMissingProofs: a log that no witness asked about for half an hour is told of, and a workstation that works but follows it no more.
func TestMissingProofs(t *testing.T) {
	g, st := testGuard(t)
	const desk, off = "spiffe://test.internal/workstation/desk-1", "spiffe://test.internal/workstation/desk-2"
	for _, id := range []string{desk, off} {
		if err := st.CreateDevice(t.Context(), directory.Device{ID: id, Kind: "workstation", State: directory.DeviceActive}); err != nil {
			t.Fatal(err)
		}
		g.asked(id)
	}
	// look looks when all that was asked so far is that long ago.
	look := func(ago time.Duration) string {
		t.Helper()
		g.proven = g.proven.Add(-ago)
		for id := range g.followers {
			g.followers[id] = g.followers[id].Add(-ago)
		}
		g.lookForProofs(t.Context())
		if !g.write(t.Context()) {
			t.Fatal("not written")
		}
		return kindsOf(t, st)
	}
	if got := look(audit.UnprovenAfter - time.Minute); got != "" {
		t.Errorf("after 29 minutes: %s", got)
	}
	g.asked("") // a gateway asks: the log is proven, but desk-1 does not follow it
	if err := st.TouchDevice(t.Context(), desk); err != nil {
		t.Fatal(err)
	}
	if got := look(2 * time.Minute); got != access.EventWitnessGone+" desk-1" {
		t.Errorf("after 31 minutes without desk-1: %q", got)
	}
	if got := look(audit.UnprovenAfter); !strings.Contains(got, access.EventUnproven+" hub") {
		t.Errorf("after half an hour without any witness: %q", got)
	}
}
