package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/workstation/client"
)

var silent = slog.New(slog.DiscardHandler)

// component is a line of the inventory.
type component struct {
	ID, Kind, State, Gateway, Mode, Version string
	Wards                                   []string
	EnrolledBy                              string     `json:"enrolled_by"`
	Enrolled                                *time.Time `json:"enrolled"`
	LastSeen                                *time.Time `json:"last_seen"`
	NewKey                                  bool       `json:"new_key_demanded"`
	Certificate                             *struct {
		SHA256    string    `json:"sha256"`
		Key       string    `json:"public_key_sha256"`
		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
	} `json:"certificate"`
}

// desk is an administrator at work.
type desk struct {
	*deployment
	*client.Client
	work string
}

func newDesk(t *testing.T) *desk {
	d := newDeployment(t)
	work := t.TempDir()
	c, _ := d.firstAdmin(work)
	return &desk{d, c, work}
}

func (d *desk) inventory() map[string]component {
	d.t.Helper()
	var all []component
	must(d.t, d.Do(d.t.Context(), http.MethodGet, "/api/admin/inventory", nil, &all))
	m := map[string]component{}
	for _, c := range all {
		m[strings.TrimPrefix(c.ID, "spiffe://"+domain+"/")] = c
	}
	return m
}

func (d *desk) Invite(path string, in any) (overlay.Ticket, error) {
	d.t.Helper()
	var raw json.RawMessage
	if err := d.Do(d.t.Context(), http.MethodPost, "/api/admin/"+path, in, &raw); err != nil {
		return overlay.Ticket{}, err
	}
	ticket, err := overlay.ParseTicket(raw)
	must(d.t, err)
	return ticket, nil
}

func (d *desk) change(id, change string) error {
	return d.Do(d.t.Context(), http.MethodPost, "/api/admin/identities/"+id+"/"+change, nil, nil)
}

func (d *desk) redeem(ticket overlay.Ticket) (map[string]*overlay.Identity, error) {
	ids, err := overlay.Enrol(d.t.Context(), d.net, ticket, d.t.TempDir(), silent)
	m := map[string]*overlay.Identity{}
	for _, id := range ids {
		m[id.ID().Name] = id
	}
	return m, err
}

