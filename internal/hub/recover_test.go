package hub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

func (d *deployment) network() hub.Network {
	return hub.Network{Network: d.net, Administer: func(context.Context, string, *slog.Logger) (fleet.Administration, error) { return d.office, nil }}
}

func (d *deployment) recover(r hub.Recovery) (hub.Recovered, error) {
	return hub.Recover(d.t.Context(), d.cfg, d.network(), r, silent)
}

func (d *deployment) in(name string) string { return filepath.Join(d.cfg.Data, name) }

// TestRecoverLetsInAgain: with the only workstation gone and the only password forgotten, an operator with the root key gets
// back in; nothing of that works while the hub runs or without the root key, and the log tells of it.
func TestRecoverLetsInAgain(t *testing.T) {
	d := newDesk(t)
	both := hub.Recovery{Admin: "admin", Workstation: "desk-2"}
	if _, err := d.recover(both); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("while the hub runs: %v", err)
	}
	must(t, d.stop())
	must(t, os.Rename(d.in("root.key"), d.in("elsewhere")))
	if _, err := d.recover(both); !errors.Is(err, hub.ErrNoRootKey) {
		t.Errorf("without the root key: %v", err)
	}
	must(t, os.WriteFile(d.in("root.key"), []byte(strings.Repeat("x", 32)), 0o600))
	if _, err := d.recover(both); err == nil || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("with another root key: %v", err)
	}
	must(t, os.Rename(d.in("elsewhere"), d.in("root.key")))
	if _, err := d.recover(hub.Recovery{}); !errors.Is(err, hub.ErrNothingToRecover) {
		t.Errorf("nothing asked for: %v", err)
	}
	if _, err := d.recover(hub.Recovery{Admin: "nobody"}); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "these are: admin") {
		t.Errorf("a login that is no administrator's: %v", err)
	}
	for _, left := range []string{"recovered-admin.json", "recovered-desk-2.ticket"} {
		if _, err := os.Stat(d.in(left)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after nothing but refusals: %v", left, err)
		}
	}
	got, err := d.recover(both)
	must(t, err)
	d.start()
	desk := d.enrol(got.Ticket, t.TempDir())["desk-2"]
	var s struct{ Login, Password string }
	b, err := os.ReadFile(got.SignIn)
	must(t, err)
	must(t, json.Unmarshal(b, &s))
	d.own = nil // the password that was chosen is forgotten
	c := d.signIn(d.desk(desk), s.Login, s.Password)
	must(t, c.Do(t.Context(), http.MethodGet, "/api/admin/persons", nil, nil))
	if n := d.recoveries(); n != 2 {
		t.Errorf("%d entries in the audit log tell of it, want 2", n)
	}
	if said := strings.Count(d.log.String(), "kind=recovery"); said != 2 {
		t.Errorf("announced %d times, want 2", said)
	}
	must(t, d.stop())
	d.start()
	if said := strings.Count(d.log.String(), "kind=recovery"); said != 2 {
		t.Errorf("after another start announced %d times, want still 2", said)
	}
}

// recoveries counts what the audit log says of recoveries.
func (d *deployment) recoveries() (n int) {
	d.t.Helper()
	logs, err := filepath.Glob(d.in("audit/*.jsonl"))
	must(d.t, err)
	for _, l := range logs {
		f, err := os.Open(l)
		must(d.t, err)
		for s := bufio.NewScanner(f); s.Scan(); {
			if strings.Contains(s.Text(), `"hub:recover"`) && strings.Contains(s.Text(), `"offline:recover"`) {
				n++
			}
		}
		must(d.t, f.Close())
	}
	return n
}

// TestRecoverAnEmptyOverlay: an overlay that knows none of the components gets them all again, with a ticket for each.
func TestRecoverAnEmptyOverlay(t *testing.T) {
	d := newDesk(t)
	ticket, err := d.Invite("gateways", map[string]any{"id": "gw", "sensors": []map[string]string{{"id": "oxi", "model": "MAX30100", "serial": "1"}}})
	must(t, err)
	old, err := d.redeem(ticket)
	must(t, err)
	d.state("gateway/gw", "active")
	must(t, d.stop())
	if _, err := d.recover(hub.Recovery{Overlay: true}); err == nil || !strings.Contains(err.Error(), "one-time tokens") {
		t.Errorf("without the tokens of a new overlay: %v", err)
	}
	// The overlay before is gone, with all that it knew.
	d.office.mu.Lock()
	clear(d.office.ids)
	d.office.mu.Unlock()
	self := overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"}
	for _, f := range []string{d.cfg.Overlay.HubToken, d.cfg.Overlay.AdminToken} {
		must(t, os.WriteFile(f, []byte(d.net.Invite(self)), 0o600))
	}
	got, err := d.recover(hub.Recovery{Overlay: true})
	must(t, err)
	id := func(kind, name string) string { return overlay.ID{Domain: domain, Kind: kind, Name: name}.String() }
	if len(got.Tickets) != 2 || got.Tickets[id("gateway", "gw")] == "" || got.Tickets[id("workstation", "first")] == "" {
		t.Fatalf("tickets: %v, want the gateway's with its sensor and the workstation's", got.Tickets)
	}
	d.start()
	first := d.enrol(got.Tickets[id("workstation", "first")], t.TempDir())["first"]
	d.Client = d.signIn(d.desk(first), "admin", "")
	if s := d.inventory()["sensor/oxi"].State; s != "invited" {
		t.Errorf("before its new ticket is used the sensor is %s", s)
	}
	again := d.enrol(got.Tickets[id("gateway", "gw")], t.TempDir())
	d.state("sensor/oxi", "active")
	c := d.dial(again["oxi"], overlay.ServiceIngest)
	must(t, c.Close())
	// The keys of before are worth nothing, although the name is active again.
	d.refused(old["oxi"])
}

