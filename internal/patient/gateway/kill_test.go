package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
)

// childEnv makes the test binary be a gateway: what it runs, as JSON.
const childEnv = "VITALSEAL_TEST_GATEWAY"

type child struct {
	Config  gateway.Config
	Profile bench.Profile
	Hub     string // TCP address
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := beGateway(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func beGateway(spec string) error {
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	b, err := newBench(c.Profile)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return gateway.Run(ctx, c.Config, gateway.Deps{Buses: b, Network: wire{c.Hub}, Log: quiet})
}

// start runs a gateway in a process of its own.
func (c child) start(t *testing.T) *exec.Cmd {
	t.Helper()
	spec, err := json.Marshal(c)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// gate stands before the hub and can be shut: connections break, and new ones fail at once.
type gate struct {
	net.Listener
	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		if g.shut {
			g.mu.Unlock()
			_ = c.Close()
			continue
		}
		g.conns = append(g.conns, c)
		g.mu.Unlock()
		return c, nil
	}
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.conns = nil
	}
}

// gated is the hub's own way to listen, through the gate.
type gated struct {
	wire
	g *gate
}

func (n gated) Listen(context.Context, string) (net.Listener, error) { return n.g, nil }

// waiting are the chunks in a dead gateway's outbox: durable there, not yet let go.
func waiting(t *testing.T, data string) (keys []chunkKey) {
	t.Helper()
	q, err := outbox.Open(filepath.Join(data, "outbox"), outbox.Options{Logger: quiet})
	must(t, err)
	defer func() { must(t, q.Close()) }()
	for _, name := range []string{oximeter, adc, cuff} {
		lane := q.Lane(name)
		for range lane.Pending() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			rec, err := lane.Next(ctx)
			cancel()
			must(t, err)
			m, err := delivery.ParseMessage(rec.Data)
			must(t, err)
			if !m.Announcement {
				keys = append(keys, chunkKey{spiffe(overlay.KindSensor, name).String(), m.Signal, m.Epoch.ID, m.Seq})
			}
		}
	}
	return keys
}

// TestKilledDuringOutage is the issue's promise, with the minute scaled to seconds: the hub goes away while a gateway
// measures, the gateway is killed with -9 and started again, twice, the hub comes back. All that was durable on the
// gateway is in the store, once, without holes.
func TestKilledDuringOutage(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 5, Start: time.Now(), CuffFirst: time.Second, CuffEvery: 10 * time.Minute})
	ln, err := wire{"127.0.0.1:0"}.Listen(t.Context(), "")
	must(t, err)
	g := &gate{Listener: ln}
	hub, err := overlay.IssueIdentity(w.authority, spiffe(overlay.KindHub, "hub"), nil, nil, time.Hour)
	must(t, err)
	w.serve(t, overlay.NewEndpoint(hub, gated{g: g}, quiet))
	c := child{Config: w.config(), Profile: w.profile, Hub: ln.Addr().String()}
	c.Config.DrainTimeout = 30 * time.Second
	stored := func() int {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.accepted)
	}

	// It delivers, the hub goes, it goes on measuring, and dies.
	first := c.start(t)
	eventually(t, "20 chunks from the first run", func() bool { return stored() >= 20 })
	g.set(true)
	before := stored()
	durable := map[chunkKey]bool{}
	for run, cmd := range []*exec.Cmd{first, nil} {
		if cmd == nil {
			cmd = c.start(t) // without a hub
		}
		eventually(t, "chunks waiting in the outbox", func() bool {
			st, err := readStatus(w.data)
			return err == nil && st.Boot == uint64(run+1) && st.OutboxRecords >= int64(50*(run+1)) // some of them the hub has already
		})
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("killed gateway ended with %v", err)
		}
		for _, k := range waiting(t, w.data) {
			durable[k] = true
		}
	}
	// Acknowledgements are made durable lazily, so a killed gateway's outbox also holds chunks that the hub has already.
	// What counts as waiting is what the hub does not have.
	atEnd, undelivered := stored(), 0
	w.store.mu.Lock()
	for k := range durable {
		if w.store.accepted[k] == 0 {
			undelivered++
		}
	}
	w.store.mu.Unlock()
	t.Logf("outage: %d stored when it began, %d at its end; outboxes held %d, of which %d the hub did not have", before, atEnd, len(durable), undelivered)
	if undelivered < 40 {
		t.Fatalf("only %d chunks waited for the hub: there was no outage", undelivered)
	}

	// Both come back.
	last := c.start(t)
	eventually(t, "the third run", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Boot == 3
	})
	g.set(false)
	eventually(t, "the backlog to be delivered", func() bool {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		for k := range durable {
			if w.store.accepted[k] == 0 {
				return false
			}
		}
		return true
	})
	eventually(t, "chunks of the third run", func() bool {
		st, err := readStatus(w.data)
		acked := uint64(0)
		for _, s := range st.Streams {
			acked += s.Acked
		}
		return err == nil && acked > 10
	})
	must(t, last.Process.Signal(syscall.SIGTERM))
	if err := last.Wait(); err != nil {
		t.Fatalf("stopped gateway ended with %v", err)
	}
	if usage, ok := last.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.Logf("third run: %v of CPU, %d MiB resident", last.ProcessState.UserTime()+last.ProcessState.SystemTime(), usage.Maxrss/1024)
	}
	st, err := readStatus(w.data)
	must(t, err)
	if st.OutboxRecords != 0 || st.BacklogAcked < uint64(len(durable)) {
		t.Errorf("status %+v: want an empty outbox and at least %d of the backlog", st, len(durable))
	}
	for _, s := range st.Streams {
		if s.Produced != s.Acked {
			t.Errorf("%+v: want all acked", s)
		}
	}
	total := w.account(t)
	epochs := map[string]bool{}
	for k := range w.store.accepted {
		if k.signal == uint8(vitals.PPG) {
			epochs[k.epoch.String()] = true
		}
	}
	if len(epochs) != 3 {
		t.Errorf("%d epochs of the pulse wave, want one a run", len(epochs))
	}
	third := uint64(0)
	for _, s := range st.Streams {
		third += s.Acked
	}
	t.Logf("%d chunks stored: %d before, %d waited through kills, %d of the third run", total, atEnd, undelivered, third)
	if want := atEnd + undelivered + int(third); total != want {
		t.Errorf("%d chunks stored, but the account says %d", total, want)
	}
}
