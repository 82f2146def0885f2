package overlay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
)

// serveRenew hosts the renew service of a hub on a loopback network until the test ends.
func serveRenew(t *testing.T, a *overlay.Authority, n *overlay.Loopback, r overlay.Renewals) {
	t.Helper()
	hub, err := n.Endpoint(id("hub", "hub"))
	must(t, err)
	ln, err := hub.Listen(t.Context(), overlay.ServiceRenew, overlay.AcceptExpired())
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func(ln net.Listener) { ended <- overlay.ServeRenew(ctx, ln, a, r, time.Hour, quiet) }(ln)
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		must(t, hub.Close())
	})
}

func TestFetchCheckpoint(t *testing.T) {
	a := authority(t, domain)
	n := overlay.NewLoopback(a)
	disabled := id("gateway", "gw-out")
	serveRenew(t, a, n, overlay.Renewals{
		Admit: func(_ context.Context, c *overlay.Conn, _ string) (bool, error) {
			if c.Peer() == disabled {
				return false, overlay.ErrRefused
			}
			return false, nil
		},
		Witness: func(_ context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
			from := q.From
			switch from {
			case 404:
				return nil, errors.New("disk on fire: secret detail")
			case 405:
				return json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`), nil
			case 406:
				return nil, nil
			}
			return json.RawMessage(fmt.Sprintf(`{"from":%d}`, from)), nil
		},
	})
	ep, err := n.Endpoint(id("gateway", "gw-a"))
	must(t, err)
	defer ep.Close()
	_, got, err := overlay.FetchCheckpoint(t.Context(), ep, remembers(12))
	must(t, err)
	if string(got) != `{"from":12}` {
		t.Errorf("%s", got)
	}
	for from, want := range map[int64]error{-1: overlay.ErrRefused, 404: overlay.ErrUnavailable, 405: overlay.ErrUnavailable, 406: overlay.ErrPeer} {
		_, got, err := overlay.FetchCheckpoint(t.Context(), ep, remembers(from))
		if !errors.Is(err, want) || strings.Contains(fmt.Sprint(err), "secret detail") {
			t.Errorf("from %d: %.80q, %v; want %v", from, got, err, want)
		}
	}
	out, err := n.Endpoint(disabled)
	must(t, err)
	defer out.Close()
	if _, _, err := overlay.FetchCheckpoint(t.Context(), out, remembers(0)); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("a disabled component: %v", err)
	}
}

func TestHubWithoutALog(t *testing.T) {
	a := authority(t, domain)
	n := overlay.NewLoopback(a)
	serveRenew(t, a, n, overlay.Renewals{Admit: func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil }})
	ep, err := n.Endpoint(id("gateway", "gw-a"))
	must(t, err)
	defer ep.Close()
	if _, _, err := overlay.FetchCheckpoint(t.Context(), ep, remembers(0)); err == nil {
		t.Error("a checkpoint of nothing")
	}
}

func remembers(n int64) func(overlay.ID) (overlay.WitnessQuestion, error) {
	return func(overlay.ID) (overlay.WitnessQuestion, error) { return overlay.WitnessQuestion{From: n}, nil }
}

// TestFollowCheckpoints: witnesses that wait are told over one connection as often as there is
// something, however many wait, while others renew; a hub that knows no waiting answers at once and
// says so, and one that is asked in a hurry ends it.
func TestFollowCheckpoints(t *testing.T) {
	a := authority(t, domain)
	n := overlay.NewLoopback(a)
	next := make(chan int64)
	const witnesses = 40 // more than may renew at once
	waiting := make(chan overlay.ID, witnesses)
	serveRenew(t, a, n, overlay.Renewals{
		Admit: func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil },
		Witness: func(_ context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
			return json.RawMessage(fmt.Sprintf(`{"from":%d}`, q.From)), nil
		},
		Next: func(ctx context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
			if string(q.Said) != `"`+q.Witness.Name+`"` {
				return nil, fmt.Errorf("%s says %s", q.Witness, q.Said)
			}
			waiting <- q.Witness
			select {
			case n := <-next:
				return json.RawMessage(fmt.Sprint(n)), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan string, witnesses)
	for i := range witnesses {
		ep, err := n.Endpoint(id("gateway", fmt.Sprintf("gw-%d", i)))
		must(t, err)
		t.Cleanup(func() { _ = ep.Close() })
		go func() {
			_ = overlay.FollowCheckpoints(ctx, ep, overlay.ServiceRenew, func(overlay.ID) (overlay.WitnessQuestion, error) {
				return overlay.WitnessQuestion{From: 1, Said: json.RawMessage(`"` + ep.ID().Name + `"`)}, nil
			}, func(_ overlay.ID, b json.RawMessage) error {
				told <- string(b)
				return nil
			})
		}()
	}
	for range witnesses {
		<-waiting
	}
	ep, err := n.Endpoint(id("gateway", "gw-renews"))
	must(t, err)
	defer ep.Close()
	if _, got, err := overlay.FetchCheckpoint(t.Context(), ep, remembers(7)); err != nil || string(got) != `{"from":7}` {
		t.Errorf("another one, while %d wait: %s %v", witnesses, got, err)
	}
	for round := range int64(2) {
		for range witnesses {
			next <- round
		}
		for range witnesses {
			if got := <-told; got != fmt.Sprint(round) {
				t.Errorf("told %s in round %d", got, round)
			}
			<-waiting
		}
	}
}

// TestOldHubDoesNotWait: what a hub of before FollowCheckpoints answers is taken, once.
func TestOldHubDoesNotWait(t *testing.T) {
	a := authority(t, domain)
	n := overlay.NewLoopback(a)
	serveRenew(t, a, n, overlay.Renewals{
		Admit: func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil },
		Witness: func(context.Context, overlay.WitnessQuestion) (json.RawMessage, error) {
			return json.RawMessage(`1`), nil
		},
	})
	ep, err := n.Endpoint(id("gateway", "gw-a"))
	must(t, err)
	defer ep.Close()
	taken := 0
	err = overlay.FollowCheckpoints(t.Context(), ep, overlay.ServiceRenew, remembers(3), func(overlay.ID, json.RawMessage) error { taken++; return nil })
	if !errors.Is(err, overlay.ErrNoWait) || taken != 1 {
		t.Errorf("%d answers taken, %v", taken, err)
	}
}
