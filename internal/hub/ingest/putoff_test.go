package ingest_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/way/delivery"
)

// TestLiveGoesOnWhileTheHubStoresNothing: a hub whose disk is full puts off all that it is sent. What is measured now still reaches it in
// time, for as long as that lasts, so that it can show it; afterwards all of it is stored.
func TestLiveGoesOnWhileTheHubStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		var mu sync.Mutex
		heard := map[uint64]time.Time{}
		h.store.answer = func(a archive.Arrival) (delivery.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			if heard[a.Header.Seq].IsZero() {
				heard[a.Header.Seq] = time.Now()
			}
			return delivery.Retry, errors.New("disk full")
		}
		d := newDevice(t, h, "oxi-1")
		s := d.announced(1)
		d.run()
		time.Sleep(time.Second)
		const n = 600
		var sent [n]time.Time
		for i := range sent {
			sent[i] = time.Now()
			s.send(1)
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		mu.Lock()
		slow, never := time.Duration(0), 0
		for i, at := range sent {
			if heard[uint64(i)].IsZero() {
				never++
				continue
			}
			slow = max(slow, heard[uint64(i)].Sub(at))
		}
		mu.Unlock()
		if never > 0 || slow > 6*time.Second {
			t.Errorf("of %d chunks %d never reached the hub, and the slowest took %v; want all within 6 s", n, never, slow)
		}
		h.store.mu.Lock()
		h.store.answer = nil
		h.store.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := h.store.count(); got != n {
			t.Errorf("%d chunks stored when there is room again, want %d", got, n)
		}
	})
}
