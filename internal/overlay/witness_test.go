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

	"vitalseal/internal/overlay"
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
		Witness: func(_ context.Context, from int64) (json.RawMessage, error) {
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

func remembers(n int64) func(overlay.ID) (int64, error) {
	return func(overlay.ID) (int64, error) { return n, nil }
}
