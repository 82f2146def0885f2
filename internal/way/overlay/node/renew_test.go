package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/openziti"
)

// TestRealRenewals lives through renewals of every certificate there is, on the real network, while
// one connection carries data all the time: SVIDs of a few seconds, OpenZiti's certificates at both
// ends, the controller's administration, and a rotation of the key.
func TestRealRenewals(t *testing.T) {
	d := startWith(t, 24*time.Second) // and half of that at enrolment; what was read from a file must outlast a slow dial
	sensor := id("sensor", "oxi")
	dir := t.TempDir()
	_, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(sensor), dir, d.log)
	must(t, err)
	path := overlay.IdentityPath(dir, sensor)
	one, err := overlay.LoadIdentity(path)
	must(t, err)
	net := d.connect(one)
	conn, _ := d.dial(net)

	// Carried without a gap: the writer waits for each answer.
	var carried atomic.Int64
	ctx, stop := context.WithCancel(d.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			line := fmt.Sprintf("reading %d", carried.Load())
			if _, err := io.WriteString(conn, line+"\n"); err != nil {
				t.Errorf("the connection broke after %d readings: %v", carried.Load(), err)
				return
			}
			if got := readLineE(conn); got != line {
				t.Errorf("%q came back as %q", line, got)
				return
			}
			carried.Add(1)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	carriesOn := func(what string) {
		t.Helper()
		until := carried.Load() + 3
		wait(t, "readings after "+what, func() error {
			if n := carried.Load(); n < until {
				return fmt.Errorf("%d readings", n)
			}
			return nil
		})
	}

	wg.Go(func() { _ = (&overlay.Renewer{Identity: one, Endpoint: net, Log: d.log}).Run(ctx) })
	t.Run("SVIDs", func(t *testing.T) {
		for range 3 {
			end := one.Expires()
			wait(t, "a renewal", func() error {
				if !one.Expires().After(end) {
					return errors.New("not renewed")
				}
				return nil
			})
		}
		carriesOn("renewals of the SVID")
		if _, who := d.dial(net); who != sensor.String() {
			t.Errorf("the hub took it for %q", who)
		}
	})

	network := openziti.NewNetwork(d.log)
	t.Run("OpenZiti's own, at the dialler", func(t *testing.T) {
		before := one.Config()
		r := &overlay.Renewer{Identity: one, Endpoint: net, Network: network, Log: d.log}
		must(t, r.Extend(d.ctx))
		after := one.Config()
		was, is := overlay.ZitiCertificate(before), overlay.ZitiCertificate(after)
		if was.Equal(is) || overlay.ZitiID(before) != overlay.ZitiID(after) || !is.NotAfter.After(was.NotAfter.Add(-time.Second)) {
			t.Errorf("extended from %s (%s) to %s (%s)", was.SerialNumber, was.NotAfter, is.SerialNumber, is.NotAfter)
		}
		carriesOn("an extension")
		if _, who := d.dial(net); who != sensor.String() {
			t.Errorf("the hub took it for %q", who)
		}
		// From the file, as after a restart.
		loaded, err := overlay.LoadIdentity(path)
		must(t, err)
		if _, who := d.dial(d.connect(loaded)); who != sensor.String() {
			t.Errorf("the hub took it for %q", who)
		}
		if err := overlay.ProbeZiti(d.ctx, before); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("the old certificate: %v, want ErrRefused", err)
		}
		// Interrupted after the controller took the new one: the file has both, and the next
		// extension finds out.
		kept := errors.New("killed")
		_, err = network.Extend(d.ctx, after, nil, func([]byte) error { return kept })
		if !errors.Is(err, kept) {
			t.Fatal(err)
		}
		if got, err := network.Extend(d.ctx, before, after, func([]byte) error { return kept }); err != nil || string(got) != string(after) {
			t.Errorf("an extension that had gone through was not taken up: %v", err)
		}
	})
	t.Run("OpenZiti's own, at the host", func(t *testing.T) {
		r := &overlay.Renewer{Identity: d.hubIdentity, Endpoint: d.hub, Authority: d.authority, TTL: time.Hour, Network: network, Log: d.log}
		for range 2 {
			must(t, r.Extend(d.ctx))
			carriesOn("an extension at the host")
			if _, who := d.dial(net); who != sensor.String() {
				t.Errorf("the hub took it for %q", who)
			}
		}
	})
	t.Run("OpenZiti's own, of the administration", func(t *testing.T) {
		file := filepath.Join(d.dir, "hub-admin.ziti.json")
		before, err := os.ReadFile(file)
		must(t, err)
		must(t, d.admin.Extend(d.ctx, network, true))
		after, err := os.ReadFile(file)
		must(t, err)
		if string(before) == string(after) {
			t.Error("nothing changed on disk")
		}
		_, err = d.admin.Routers(d.ctx)
		must(t, err)
		again, err := manage.ConnectAdmin(d.ctx, file, d.log)
		must(t, err)
		must(t, again.Close())
		carriesOn("an extension of the administration's")
	})
	t.Run("a new key", func(t *testing.T) {
		_, oldKey := overlay.Fingerprint(one.SVID())
		d.rotate.Store(true)
		must(t, (&overlay.Renewer{Identity: one, Endpoint: net, Log: d.log}).Renew(d.ctx))
		d.rotate.Store(false)
		if _, key := overlay.Fingerprint(one.SVID()); key == oldKey {
			t.Error("the key is the old one")
		}
		loaded, err := overlay.LoadIdentity(path)
		must(t, err)
		if _, who := d.dial(d.connect(loaded)); who != sensor.String() {
			t.Errorf("the hub took it for %q", who)
		}
		carriesOn("a rotation") // the hub of this test cuts no connection; package hub does, and tests it
	})
	stop()
	wg.Wait()
	t.Logf("measured: %d readings carried on one connection", carried.Load())
}

func readLineE(r io.Reader) string {
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			return "error: " + err.Error()
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// wait asks until it is so, for at most a minute.
func wait(t *testing.T, what string, so func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = so(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// TestRealFirstDialsAtOnce: several goroutines of one component dial the same service for the first
// time at once, as a gateway's do at its start; all get through.
func TestRealFirstDialsAtOnce(t *testing.T) {
	d := start(t)
	who := id("gateway", "gw")
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(who), t.TempDir(), d.log)
	must(t, err)
	for range 5 {
		e := d.connect(identities[0])
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				c, err := e.Dial(d.ctx, overlay.ServiceIngest)
				if err != nil {
					t.Errorf("a first dial among others: %v", err)
					return
				}
				if got := readLineE(c); got != who.String() {
					t.Errorf("the hub took it for %q", got)
				}
				_ = c.Close()
			})
		}
		wg.Wait()
		must(t, e.Close())
	}
}