func (d *desk) state(id, want string) {
	d.t.Helper()
	eventually(d.t, id+" is "+want, func() error {
		if got := d.inventory()[id].State; got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

func (d *desk) dial(id *overlay.Identity, service string) net.Conn {
	d.t.Helper()
	ep := d.net.Connect(id, silent)
	d.t.Cleanup(func() { _ = ep.Close() })
	c, err := ep.Dial(d.t.Context(), service)
	must(d.t, err)
	return c
}

// ends waits until the hub has ended a connection.
func ends(t *testing.T, what string, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection stays", what)
	}
}

// TestTheInventoryKnows: what there is to know of each kind of component is there, the hub itself included.
func TestTheInventoryKnows(t *testing.T) {
	d := newDesk(t)
	must(t, d.Do(t.Context(), http.MethodPost, "/api/admin/wards", map[string]string{"id": "w1", "name": "One"}, nil))
	ticket, err := d.Invite("workstations", map[string]any{"id": "wall", "mode": "display", "wards": []string{"w1"}})
	must(t, err)
	for _, bad := range []map[string]any{{"id": "x", "mode": "display"}, {"id": "x", "wards": []string{"w1"}}, {"id": "x", "mode": "other"},
		{"id": "x", "mode": "display", "wards": []string{"nowhere"}}} {
		if _, err := d.Invite("workstations", bad); status(err) != http.StatusBadRequest {
			t.Errorf("%v: %v, want 400", bad, err)
		}
	}
	began := time.Now()
	ids, err := d.redeem(ticket)
	must(t, err)
	d.state("workstation/wall", "active")
	ep := d.net.Connect(ids["wall"], silent)
	defer func() { must(t, ep.Close()) }()
	must(t, (&overlay.Renewer{Identity: ids["wall"], Endpoint: ep, Software: "v9.9", Log: silent}).Renew(t.Context()))
	wall := d.inventory()["workstation/wall"]
	sum, key := overlay.Fingerprint(ids["wall"].SVID())
	switch {
	case wall.Mode != "display" || !slices.Equal(wall.Wards, []string{"w1"}):
		t.Errorf("display: %q of %v", wall.Mode, wall.Wards)
	case wall.Version != "v9.9" || wall.EnrolledBy == "":
		t.Errorf("version %q, invited by %q", wall.Version, wall.EnrolledBy)
	case wall.Certificate == nil || wall.Certificate.SHA256 != sum || wall.Certificate.Key != key || !wall.Certificate.NotAfter.Equal(ids["wall"].Expires()):
		t.Errorf("certificate: %+v, want %s until %s", wall.Certificate, sum, ids["wall"].Expires())
	case wall.Enrolled == nil || wall.Enrolled.Before(began) || wall.LastSeen == nil:
		t.Errorf("enrolled %v, seen %v", wall.Enrolled, wall.LastSeen)
	}
	hub := d.inventory()["hub/hub"]
	if hub.State != "active" || hub.Certificate == nil || hub.LastSeen == nil || hub.Enrolled == nil {
		t.Errorf("the hub itself: %+v", hub)
	}
	if err := d.change("hub/hub", "disable"); status(err) != http.StatusConflict {
		t.Errorf("the hub disabled itself: %v", err)
	}
}

// TestGatewayTakesItsSensorsAlong: disabling a gateway keeps out what depends on it, even where the overlay cannot
// be told, and live connections end; enabling it lets them back in, but not one that was disabled by itself.
func TestGatewayTakesItsSensorsAlong(t *testing.T) {
	d := newDesk(t)
	ticket, err := d.Invite("gateways", map[string]any{"id": "gw", "sensors": []map[string]string{
		{"id": "oxi-a", "model": "MAX30100", "serial": "1"}, {"id": "oxi-b", "model": "MAX30100", "serial": "2"}}})
	must(t, err)
	ids, err := d.redeem(ticket)
	must(t, err)
	d.state("sensor/oxi-b", "active")
	open := d.dial(ids["oxi-a"], overlay.ServiceRenew)
	must(t, d.change("sensor/oxi-b", "disable"))

	d.office.mu.Lock()
	d.office.fail = errors.New("controller down")
	d.office.mu.Unlock()
	if err := d.change("gateway/gw", "disable"); err == nil {
		t.Error("an overlay that did not follow was not reported")
	}
	ends(t, "a sensor of a disabled gateway", open)
	ends(t, "a new connection of such a sensor", d.dial(ids["oxi-a"], overlay.ServiceFaces))
	if got := d.inventory()["sensor/oxi-a"].State; got != "active" { // its own state is not touched
		t.Errorf("the sensor became %s", got)
	}
	planned := func(name string) (out manage.PlanIdentity) {
		d.office.mu.Lock()
		defer d.office.mu.Unlock()
		for _, i := range d.office.plan.Identities {
			if i.ID.Name == name {
				out = i
			}
		}
		return out
	}
	eventually(t, "the reconciler keeps them out", func() error {
		for _, name := range []string{"gw", "oxi-a", "oxi-b"} {
			if p := planned(name); p.Enabled || len(p.Roles) > 0 {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
	d.office.mu.Lock()
	d.office.fail = nil
	d.office.mu.Unlock()
	must(t, d.change("gateway/gw", "enable"))
	eventually(t, "the reconciler lets them in", func() error {
		if p := planned("oxi-a"); !p.Enabled || len(p.Roles) == 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if p := planned("oxi-b"); p.Enabled {
		t.Error("a sensor that was disabled by itself came back with its gateway")
	}
	ep := d.net.Connect(ids["oxi-a"], silent)
	defer func() { must(t, ep.Close()) }()
	must(t, (&overlay.Renewer{Identity: ids["oxi-a"], Endpoint: ep, Log: silent}).Renew(t.Context()))
}

// TestEnableLeadsBackWhereItWas: a component that never enrolled may enrol after it was disabled for a while, and one whose
// ticket was redeemed while it was disabled gets its working roles when it is enabled.
func TestEnableLeadsBackWhereItWas(t *testing.T) {
	d := newDesk(t)
	early, err := d.Invite("workstations", map[string]any{"id": "early"})
	must(t, err)
	must(t, d.change("workstation/early", "disable"))
	must(t, d.change("workstation/early", "enable"))
	if got := d.inventory()["workstation/early"].State; got != "invited" {
		t.Errorf("never enrolled, disabled and enabled: %s, want invited", got)
	}
	_, err = d.redeem(early)
	must(t, err)
	d.state("workstation/early", "active")

	ticket, err := d.Invite("gateways", map[string]any{"id": "gw", "sensors": []map[string]string{{"id": "oxi", "model": "MAX30100", "serial": "1"}}})
	must(t, err)
	must(t, d.change("sensor/oxi", "disable"))
	_, err = d.redeem(ticket)
	must(t, err)
	d.state("gateway/gw", "active")
	d.state("sensor/oxi", "disabled")
	must(t, d.change("sensor/oxi", "enable"))
	d.state("sensor/oxi", "active")
	d.office.mu.Lock()
	defer d.office.mu.Unlock()
	if got := d.office.roles["ziti-oxi"]; !slices.Contains(got, "dial."+overlay.ServiceIngest) || slices.Contains(got, "dial."+overlay.ServiceEnrol) {
		t.Errorf("roles after it was enabled: %v", got)
	}
}

// TestInviteAllOrNone: an invitation that fails halfway leaves nothing behind, and its names are free.
func TestInviteAllOrNone(t *testing.T) {
	d := newDesk(t)
	body := map[string]any{"id": "gw", "sensors": []map[string]string{{"id": "oxi-a", "model": "MAX30100", "serial": "1"}, {"id": "oxi-b", "model": "MAX30100", "serial": "2"}}}
	d.office.mu.Lock()
	d.office.failCreate = "oxi-b"
	d.office.mu.Unlock()
	if _, err := d.Invite("gateways", body); err == nil || strings.Contains(err.Error(), "409") {
		t.Fatalf("it did not fail at the overlay: %v", err)
	}
	for id := range d.inventory() {
		if strings.HasPrefix(id, "gateway/") || strings.HasPrefix(id, "sensor/") {
			t.Errorf("%s was left behind", id)
		}
	}
	d.office.mu.Lock()
	d.office.failCreate = ""
	for _, name := range []string{"ziti-gw", "ziti-oxi-a"} {
		if _, ok := d.office.ids[name]; ok {
			t.Errorf("%s was left on the overlay", name)
		}
	}
	d.office.mu.Unlock()
	ticket, err := d.Invite("gateways", body)
	must(t, err)
	_, err = d.redeem(ticket)
	must(t, err)
}

// TestNameIsFreeAgain: a component whose ticket was not used can be deleted and invited anew; the old ticket is worth nothing
// then. One that did enrol keeps its name for good.
func TestNameIsFreeAgain(t *testing.T) {
	d := newDesk(t)
	old, err := d.Invite("workstations", map[string]any{"id": "desk"})
	must(t, err)
	must(t, d.change("workstation/desk", "delete"))
	fresh, err := d.Invite("workstations", map[string]any{"id": "desk"})
	must(t, err)
	mixed := old
	mixed.Components = fresh.Components // the thief has a way onto the overlay
	if _, err := d.redeem(mixed); !errors.Is(err, overlay.ErrTicketInvalid) {
		t.Errorf("the secret of the old ticket: %v", err)
	}
	// The token is used up by that; another invitation, for the component this time.
	must(t, d.change("workstation/desk", "delete"))
	fresh, err = d.Invite("workstations", map[string]any{"id": "desk"})
	must(t, err)
	_, err = d.redeem(fresh)
	must(t, err)
	d.state("workstation/desk", "active")
	must(t, d.change("workstation/desk", "delete"))
	if _, err := d.Invite("workstations", map[string]any{"id": "desk"}); status(err) != http.StatusConflict {
		t.Errorf("the name of a component that enrolled: %v", err)
	}
}

// TestRotation: the hub demands a new key; once it has been used, the old one is refused, also where it is still connected.
func TestRotation(t *testing.T) {
	d := newDesk(t)
	ticket, err := d.Invite("workstations", map[string]any{"id": "desk"})
	must(t, err)
	if err := d.change("workstation/desk", "rotate"); status(err) != http.StatusConflict {
		t.Errorf("rotating what never enrolled: %v", err)
	}
	ids, err := d.redeem(ticket)
	must(t, err)
	d.state("workstation/desk", "active")
	desk := ids["desk"]
	file := filepath.Join(d.work, "stolen.json")
	must(t, desk.Save(file))
	stolen, err := overlay.LoadIdentity(file)
	must(t, err)
	must(t, desk.Save(filepath.Join(d.work, "desk.json")))

	thief := d.dial(stolen, overlay.ServiceRenew)
	must(t, d.change("workstation/desk", "rotate"))
	if !d.inventory()["workstation/desk"].NewKey {
		t.Error("the inventory does not show the demand")
	}
	ep := d.net.Connect(desk, silent)
	defer func() { must(t, ep.Close()) }()
	must(t, (&overlay.Renewer{Identity: desk, Endpoint: ep, Log: silent}).Renew(t.Context()))
	_, oldKey := overlay.Fingerprint(stolen.SVID())
	_, newKey := overlay.Fingerprint(desk.SVID())
	is := d.inventory()["workstation/desk"]
	if oldKey == newKey || is.Certificate.Key != newKey || is.NewKey {
		t.Errorf("after the rotation: %+v", is)
	}
	ends(t, "a connection with the old key", thief)
	ends(t, "a new connection with the old key", d.dial(stolen, overlay.ServiceFaces))
	old := d.net.Connect(stolen, silent)
	defer func() { must(t, old.Close()) }()
	if err := (&overlay.Renewer{Identity: stolen, Endpoint: old, Log: silent}).Renew(t.Context()); err == nil {
		t.Error("the old key was renewed")
	}
	// The new one works, from its file as well.
	loaded, err := overlay.LoadIdentity(filepath.Join(d.work, "desk.json"))
	must(t, err)
	again := d.net.Connect(loaded, silent)
	defer func() { must(t, again.Close()) }()
	must(t, (&overlay.Renewer{Identity: loaded, Endpoint: again, Log: silent}).Renew(t.Context()))
}

// TestRouterAndSecondHub: a router is in the inventory and enrols with the network alone; the identity of another hub needs
// a ticket of that very kind.
func TestRouterAndSecondHub(t *testing.T) {
	d := newDesk(t)
	ticket, err := d.Invite("routers", map[string]any{"id": "wing-b"})
	must(t, err)
	if ticket.Kind != overlay.KindRouter || len(ticket.Components) != 1 {
		t.Errorf("the router's ticket: kind %q with %d components", ticket.Kind, len(ticket.Components))
	}
	d.office.mu.Lock()
	d.office.routers[0].Verified, d.office.routers[0].Online, d.office.routers[0].Version = true, true, "v1.7.2"
	d.office.mu.Unlock()
	d.state("router/wing-b", "active")
	if got := d.inventory()["router/wing-b"]; got.Version != "v1.7.2" || got.LastSeen == nil {
		t.Errorf("the router: %+v", got)
	}
	must(t, d.change("router/wing-b", "disable"))
	d.office.mu.Lock()
	if !d.office.routers[0].Disabled {
		t.Error("the network did not follow")
	}
	d.office.mu.Unlock()
	must(t, d.change("router/wing-b", "enable"))
	must(t, d.change("router/wing-b", "delete"))
	d.office.mu.Lock()
	if len(d.office.routers) != 0 {
		t.Errorf("the deleted router is still there: %v", d.office.routers)
	}
	d.office.mu.Unlock()

	second, err := d.Invite("hubs", map[string]any{"id": "hub-2"})
	must(t, err)
	plain := second
	plain.Kind = ""
	if _, err := d.redeem(plain); !errors.Is(err, overlay.ErrTicketInvalid) {
		t.Errorf("a hub's ticket without its kind: %v", err)
	}
	ids, err := d.redeem(second)
	must(t, err)
	if ids["hub-2"].ID().Kind != overlay.KindHub {
		t.Errorf("enrolled %s", ids["hub-2"].ID())
	}
	d.state("hub/hub-2", "active")
}

// TestDriftIsReported: a change behind the hub's back is in the audit log and in the log. (That it is found and put right on
// the real network is tested beside that.)
func TestDriftIsReported(t *testing.T) {
	d := newDesk(t)
	d.office.mu.Lock()
	d.office.changes = []manage.Change{{Action: "update", Kind: "policy", Name: "vitalseal.faces.dial", Detail: "roles"}}
	d.office.mu.Unlock()
	eventually(t, "the drift is in the audit log", func() error {
		b, err := written(d, "audit")
		if err != nil {
			return err
		}
		if !strings.Contains(b, "overlay:drift") || !strings.Contains(b, "update policy vitalseal.faces.dial: roles") {
			return errors.New("not there")
		}
		return nil
	})
	if !strings.Contains(d.log.String(), "behind our back") {
		t.Error("nothing in the log")
	}
}

// written is what lies in a folder of the hub's data.
func written(d *desk, folder string) (string, error) {
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(d.cfg.Data, folder), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	return all.String(), err
}

// TestOneRuleForOneComponent: a rule of the hospital's own that names one sensor takes that one's roles on the overlay, and
// no other: the network is a copy of the policies.
func TestOneRuleForOneComponent(t *testing.T) {
	d := newDesk(t)
	ticket, err := d.Invite("gateways", map[string]any{"id": "gw", "sensors": []map[string]string{
		{"id": "oxi-a", "model": "MAX30100", "serial": "1"}, {"id": "oxi-b", "model": "MAX30100", "serial": "2"}}})
	must(t, err)
	ids, err := d.redeem(ticket)
	must(t, err)
	d.state("sensor/oxi-b", "active")
	must(t, d.stop())
	text, err := os.ReadFile("access/default.cedar")
	must(t, err)
	d.cfg.Policies = filepath.Join(d.work, "own.cedar")
	must(t, os.WriteFile(d.cfg.Policies, append(text, `
@id("not-oxi-a")
forbid (principal == Component::"spiffe://`+domain+`/sensor/oxi-a", action == Action::"service:dial", resource == Service::"vitalseal.ingest");
`...), 0o600))
	d.start()
	// The Loopback keeps no roles, as an overlay that was tampered with: the hub refuses by itself.
	ends(t, "a sensor that a rule forbids to deliver", d.dial(ids["oxi-a"], overlay.ServiceIngest))
	if !strings.Contains(d.log.String(), "no rule lets") {
		t.Error("the log does not say why")
	}
	d.office.mu.Lock()
	defer d.office.mu.Unlock()
	want := map[string][]string{"oxi-a": {"dial." + overlay.ServiceRenew}, "oxi-b": {"dial." + overlay.ServiceIngest, "dial." + overlay.ServiceRenew}}
	for _, i := range d.office.plan.Identities {
		if roles, ok := want[i.ID.Name]; ok {
			if !i.Enabled || !slices.Equal(i.Roles, roles) {
				t.Errorf("%s: enabled %v, roles %v, want %v", i.ID.Name, i.Enabled, i.Roles, roles)
			}
			delete(want, i.ID.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the plan: %v", want)
	}
}
