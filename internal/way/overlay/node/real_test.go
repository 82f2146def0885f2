package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
)

// TestRealNetwork goes the whole way on a real OpenZiti network in a child process: enrolment,
// dialling, what must be refused, revocation of one identity among neighbours, and a kill -9 of the
// network.
func TestRealNetwork(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("signals")
	}
	d := start(t)
	ids := []overlay.ID{id("gateway", "gw-a"), id("sensor", "gw-a-oxi-1"), id("sensor", "gw-a-oxi-2")}
	dir := t.TempDir()
	ticket := d.ticket(ids...)
	began := time.Now()
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), ticket, dir, d.log)
	must(t, err)
	t.Logf("measured: gateway and two sensors enrolled in %s", time.Since(began).Round(time.Millisecond))
	if got := string(identities[1].Recipient()); got != string(d.recipient) {
		t.Errorf("recipient key is %q", got)
	}
	if _, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), ticket, t.TempDir(), d.log); !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("the ticket a second time: %v, want ErrTicketUsed", err)
	}

	// From the file, as after a restart of the gateway.
	one, err := overlay.LoadIdentity(overlay.IdentityPath(dir, ids[1]))
	must(t, err)
	two := identities[2]
	oneNet, twoNet := d.connect(one), d.connect(two)
	began = time.Now()
	conn1, who1 := d.dial(oneNet)
	t.Logf("measured: first dial %s", time.Since(began).Round(time.Millisecond))
	conn2, who2 := d.dial(twoNet)
	if who1 != ids[1].String() || who2 != ids[2].String() {
		t.Fatalf("the hub took the sensors for %q and %q", who1, who2)
	}
	began = time.Now()
	again, _ := d.dial(oneNet)
	t.Logf("measured: next dial %s", time.Since(began).Round(time.Millisecond))
	must(t, again.Close())

	t.Run("renewal over the network", func(t *testing.T) {
		before := one.Expires()
		must(t, (&overlay.Renewer{Identity: one, Endpoint: oneNet, Log: d.log}).Renew(d.ctx))
		if !one.Expires().After(before) {
			t.Errorf("expires at %s, before at %s", one.Expires(), before)
		}
		echoes(t, conn1)
	})
	t.Run("wrong service", func(t *testing.T) { cannotDial(t, d, oneNet, overlay.ServiceFaces) })
	t.Run("not enrolled", func(t *testing.T) {
		// Another network's identity: right form, unknown key.
		stranger, err := overlay.IssueIdentity(d.authority, id("sensor", "stranger"), strangerConfig(t, two.Config()), nil, time.Hour)
		must(t, err)
		cannotDial(t, d, d.connect(stranger), overlay.ServiceIngest)
	})
	t.Run("enrolled without a policy", func(t *testing.T) {
		who := id("sensor", "no-policy")
		_, jwt, err := d.admin.CreateIdentity(d.ctx, who)
		must(t, err)
		config, err := openziti.NewNetwork(d.log).Enrol(d.ctx, jwt)
		must(t, err)
		identity, err := overlay.IssueIdentity(d.authority, who, config, nil, time.Hour)
		must(t, err)
		cannotDial(t, d, d.connect(identity), overlay.ServiceIngest)
	})
	t.Run("a lying caller id", func(t *testing.T) { lyingCaller(t, d, two, ids[1]) })
	t.Run("another's way in, own certificate", func(t *testing.T) {
		// A dialler with sensor 1's OpenZiti identity is still the component that its SVID names.
		identity, err := overlay.IssueIdentity(d.authority, ids[2], one.Config(), nil, time.Hour)
		must(t, err)
		if _, who := d.dial(d.connect(identity)); who != ids[2].String() {
			t.Errorf("the hub took it for %q", who)
		}
	})

	if t.Failed() {
		return
	}
	t.Run("disable and enable", func(t *testing.T) {
		cut := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(cut)
			ended(t, conn1)
		}()
		must(t, d.admin.Disable(d.ctx, d.tickets.ziti[ids[1]]))
		<-cut
		took := time.Since(began)
		t.Logf("measured: open connection cut within %s of the call to disable", took.Round(time.Millisecond))
		if took > 5*time.Second {
			t.Errorf("cut after %s, want within 5 s", took)
		}
		echoes(t, conn2)
		cannotDial(t, d, oneNet, overlay.ServiceIngest)
		must(t, d.admin.Enable(d.ctx, d.tickets.ziti[ids[1]]))
		began = time.Now()
		_, who := d.dial(oneNet)
		t.Logf("measured: dial after enable %s", time.Since(began).Round(time.Millisecond))
		if who != ids[1].String() {
			t.Errorf("the hub took it for %q", who)
		}
		echoes(t, conn2)
	})
	if t.Failed() {
		return
	}
	t.Run("delete", func(t *testing.T) {
		c, _ := d.dial(oneNet)
		must(t, d.admin.Delete(d.ctx, d.tickets.ziti[ids[1]]))
		t.Logf("measured: open connection cut %s after the call to delete returned", ended(t, c).Round(time.Millisecond))
		cannotDial(t, d, oneNet, overlay.ServiceIngest)
		must(t, d.admin.Delete(d.ctx, d.tickets.ziti[ids[1]]))
		echoes(t, conn2)
	})
	t.Run("kill -9", func(t *testing.T) {
		info, err := overlay.ReadNode(d.dir)
		must(t, err)
		// A redeemed token that was left lying and has run out must not cost the hub its identity
		// at the restart.
		leftOver := filepath.Join(d.dir, overlay.HubTokenFile)
		must(t, os.WriteFile(leftOver, []byte("e30.e30.e30"), 0o600))
		began := time.Now()
		must(t, syscall.Kill(info.PID, syscall.SIGKILL))
		ended(t, conn2)
		c, who := d.dial(twoNet)
		t.Logf("measured: connected again %s after kill -9", time.Since(began).Round(time.Millisecond))
		if who != ids[2].String() {
			t.Errorf("the hub took it for %q", who)
		}
		echoes(t, c)
		changes, err := d.admin.Reconcile(d.ctx, plan(), false)
		must(t, err)
		if len(changes) != 0 {
			t.Errorf("after the restart the network differs from the plan: %v", changes)
		}
		if _, err := os.Stat(leftOver); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the left-over token: %v", err)
		}
	})
	t.Run("stop", func(t *testing.T) {
		began := time.Now()
		must(t, d.stopNode())
		t.Logf("measured: node stopped in %s", time.Since(began).Round(time.Millisecond))
		if _, err := os.Stat(filepath.Join(d.dir, overlay.NodeFile)); err == nil {
			t.Error("node.json is still there")
		}
	})
	if log := d.logged.String(); strings.Contains(log, "eyJ") || strings.Contains(log, ticket.Secret) {
		t.Error("the log contains a token")
	}
}
