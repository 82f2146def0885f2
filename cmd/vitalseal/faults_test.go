package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
)

// TestFaults kills and freezes the real processes, with the real network, at random instants: the gateway, the hub, and the
// process that is both the network's controller and its edge router, and a second edge router. A frozen network is a partition: connections stay open and
// nothing comes through. At the end every chunk that was ever durable on the gateway is accounted for. It is short unless
// VITALSEAL_SOAK says how long to go on (`make soak`).
func TestFaults(t *testing.T) {
	const gw = "gw-a1"
	seed := startDemo(t, "--patients", "1", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	chance := rand.New(rand.NewPCG(rand.Uint64(), 1))
	f := &faulty{t: t, dir: seed.dir, gw: gw, logs: t.TempDir(), chance: chance, account: newProduced(t)}
	w := seed.ward(t)
	f.overlay = start(t, f.logs, "overlay", "--data", f.in("overlay"))
	f.startHub()
	start(t, f.logs, "connect", "--data", f.in("connect"), "--listen", seed.listen, "--plain")
	admin := signInAt(t, seed.url(), w.Admin, &seed.secrets)
	before := admin.delivery()
	f.startRouter(admin)
	f.account.seed(f.in(gw))
	f.startGateway()
	f.progress("first deliveries")

	faults := []struct {
		name string
		do   func()
	}{
		{"gateway killed", func() { f.killGateway(); f.startGateway() }},
		{"hub killed", func() { f.hub.kill(); f.pause(3 * time.Second); f.startHub() }},
		{"controller and router killed", func() { signal(t, f.node("overlay"), syscall.SIGKILL) }}, // its supervisor starts it again
		{"second router killed", func() { signal(t, f.node("router"), syscall.SIGKILL) }},
		{"network frozen", func() { f.freeze(f.node("overlay"), 20*time.Second) }},
		{"second router frozen", func() { f.freeze(f.node("router"), 10*time.Second) }},
		{"hub frozen", func() { f.freeze(f.hub.cmd.Process.Pid, 5*time.Second) }},
		{"hub and gateway killed", func() { f.hub.kill(); f.pause(time.Second); f.killGateway(); f.startGateway(); f.startHub() }},
		{"gateway frozen", func() { f.freeze(f.gateway.cmd.Process.Pid, 3*time.Second) }},
	}
	count := map[string]int{}
	began := time.Now()
	for more, i := soak(t, len(faults)), 0; more(); i++ {
		x := faults[i%len(faults)]
		if i >= len(faults) {
			x = faults[chance.IntN(len(faults))]
		}
		f.pause(2 * time.Second)
		x.do()
		count[x.name]++
		if i%3 == 2 { // else the next fault may come before the last one is overcome
			f.progress(x.name)
		}
	}

	// Calm: everything is delivered, then the gateway stops in order.
	var last gateway.Status
	await(t, "the last of the backlog", func() (err error) {
		if last, err = gatewayStatus(f.dir, gw); err == nil && (last.Boot != f.boot || last.Backlog.Records > 0 || last.OutboxRecords > 30) {
			err = fmt.Errorf("%+v", last.Backlog)
		}
		return err
	})
	out, err := exec.Command(vitalseal(t), "gateway", "status", "--data", f.in(gw)).CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "of 1 sensors connected") && !strings.Contains(text, "of 3 sensors connected") ||
		!strings.Contains(text, "0 chunks dropped") || !strings.Contains(text, "clock") {
		t.Errorf("gateway status: %v\n%s", err, text)
	}
	f.gateway.stop()
	f.account.add(f.in(gw, "outbox"))
	last, err = gatewayStatus(f.dir, gw)
	if err != nil {
		t.Fatal(err)
	}
	if last.OutboxRecords != 0 {
		t.Errorf("%d records are left in the outbox", last.OutboxRecords)
	}
	produced := f.account.byStream()
	for _, s := range last.Streams {
		if s.Acked != s.Produced || s.Dropped+s.Rejected+s.Lost != 0 {
			t.Errorf("the last run's account: %+v", s)
		}
		produced[stream{s.Sensor, s.Signal}] += int64(s.Produced) - f.account.of(last.Boot, s.Sensor, s.Signal)
	}
	after := signInAt(t, seed.url(), w.Admin, &seed.secrets).delivery()
	var made, kept int64
	for s, n := range produced {
		got := after[s]
		if want := (stored{Chunks: before[s].Chunks + n}); got != want {
			t.Errorf("%v: the hub has %+v, want %+v", s, got, want)
		}
		made, kept = made+n, kept+got.Chunks-before[s].Chunks
	}
	t.Logf("ACCOUNT of %v with %d faults: produced %d = stored %d + gap records 0 + quarantined 0; doubled 0, lost %d", time.Since(began).Round(time.Second),
		sum(count), made, kept, made-kept)
	for name, n := range count {
		t.Logf("%4d x %s", n, name)
	}
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// soak tells how often to go round: rounds times, or for as long as VITALSEAL_SOAK says.
func soak(t *testing.T, rounds int) func() bool {
	t.Helper()
	n := 0
	v := os.Getenv("VITALSEAL_SOAK")
	if v == "" {
		return func() bool { n++; return n <= rounds }
	}
	lasting, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("VITALSEAL_SOAK: %v", err)
	}
	end := time.Now().Add(lasting)
	return func() bool { n++; return n <= rounds || time.Now().Before(end) }
}

// faulty is a deployment that suffers.
type faulty struct {
	t                     *testing.T
	dir, gw, logs         string
	chance                *rand.Rand
	overlay, hub, gateway *part
	boot                  uint64 // of the gateway's newest start
	account               *produced
}

