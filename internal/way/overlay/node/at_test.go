package node_test

import (
	"sync"
	"testing"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
)

// TestRealOneOfSeveralHubs: a hub hosts a service twice, as any hub and as itself; who asks for it
// by name reaches it, as long as both last, and who asks for another is not connected.
func TestRealOneOfSeveralHubs(t *testing.T) {
	d := start(t)
	self := id(overlay.KindHub, "hub")
	own, err := d.hub.Listen(d.ctx, overlay.At(overlay.ServiceIngest, self))
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := own.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("at hub\n"))
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = own.Close(); serving.Wait() })
	who := id("gateway", "gw")
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), d.ticket(who), t.TempDir(), d.log)
	must(t, err)
	e := d.connect(identities[0])
	defer func() { must(t, e.Close()) }()
	var dialling sync.WaitGroup
	for service, want := range map[string]string{overlay.ServiceIngest: who.String(), overlay.At(overlay.ServiceIngest, self): "at hub"} {
		dialling.Go(func() { // the first dials of a service at once
			c, err := e.Dial(d.ctx, service)
			if err != nil {
				t.Errorf("%s: %v", service, err)
				return
			}
			if got := readLineE(c); got != want {
				t.Errorf("%s answered %q, want %q", service, got, want)
			}
			_ = c.Close()
		})
	}
	dialling.Wait()
	if c, err := e.Dial(d.ctx, overlay.At(overlay.ServiceIngest, id(overlay.KindHub, "hub-2"))); err == nil {
		t.Errorf("a hub that is not there answered: %s", c.Peer())
		_ = c.Close()
	}
}
