package gateway_test

import (
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
)

// link is a bad wire between a gateway and the hub. What TCP shows its users of a lossy network is this: bytes late and in odd
// pieces, silence for as long as retransmissions take, silence for good with the connection still open, and connections that end
// in the middle of a frame. (Loss and reordering of packets themselves would need the kernel's netem.)
type link struct {
	ln     net.Listener
	target string

	mu     sync.Mutex // guards the fields below
	jitter time.Duration
	loss   float64       // share of pieces that wait for a retransmission
	silent chan struct{} // not nil: nothing comes through until it is closed
	conns  map[net.Conn]bool
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	ln, err := wire{"127.0.0.1:0"}.Listen(t.Context(), "")
	must(t, err)
	l := &link{ln: ln, target: target, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		l.heal()
		l.cut()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			l.mu.Lock()
			l.conns[in], l.conns[out] = true, true
			l.mu.Unlock()
			wg.Go(func() { l.carry(in, out) })
			wg.Go(func() { l.carry(out, in) })
		}
	})
	return l
}

// carry moves bytes one way until either end closes.
func (l *link) carry(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		l.mu.Lock()
		delete(l.conns, from)
		l.mu.Unlock()
	}()
	b := make([]byte, 2048)
	for {
		n, err := from.Read(b[:1+rand.IntN(len(b))])
		if n > 0 {
			l.mu.Lock()
			wait, silent := time.Duration(0), l.silent
			if l.jitter > 0 {
				wait = rand.N(l.jitter)
			}
			if rand.Float64() < l.loss {
				wait += 200*time.Millisecond + rand.N(400*time.Millisecond)
			}
			l.mu.Unlock()
			if silent != nil {
				<-silent
			}
			time.Sleep(wait)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) bad(jitter time.Duration, loss float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jitter, l.loss = jitter, loss
}

// part makes the wire silent, with all connections open.
func (l *link) part() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent == nil {
		l.silent = make(chan struct{})
	}
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent != nil {
		close(l.silent)
		l.silent = nil
	}
	l.jitter, l.loss = 0, 0
}

// cut ends all connections, wherever they are.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// soakTime is how long a test with faults goes on, if VITALSEAL_SOAK says so; else short.
func soakTime(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	v := os.Getenv("VITALSEAL_SOAK")
	if v == "" {
		return short
	}
	d, err := time.ParseDuration(v)
	must(t, err)
	return d
}

// TestBadWire: a gateway in a process of its own delivers over a wire that is slow, lossy, silent and cut, to a hub that is slow,
// and is killed now and then. Nothing is lost, nothing is doubled.
func TestBadWire(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 9, Start: time.Now(), CuffFirst: time.Hour, CuffEvery: time.Hour})
	ln, err := wire{"127.0.0.1:0"}.Listen(t.Context(), "")
	must(t, err)
	hub, err := overlay.IssueIdentity(w.authority, spiffe(overlay.KindHub, "hub"), nil, nil, time.Hour)
	must(t, err)
	w.serve(t, overlay.NewEndpoint(hub, gated{g: &gate{Listener: ln}}, quiet))
	l := newLink(t, ln.Addr().String())
	c := child{Config: w.config(), Profile: w.profile, Hub: l.ln.Addr().String()}
	c.Config.DrainTimeout = time.Minute
	gw := c.start(t)
	boot := uint64(1)
	eventually(t, "deliveries", func() bool { return len(w.store.arrivals(oximeter, 1)) > 4 })

	faults := []func(time.Duration){
		func(d time.Duration) { l.bad(150*time.Millisecond, 0.05); time.Sleep(d); l.heal() },
		func(d time.Duration) { l.part(); time.Sleep(d); l.heal() },
		func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(rand.N(400 * time.Millisecond)) {
				l.cut()
			}
		},
		func(d time.Duration) { w.store.slow(80 * time.Millisecond); time.Sleep(d); w.store.slow(0) },
		func(d time.Duration) { l.part(); time.Sleep(d); l.cut(); l.heal() },
	}
	account := map[chunkKey]bool{} // durable on a gateway that was killed
	count := 0
	for end := time.Now().Add(soakTime(t, 8*time.Second)); count < len(faults) || time.Now().Before(end); count++ {
		i := count
		if count >= len(faults) {
			i = rand.IntN(len(faults))
		}
		longest := 2 * time.Second
		if os.Getenv("VITALSEAL_SOAK") != "" {
			longest = 40 * time.Second // beyond the idle timeout
		}
		faults[i%len(faults)](longest/4 + rand.N(longest*3/4))
		if count%4 == 3 {
			eventually(t, "the start that is to be killed", func() bool { // else it does not count
				st, err := readStatus(w.data)
				return err == nil && st.Boot == boot
			})
			must(t, gw.Process.Signal(syscall.SIGKILL))
			_ = gw.Wait()
			for _, k := range waiting(t, w.data) {
				account[k] = true
			}
			gw = c.start(t)
			boot++
		}
	}
	l.heal()
	eventually(t, "calm", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Boot == boot && st.Backlog.Records == 0 && producedIn(st) > 10
	})
	must(t, gw.Process.Signal(syscall.SIGTERM))
	must(t, gw.Wait())
	st, err := readStatus(w.data)
	must(t, err)
	if st.OutboxRecords != 0 {
		t.Errorf("%d records left: %+v", st.OutboxRecords, st.Backlog)
	}
	stored := w.account(t) // no holes, nothing twice
	for k := range account {
		if w.store.accepted[k] != 1 {
			t.Errorf("%v was durable on a gateway that was killed, and is stored %d times", k, w.store.accepted[k])
		}
	}
	t.Logf("ACCOUNT with %d faults of the wire and %d kills: stored %d, of which %d outlived a kill; gap records 0, quarantined 0, lost 0, doubled 0",
		count, boot-1, stored, len(account))
}
