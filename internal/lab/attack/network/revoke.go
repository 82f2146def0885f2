package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
)

// Revoke are the attacks of a component that was disabled and goes on.
func Revoke() []attack.Attack {
	return []attack.Attack{
		{ID: "revoke-mid-stream", Threat: "go on after being locked out", Position: "an enrolled sensor with a live connection", Does: "the sensor is disabled while it is delivering; it goes on",
			Expected: "cut within seconds, and not let in again; another sensor goes on", Right: attack.Reads(cutAlone), Control: weaken.Revocation, Run: revokeSensor},
		{ID: "revoke-gateway", Threat: "go on after being locked out", Position: "the sensors of a stolen gateway", Does: "the gateway is disabled; its sensors go on with connections of their own",
			Expected: "they are cut as well; another gateway's go on", Right: attack.Reads(cutAlone), Control: weaken.Revocation, Run: revokeGateway},
		{ID: "revoke-workstation", Threat: "go on after being locked out", Position: "a stolen workstation with an open connection", Does: "the workstation is disabled; it goes on asking",
			Expected: "cut within seconds; another workstation goes on", Right: attack.Reads(cutAlone), Control: weaken.Revocation, Run: revokeWorkstation},
	}
}

// disable takes an identity out of use.
func disable(ctx context.Context, t *attack.Target, kind, name string) error {
	admin, err := t.Admin(ctx)
	if err != nil {
		return err
	}
	return admin.Do(ctx, http.MethodPost, "/api/admin/identities/"+kind+"/"+name+"/disable", nil, nil)
}

// goesOn asks ping until it fails or the patience ends, and judges. other is a connection that must
// be served all the same: without it a network that is down would pass for a revocation.
func goesOn(ctx context.Context, ping, other func() error) (attack.Result, error) {
	const patience = 5 * time.Second
	began := time.Now()
	for time.Since(began) < patience {
		if err := ping(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
				return attack.Result{}, fmt.Errorf("no answer within its time, which is no cut: %w", err)
			}
			if oerr := other(); oerr != nil {
				return attack.RefusedWith(attack.Failure(oerr), "cut, and others with it", "after %v: %v; another: %v", time.Since(began).Round(10*time.Millisecond), err, oerr)
			}
			return attack.RefusedWith(attack.Word(cutAlone), "cut", "after %v: %v", time.Since(began).Round(10*time.Millisecond), err)
		}
		select {
		case <-ctx.Done():
			return attack.Result{}, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return attack.Through("it goes on", "still served %v after it was disabled", patience)
}

// cutAlone is a connection that ended while another one, which was not to end, is served. Which
// half of the hub's revocation ends the connection first (its own goodbye, or the overlay's
// circuit) is not the same each time; that only this one ends is.
const cutAlone = "cut, and another goes on"

func revokeSensor(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Enrol(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	k, err := rogue.Dial(ctx, t, r.IDs["one"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = k.Conn.Close() }()
	if err := k.Ping(); err != nil {
		return attack.Result{}, fmt.Errorf("before: %w", err)
	}
	honest, err := rogue.Dial(ctx, t, r.IDs["two"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = honest.Conn.Close() }()
	if err := disable(ctx, t, "sensor", r.IDs["one"].ID().Name); err != nil {
		return attack.Result{}, err
	}
	res, err := goesOn(ctx, k.Ping, honest.Ping)
	if err != nil || res.Through {
		return res, err
	}
	again, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if k2, err := rogue.Dial(again, t, r.IDs["one"]); err == nil {
		_ = k2.Conn.Close()
		return attack.Through("let in again", "a new connection was greeted")
	}
	return res, nil
}

func revokeGateway(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Enrol(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	k, err := rogue.Dial(ctx, t, r.IDs["two"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = k.Conn.Close() }()
	other, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	honest, err := rogue.Dial(ctx, t, other.IDs["two"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = honest.Conn.Close() }()
	if err := disable(ctx, t, "gateway", r.IDs["gateway"].ID().Name); err != nil {
		return attack.Result{}, err
	}
	return goesOn(ctx, k.Ping, honest.Ping)
}

func revokeWorkstation(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.NewStation(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	honest, err := t.Mine(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	// One connection, and never another: a request that cannot be sent on it says that it has
	// ended, at once.
	c, err := s.Endpoint.Dial(ctx, overlay.ServiceFaces)
	if err != nil {
		return attack.Result{}, err
	}
	only := make(chan net.Conn, 1)
	only <- c
	one := attack.Site{Base: "http://hub", HTTP: &http.Client{CheckRedirect: attack.NoRedirect, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-only:
			return c, nil
		default:
			return nil, errors.New("its one connection has ended")
		}
	}}}}
	defer one.HTTP.CloseIdleConnections()
	asks := func(of attack.Site) func() error {
		return func() error {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			a, err := of.Send(short, attack.Request{Method: "GET", Path: "/api/session"})
			if err == nil && a.Status != http.StatusUnauthorized {
				err = fmt.Errorf("answered %s", a)
			}
			return err
		}
	}
	if err := asks(one)(); err != nil {
		return attack.Result{}, fmt.Errorf("before: %w", err)
	}
	if err := disable(ctx, t, "workstation", s.Identity.ID().Name); err != nil {
		return attack.Result{}, err
	}
	res, err := goesOn(ctx, asks(one), asks(honest.Site))
	if err != nil || res.Through {
		return res, err
	}
	again, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	for again.Err() == nil {
		if c, err := s.Endpoint.Dial(again, overlay.ServiceFaces); err == nil {
			_ = c.Close()
			return attack.Through("let in again", "a new connection was made")
		}
	}
	return res, nil
}
