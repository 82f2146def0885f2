//go:build weaken

package signin

import (
	"context"

	"vitalseal/internal/access"
)

// anyKey is a key of somebody's, as for a face that only looks whether a key looks like one.
func (svc *Service) anyKey(ctx context.Context) (access.APIKey, error) {
	p, _, err := svc.dir.PersonByLogin(ctx, "doctor")
	if err != nil {
		return access.APIKey{}, err
	}
	keys, err := svc.dir.APIKeysOf(ctx, p.ID)
	if err != nil || len(keys) == 0 {
		return access.APIKey{}, access.ErrNotFound
	}
	return keys[0], nil
}

// Adopt gives a session to another person: what a sign-in does that keeps the session which the browser came with.
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
