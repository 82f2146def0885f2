// Package flood are the attacks that use up what others need (flood-): connections, requests, live
// views, writers' turns, the audit log and the disk.
//
// Those on a running deployment look at a bed's numbers while they last; those on one bound of the
// product run in a hub's inside of their own. A flood that this machine is too slow for ends as not
// carried out, and not as refused.
package flood

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/load"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
)

// Attacks are all floods.
func Attacks() []attack.Attack {
	return []attack.Attack{
		{ID: "flood-station", Threat: "keep all others out", Position: "an enrolled workstation", Does: "160 connections to the hub's faces at once, each with a request",
			Expected: "128 at most; a bed's numbers keep moving elsewhere", Right: attack.Reads("128 of 160 served"), Control: weaken.StationBound, Run: stationFlood},
		{ID: "flood-requests", Threat: "keep all others out", Position: "an enrolled workstation", Does: "4000 requests as fast as they go",
			Expected: "429 beyond its allowance; a bed's numbers keep moving elsewhere", Right: attack.Answers(http.StatusTooManyRequests), Control: weaken.RequestRate, Run: requestFlood},
		{ID: "flood-live", Threat: "use up the live views", Position: "a signed-in nurse", Does: "30 live views of one session", Expected: "429 beyond 8", Right: attack.Answers(http.StatusTooManyRequests), Control: weaken.LiveBound, Run: liveFlood},
		{ID: "flood-live-station", Threat: "use up the live views", Position: "people signed in at one workstation", Does: "40 live views of five sessions at one workstation",
			Expected: "32 at most, then 429; a ward's view opens at another workstation meanwhile, and shows numbers", Right: attack.Answers(http.StatusTooManyRequests), Control: weaken.LiveBound, Run: stationLiveFlood},
		{ID: "flood-audit", Threat: "fill the disk with what may never be deleted", Position: "a signed-in nurse", Does: "500 requests for a patient of the ward as fast as they go",
			Expected: "the quota refuses; a colleague is not concerned", Right: attack.Fails(access.ErrQuota), Control: weaken.Quotas, Fast: true, Run: auditFlood},
		{ID: "flood-entries", Threat: "fill the disk", Position: "a nurse with an API key", Does: "bulk updates of five channels of her own",
			Expected: "the quota refuses; other people's channels are not concerned", Right: attack.Fails(channel.ErrQuota), Control: weaken.Quotas, Fast: true, Run: entryFlood},
		{ID: "flood-writers", Threat: "keep reading after being locked out", Position: "64 clients that write as fast as they can", Does: "an administrator disables a person meanwhile",
			Expected: "it goes ahead of those who wait, and is done", Right: attack.Reads("disabled ahead of those who waited"), Control: weaken.Urgent, Fast: true, Run: office.In(revocationFlood)},
		{ID: "flood-bulk-revocation", Threat: "keep reading after being locked out", Position: "a nurse with an API key", Does: "a bulk update of 14,400 entries; an administrator disables the nurse meanwhile",
			Expected: "disabled while it is being stored, and refused from then on", Right: attack.Fails(access.ErrDenied), Control: weaken.BulkTurns, Fast: true, Run: office.In(bulkRevocation)},
		{ID: "flood-bulk", Threat: "hold up all other writers", Position: "a nurse with an API key", Does: "a bulk update of 14,400 entries while another person stores one",
			Expected: "stored in pieces, others between them; no part is read", Right: attack.Reads("another's entry between its pieces, none of them read"), Control: weaken.BulkTurns, Fast: true, Run: office.In(bulkFlood)},
		{ID: "flood-live-stations", Threat: "use up the live views", Position: "a nurse who signs in at many workstations", Does: "live views at four workstations until all are taken",
			Expected: "429, and a ward elsewhere opens its first view", Right: attack.Answers(http.StatusTooManyRequests), Control: weaken.FirstViews, Fast: true, Run: office.In(liveStations)},
		{ID: "flood-slow-header", Threat: "hold connections for ever", Position: "an enrolled workstation", Does: "requests whose headers never end, one byte now and then",
			Expected: "closed after five seconds", Right: attack.Fails(io.EOF), Control: weaken.HeaderTime, Begin: slowHeader},
		{ID: "flood-slow-body", Threat: "hold connections for ever", Position: "an enrolled workstation", Does: "32 sign-ins whose bodies never end, one byte now and then each",
			Expected: "closed after fifteen seconds; a bed's numbers keep moving", Right: attack.Fails(io.EOF), Control: weaken.BodyTime, Begin: slowBody},
		{ID: "flood-handshakes", Threat: "keep sensors out", Position: "an enrolled sensor below the inner TLS", Does: "60 connections to ingest that never begin their handshake",
			Expected: "an honest sensor is let in beside them; a bed's numbers keep moving", Right: attack.Reads("60 stalled, an honest sensor let in"), Control: weaken.None, Run: handshakeFlood},
		{ID: "flood-front-door", Threat: "stop the ward's numbers", Position: "the network", Does: "300 connections each to the controller's and the router's ports, some with garbage",
			Expected: "a bed's numbers keep moving, and the hub answers", Right: attack.Reads("600 open, numbers move"), Control: weaken.None, Run: frontDoor},
	}
}

func stationFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.NewStation(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	s.HTTP.CloseIdleConnections()
	const want, bound = 160, 128
	answered := 0
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		var end func()
		var err error
		answered, end, err = load.Crowd(ctx, want, bound, func(ctx context.Context) (net.Conn, error) { return s.Endpoint.Dial(ctx, overlay.ServiceFaces) },
			"GET /api/session HTTP/1.1\r\nHost: x\r\n\r\n")
		defer end()
		if err != nil {
			return err
		}
		return during()
	})
	return load.Flooded(err, answered > bound, attack.Word("%d of %d served", answered, want), "as many as wanted to", "bounded", "%d of %d were served", answered, want)
}

// allowedPerSecond is what one workstation may ask of the faces, in the long run
// (doc/threat-model.md).
const allowedPerSecond = 100

// allowedAtOnce is how many seconds' worth of requests may come at once.
const allowedAtOnce = 10

func requestFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.NewStation(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	var ok, tooMany atomic.Int64
	began := time.Now()
	var others sync.Map // statuses that are neither
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		attack.SideBySide(16, func(int) {
			for range 250 {
				a, err := s.Send(ctx, attack.Request{Method: "GET", Path: "/api/session/ways"})
				switch {
				case err != nil:
					return
				case a.Status == http.StatusTooManyRequests:
					tooMany.Add(1)
				case a.OK():
					ok.Add(1)
				default:
					others.Store(a.Status, true)
				}
			}
		})
		return during()
	})
	var seen []attack.Seen
	if tooMany.Load() > 0 {
		seen = append(seen, attack.Seen{Status: http.StatusTooManyRequests})
	}
	others.Range(func(s, _ any) bool { seen = append(seen, attack.Seen{Status: s.(int)}); return true })
	// A machine that is too slow to send more than is allowed shows nothing about the bound.
	took := time.Since(began).Seconds()
	if sent := float64(ok.Load()); err == nil && tooMany.Load() == 0 && sent <= allowedPerSecond*(took+allowedAtOnce) {
		return attack.Result{}, fmt.Errorf("only %.0f requests were sent in %.0f s, %d a second are allowed: this machine is too slow for this attack", sent, took, allowedPerSecond)
	}
	return load.Flooded(err, tooMany.Load() == 0, seen, "all were answered", "bounded", "%d answered, %d refused with 429", ok.Load(), tooMany.Load())
}

func liveFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	nurse := t.Who("nurse")
	c, err := t.Client(ctx, nurse)
	if err != nil {
		return attack.Result{}, err
	}
	open := 0
	var seen []attack.Seen
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		for range 30 {
			//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
			conn, res, err := websocket.Dial(ctx, t.Base+"/api/live?waveforms=none&patient="+t.Ward.Patients[0].ID, &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: c.Cookies()})
			if err != nil {
				if res == nil {
					return err
				}
				seen = append(seen, attack.Seen{Status: res.StatusCode})
				continue
			}
			defer func() { _ = conn.CloseNow() }()
			open++
		}
		return during()
	})
	return load.Flooded(err, open > 8, seen, "as many as wanted to", "bounded", "%d of 30 were opened", open)
}

