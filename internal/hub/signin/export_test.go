package signin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestHashingIsFair: a lane with many waiting holds up no other for longer than one hash, computes one at a time, and gives way
// where all together are too many.
func TestHashingIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHashing()
		const hash = 100 * time.Millisecond
		start := time.Now()
		type end struct {
			lane string
			at   time.Duration
			err  error
		}
		ends := make(chan end, 4096)
		do := func(lane string) {
			go func() {
				err := h.do(t.Context(), lane, func() { time.Sleep(hash) })
				ends <- end{lane, time.Since(start), err}
			}()
		}
		look := func() (running, waiting, lanes, turns int) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.running, h.waiting, len(h.lanes), len(h.turn)
		}
		for range 75 {
			do("junk")
		}
		synctest.Wait()
		if running, waiting, _, _ := look(); running != 1 || waiting != mostWaitingHere {
			t.Errorf("%d running, %d waiting; a lane runs one and %d wait", running, waiting, mostWaitingHere)
		}
		do("ward")
		do("nurse")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		busy := 0
		for range 77 {
			e := <-ends
			switch {
			case errors.Is(e.err, ErrBusy) && e.lane == "junk":
				busy++
			case e.err != nil:
				t.Errorf("%s: %v", e.lane, e.err)
			case e.lane != "junk" && e.at > 2*hash:
				t.Errorf("%s waited until %v behind another lane", e.lane, e.at)
			}
		}
		if busy != 75-1-mostWaitingHere {
			t.Errorf("%d of the junk were refused at once", busy)
		}
		if running, waiting, lanes, turns := look(); running != 0 || waiting != 0 || lanes != 0 || turns != 0 {
			t.Errorf("something stays: %d lanes, %d turns, %d running, %d waiting", lanes, turns, running, waiting)
		}

		// Full everywhere: a newcomer takes the place of the newest of the longest lane.
		for i := range mostWaiting / mostWaitingHere {
			for range mostWaitingHere + 1 {
				do(fmt.Sprint("greedy", i))
				synctest.Wait()
			}
		}
		for i := 0; ; i++ {
			if _, waiting, _, _ := look(); waiting >= mostWaiting {
				break
			}
			do(fmt.Sprint("more", i))
			synctest.Wait()
		}
		start = time.Now()
		do("late")
		synctest.Wait()
		if _, waiting, _, _ := look(); waiting != mostWaiting {
			t.Errorf("%d wait, at most %d", waiting, mostWaiting)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		close(ends)
		served := false
		for e := range ends {
			served = served || e.lane == "late" && e.err == nil
		}
		if !served {
			t.Error("the newcomer was not served")
		}
	})
}

// TestHashingIsLeft: what is cancelled while it waits neither runs nor holds a place.
func TestHashingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHashing()
		release := make(chan struct{})
		for _, lane := range []string{"a", "b"} {
			go func() {
				if err := h.do(t.Context(), lane, func() { <-release }); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { left <- h.do(ctx, "c", func() { t.Error("ran") }) }()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if h.waiting != 0 || len(h.lanes) != 2 {
			t.Errorf("%d wait in %d lanes", h.waiting, len(h.lanes))
		}
		close(release)
		synctest.Wait()
		if err := h.do(ctx, "c", func() { t.Error("ran") }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// SetUnknownPassword replaces the hash that stands for logins of no person.
func (svc *Service) SetUnknownPassword(hash string) { svc.unknownPassword = hash }