func (f *faulty) in(elem ...string) string { return filepath.Join(append([]string{f.dir}, elem...)...) }

func (f *faulty) startHub() { f.hub = start(f.t, f.logs, "hub", "--config", f.in("hub.yaml")) }

func (f *faulty) startGateway() {
	f.t.Helper()
	f.gateway = start(f.t, f.logs, "gateway", "--config", f.in(f.gw, "gateway.yaml"), "--bench", f.in(f.gw, "bench.yaml"))
	b, err := os.ReadFile(f.in(f.gw, "boot"))
	if err == nil {
		f.boot, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// killGateway also notes what it had produced.
func (f *faulty) killGateway() {
	f.t.Helper()
	f.gateway.kill()
	f.account.add(f.in(f.gw, "outbox"))
}

// startRouter adds an edge router in a process of its own. Whose connections lead through which is the network's choice.
func (f *faulty) startRouter(admin api) {
	f.t.Helper()
	var ticket json.RawMessage
	admin.post("/api/admin/routers", map[string]string{"id": "second"}, &ticket)
	file := filepath.Join(f.t.TempDir(), "router.ticket")
	if err := os.WriteFile(file, ticket, 0o600); err != nil {
		f.t.Fatal(err)
	}
	start(f.t, f.logs, "router", "--ticket", file, "--data", f.in("router"))
}

// node is the process of the controller and its router, or of the second router, below its supervisor.
func (f *faulty) node(which string) int {
	f.t.Helper()
	var pid int
	await(f.t, "the process of the "+which, func() error {
		for _, line := range processes(f.t, f.in(which)) {
			path, command, _ := strings.Cut(line, ": ")
			if strings.Contains(command, " "+which+" node ") {
				var err error
				pid, err = strconv.Atoi(filepath.Base(path))
				return err
			}
		}
		return errors.New("not there")
	})
	return pid
}

// freeze stops a process for up to a while.
func (f *faulty) freeze(pid int, most time.Duration) {
	f.t.Helper()
	signal(f.t, pid, syscall.SIGSTOP)
	f.pause(most)
	signal(f.t, pid, syscall.SIGCONT)
}

// pause is the random part of a random instant.
func (f *faulty) pause(most time.Duration) { time.Sleep(time.Duration(f.chance.Int64N(int64(most)))) }

// progress waits until the hub takes from the gateway's newest start again.
func (f *faulty) progress(after string) {
	f.t.Helper()
	had, since := uint64(0), false
	await(f.t, "deliveries after: "+after, func() error {
		st, err := gatewayStatus(f.dir, f.gw)
		if err != nil {
			return err
		}
		acked := st.BacklogAcked
		for _, s := range st.Streams {
			acked += s.Acked
		}
		if st.Boot != f.boot || !since || acked <= had {
			if st.Boot == f.boot && !since {
				had, since = acked, true
			}
			return fmt.Errorf("start %d of %d, %d acknowledged, %+v", st.Boot, f.boot, acked, st.Backlog)
		}
		return nil
	})
}

// produced is the account of what a gateway made durable, by epoch, from what is left of it in the outbox's files: chunks that
// the hub has acknowledged stay in them until a whole file can go.
type produced struct {
	t     *testing.T
	count map[producedEpoch]int64 // highest sequence number + 1
	old   map[producedEpoch]bool  // of before the test began
}

type producedEpoch struct {
	stream
	number uint64
	id     string
}

func newProduced(t *testing.T) *produced {
	return &produced{t: t, count: map[producedEpoch]int64{}, old: map[producedEpoch]bool{}}
}

// seed notes the epochs that are not the test's.
func (p *produced) seed(data string) {
	p.t.Helper()
	p.add(filepath.Join(data, "outbox"))
	for e := range p.count {
		p.old[e] = true
	}
}

// add reads a copy of a dead gateway's outbox as if nothing had been acknowledged.
func (p *produced) add(dir string) {
	p.t.Helper()
	work := filepath.Join(p.t.TempDir(), "outbox")
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range []string{"acks", "acks.log"} {
		if err := os.Remove(filepath.Join(work, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.t.Fatal(err)
		}
	}
	q, err := outbox.Open(work, outbox.Options{MaxBytes: 4 << 30, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	defer q.Close()
	for _, lane := range q.Lanes() {
		l := q.Lane(lane)
		for range l.Pending() {
			r, err := l.Next(context.Background())
			if err != nil {
				p.t.Fatal(err)
			}
			m, err := delivery.ParseMessage(r.Data)
			if err != nil {
				p.t.Fatal(err)
			}
			if m.Announcement {
				continue
			}
			e := producedEpoch{stream{lane, vitals.Signal(m.Signal).String()}, m.Epoch.Number, m.Epoch.ID.String()}
			p.count[e] = max(p.count[e], int64(m.Seq)+1)
		}
	}
	if err := os.RemoveAll(work); err != nil {
		p.t.Fatal(err)
	}
}

func (p *produced) byStream() map[stream]int64 {
	out := map[stream]int64{}
	for e, n := range p.count {
		if !p.old[e] {
			out[e.stream] += n
		}
	}
	return out
}

// of is what is known of one start's production of a stream.
func (p *produced) of(boot uint64, sensor, signal string) (n int64) {
	for e, c := range p.count {
		if e.number>>20 == boot && e.stream == (stream{sensor, signal}) && !p.old[e] {
			n += c
		}
	}
	return n
}