func slowHeader(ctx context.Context, t *attack.Target) (func() (attack.Result, error), error) {
	return slowly(ctx, t, 1, "GET / HTTP/1.1\r\nHost: x\r\n", 7500*time.Millisecond)
}

func slowBody(ctx context.Context, t *attack.Target) (func() (attack.Result, error), error) {
	return slowly(ctx, t, 32, "POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"user\":\"", 17500*time.Millisecond)
}

// slowly begins requests on connections of a workstation of its own, and looks at a bed's numbers
// while they last.
func slowly(ctx context.Context, t *attack.Target, conns int, begin string, patience time.Duration) (func() (attack.Result, error), error) {
	s, err := t.NewStation(ctx)
	if err != nil {
		return nil, err
	}
	type end struct {
		closed error // nil: still open
		lasted time.Duration
		err    error
	}
	ends := make(chan end, conns)
	for range conns {
		c, err := s.Endpoint.Dial(ctx, overlay.ServiceFaces)
		if err != nil {
			return nil, err
		}
		go func() {
			closed, lasted, err := trickle(ctx, c, begin, patience)
			ends <- end{closed, lasted, err}
		}()
	}
	moved := load.Meanwhile(ctx, t, func(during func() error) error { return during() })
	return func() (attack.Result, error) {
		held, longest := 0, time.Duration(0)
		var seen []attack.Seen
		for range conns {
			e := <-ends
			if e.err != nil {
				return attack.Result{}, e.err
			}
			if e.closed == nil {
				held++
			} else {
				seen = append(seen, attack.Failure(e.closed)...)
			}
			longest = max(longest, e.lasted)
		}
		return load.Flooded(moved, held > 0, seen, "held for as long as it liked", "closed", "%d of %d open after %v", held, conns, longest.Round(100*time.Millisecond))
	}, nil
}

// trickle sends begin and then a byte a second, until the other end has closed the connection or
// patience is over. It closes it. closed is how the other end closed it; nil: not at all.
func trickle(ctx context.Context, c net.Conn, begin string, patience time.Duration) (closed error, lasted time.Duration, err error) {
	defer func() { _ = c.Close() }()
	began := time.Now()
	if _, err := io.WriteString(c, begin); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
				if _, err := io.WriteString(c, "X"); err != nil {
					return
				}
			}
		}
	}()
	if err := c.SetReadDeadline(began.Add(patience)); err != nil {
		return nil, 0, err
	}
	for { // an answer that comes before the end is none of its business
		if _, err = c.Read(make([]byte, 512)); err != nil {
			break
		}
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		err = nil
	}
	return err, time.Since(began), nil
}

func handshakeFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Enrol(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	l, err := rogue.NewLiar(r.IDs["one"].Config(), r.IDs["one"].ID().String())
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = l.Close() }()
	stalled := 0
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		for range 60 {
			c, err := l.Dial(ctx, overlay.ServiceIngest)
			if err != nil {
				break
			}
			stalled++
			defer func() { _ = c.Close() }()
		}
		k, err := rogue.Dial(ctx, t, r.IDs["two"])
		if err != nil {
			return fmt.Errorf("%w: an honest sensor: %w", load.ErrStill, err)
		}
		_ = k.Conn.Close()
		return during()
	})
	return load.Flooded(err, false, attack.Word("%d stalled, an honest sensor let in", stalled), "", "an honest sensor is let in", "%d connections stalled in their handshake", stalled)
}

func frontDoor(ctx context.Context, t *attack.Target) (attack.Result, error) {
	info, err := overlay.ReadNode(t.Path("overlay"))
	if err != nil {
		return attack.Result{}, err
	}
	addresses := []string{strings.TrimPrefix(info.Controller, "https://")}
	if info.Router != "" {
		addresses = append(addresses, info.Router)
	}
	opened := 0
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		for _, address := range addresses {
			for i := range 300 {
				c, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", address)
				if err != nil {
					break // the system's own bound
				}
				opened++
				defer func() { _ = c.Close() }()
				if i%3 == 0 {
					_, _ = c.Write(rogue.Noise(i)) // whatever comes of it
				}
			}
		}
		return during()
	})
	return load.Flooded(err, false, attack.Word("%d open, numbers move", opened), "", "the hub answers", "%d connections held open to %d ports", opened, len(addresses))
}
