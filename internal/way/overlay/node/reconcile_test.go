package node_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/mgmt"
	"vitalseal/internal/way/overlay/node"
	"vitalseal/internal/way/overlay/openziti"
)

// TestDriftIsPutRight changes things on the real network behind the hub's back, as a holder of the
// controller's password can: every change is found, reported, and put right, with live connections
// that it allowed cut.
func TestDriftIsPutRight(t *testing.T) {
	d := start(t)
	names := []overlay.ID{id("sensor", "oxi"), id("workstation", "desk")}
	_, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(names...), t.TempDir(), d.log)
	must(t, err)
	sensor, desk := d.tickets.ziti[names[0]], d.tickets.ziti[names[1]]
	want := plan()
	want.Domain = domain
	want.Identities = []manage.PlanIdentity{
		{ID: d.hub.ID(), ZitiID: overlay.ZitiID(d.hubIdentity.Config()), Roles: []string{"hub"}, Enabled: true},
		{ID: names[0], ZitiID: sensor, Roles: []string{"sensor"}, Enabled: true},
		{ID: names[1], ZitiID: desk, Roles: []string{"workstation"}, Enabled: true},
	}
	reconcile := func() []string {
		t.Helper()
		changes, err := d.admin.Reconcile(d.ctx, want, true)
		must(t, err)
		var got []string
		for _, c := range changes {
			got = append(got, c.String())
		}
		return got
	}
	if got := reconcile(); len(got) != 0 {
		t.Fatalf("a network as it should be was changed: %v", got)
	}

	// An attacker with the password of the offline administrator.
	info, err := overlay.ReadNode(d.dir)
	must(t, err)
	password, err := os.ReadFile(filepath.Join(d.dir, "admin.password"))
	must(t, err)
	root, err := os.ReadFile(filepath.Join(d.dir, overlay.NodeRoot))
	must(t, err)
	mallory, err := mgmt.New(mgmt.Config{URL: info.Controller, Roots: pool(root), User: node.AdminUser, Password: strings.TrimSpace(string(password))})
	must(t, err)
	defer mallory.Close()
	call := func(method, path string, in any) string {
		t.Helper()
		var out struct {
			ID string `json:"id"`
		}
		if method == http.MethodPost && strings.Count(path, "/") == 1 {
			must(t, mallory.Call(d.ctx, method, mgmt.Edge+path, in, &out))
			return out.ID
		}
		must(t, mallory.Call(d.ctx, method, mgmt.Edge+path, in, nil))
		return ""
	}
	find := func(path, name string) string {
		t.Helper()
		all, err := mgmt.List[struct {
			ID string `json:"id"`
		}](d.ctx, mallory, mgmt.Edge+path, "name="+mgmt.Quote(name))
		must(t, err)
		if len(all) != 1 {
			t.Fatalf("%d entities named %s", len(all), name)
		}
		return all[0].ID
	}
	ingest, faces := find("/services", overlay.ServiceIngest), find("/services", overlay.ServiceFaces)
	foreign := call(http.MethodPost, "/identities", map[string]any{"name": "mallory", "type": "Default", "isAdmin": false,
		"enrollment": map[string]any{"ott": true}})

	for _, x := range []struct {
		name   string
		tamper func()
		want   []string // each in one change
	}{
		{"a policy edited", func() {
			call(http.MethodPatch, "/service-policies/"+find("/service-policies", "faces-dial"), map[string]any{"identityRoles": []string{"#workstation", "#sensor"}})
		}, []string{"update policy faces-dial: roles"}},
		{"a policy deleted", func() {
			call(http.MethodDelete, "/service-policies/"+find("/service-policies", "ingest-dial"), nil)
		}, []string{"create policy ingest-dial"}},
		{"a bind policy widened", func() {
			call(http.MethodPatch, "/service-policies/"+find("/service-policies", "hub-bind"), map[string]any{"identityRoles": []string{"#all"}})
		}, []string{"update policy hub-bind: roles"}},
		{"a foreign policy that names our service", func() {
			call(http.MethodPost, "/service-policies", map[string]any{"name": "handy", "type": "Dial", "semantic": "AnyOf",
				"identityRoles": []string{"@" + foreign}, "serviceRoles": []string{"@" + ingest}})
		}, []string{"delete policy handy: a foreign policy that reaches our services"}},
		{"a foreign policy for all services", func() {
			call(http.MethodPost, "/service-policies", map[string]any{"name": "wide", "type": "Bind", "semantic": "AnyOf",
				"identityRoles": []string{"#all"}, "serviceRoles": []string{"#all"}})
		}, []string{"delete policy wide: a foreign policy that reaches our services"}},
		{"a service with role attributes and without encryption", func() {
			call(http.MethodPatch, "/services/"+faces, map[string]any{"roleAttributes": []string{"open"}})
		}, []string{"update service " + overlay.ServiceFaces}},
		{"a role attribute added", func() {
			call(http.MethodPatch, "/identities/"+sensor, map[string]any{"roleAttributes": []string{"sensor", "workstation"}})
		}, []string{"update identity " + names[0].String() + ": role attributes"}},
		{"a foreign identity given our role", func() {
			call(http.MethodPatch, "/identities/"+foreign, map[string]any{"roleAttributes": []string{"sensor", "their-own"}})
		}, []string{"update identity mallory: a foreign identity held roles of ours"}},
		{"made an administrator", func() {
			call(http.MethodPatch, "/identities/"+desk, map[string]any{"isAdmin": true})
		}, []string{"update identity " + names[1].String() + ": it was made an administrator"}},
		{"disabled", func() {
			call(http.MethodPost, "/identities/"+desk+"/disable", map[string]any{"durationMinutes": 0})
		}, []string{"update identity " + names[1].String() + ": it was disabled"}},
		{"routing policy narrowed", func() {
			call(http.MethodPatch, "/edge-router-policies/"+find("/edge-router-policies", "vitalseal-all"), map[string]any{"identityRoles": []string{"#sensor"}})
		}, []string{"update routing vitalseal-all of edge-router-policies: roles"}},
	} {
		x.tamper()
		got := reconcile()
		if len(got) != len(x.want) || !strings.HasPrefix(got[0], x.want[0]) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
		if again := reconcile(); len(again) != 0 {
			t.Errorf("%s was not put right: %q", x.name, again)
		}
	}

	// Given a role behind our back, it gets through; put right, what it opened ends and it gets
	// through no more.
	guest := id("sensor", "guest")
	ziti, token, err := d.admin.CreateIdentity(d.ctx, guest)
	must(t, err)
	want.Identities = append(want.Identities, manage.PlanIdentity{ID: guest, ZitiID: ziti, Enabled: true})
	config, err := openziti.NewNetwork(d.log).Enrol(d.ctx, token)
	must(t, err)
	identity, err := overlay.IssueIdentity(d.authority, guest, config, nil, time.Hour)
	must(t, err)
	if got := reconcile(); len(got) != 0 {
		t.Errorf("a new component made %q", got)
	}
	call(http.MethodPatch, "/identities/"+ziti, map[string]any{"roleAttributes": []string{"sensor"}})
	net := d.connect(identity)
	open, _ := d.dial(net)
	if got := reconcile(); !slices.Equal(got, []string{"update identity " + guest.String() + ": role attributes"}) {
		t.Errorf("a role given behind our back: %q", got)
	}
	ended(t, open)
	cannotDial(t, d, net, overlay.ServiceIngest)
	// The same with a policy: the first reconciliation removes it and cuts what it let through.
	call(http.MethodPost, "/service-policies", map[string]any{"name": "back-door", "type": "Dial", "semantic": "AnyOf",
		"identityRoles": []string{"@" + ziti}, "serviceRoles": []string{"@" + ingest}})
	open, _ = d.dial(net)
	if got := reconcile(); len(got) != 1 {
		t.Errorf("a policy made behind our back: %q", got)
	}
	ended(t, open)
	cannotDial(t, d, net, overlay.ServiceIngest)

	// Disabled in the inventory and enabled again behind our back.
	want.Identities[1].Enabled, want.Identities[1].Roles = false, nil
	if got := reconcile(); len(got) != 1 {
		t.Errorf("disabling made %q", got)
	}
	call(http.MethodPost, "/identities/"+sensor+"/enable", map[string]any{})
	if got := reconcile(); !slices.Equal(got, []string{"update identity " + names[0].String() + ": it was enabled"}) {
		t.Errorf("enabled again behind our back: %q", got)
	}
	// An overtaken plan changes no identity.
	call(http.MethodPost, "/identities/"+sensor+"/enable", map[string]any{})
	want.Stale = func() bool { return true }
	if _, err := d.admin.Reconcile(d.ctx, want, true); !errors.Is(err, manage.ErrStale) {
		t.Errorf("an overtaken plan: %v", err)
	}
	want.Stale = nil
	if got := reconcile(); len(got) != 1 {
		t.Errorf("after an overtaken plan: %q", got)
	}
	// Gone, as far as we are concerned: what the inventory calls deleted goes at once.
	want.Removed = map[string]bool{sensor: true}
	want.Identities = append(want.Identities[:1:1], want.Identities[2:]...)
	if got := reconcile(); !slices.Equal(got, []string{"delete identity " + names[0].String() + ": not in the inventory"}) {
		t.Errorf("a deleted component that was still there: %q", got)
	}
	// Deleted behind our back: said once, nothing can be done.
	call(http.MethodDelete, "/identities/"+desk, nil)
	if got := reconcile(); len(got) != 1 || !strings.HasSuffix(got[0], "a new ticket is needed") {
		t.Errorf("deleted behind our back: %q", got)
	}
	if got := reconcile(); len(got) != 0 {
		t.Errorf("said twice: %q", got)
	}
}

