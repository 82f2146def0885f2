//go:build weaken

package access

import "context"

// anyKey is a key of somebody's, as for a face that only looks whether a key looks like one.
func (e *Engine) anyKey(ctx context.Context) (APIKey, error) {
	p, _, err := e.dir.PersonByLogin(ctx, "doctor")
	if err != nil {
		return APIKey{}, err
	}
	keys, err := e.dir.APIKeysOf(ctx, p.ID)
	if err != nil || len(keys) == 0 {
		return APIKey{}, ErrNotFound
	}
	return keys[0], nil
}

// Adopt gives a session to another person: what a sign-in does that keeps the session which the browser came with.
func (e *Engine) Adopt(ctx context.Context, session, person string) error {
	s, err := e.dir.Session(ctx, session)
	if err != nil {
		return err
	}
	if err := e.dir.DeleteSession(ctx, session); err != nil {
		return err
	}
	s.PersonID = person
	return e.dir.SaveSession(ctx, s)
}
