package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"vitalseal/internal/audit"
)

// Actions that are no question of policy, as the audit log calls them.
const (
	actionSignIn  = "session:sign-in"
	actionSignOut = "session:sign-out"
	actionUse     = "session:use"
)

// touchEvery is how stale LastUsed may get before use of a session is written down.
const touchEvery = time.Minute

var loginText = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// NormalLogin is the one spelling of a login (trimmed, lower case) under which a Directory keeps it; ok is false if it
// cannot be one: 1 to 64 of a-z, 0-9 and . _ @ -, starting with a letter or digit.
func NormalLogin(login string) (normal string, ok bool) {
	normal = strings.ToLower(strings.TrimSpace(login))
	return normal, loginText.MatchString(normal)
}

// SignIn starts a session of the person with this login and password at this workstation, and returns its token, which
// exists nowhere else. Every failure of login, password, person or workstation is ErrSignIn, after the same work;
// too many are a *Throttled, which is one too. ErrBusy and errors of directory or audit log may be tried again. Success
// and failure are audited; a login that belongs to nobody is not written down, because people type passwords there.
func (e *Engine) SignIn(ctx context.Context, login, password, workstation string) (token string, s Session, err error) {
	now := time.Now().UTC()
	login, plausible := NormalLogin(login)
	if !IsWorkstation(workstation) {
		return "", Session{}, e.signInRefused(ctx, Person{}, workstation, "no workstation")
	}
	if !plausible {
		login = "" // all of them share one count
	}
	if wait, first := e.throttle.begin(workstation, login, now); wait > 0 {
		if first {
			if err := e.signInRefused(ctx, Person{}, workstation, "throttled"); !errors.Is(err, ErrSignIn) {
				return "", Session{}, err
			}
		}
		return "", Session{}, &Throttled{RetryAfter: wait}
	}
	p, hash, err := Person{}, e.unknownPassword, error(ErrNotFound)
	if plausible {
		var h string
		if p, h, err = e.dir.PersonByLogin(ctx, login); err == nil {
			hash = h
		} else if !errors.Is(err, ErrNotFound) {
			e.throttle.withdraw(workstation, login)
			return "", Session{}, fmt.Errorf("access: sign in: %w", err)
		}
	}
	known := err == nil
	if _, err := parsePHC(hash); err != nil {
		hash, known = e.unknownPassword, false // someone without a password yet: the same work all the same
	}
	var right bool
	if err := e.hashing.do(ctx, func() { right = VerifyPassword(hash, clipPassword(password)) }); err != nil {
		e.throttle.withdraw(workstation, login)
		return "", Session{}, err
	}
	switch {
	case !known:
		return "", Session{}, e.signInRefused(ctx, Person{}, workstation, "unknown login")
	case !right:
		return "", Session{}, e.signInRefused(ctx, p, workstation, "wrong password")
	case p.Disabled:
		return "", Session{}, e.signInRefused(ctx, p, workstation, "person disabled")
	}
	e.throttle.succeeded(workstation, login)
	return e.startSession(ctx, p, workstation, now)
}

// clipPassword keeps the work for absurdly long input the same as for any other wrong password.
func clipPassword(pw string) string {
	if len(pw) > MaxPassword {
		return "" // nobody's: a password has at least MinPassword characters
	}
	return pw
}

// signInRefused audits and is ErrSignIn, or the audit log's error.
func (e *Engine) signInRefused(ctx context.Context, p Person, workstation, reason string) error {
	if err := e.record(ctx, p, workstation, actionSignIn, false, reason); err != nil {
		return err
	}
	return ErrSignIn
}

func (e *Engine) record(ctx context.Context, p Person, workstation, action string, allowed bool, reason string) error {
	_, err := e.audit.Append(context.WithoutCancel(ctx), audit.Entry{
		Person: clip(p.ID), Role: clip(string(p.Role)), Workstation: clip(workstation), Action: action,
		Resource: KindSystem, Allowed: allowed, Reason: reason,
	})
	if err != nil {
		return fmt.Errorf("access: refused, the audit log cannot be written: %w", err)
	}
	return nil
}

