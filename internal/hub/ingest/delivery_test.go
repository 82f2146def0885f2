package ingest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/seal"
)

// TestLiveFirst: after an outage what is new arrives at once, and the backlog beside it, oldest first, no faster than it may; an
// epoch's announcement comes before its chunks either way.
func TestLiveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		type arrival struct {
			number, seq uint64
			at          time.Time
		}
		var came []arrival // guarded by the store's lock
		h.store.answer = func(a archive.Arrival) (delivery.Outcome, error) {
			came = append(came, arrival{a.Header.Epoch.Number, a.Header.Seq, time.Now()})
			return 0, nil
		}
		const rate = 2 << 10
		d := newDevice(t, h, "oxi-1", uplink.WithPace(uplink.NewPace(rate, 0.5)))
		const old, fresh = 1000, 50
		h.net.SetDown(true)
		d.run()
		d.announced(1).send(old / 2)
		s := d.announced(2) // an epoch that begins during the outage, and goes on after it
		s.send(old / 2)
		bytes := d.q.Stats().Bytes
		synctest.Wait()
		h.net.SetDown(false)
		time.Sleep(10 * time.Second) // within the longest pause it is back
		var slowest time.Duration
		for i := range fresh {
			sent := time.Now()
			if i == fresh/2 {
				s = d.announced(3)
			}
			s.send(1)
			number, seq := uint64(2), uint64(old/2+i)
			if i >= fresh/2 {
				number, seq = 3, uint64(i-fresh/2)
			}
			synctest.Wait()
			time.Sleep(200 * time.Millisecond)
			found := false
			for _, a := range now(h.store, &came) {
				if a.number == number && a.seq == seq {
					found = true
					slowest = max(slowest, a.at.Sub(sent))
				}
			}
			if !found {
				t.Fatalf("chunk %d of epoch %d did not arrive at once: it waits behind the backlog", seq, number)
			}
		}
		st := d.sender.Stats()
		drained, lasting := float64(st.BacklogBytes), 10+0.2*fresh
		if drained > rate*(lasting+1) || drained < rate*(lasting-8) {
			t.Errorf("%.0f bytes of the backlog in %.0f s, allowed are %d a second", drained, lasting, rate)
		}
		if left := d.q.Lane("oxi-1").PendingOf(outbox.Backlog); left < old/4 {
			t.Errorf("only %d of the backlog are left: the test tests nothing", left)
		}
		time.Sleep(time.Duration(float64(bytes)/rate*float64(time.Second)) + 20*time.Second)
		synctest.Wait()
		if n := h.store.count(); n != old+fresh {
			t.Errorf("%d chunks stored, want %d", n, old+fresh)
		}
		last := map[string]int64{}
		for _, a := range now(h.store, &came) {
			part := "backlog"
			if a.number == 3 || a.number == 2 && a.seq >= old/2 {
				part = "live"
			}
			place := int64(a.number)<<32 | int64(a.seq)
			// Chunks of one window are committed concurrently at the hub: neighbours may change places.
			if was, ok := last[part]; ok && place < was-64 {
				t.Errorf("%s: %d.%d came after %d.%d", part, a.number, a.seq, was>>32, was&0xffffffff)
			}
			last[part] = max(last[part], place)
		}
		if got := outcomes(d.awaitSettled(old + fresh + 3)); got["accepted"] != old+fresh+3 {
			t.Errorf("%v", got)
		}
		t.Logf("slowest live chunk %v", slowest)
	})
}

// now reads what a test's answer gathers under the store's lock.
func now[T any](m *memory, list *[]T) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]T(nil), *list...)
}

// TestPace: bytes a second, for each caller alike.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		pace := uplink.NewPace(8<<10, 0.25)
		var all []*device
		for i := range 4 {
			d := newDevice(t, h, fmt.Sprint("oxi-", i), uplink.WithPace(pace))
			d.announced(1).send(200)
			all = append(all, d)
		}
		for _, d := range all {
			d.run()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var sent uint64
		for _, d := range all {
			sent += d.sender.Stats().BacklogBytes
			if d.sender.Stats().Backlog < 50 {
				t.Errorf("%s delivered %d: it starves", d.id.Name, d.sender.Stats().Backlog)
			}
		}
		if sent < 4*8<<10 || sent > 6*8<<10 {
			t.Errorf("%d bytes in 5 s at 8 KiB/s", sent)
		}
	})
}

