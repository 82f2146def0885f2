package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
)

// bubble is a hub and a gateway in one process, with a clock that jumps.
type bubble struct {
	*ward
	t    *testing.T
	net  *overlay.Loopback
	cfg  gateway.Config
	logs said

	stopHub func()
}

func newBubble(t *testing.T) *bubble {
	t.Helper()
	time.Sleep(time.Hour) // the bubble's clock stands at 2000-01-01; a little later, so that times are plausible
	b := &bubble{ward: newWard(t, bench.Profile{Seed: 3, Start: time.Now(), CuffFirst: 10 * time.Minute, CuffEvery: 10 * time.Minute}), t: t}
	b.net = overlay.NewLoopback(b.authority)
	hub, err := b.net.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	b.stopHub = b.serve(t, hub)
	b.cfg = b.config()
	return b
}

// run starts the gateway; stop ends it in order.
func (b *bubble) run() (stop func()) {
	b.t.Helper()
	buses, err := newBench(b.profile)
	must(b.t, err)
	ready, ended := make(chan struct{}), make(chan struct{})
	stop = background(b.t, func(ctx context.Context) error {
		defer close(ended)
		return gateway.Run(ctx, b.cfg, gateway.Deps{Buses: buses, Network: b.net, Log: slog.New(slog.NewTextHandler(&b.logs, nil)),
			Ready: func() error { close(ready); return nil }})
	})
	select {
	case <-ready:
	case <-ended:
		stop()
		b.t.FailNow()
	}
	return stop
}

// check closes the account: produced = stored + gap records + quarantined, doubled = 0.
func (w *ward) check(t *testing.T, produced uint64) archive.Delivery {
	t.Helper()
	d, err := w.store.Delivery(t.Context())
	must(t, err)
	var stored, gaps int64
	for _, s := range d.Streams {
		if s.Doubled != 0 || s.Missing != s.Gaps {
			t.Errorf("%s %s: %+v: want every missing chunk in a gap record", s.Sensor, s.Signal, s)
		}
		stored, gaps = stored+s.Chunks, gaps+s.Gaps
	}
	t.Logf("ACCOUNT: produced %d = stored %d + in gap records %d + quarantined %d; doubled 0", produced, stored, gaps, d.Quarantined)
	if int64(produced) != stored+gaps+d.Quarantined {
		t.Errorf("produced %d, stored %d, in gap records %d, quarantined %d", produced, stored, gaps, d.Quarantined)
	}
	return d
}

func producedIn(st gateway.Status) (n uint64) {
	for _, s := range st.Streams {
		n += s.Produced
	}
	return n
}

// TestOutboxTooSmallForTheOutage: the hub is away for an hour and the disk share lasts for minutes. What had to go is named, at its
// place on the chart; numbers and events outlive waveforms.
func TestOutboxTooSmallForTheOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway.SmallOutbox(t, 16<<10)
		b := newBubble(t)
		b.cfg.OutboxMiB = 64 // of 16 KiB
		b.cfg.EpochLifetime = 10 * time.Minute
		stop := b.run()
		time.Sleep(time.Minute)
		b.net.SetDown(true)
		time.Sleep(40 * time.Minute)
		st, err := readStatus(b.data)
		must(t, err)
		if st.Backlog.Records == 0 || st.Backlog.OldestAgeSeconds < 30*60 || st.Gaps.Dropped == 0 || st.OutboxBytes > 64*16<<10 {
			t.Errorf("during the outage: %+v, %+v, %d bytes", st.Backlog, st.Gaps, st.OutboxBytes)
		}
		b.net.SetDown(false)
		time.Sleep(2 * time.Minute)
		stop()
		st, err = readStatus(b.data)
		must(t, err)
		if st.OutboxRecords != 0 || st.Backlog.Records != 0 || st.Gaps.Waiting != 0 {
			t.Errorf("at the end: %+v, %+v, %d records", st.Backlog, st.Gaps, st.OutboxRecords)
		}
		d := b.check(t, producedIn(st))
		byClass := map[string]int64{}
		for _, s := range d.Streams {
			byClass[s.Signal] += s.Gaps
		}
		if byClass["ppg"] == 0 || byClass["numerics"]+byClass["events"] != 0 {
			t.Errorf("gaps %v: only waveforms had to go", byClass)
		}
		// The chart has them as events of the sensor, where the hole is.
		named := uint64(0)
		for _, c := range b.store.arrivals(oximeter, vitals.Events) {
			for _, e := range c.Events {
				if g, ok := delivery.ParseGap(e); ok {
					named += g.Count()
					if g.Reason != delivery.GapOutboxFull || !e.At.Equal(c.Start) || g.To.Before(g.From) {
						t.Errorf("gap %+v at %v", g, e.At)
					}
				}
			}
		}
		if int64(named) < byClass["ppg"] {
			t.Errorf("%d chunks named in events, %d missing", named, byClass["ppg"])
		}
		gaps, err := b.store.Gaps(t.Context(), "", 100)
		must(t, err)
		if len(gaps) == 0 || gaps[0].Reason != delivery.GapOutboxFull {
			t.Errorf("the hub lists %+v", gaps)
		}
	})
}

