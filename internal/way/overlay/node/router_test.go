package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/node"
	"vitalseal/internal/way/overlay/openziti"
)

// TestRealSecondRouter joins an additional edge router to the real network with its token, uses it,
// keeps it out and deletes it.
func TestRealSecondRouter(t *testing.T) {
	d := start(t)
	who := id("router", "wing-b")
	ziti, token, err := d.admin.CreateRouter(d.ctx, who)
	must(t, err)
	if _, _, err := d.admin.CreateRouter(d.ctx, who); !errors.Is(err, manage.ErrExists) {
		t.Errorf("the same router again: %v", err)
	}
	dir := t.TempDir()
	must(t, node.SaveRouterToken(dir, token))
	must(t, os.WriteFile(filepath.Join(dir, "is-router"), nil, 0o600))
	t.Setenv("VITALSEAL_TEST_NODE", dir)
	ctx, cancel := context.WithCancel(d.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- overlay.Supervise(ctx, overlay.SuperviseConfig{Exe: os.Args[0], Dir: dir, Log: d.log})
	}()
	defer func() { cancel(); must(t, <-ended) }()
	state := func() manage.RouterState {
		all, err := d.admin.Routers(d.ctx)
		must(t, err)
		for _, r := range all {
			if r.ZitiID == ziti {
				return r
			}
		}
		return manage.RouterState{}
	}
	wait(t, "the router is there", func() error {
		if s := state(); !s.Online || !s.Verified || s.Certificate == nil || s.Version == "" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	// It stands between as well as the first: components still get through, whichever router they
	// choose.
	sensor := id("sensor", "oxi")
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(sensor), t.TempDir(), d.log)
	must(t, err)
	for range 4 {
		c, name := d.dial(d.connect(identities[0]))
		if name != sensor.String() {
			t.Errorf("the hub took it for %q", name)
		}
		echoes(t, c)
	}

	// Kept out by the inventory, and let in behind our back.
	want := plan()
	want.Domain = domain
	want.Identities = []manage.PlanIdentity{{ID: d.hub.ID(), ZitiID: overlay.ZitiID(d.hubIdentity.Config()), Roles: []string{"hub"}, Enabled: true},
		{ID: sensor, ZitiID: d.tickets.ziti[sensor], Roles: []string{"sensor"}, Enabled: true}}
	want.Routers = []manage.PlanRouter{{ID: who, ZitiID: ziti}}
	changes, err := d.admin.Reconcile(d.ctx, want, true)
	must(t, err)
	if len(changes) != 1 || changes[0].Kind != "router" {
		t.Errorf("keeping the router out made %v", changes)
	}
	wait(t, "the router is out", func() error {
		if s := state(); s.Online || !s.Disabled {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	must(t, d.admin.SetRouterEnabled(d.ctx, ziti, true))
	changes, err = d.admin.Reconcile(d.ctx, want, true)
	must(t, err)
	if len(changes) != 1 || !state().Disabled {
		t.Errorf("a router enabled behind our back: %v", changes)
	}
	if _, name := d.dial(d.connect(identities[0])); name != sensor.String() {
		t.Errorf("without the second router the hub took it for %q", name)
	}
	must(t, d.admin.DeleteRouter(d.ctx, ziti))
	must(t, d.admin.DeleteRouter(d.ctx, ziti))
	if err := node.SaveRouterToken(dir, token); !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("the token again: %v", err)
	}
}
