package attack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"vitalseal/internal/weaken"
)

func revokeAttacks() []Attack {
	return []Attack{
		{ID: "revoke-mid-stream", Threat: "go on after being locked out", Position: "an enrolled sensor with a live connection", Does: "the sensor is disabled while it is delivering; it goes on",
			Expected: "cut within seconds with goodbye 8 (not active), and not let in again", Right: says(notActive), Control: weaken.Revocation, Run: revokeSensor},
		{ID: "revoke-gateway", Threat: "go on after being locked out", Position: "the sensors of a stolen gateway", Does: "the gateway is disabled; its sensors go on with connections of their own",
			Expected: "they are cut as well, with goodbye 8 (not active)", Right: says(notActive), Control: weaken.Revocation, Run: revokeGateway},
		{ID: "revoke-workstation", Threat: "go on after being locked out", Position: "a stolen workstation with an open connection", Does: "the workstation is disabled; it goes on asking",
			Expected: "the connection is closed within seconds", Right: fails(io.EOF), Control: weaken.Revocation, Run: revokeWorkstation},
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

// goesOn asks ping until it fails or the patience ends, and judges.
func goesOn(ctx context.Context, ping func() error) (Result, error) {
	const patience = 5 * time.Second
	began := time.Now()
	for time.Since(began) < patience {
		if err := ping(); err != nil {
			return refused(failure(err), "cut", "after %v: %v", time.Since(began).Round(10*time.Millisecond), err)
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

// notActive is how the hub ends the connection of an identity that is not active in the inventory.
const notActive = "the hub said goodbye: reason 8"

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
	if err := t.disable(ctx, "sensor", r.ids["one"].ID().Name); err != nil {
		return Result{}, err
	}
	res, err := goesOn(ctx, k.ping)
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
	if err := t.disable(ctx, "gateway", r.ids["gateway"].ID().Name); err != nil {
		return Result{}, err
	}
	return goesOn(ctx, k.ping)
}

func revokeWorkstation(ctx context.Context, t *Target) (Result, error) {
	s, err := t.newStation(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := t.disable(ctx, "workstation", s.id.ID().Name); err != nil {
		return Result{}, err
	}
	return goesOn(ctx, func() error {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := s.send(short, request{method: "GET", path: "/api/session"})
		return err
	})
}
