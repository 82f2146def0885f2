package access

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestThrottleBounds looks at what the throttle holds in memory.
func TestThrottleBounds(t *testing.T) {
	th := newThrottle()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	refused := 0
	for i := range 10_000 {
		if wait, _ := th.begin("ws", fmt.Sprint("login", i), now); wait > 0 {
			refused++
		}
	}
	if n := len(th.stations["ws"].logins); n != loginsPerStation || refused != 10_000-loginsPerStation-freeFailures {
		t.Errorf("%d logins held, %d refused", n, refused)
	}
	if wait, _ := th.begin("ws2", "login1", now); wait != 0 {
		t.Error("another workstation is affected")
	}
	for i := range 2 * mostStations {
		th.begin(fmt.Sprint("ws", i), "a", now.Add(time.Duration(i)))
	}
	if len(th.stations) > mostStations {
		t.Errorf("%d workstations held", len(th.stations))
	}
	if wait, _ := th.begin("ws8000", "a", now.Add(2*time.Hour)); wait != 0 {
		t.Error("not forgotten")
	}
}

// TestHashingIsBounded: neither memory nor queue grows without end.
func TestHashingIsBounded(t *testing.T) {
	h := newHashing()
	release := make(chan struct{})
	results := make(chan error)
	for range cap(h.waiting) {
		go func() { results <- h.do(t.Context(), func() { <-release }) }()
	}
	for len(h.waiting) < cap(h.waiting) || len(h.running) < cap(h.running) {
		time.Sleep(time.Millisecond)
	}
	if err := h.do(t.Context(), func() { t.Error("ran") }); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	close(release)
	for range cap(h.waiting) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.running <- struct{}{}
	h.running <- struct{}{}
	if err := h.do(ctx, func() { t.Error("ran") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Explained is a decision without its audit entry, for the benchmark.
func (e *Engine) Explained(ctx context.Context, s Subject, a Action, r Resource) (allowed bool, err error) {
	_, v, err := e.weigh(ctx, s, a, r, time.Now())
	return v.allowed, err
}