// TestRestoredFromAnOldBackup: a gateway whose folder is put back numbers its epochs as an earlier start did. Nothing of that is
// stored, and hub, log and status say so; with the counter raised it is well again.
func TestRestoredFromAnOldBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		backup := filepath.Join(t.TempDir(), "backup")
		must(t, os.CopyFS(backup, os.DirFS(b.data)))
		var produced uint64
		for range 3 {
			stop := b.run()
			time.Sleep(20 * time.Second)
			stop()
			st, err := readStatus(b.data)
			must(t, err)
			produced += producedIn(st)
		}
		before := b.check(t, produced)

		must(t, os.RemoveAll(b.data))
		must(t, os.CopyFS(b.data, os.DirFS(backup)))
		identities, err := filepath.Glob(filepath.Join(b.data, "*.identity.json"))
		must(t, err)
		for _, f := range identities {
			must(t, os.Chmod(f, 0o600))
		}
		stop := b.run()
		time.Sleep(20 * time.Second)
		stop()
		st, err := readStatus(b.data)
		must(t, err)
		if st.Boot != 1 {
			t.Fatalf("start %d, want 1 again", st.Boot)
		}
		after := b.check(t, produced) // nothing more
		for i, s := range after.Streams {
			if s != before.Streams[i] {
				t.Errorf("stored %+v, before %+v", s, before.Streams[i])
			}
		}
		text := b.logs.String()
		if !strings.Contains(text, "restored") || !strings.Contains(text, "hint=") {
			t.Errorf("the gateway's log does not say what to do:\n%.2000s", text)
		}
		for _, s := range st.Sensors {
			if s.Refused == "" {
				t.Errorf("the status does not say that the hub turns %s away: %+v", s.Sensor, s)
			}
		}

		must(t, os.WriteFile(filepath.Join(b.data, "boot"), []byte("17\n"), 0o600))
		must(t, os.RemoveAll(filepath.Join(b.data, "outbox")))
		stop = b.run()
		time.Sleep(20 * time.Second)
		stop()
		st, err = readStatus(b.data)
		must(t, err)
		b.check(t, produced+producedIn(st))
	})
}

// TestDamagedOutbox: pages of a dead gateway's outbox go bad. What was in them is named, everything else arrives.
func TestDamagedOutbox(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 5, Start: time.Now(), CuffFirst: time.Hour, CuffEvery: time.Hour})
	ln, err := wire{"127.0.0.1:0"}.Listen(t.Context(), "")
	must(t, err)
	g := &gate{Listener: ln}
	hub, err := overlay.IssueIdentity(w.authority, spiffe(overlay.KindHub, "hub"), nil, nil, time.Hour)
	must(t, err)
	w.serve(t, overlay.NewEndpoint(hub, gated{g: g}, quiet))
	g.set(true)
	c := child{Config: w.config(), Profile: w.profile, Hub: ln.Addr().String()}
	c.Config.DrainTimeout = 30 * time.Second
	first := c.start(t)
	eventually(t, "chunks waiting in the outbox", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.OutboxRecords >= 60
	})
	must(t, first.Process.Signal(syscall.SIGKILL))
	_ = first.Wait()
	produced := uint64(len(waiting(t, w.data)))
	segments, err := filepath.Glob(filepath.Join(w.data, "outbox", "*-1.seg"))
	must(t, err)
	if len(segments) == 0 {
		t.Fatal("no waveforms in the outbox")
	}
	text, err := os.ReadFile(segments[0])
	must(t, err)
	at := len(text)/3 + bytes.Index(text[len(text)/3:], []byte("VSFR")) // a whole record, and half of the next
	copy(text[at:], make([]byte, 700))
	must(t, os.WriteFile(segments[0], text, 0o600))

	g.set(false)
	second := c.start(t)
	eventually(t, "the backlog to be delivered", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Boot == 2 && st.Backlog.Records == 0 && producedIn(st) > 20
	})
	must(t, second.Process.Signal(syscall.SIGTERM))
	must(t, second.Wait())
	st, err := readStatus(w.data)
	must(t, err)
	d := w.check(t, produced+producedIn(st))
	var gaps int64
	for _, s := range d.Streams {
		gaps += s.Gaps
	}
	if gaps == 0 || st.Gaps.Corrupt == 0 {
		t.Errorf("%d chunks in gap records, status %+v", gaps, st.Gaps)
	}
}