// TestGapReachesTheStore: what a gateway says will never arrive is noted before its event is acknowledged.
func TestGapReachesTheStore(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	g := delivery.Gap{Signal: vitals.PPG, Epoch: [16]byte{7}, First: 10, Last: 2000, From: at, To: at.Add(8 * time.Minute), Reason: delivery.GapOutboxFull}
	s, a := d.events(1)
	d.append(outbox.Control, a, s(vitals.Event{At: at, Code: "gap", Detail: "12 samples"}, g.Event()))
	d.run()
	d.awaitSettled(2)
	want := []archive.Gap{{Sensor: d.id.String(), Signal: g.Signal, Epoch: g.Epoch, First: 10, Last: 2000, From: g.From, To: g.To, Reason: g.Reason}}
	if diff := cmp.Diff(want, now(h.store, &h.store.gaps)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "12 samples", strings.Replace(g.Event().Detail, "count=1991", "count=1", 1), strings.Replace(g.Event().Detail, "seq=10-", "seq=9999-", 1),
		strings.Replace(g.Event().Detail, "outbox_full", "because", 1), strings.Replace(g.Event().Detail, " ppg ", " eeg ", 1), g.Event().Detail + " more"} {
		if got, ok := delivery.ParseGap(vitals.Event{Code: "gap", Detail: bad}); ok {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

// events makes an epoch of the events' stream: what seals, and its announcement.
func (d *device) events(number uint64) (sealed func(...vitals.Event) []byte, announcement []byte) {
	d.t.Helper()
	s, a, err := seal.NewSealer(d.h.key.Recipient(), d.id.String(), uint8(vitals.Events), number)
	must(d.t, err)
	return func(e ...vitals.Event) []byte {
		env, _, err := s.Seal(e[0].At, mustEncode(d.t, vitals.Chunk{Signal: vitals.Events, Start: e[0].At, Events: e}))
		must(d.t, err)
		return delivery.EncodeEnvelope(env)
	}, delivery.EncodeAnnouncement(a)
}

// TestPoisonStepsAside: as many chunks as a window holds that the hub can never decide about do not hold up the others.
func TestPoisonStepsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.store.answer = func(a archive.Arrival) (delivery.Outcome, error) {
			if a.Header.Seq < 100 {
				return delivery.Retry, errors.New("this one breaks the disk")
			}
			return 0, nil
		}
		d := newDevice(t, h, "oxi-1")
		s := d.announced(1)
		d.run()
		time.Sleep(time.Second)
		s.send(300)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := h.store.count(); n != 200 {
			t.Errorf("%d chunks stored beside 100 that cannot be, want 200", n)
		}
		if n := d.q.Stats().Records; n != 100 {
			t.Errorf("%d records wait, want the 100 that cannot be stored: nothing is lost", n)
		}
		h.store.mu.Lock()
		h.store.answer = nil // whatever it was is mended
		h.store.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := h.store.count(); n != 300 {
			t.Errorf("%d chunks stored at the end, want 300", n)
		}
	})
}

// TestTwoGatewaysWithOneIdentity: the newest start wins, and stays; the older one is turned away, keeps what it has, and log,
// audit log and device view say so. Of two with the same counter the first stays.
func TestTwoGatewaysWithOneIdentity(t *testing.T) {
	h := newHub(t)
	older := newDevice(t, h, "oxi-1", uplink.FromStart(5, [16]byte{1}))
	newer := newDevice(t, h, "oxi-1", uplink.FromStart(6, [16]byte{2}))
	copied := newDevice(t, h, "oxi-1", uplink.FromStart(6, [16]byte{3}))
	s := older.announced(5 << 20)
	s.send(3)
	older.run()
	older.awaitSettled(4)

	n := newer.announced(6 << 20)
	n.send(3)
	newer.run()
	newer.awaitSettled(4)
	copied.announced(6<<20 | 1).send(2)
	copied.run()
	s.send(3)
	refused := func(d *device) bool { return d.sender.Stats().Refused == delivery.Fenced }
	for end := time.Now().Add(patience); !refused(older) || !refused(copied); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not turned away: %+v, %+v", older.sender.Stats(), copied.sender.Stats())
		}
	}
	n.send(3) // undisturbed
	newer.awaitSettled(7)
	if got := newer.sender.Stats(); got.Connects != 1 || got.Accepted != 7 {
		t.Errorf("the newest start: %+v", got)
	}
	if got := h.store.count(); got != 9 {
		t.Errorf("%d chunks stored, want 9", got)
	}
	if older.q.Stats().Records != 3 || copied.q.Stats().Records != 3 {
		t.Errorf("those turned away keep %d and %d records, want 3 and 3", older.q.Stats().Records, copied.q.Stats().Records)
	}
	// It is written down, and told, after the sender has heard of it: told first, so that the alert is there when the entry is.
	found := false
	for end := time.Now().Add(patience); !found && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		entries, err := h.log.Recent(t.Context(), 100)
		must(t, err)
		for _, e := range entries {
			found = found || e.Workstation == older.id.String() && e.Reason == delivery.Fenced.String()
		}
	}
	if !found {
		t.Error("the audit log does not say so")
	}
	h.mu.Lock()
	alerts := append([]string(nil), h.alerts...)
	h.mu.Unlock()
	if len(alerts) != 1 || !strings.Contains(alerts[0], delivery.Fenced.String()) { // one a minute
		t.Errorf("alerts %q", alerts)
	}
	// Enrolled anew, the store forgets, and it may count from 1.
	h.server.CutSensor(older.id.String())
	h.store.mu.Lock()
	clear(h.store.starts)
	h.store.mu.Unlock()
	again := newDevice(t, h, "oxi-1", uplink.FromStart(1, [16]byte{4}))
	a := again.announced(1 << 20)
	a.send(1)
	again.run()
	again.awaitSettled(2)
}