func (e *Engine) startSession(ctx context.Context, p Person, workstation string, now time.Time) (string, Session, error) {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	token := base64.RawURLEncoding.EncodeToString(secret[:])
	s := Session{Hash: sha256.Sum256([]byte(token)), PersonID: p.ID, Workstation: workstation,
		Started: now, LastUsed: now, Expires: now.Add(e.absolute)}
	if err := e.dir.SaveSession(ctx, s); err != nil {
		return "", Session{}, fmt.Errorf("access: sign in: %w", err)
	}
	if err := e.record(ctx, p, workstation, actionSignIn, true, ""); err != nil {
		return "", Session{}, errors.Join(err, e.dir.DeleteSession(context.WithoutCancel(ctx), s.Hash))
	}
	return token, s, nil
}

// Authenticate is who the token speaks for at this workstation, and counts as use of the session. Everything that is
// not a live session of an enabled person at this very workstation is ErrNoSession. A live token shown by another
// workstation has been stolen: its session ends, audited.
func (e *Engine) Authenticate(ctx context.Context, token, workstation string) (Subject, error) {
	return e.authenticate(ctx, token, workstation, true)
}

// Check is Authenticate without counting as use, for live views that ask by themselves: watching alone does not keep
// a session alive.
func (e *Engine) Check(ctx context.Context, token, workstation string) (Subject, error) {
	return e.authenticate(ctx, token, workstation, false)
}

func (e *Engine) authenticate(ctx context.Context, token, workstation string, use bool) (Subject, error) {
	if len(token) != 43 || !IsWorkstation(workstation) {
		return Subject{}, ErrNoSession
	}
	hash := sha256.Sum256([]byte(token))
	s, err := e.dir.Session(ctx, hash)
	if errors.Is(err, ErrNotFound) {
		return Subject{}, ErrNoSession
	}
	if err != nil {
		return Subject{}, fmt.Errorf("access: authenticate: %w", err)
	}
	now := time.Now().UTC()
	if s.Workstation != workstation {
		return Subject{}, e.end(ctx, s, workstation, "token shown by another workstation")
	}
	if !now.Before(s.Expires) {
		return Subject{}, e.end(ctx, s, workstation, "session expired")
	}
	if now.Sub(s.LastUsed) >= e.idle {
		return Subject{}, e.end(ctx, s, workstation, "session idle")
	}
	p, err := e.dir.Person(ctx, s.PersonID)
	if errors.Is(err, ErrNotFound) || err == nil && p.Disabled {
		return Subject{}, e.end(ctx, s, workstation, "person disabled or deleted")
	}
	if err != nil {
		return Subject{}, fmt.Errorf("access: authenticate: %w", err)
	}
	if use && now.Sub(s.LastUsed) >= min(touchEvery, e.idle/4) {
		switch err := e.dir.TouchSession(ctx, hash, now); {
		case errors.Is(err, ErrNotFound): // signed out just now
			return Subject{}, ErrNoSession
		case err != nil:
			return Subject{}, fmt.Errorf("access: authenticate: %w", err)
		}
	}
	return Subject{Person: p, Workstation: workstation, SessionStarted: s.Started}, nil
}

// end deletes a session that may not go on, records why, and is ErrNoSession or what failed.
func (e *Engine) end(ctx context.Context, s Session, workstation, reason string) error {
	ctx = context.WithoutCancel(ctx)
	if err := e.dir.DeleteSession(ctx, s.Hash); err != nil {
		return fmt.Errorf("access: end session: %w", err)
	}
	if err := e.record(ctx, Person{ID: s.PersonID}, workstation, actionUse, false, reason); err != nil {
		return err
	}
	return ErrNoSession
}

// SignOut ends the session of the token; a token without one is no error.
func (e *Engine) SignOut(ctx context.Context, token string) error {
	hash := sha256.Sum256([]byte(token))
	s, err := e.dir.Session(ctx, hash)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = e.dir.DeleteSession(ctx, hash)
	}
	if err != nil {
		return fmt.Errorf("access: sign out: %w", err)
	}
	return e.record(ctx, Person{ID: s.PersonID}, s.Workstation, actionSignOut, true, "")
}

// SignOutAll ends all sessions of a person, as when the person is disabled or gets a new password.
func (e *Engine) SignOutAll(ctx context.Context, personID string) error {
	if err := e.dir.DeleteSessionsOf(ctx, personID); err != nil {
		return fmt.Errorf("access: sign out: %w", err)
	}
	return e.record(ctx, Person{ID: personID}, "", actionSignOut, true, "all sessions")
}
