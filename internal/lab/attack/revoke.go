package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/overlay"
)

func revokeAttacks() []Attack {
	return []Attack{
		{ID: "revoke-mid-stream", Threat: "go on after being locked out", Position: "an enrolled sensor with a live connection", Does: "the sensor is disabled while it is delivering; it goes on",
			Expected: "cut within seconds, and not let in again; another sensor goes on", Right: reads(cutAlone), Control: weaken.Revocation, Run: revokeSensor},
		{ID: "revoke-gateway", Threat: "go on after being locked out", Position: "the sensors of a stolen gateway", Does: "the gateway is disabled; its sensors go on with connections of their own",
			Expected: "they are cut as well; another gateway's go on", Right: reads(cutAlone), Control: weaken.Revocation, Run: revokeGateway},
		{ID: "revoke-workstation", Threat: "go on after being locked out", Position: "a stolen workstation with an open connection", Does: "the workstation is disabled; it goes on asking",
			Expected: "cut within seconds; another workstation goes on", Right: reads(cutAlone), Control: weaken.Revocation, Run: revokeWorkstation},
	}
}

// disable takes an identity out of use.
func (t *Target) disable(ctx context.Context, kind, name string) error {
	admin, err := t.admin(ctx)
	if err != nil {
		return err
	}
	return admin.Do(ctx, http.MethodPost, "/api/admin/identities/"+kind+"/"+name+"/disable", nil, nil)
}

// goesOn asks ping until it fails or the patience ends, and judges. other is a connection that must be served all the same: without it a
// network that is down would pass for a revocation.
func goesOn(ctx context.Context, ping, other func() error) (Result, error) {
	const patience = 5 * time.Second
	began := time.Now()
	for time.Since(began) < patience {
		if err := ping(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
				return Result{}, fmt.Errorf("no answer within its time, which is no cut: %w", err)
			}
			if oerr := other(); oerr != nil {
				return refused(failure(oerr), "cut, and others with it", "after %v: %v; another: %v", time.Since(began).Round(10*time.Millisecond), err, oerr)
			}
			return refused(word(cutAlone), "cut", "after %v: %v", time.Since(began).Round(10*time.Millisecond), err)
		}
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return through("it goes on", "still served %v after it was disabled", patience)
}

func (k *talk) ping() error {
	if err := k.c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	if err := k.write(6, nil); err != nil {
		return err
	}
	kind, body, err := k.read()
	switch {
	case err == nil && kind == frameGoodbye && len(body) == 1:
		err = fmt.Errorf("%w: reason %d", errGoodbye, body[0])
	case err == nil && kind != 7:
		err = fmt.Errorf("frame %d %x", kind, body)
	}
	return err
}

// cutAlone is a connection that ended while another one, which was not to end, is served. Which half of the hub's revocation ends the
// connection first (its own goodbye, or the overlay's circuit) is not the same each time; that only this one ends is.
const cutAlone = "cut, and another goes on"

func revokeSensor(ctx context.Context, t *Target) (Result, error) {
	r, err := t.newSensors(ctx)
	if err != nil {
		return Result{}, err
	}
	k, err := t.dial(ctx, r.ids["one"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = k.c.Close() }()
	if err := k.ping(); err != nil {
		return Result{}, fmt.Errorf("before: %w", err)
	}
	honest, err := t.dial(ctx, r.ids["two"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = honest.c.Close() }()
	if err := t.disable(ctx, "sensor", r.ids["one"].ID().Name); err != nil {
		return Result{}, err
	}
	res, err := goesOn(ctx, k.ping, honest.ping)
	if err != nil || res.Through {
		return res, err
	}
	again, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if k2, err := t.dial(again, r.ids["one"]); err == nil {
		_ = k2.c.Close()
		return through("let in again", "a new connection was greeted")
	}
	return res, nil
}

func revokeGateway(ctx context.Context, t *Target) (Result, error) {
	r, err := t.newSensors(ctx)
	if err != nil {
		return Result{}, err
	}
	k, err := t.dial(ctx, r.ids["two"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = k.c.Close() }()
	other, err := t.sensors(ctx)
	if err != nil {
		return Result{}, err
	}
	honest, err := t.dial(ctx, other.ids["two"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = honest.c.Close() }()
	if err := t.disable(ctx, "gateway", r.ids["gateway"].ID().Name); err != nil {
		return Result{}, err
	}
	return goesOn(ctx, k.ping, honest.ping)
}

func revokeWorkstation(ctx context.Context, t *Target) (Result, error) {
	s, err := t.newStation(ctx)
	if err != nil {
		return Result{}, err
	}
	honest, err := t.mine(ctx)
	if err != nil {
		return Result{}, err
	}
	// One connection, and never another: a request that cannot be sent on it says that it has ended, at once.
	c, err := s.ep.Dial(ctx, overlay.ServiceFaces)
	if err != nil {
		return Result{}, err
	}
	only := make(chan net.Conn, 1)
	only <- c
	one := site{"http://hub", &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-only:
			return c, nil
		default:
			return nil, errors.New("its one connection has ended")
		}
	}}}}
	defer one.http.CloseIdleConnections()
	asks := func(of site) func() error {
		return func() error {
			short, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			a, err := of.send(short, request{method: "GET", path: "/api/session"})
			if err == nil && a.Status != http.StatusUnauthorized {
				err = fmt.Errorf("answered %s", a)
			}
			return err
		}
	}
	if err := asks(one)(); err != nil {
		return Result{}, fmt.Errorf("before: %w", err)
	}
	if err := t.disable(ctx, "workstation", s.id.ID().Name); err != nil {
		return Result{}, err
	}
	res, err := goesOn(ctx, asks(one), asks(honest.site))
	if err != nil || res.Through {
		return res, err
	}
	again, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	for again.Err() == nil {
		if c, err := s.ep.Dial(again, overlay.ServiceFaces); err == nil {
			_ = c.Close()
			return through("let in again", "a new connection was made")
		}
	}
	return res, nil
}
