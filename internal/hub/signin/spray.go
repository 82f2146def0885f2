package signin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
)

// One password tried on many persons gives each of them one failure, which no count by person notices. Nothing is slowed down for
// it: junk sign-ins at a ward's workstation would lock the ward out. It is told as a security event instead.
const (
	// sprayAtStation is how many different logins must fail at one workstation within meltTime. A shift of some six persons shares
	// a ward's workstation, and who mistypes and then signs in there is not counted: eight are more than the shift.
	sprayAtStation = 8
	// sprayOverall is the same over all workstations of all hubs, for an attacker who has several. Of a hospital's 500 persons who
	// sign in at the change of shift some 25 mistype, and nearly all of them sign in at the same workstation afterwards.
	sprayOverall = 24
)

// spray is the logins that failed lately at a place: one count of the directory for each, in a fixed number of slots, so that all
// hubs on the directory fill the same ones and what is kept is bounded. A slot holds the login's keyed hash in Person, and is free
// again when it is Gone.
type spray struct {
	name   string // before the slot's number
	where  string // SPIFFE id of the workstation; empty: all of them
	slots  int
	detail string
}

func sprays(workstation string) [2]spray {
	return [2]spray{
		{"spray:" + workstation + "#", workstation, sprayAtStation, fmt.Sprintf("%d different logins failed here within an hour", sprayAtStation)},
		{"spray-all#", "", sprayOverall, fmt.Sprintf("%d different logins failed within an hour, over all workstations", sprayOverall)},
	}
}

// sprayed counts a login, by its keyed hash, whose password was judged wrong at a workstation. A
// login of no person counts too.
//
//defence:spray-count one password tried on many persons is noticed
func (svc *Service) sprayed(ctx context.Context, login, workstation string, now time.Time) error {
	ctx = context.WithoutCancel(ctx) // a client that hangs up was answered all the same
	now = now.UTC().Truncate(time.Microsecond)
	for _, s := range sprays(workstation) {
		full, err := s.add(ctx, svc.dir, login, now)
		if err != nil {
			return err
		}
		if full {
			svc.access.Tell(access.Event{Kind: access.EventSpray, Where: s.where, Detail: s.detail})
		}
	}
	return nil
}

// slot is one slot, and what is in it.
type slot struct {
	name string
	was  access.TryCount
}

// find is the slot of a login (its name is empty: it has none), the first free one (likewise), and how many others have one.
func (s spray) find(ctx context.Context, dir access.Accounts, login string, now time.Time) (own, free slot, others int, err error) {
	for i := range s.slots {
		name := fmt.Sprint(s.name, i)
		c, err := dir.TryCount(ctx, name)
		switch {
		case err != nil:
			return own, free, 0, fmt.Errorf("signin: count a try: %w", err)
		case c.Failures == 0 || !now.Before(c.Gone()):
			if free.name == "" {
				free = slot{name, c}
			}
		case c.Person == login:
			own = slot{name, c}
		default:
			others++
		}
	}
	return own, free, others, nil
}

// add gives a login a slot, and reports whether it took the last one. It has it for meltTime, whatever fails after: so that a spray that
// goes on is told again.
func (s spray) add(ctx context.Context, dir access.Accounts, login string, now time.Time) (full bool, err error) {
	for range mostSwaps {
		own, free, others, err := s.find(ctx, dir, login, now)
		if err != nil || own.name != "" || free.name == "" {
			return false, err
		}
		switch err := dir.SwapTryCount(ctx, free.name, free.was, access.TryCount{Failures: 1, At: now, Person: login}); {
		case errors.Is(err, access.ErrConflict):
			continue
		case err != nil:
			return false, fmt.Errorf("signin: count a try: %w", err)
		}
		return others+1 == s.slots, nil
	}
	return false, ErrBusy
}

// unsprayed takes back a login that failed at a workstation and signs in there now: a person who mistyped, and whom the notice of
// failed sign-ins tells if it was not them. Its failures elsewhere stay.
func (svc *Service) unsprayed(ctx context.Context, login, workstation string, now time.Time) error {
	for _, s := range sprays(workstation) {
		own, _, _, err := s.find(ctx, svc.dir, login, now)
		if err != nil || own.name == "" {
			return err
		}
		if err := svc.dir.SwapTryCount(ctx, own.name, own.was, access.TryCount{}); err != nil && !errors.Is(err, access.ErrConflict) {
			return fmt.Errorf("signin: count a try: %w", err)
		}
	}
	return nil
}