// refused proves that the hub does not let an identity in.
func (d *desk) refused(id *overlay.Identity) {
	d.t.Helper()
	ep := d.net.Connect(id, silent)
	defer func() { _ = ep.Close() }()
	c, err := ep.Dial(d.t.Context(), overlay.ServiceIngest)
	if err == nil {
		ends(d.t, "a key of before", c)
	}
}

// TestOneWayInStays: the last workstation and the last administrator cannot be taken out; the answer says why and what to do.
func TestOneWayInStays(t *testing.T) {
	d := newDesk(t)
	conflict := func(what string, err error) {
		t.Helper()
		if status(err) != http.StatusConflict || !strings.Contains(err.Error(), "last") {
			t.Errorf("%s: %v, want 409 that says that it is the last one", what, err)
		}
	}
	for _, change := range []string{"disable", "delete", "ticket"} {
		conflict(change+" of the last workstation", d.change("workstation/first", change))
	}
	must(t, d.Do(t.Context(), http.MethodPost, "/api/admin/wards", map[string]string{"id": "w1", "name": "One"}, nil))
	wall, err := d.Invite("workstations", map[string]any{"id": "wall", "mode": "display", "wards": []string{"w1"}})
	must(t, err)
	_, err = d.redeem(wall)
	must(t, err)
	d.state("workstation/wall", "active")
	conflict("beside a wall display, where no person signs in", d.change("workstation/first", "disable"))
	other, err := d.Invite("workstations", map[string]any{"id": "other"})
	must(t, err)
	conflict("beside one that has only a ticket", d.change("workstation/first", "disable"))
	_, err = d.redeem(other)
	must(t, err)
	d.state("workstation/other", "active")
	must(t, d.change("workstation/wall", "disable"))
	must(t, d.change("workstation/other", "disable"))
	conflict("when the other is disabled", d.change("workstation/first", "delete"))
}

// TestNewTicketForAComponent: what lost its keys gets a new ticket in the same place; the keys and tickets of before end.
func TestNewTicketForAComponent(t *testing.T) {
	d := newDesk(t)
	unused, err := d.Invite("gateways", map[string]any{"id": "gw", "sensors": []map[string]string{{"id": "oxi", "model": "MAX30100", "serial": "1"}}})
	must(t, err)
	ticket, err := d.Invite("identities/gateway/gw/ticket", map[string]any{})
	must(t, err)
	if len(ticket.Components) != 2 {
		t.Errorf("the gateway's ticket names %d components, want it and its sensor", len(ticket.Components))
	}
	if _, err := d.redeem(unused); !errors.Is(err, overlay.ErrTicketInvalid) && !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("the ticket of before: %v", err)
	}
	old, err := d.redeem(ticket)
	must(t, err)
	d.state("sensor/oxi", "active")
	c := d.dial(old["oxi"], overlay.ServiceIngest)
	second, err := d.Invite("identities/gateway/gw/ticket", map[string]any{})
	must(t, err)
	ends(t, "a new ticket was made", c)
	must(t, d.change("sensor/oxi", "disable"))
	must(t, d.change("sensor/oxi", "enable"))
	d.state("sensor/oxi", "invited") // being let in again is no enrolment
	fresh, err := d.redeem(second)
	must(t, err)
	d.state("sensor/oxi", "active")
	must(t, d.dial(fresh["oxi"], overlay.ServiceIngest).Close())
	d.refused(old["oxi"])
	must(t, d.change("sensor/oxi", "delete"))
	if err := d.change("sensor/oxi", "ticket"); status(err) != http.StatusConflict {
		t.Errorf("of a deleted component: %v, want 409", err)
	}
}

// TestFirstTicketIsWrittenAgain: until a workstation has enrolled there is a ticket for it, however late.
func TestFirstTicketIsWrittenAgain(t *testing.T) {
	d := newDeployment(t)
	file := d.in("first-workstation.ticket")
	before, err := overlay.ReadTicket(file)
	must(t, err)
	must(t, d.stop())
	d.start()
	if same, err := overlay.ReadTicket(file); err != nil || same.Secret != before.Secret {
		t.Errorf("a ticket that is still good was replaced: %v", err)
	}
	must(t, d.stop())
	// One that ends within a minute is as good as ended.
	d.cfg.TicketLifetime = hub.ShortestTicket
	must(t, hub.ForgetFirstTicket(t.Context(), d.cfg))
	must(t, os.Remove(file))
	d.start()
	after, err := overlay.ReadTicket(file)
	must(t, err)
	if after.Secret == before.Secret || after.Components[0].ID != before.Components[0].ID {
		t.Errorf("the new ticket: for %s, want another one for %s", after.Components[0].ID, before.Components[0].ID)
	}
	d.enrol(file, t.TempDir())
	must(t, os.Remove(file))
	must(t, d.stop())
	d.start()
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ticket although a workstation has enrolled: %v", err)
	}
}

// TestNoNewRootKeyBesideAStore: a root key that is missing is an error, and none is made in its place.
func TestNoNewRootKeyBesideAStore(t *testing.T) {
	d := newDeployment(t)
	must(t, d.stop())
	must(t, os.Rename(d.in("root.key"), d.in("kept")))
	for range 2 { // the second start must not find what the first one left
		err := hub.Run(t.Context(), d.cfg, d.network(), func() error { return nil }, silent)
		if !errors.Is(err, hub.ErrNoRootKey) || !strings.Contains(err.Error(), "kept apart") {
			t.Errorf("without the root key: %v", err)
		}
		if _, err := os.Stat(d.in("root.key")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a new root key was made: %v", err)
		}
	}
	must(t, os.Rename(d.in("kept"), d.in("root.key")))
	d.start()
}
