package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/workstation/client"
)

// firstAdmin is the first administrator at the first workstation.
func (d *deployment) firstAdmin(work string) (*client.Client, *overlay.Identity) {
	d.t.Helper()
	first := d.enrol(filepath.Join(d.cfg.Data, "first-workstation.ticket"), filepath.Join(work, "desk"))["first"]
	var s struct{ Login, Password string }
	b, err := os.ReadFile(filepath.Join(d.cfg.Data, "first-admin.json"))
	must(d.t, err)
	must(d.t, json.Unmarshal(b, &s))
	return d.signIn(d.desk(first), s.Login, s.Password), first
}

// TestTokensAreUsedUp: the overlay takes a token that is still there for one that was not redeemed.
func TestTokensAreUsedUp(t *testing.T) {
	d := newDeployment(t)
	for _, f := range []string{d.cfg.Overlay.HubToken, d.cfg.Overlay.AdminToken} {
		if _, err := os.Stat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
	}
}

// TestDeletedIsForGood: nothing brings a deleted component back, and its ticket gives no certificate in its name.
func TestDeletedIsForGood(t *testing.T) {
	d := newDeployment(t)
	ctx, work := t.Context(), t.TempDir()
	admin, _ := d.firstAdmin(work)
	var ticket json.RawMessage
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/workstations", map[string]string{"id": "lost"}, &ticket))
	file := filepath.Join(work, "lost.ticket")
	must(t, os.WriteFile(file, ticket, 0o600))
	change := func(what string) error {
		return admin.Do(ctx, http.MethodPost, "/api/admin/identities/workstation/lost/"+what, nil, nil)
	}
	must(t, change("delete"))
	for _, what := range []string{"disable", "enable"} {
		if err := change(what); status(err) != http.StatusConflict {
			t.Errorf("%s: %v, want 409", what, err)
		}
	}
	must(t, change("delete")) // again, as when the overlay did not follow the first time
	// The Loopback forbids by name; what stands in for another way onto the overlay is that it forgets it did.
	d.net.SetAllowed(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "lost"}, true)
	parsed, err := overlay.ReadTicket(file)
	must(t, err)
	if _, err := overlay.Enrol(ctx, d.net, parsed, filepath.Join(work, "thief"), slog.New(slog.DiscardHandler)); !errors.Is(err, overlay.ErrTicketInvalid) {
		t.Errorf("the ticket of a deleted component: %v", err)
	}
	var inventory []struct{ ID, State string }
	must(t, admin.Do(ctx, http.MethodGet, "/api/admin/inventory", nil, &inventory))
	for _, x := range inventory {
		if filepath.Base(x.ID) == "lost" && x.State != "deleted" {
			t.Errorf("the deleted component is %s", x.State)
		}
	}
}

// TestOneWorkstationCannotTakeAll: one that opens connections without end is held to its bound; another is served.
func TestOneWorkstationCannotTakeAll(t *testing.T) {
	d := newDeployment(t)
	ctx, work := t.Context(), t.TempDir()
	admin, _ := d.firstAdmin(work)
	var ticket json.RawMessage
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/workstations", map[string]string{"id": "greedy"}, &ticket))
	file := filepath.Join(work, "greedy.ticket")
	must(t, os.WriteFile(file, ticket, 0o600))
	ep := d.net.Connect(d.enrol(file, filepath.Join(work, "greedy"))["greedy"], slog.New(slog.DiscardHandler))
	defer func() { must(t, ep.Close()) }()
	const bound = 128
	refused := 0
	for range bound + 8 {
		c, err := ep.Dial(ctx, overlay.ServiceFaces)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(patience)))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			refused++
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			refused++
		}
	}
	if refused != 8 {
		t.Errorf("%d of %d connections refused, want 8", refused, bound+8)
	}
	must(t, admin.Do(context.WithoutCancel(ctx), http.MethodGet, "/api/admin/inventory", nil, nil))
}
