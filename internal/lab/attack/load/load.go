// Package load is many connections at once, and whether a bed's numbers go on meanwhile.
//
// An attack of any family that floods uses it: [Crowd] opens connections and counts those that are
// served, [Meanwhile] looks at a bed as a doctor does while the flood lasts, and [Flooded] judges
// both. A flood that the machine was too slow for is an error and not a refusal.
package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"vitalseal/internal/lab/attack"
)

// watched watches a bed as a doctor.
type pulse struct {
	t *attack.Target
	s attack.Session
}

func watched(ctx context.Context, t *attack.Target) (*pulse, error) {
	s, err := t.As(ctx, "doctor")
	return &pulse{t, s}, err
}

// newest is when the newest of a patient's numbers was measured.
func (p *pulse) newest(ctx context.Context) (time.Time, error) {
	a, err := p.t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/patients/" + p.t.Ward.Patients[0].ID, Bearer: p.s.Access})
	if err != nil {
		return time.Time{}, err
	}
	var out struct {
		Numerics map[string]struct {
			At time.Time `json:"at"`
		} `json:"numerics"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || !a.OK() {
		return time.Time{}, fmt.Errorf("the bed: %s", a)
	}
	var at time.Time
	for _, n := range out.Numerics {
		if n.At.After(at) {
			at = n.At
		}
	}
	if at.IsZero() {
		return at, errors.New("the bed has no number")
	}
	return at, nil
}

// moves waits for a number that is newer than from, and says how long it took.
func (p *pulse) moves(ctx context.Context, from time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	began := time.Now()
	err := attack.Await(ctx, func() error {
		at, err := p.newest(ctx)
		if err == nil && !at.After(from) {
			err = errors.New("the numbers stand still")
		}
		return err
	})
	return time.Since(began), err
}

// Meanwhile runs a flood and checks that a bed's numbers go on while it lasts. flood says what was
// admitted.
func Meanwhile(ctx context.Context, t *attack.Target, flood func(during func() error) error) error {
	p, err := watched(ctx, t)
	if err != nil {
		return err
	}
	return flood(func() error {
		from, err := p.newest(ctx)
		if err == nil {
			_, err = p.moves(ctx, from)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStill, err)
		}
		return nil
	})
}

// ErrStill says that the flood reached its aim.
var ErrStill = errors.New("a bed's numbers did not keep moving")

// Flooded judges: the flood's own error is errStill or a failure of the attack.
func Flooded(err error, over bool, seen []attack.Seen, ifBad, ifGood, format string, args ...any) (attack.Result, error) {
	switch {
	case errors.Is(err, ErrStill):
		return attack.Through("the numbers stood still", "%v", err)
	case err != nil:
		return attack.Result{}, err
	}
	return attack.Judge(over, seen, ifBad, ifGood+", and the numbers kept moving", format, args...)
}

// decidedWithin bounds how long a crowd's connections may stay without an answer and without an
// end.
const decidedWithin = time.Minute

// Crowd opens want connections and asks on each as soon as it is open, because one that says
// nothing is ended for that. It returns once all are decided, answered or ended by the other end,
// however long the machine takes, and counts the answered ones; all of them stay open until end is
// called. Where fewer than bound were opened, or some were not decided, that the bound holds was
// not seen: an error.
func Crowd(ctx context.Context, want, bound int, dial func(context.Context) (net.Conn, error), ask string) (answered int, end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, decidedWithin)
	defer cancel()
	var conns []net.Conn
	end = func() { attack.SideBySide(len(conns), func(i int) { _ = conns[i].Close() }) }
	answers := make(chan error, want)
	var last error
	for range want {
		c, err := dial(ctx)
		if err != nil {
			last = err // not let in is what is hoped for
			continue
		}
		conns = append(conns, c)
		go func() {
			deadline, _ := ctx.Deadline()
			err := c.SetDeadline(deadline)
			if err == nil {
				_, err = io.WriteString(c, ask)
			}
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			answers <- err
		}()
	}
	undecided := 0
	for range conns {
		var late net.Error
		switch err := <-answers; {
		case err == nil:
			answered++
		case errors.As(err, &late) && late.Timeout():
			undecided++
		}
	}
	switch {
	case answered > bound:
	case len(conns) < bound:
		return answered, end, fmt.Errorf("only %d of %d connections were opened: %w", len(conns), want, last)
	case undecided > 0:
		return answered, end, fmt.Errorf("%d of %d connections were neither answered nor ended within %v", undecided, want, decidedWithin)
	}
	return answered, end, nil
}
