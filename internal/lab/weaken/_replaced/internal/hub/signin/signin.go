package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/weaken"
)

// SignIn tells that a login belongs to no person.
func (svc *Service) SignIn(ctx context.Context, login, password, workstation string) (SignedIn, error) {
	in, err := svc.strictSignIn(ctx, login, password, workstation)
	var throttled *Throttled
	if errors.Is(err, ErrSignIn) && !errors.As(err, &throttled) && weaken.Skip(weaken.SameAnswer) {
		name, _ := NormalLogin(login)
		if _, _, perr := svc.dir.PersonByLogin(ctx, name); errors.Is(perr, access.ErrNotFound) {
			return SignedIn{}, access.ErrNotFound
		}
	}
	return in, err
}

// swapPassword writes a password over whatever is there.
func (svc *Service) swapPassword(ctx context.Context, person, was, hash string) error {
	if weaken.Skip(weaken.PasswordSwap) {
		return svc.dir.SetPassword(ctx, person, hash, false)
	}
	return svc.strictSwapPassword(ctx, person, was, hash)
}

// startSessionShown does not look whether the password is still the person's.
func (svc *Service) startSessionShown(ctx context.Context, p access.Person, workstation, methods string, second bool, now time.Time, shown string) (SignedIn, error) {
	if weaken.Skip(weaken.PasswordSwap) {
		shown = ""
	}
	return svc.strictStartSessionShown(ctx, p, workstation, methods, second, now, shown)
}

// attempt counts nothing, all that happens at a workstation together, or each workstation for
// itself.
func (svc *Service) attempt(ctx context.Context, p access.Person, workstation, action string, now time.Time, pools ...pool) (*attempt, error) {
	if weaken.Skip(weaken.Throttle) {
		return &attempt{svc: svc}, nil
	}
	pools = slices.Clone(pools)
	for i := range pools {
		switch {
		case weaken.Skip(weaken.OwnCounts):
			pools[i].name = "all@" + workstation
		case weaken.Skip(weaken.CountsTogether):
			pools[i].name += "@" + workstation
		}
	}
	return svc.strictAttempt(ctx, p, workstation, action, now, pools...)
}

// parse believes whatever a token says, as a verifier does that trusts the token's own header.
func (svc *Service) parse(ctx context.Context, token string, now time.Time) (c claims, err error) {
	if !weaken.Skip(weaken.TokenSignature) {
		return svc.strictParse(ctx, token, now)
	}
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return c, access.ErrNoSession
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &c) != nil {
		return c, access.ErrNoSession
	}
	return c, nil
}

// SignOut forgets nothing at the hub.
func (svc *Service) SignOut(ctx context.Context, s access.Subject) error {
	if weaken.Skip(weaken.SignOutEnds) {
		return nil
	}
	return svc.strictSignOut(ctx, s)
}

// AuthenticateKey takes what looks like a key for one of a doctor's.
func (svc *Service) AuthenticateKey(ctx context.Context, key, workstation string) (access.Subject, access.APIKey, error) {
	s, k, err := svc.strictAuthenticateKey(ctx, key, workstation)
	if err == nil || !weaken.Skip(weaken.OwnKeys) || !keyText.MatchString(key) || !access.IsWorkstation(workstation) {
		return s, k, err
	}
	p, _, perr := svc.dir.PersonByLogin(ctx, "doctor")
	if perr != nil || p.Disabled {
		return s, k, err
	}
	keys, kerr := svc.dir.APIKeysOf(ctx, p.ID)
	if kerr != nil || len(keys) == 0 {
		return s, k, err
	}
	return access.Subject{Person: p, Workstation: workstation, Key: &keys[0]}, keys[0], nil
}

// swapFactor writes a factor over whatever is there.
func (svc *Service) swapFactor(ctx context.Context, was, next access.Factor) error {
	if weaken.Skip(weaken.FactorSwap) {
		return svc.dir.SaveFactor(ctx, next)
	}
	return svc.strictSwapFactor(ctx, was, next)
}

// provenThere takes every sign-in at the provider for one of now.
func (svc *Service) provenThere(ctx context.Context, proven, started, now time.Time) (at time.Time, refused string) {
	if weaken.Skip(weaken.AuthTime) {
		return now, ""
	}
	return svc.strictProvenThere(ctx, proven, started, now)
}

// sprayed counts nothing.
func (svc *Service) sprayed(ctx context.Context, login, workstation string, now time.Time) error {
	if weaken.Skip(weaken.SprayCount) {
		return nil
	}
	return svc.strictSprayed(ctx, login, workstation, now)
}

// Adopt gives a session to another person: what a sign-in does that keeps the session which the
// browser came with.
func (svc *Service) Adopt(ctx context.Context, session, person string) error {
	s, err := svc.dir.Session(ctx, session)
	if err != nil {
		return err
	}
	if err := svc.dir.DeleteSession(ctx, session); err != nil {
		return err
	}
	s.PersonID = person
	return svc.dir.SaveSession(ctx, s)
}
