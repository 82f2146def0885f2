package ingest_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// TestCopyAlone: a copy with a lower counter is turned away while the newest start is there and for two minutes after; then it is let
// in, loudly, and told the number to exceed. What it measured before and after is stored.
func TestCopyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		newest := newDevice(t, h, "oxi-1", uplink.FromStart(9, [16]byte{1}))
		newest.announced(9 << seal.CountBits).send(3)
		stop := newest.run()
		newest.awaitSettled(4)

		run := uplink.NewRun(4, [16]byte{2})
		var mu sync.Mutex
		var told []uint64
		older := newDevice(t, h, "oxi-1", uplink.FromRun(run), uplink.OnExceed(func(boot uint64) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, boot)
			run.Raise(boot + 1)
		}))
		s := older.announced(4 << seal.CountBits)
		s.send(5)
		older.run()
		time.Sleep(10 * time.Minute) // the newest is there all the time
		synctest.Wait()
		if st := older.sender.Stats(); st.Connects != 0 || st.Refused != delivery.Fenced || older.q.Stats().Records != 6 {
			t.Fatalf("beside the newest start: %+v, %d records kept", st, older.q.Stats().Records)
		}
		stop()
		time.Sleep(ingestAlone - 20*time.Second)
		synctest.Wait()
		if st := older.sender.Stats(); st.Connects != 0 || st.Rejected != 0 {
			t.Fatalf("before two minutes: %+v", st)
		}
		time.Sleep(time.Minute)
		older.awaitSettled(6)
		s.send(1)                                       // sealed before it was told
		older.announced(10<<seal.CountBits | 7).send(2) // and after
		older.awaitSettled(10)
		// It connects anew with the number that it was told, so some are sent twice.
		if st := older.sender.Stats(); st.Accepted+st.Duplicate != 10 || st.Rejected != 0 || h.store.count() != 3+5+1+2 {
			t.Errorf("alone: %+v, %d chunks stored", st, h.store.count())
		}
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 1 || told[0] != 9 {
			t.Errorf("told to exceed %v, want 9", told)
		}
		h.mu.Lock()
		alerts := strings.Join(h.alerts, "\n")
		h.mu.Unlock()
		if !strings.Contains(alerts, delivery.Fenced.String()) || !strings.Contains(alerts, delivery.OlderStart.String()) {
			t.Errorf("alerts:\n%s", alerts)
		}
		entries, err := h.log.Recent(t.Context(), 100)
		must(t, err)
		found := false
		for _, e := range entries {
			found = found || e.Reason == delivery.OlderStart.String() && e.Allowed && e.Workstation == older.id.String()
		}
		if !found {
			t.Error("the audit log does not say that a copy was let in")
		}
	})
}

// ingestAlone is the server's default.
const ingestAlone = 2 * time.Minute

// TestEpochBeyondItsStart: an announcement far above its connection's start is refused, counted and told; the sensor goes on.
func TestEpochBeyondItsStart(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1", uplink.FromStart(3, [16]byte{1}))
	d.announced(3 << seal.CountBits)
	d.announced(1<<63 - 1)
	d.announced(3<<seal.CountBits | 1).send(2)
	d.run()
	got := outcomes(d.awaitSettled(5))
	if got["accepted"] != 4 || got["rejected: "+delivery.EpochJump.String()] != 1 {
		t.Errorf("%v", got)
	}
	if n := h.server.Stats().Rejected[delivery.EpochJump]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.alerts) != 1 || !strings.Contains(h.alerts[0], delivery.EpochJump.String()) {
		t.Errorf("alerts %q", h.alerts)
	}
}