// TestReconcileIsCheap: with a thousand identities a cycle that finds nothing stays cheap.
func TestReconcileIsCheap(t *testing.T) {
	if testing.Short() || os.Getenv("VITALSEAL_LONG") == "" {
		t.Skip("makes a thousand identities; set VITALSEAL_LONG=1")
	}
	d := start(t)
	want := plan()
	want.Domain = domain
	want.Identities = []manage.PlanIdentity{{ID: d.hub.ID(), ZitiID: overlay.ZitiID(d.hubIdentity.Config()), Roles: []string{"hub"}, Enabled: true}}
	began := time.Now()
	for n := range 1000 {
		i := id("sensor", "s-"+strconv.Itoa(n))
		ziti, _, err := d.admin.CreateIdentity(d.ctx, i, "sensor")
		must(t, err)
		want.Identities = append(want.Identities, manage.PlanIdentity{ID: i, ZitiID: ziti, Roles: []string{"sensor"}, Enabled: true})
	}
	t.Logf("measured: 1,000 identities made in %s", time.Since(began).Round(time.Millisecond))
	for n := range 6 {
		began := time.Now()
		changes, err := d.admin.Reconcile(context.WithoutCancel(d.ctx), want, true)
		must(t, err)
		t.Logf("measured: cycle %d took %s", n, time.Since(began).Round(time.Microsecond))
		if len(changes) != 0 {
			t.Errorf("changes: %v", changes)
		}
	}
}
