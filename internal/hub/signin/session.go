package signin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
)

// Actions that are no question of policy, as the audit log calls them.
const (
	actionSignIn   = "session:sign-in"
	actionSignOut  = "session:sign-out"
	actionUse      = "session:use"
	actionRefresh  = "session:refresh"
	actionStepUp   = "session:step-up"
	actionFactor   = "factor:change"
	actionPassword = "password:change"
)

const (
	// touchEvery is how stale LastUsed may get before use of a session is written down.
	touchEvery = time.Minute
	// supersededGrace is how long the refresh token before the newest one is taken for a second tab's, not for a thief's.
	// It gets no new tokens either way.
	supersededGrace = 10 * time.Second
)

// ErrSuperseded is the answer to a refresh token that another tab of the same browser has just used:
// the new one is there already.
var ErrSuperseded = errors.New("signin: refreshed just now")

// Tokens are what a browser or program holds of a sign-in. Both are secrets.
type Tokens struct {
	Access         string // a JSON Web Token, see token.go
	AccessExpires  time.Time
	Refresh        string // good for one new pair
	RefreshExpires time.Time
}

// SignedIn is a sign-in that succeeded, or one that waits for a second factor (Pending).
type SignedIn struct {
	Tokens  Tokens
	Subject access.Subject
	Pending *Pending // not nil: no tokens yet
	Ended   int      // of the person's older sessions, of which there were too many
}

const (
	// MaxSessions and maxSessionsStation bound the sessions of one person that live at once, in all and at one workstation. One
	// more ends the oldest.
	MaxSessions        = 128
	maxSessionsStation = 64
)

// makeRoom ends a person's oldest sessions where one more would be too many: at the workstation, or, when there are too many in all,
// at the one that has most of them, so that many sign-ins somewhere end no session at a bed.
func (svc *Service) makeRoom(ctx context.Context, p access.Person, workstation string, now time.Time) (ended int, err error) {
	all, err := svc.dir.SessionsOf(ctx, p.ID)
	if err != nil {
		return 0, fmt.Errorf("signin: sign in: %w", err)
	}
	slices.SortStableFunc(all, func(a, b access.Session) int { return a.Started.Compare(b.Started) })
	at, n := map[string][]access.Session{}, 0
	for _, s := range all {
		if now.Before(s.Expires) && now.Sub(s.LastUsed) < svc.idle {
			at[s.Workstation] = append(at[s.Workstation], s)
			n++
		}
	}
	for {
		from, why := "", ""
		switch {
		case len(at[workstation]) >= maxSessionsStation:
			from, why = workstation, fmt.Sprintf("more than %d sessions of a person at one workstation: the oldest has ended", maxSessionsStation)
		case n >= MaxSessions:
			for w := range at {
				if len(at[w]) > len(at[from]) || len(at[w]) == len(at[from]) && w < from {
					from = w
				}
			}
			why = fmt.Sprintf("more than %d sessions of a person: the oldest has ended, at the workstation that has most", MaxSessions)
		default:
			return ended, nil
		}
		oldest := at[from][0]
		if err := svc.dir.DeleteSession(ctx, oldest.ID); err != nil {
			return ended, fmt.Errorf("signin: sign in: %w", err)
		}
		if err := svc.record(ctx, p, from, actionSignOut, true, why); err != nil {
			return ended, err
		}
		at[from] = at[from][1:]
		n--
		ended++
	}
}

// startSession starts a family and audits it. Methods are RFC 8176 names.
func (svc *Service) startSession(ctx context.Context, p access.Person, workstation, methods string, second bool, now time.Time) (SignedIn, error) {
	return svc.startSessionProven(ctx, p, workstation, methods, second, now, now)
}

// startSessionShown is startSession for who showed the password with the hash shown, at this hub and
// some moments ago; empty: none was shown. A change or a reset of the password sets the new one and
// then ends the sessions that are there, over all hubs: a session that is made after that is found by
// its password, which is another by now.
//
//defence:password-swap a password lets in only while it is the person's
func (svc *Service) startSessionShown(ctx context.Context, p access.Person, workstation, methods string, second bool, now time.Time, shown string) (SignedIn, error) {
	in, err := svc.startSession(ctx, p, workstation, methods, second, now)
	if err != nil || shown == "" {
		return in, err
	}
	was, hash, err := svc.dir.PersonByLogin(ctx, p.Login)
	switch {
	case err == nil && hash == shown && was.ID == p.ID && !was.Disabled:
		return in, nil
	case err == nil || errors.Is(err, access.ErrNotFound):
		err = svc.signInRefused(ctx, p, workstation, "the password was changed, or the person disabled, while signing in")
	default:
		err = fmt.Errorf("signin: sign in: %w", err)
	}
	return SignedIn{}, errors.Join(err, svc.dir.DeleteSession(context.WithoutCancel(ctx), in.Subject.Session))
}

// startSessionProven is startSession for a proof of identity of another moment.
func (svc *Service) startSessionProven(ctx context.Context, p access.Person, workstation, methods string, second bool, now, proven time.Time) (SignedIn, error) {
	s := access.Session{ID: strings.ToLower(rand.Text()), PersonID: p.ID, Workstation: workstation, Started: now, LastUsed: now,
		Expires: now.Add(svc.absolute), Proven: proven, SecondFactor: second, Methods: methods, Generation: 1, Rotated: now}
	rand.Read(s.Key[:]) // never fails
	ended, err := svc.makeRoom(ctx, p, workstation, now)
	if err != nil {
		return SignedIn{}, err
	}
	if err := svc.dir.SaveSession(ctx, s); err != nil {
		return SignedIn{}, fmt.Errorf("signin: sign in: %w", err)
	}
	tokens, err := svc.tokens(ctx, s, now)
	if err == nil {
		err = svc.record(ctx, p, workstation, actionSignIn, true, methods)
	}
	if err != nil {
		return SignedIn{}, errors.Join(err, svc.dir.DeleteSession(context.WithoutCancel(ctx), s.ID))
	}
	return SignedIn{Tokens: tokens, Subject: subjectOf(s, p), Ended: ended}, nil
}

// subjectOf is who a session speaks for.
func subjectOf(s access.Session, p access.Person) access.Subject {
	return access.Subject{Person: p, Workstation: s.Workstation, Session: s.ID, SessionStarted: s.Started, SecondFactor: s.SecondFactor, Proven: s.Proven}
}

// tokens makes the pair of the session's generation.
func (svc *Service) tokens(ctx context.Context, s access.Session, now time.Time) (Tokens, error) {
	token, expires, err := svc.mint(ctx, s, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: token, AccessExpires: expires, Refresh: refreshToken(s, s.Generation), RefreshExpires: s.Expires}, nil
}

// refreshToken is "id.generation.mac", base64url. It proves itself with the family's key, so that a used one can be told
// from an invented one: only the first is theft.
func refreshToken(s access.Session, generation int64) string {
	g := binary.BigEndian.AppendUint64(nil, uint64(generation)) // #nosec G115 -- counts from 1
	b64 := base64.RawURLEncoding
	return s.ID + "." + b64.EncodeToString(g) + "." + b64.EncodeToString(refreshMAC(s, g))
}

func refreshMAC(s access.Session, generation []byte) []byte {
	m := hmac.New(sha256.New, s.Key[:])
	m.Write([]byte("vitalseal refresh " + s.ID + " "))
	m.Write(generation)
	return m.Sum(nil)
}

// generationOf is which of the family's refresh tokens this is; ok is false for one that the family never had.
func generationOf(s access.Session, parts []string) (n int64, ok bool) {
	b64 := base64.RawURLEncoding.Strict()
	g, err1 := b64.DecodeString(parts[1])
	mac, err2 := b64.DecodeString(parts[2])
	if err1 != nil || err2 != nil || len(g) != 8 || !hmac.Equal(mac, refreshMAC(s, g)) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(g)), true // #nosec G115 -- made by refreshToken
}

// Refresh changes a refresh token for a new pair, once. A token that was used before has been copied: its whole family ends,
// audited and announced. The one exception is the token just before the newest, for a few seconds and at the same
// workstation: that is a second tab, and gets ErrSuperseded. Everything else that is no live session's token at this very
// workstation is ErrNoSession. A refresh counts as no use: it does not keep a session alive.
func (svc *Service) Refresh(ctx context.Context, refresh, workstation string) (Tokens, error) {
	now := time.Now().UTC()
	s, _, superseded, err := svc.ofRefresh(ctx, refresh, workstation, now)
	if err == nil && superseded {
		err = ErrSuperseded
	}
	if err != nil {
		return Tokens{}, err
	}
	switch err := svc.dir.RotateSession(ctx, s.ID, s.Generation, now); {
	case errors.Is(err, access.ErrConflict):
		return Tokens{}, ErrSuperseded
	case errors.Is(err, access.ErrNotFound):
		return Tokens{}, access.ErrNoSession
	case err != nil:
		return Tokens{}, fmt.Errorf("signin: refresh: %w", err)
	}
	s.Generation++
	return svc.tokens(ctx, s, now)
}

// Holder is who a refresh token speaks for, and changes nothing: the token stays good, its use counts for nothing. The token just before
// the newest, as in Refresh, is as good. Errors: as Refresh's, but never ErrSuperseded.
func (svc *Service) Holder(ctx context.Context, refresh, workstation string) (access.Subject, error) {
	s, p, _, err := svc.ofRefresh(ctx, refresh, workstation, time.Now().UTC())
	if err != nil {
		return access.Subject{}, err
	}
	return subjectOf(s, p), nil
}

// ofRefresh is the live session of a refresh token and its person, and whether the token is the one just before the newest. A token of the
// family that is older ends the session.
func (svc *Service) ofRefresh(ctx context.Context, refresh, workstation string, now time.Time) (s access.Session, p access.Person, superseded bool, err error) {
	parts := strings.Split(refresh, ".")
	if len(refresh) > 200 || len(parts) != 3 || !access.IsWorkstation(workstation) {
		return s, p, false, access.ErrNoSession
	}
	s, err = svc.dir.Session(ctx, parts[0])
	if errors.Is(err, access.ErrNotFound) {
		return s, p, false, access.ErrNoSession
	}
	if err != nil {
		return s, p, false, fmt.Errorf("signin: refresh: %w", err)
	}
	generation, genuine := generationOf(s, parts)
	if !genuine {
		return s, p, false, access.ErrNoSession
	}
	if p, err = svc.alive(ctx, s, workstation, now); err != nil {
		return s, p, false, err
	}
	switch {
	//defence:refresh-once the token before the newest is good for nothing but another tab's
	case generation == s.Generation-1 && now.Sub(s.Rotated) < supersededGrace:
		return s, p, true, nil
	//defence:refresh-once a used refresh token ends its session
	case generation != s.Generation:
		svc.log.WarnContext(ctx, "a used refresh token was shown again; its session has ended", "person", s.PersonID, "workstation", workstation)
		svc.access.Tell(access.Event{Kind: access.EventTheft, Person: s.PersonID, Where: workstation, Detail: "a used refresh token was shown again"})
		return s, p, false, svc.end(ctx, s, workstation, actionRefresh, "refresh token used twice")
	}
	return s, p, false, nil
}

// Authenticate is who an access token speaks for at this workstation, and counts as use of the session. Everything that is
// not a valid token of a live session of an enabled person at this very workstation is ErrNoSession. A valid token shown by
// another workstation has been stolen: its session ends, audited.
func (svc *Service) Authenticate(ctx context.Context, token, workstation string) (access.Subject, error) {
	return svc.authenticate(ctx, token, workstation, true)
}

// Check is Authenticate without counting as use, for live views that ask by themselves: watching alone does not keep
// a session alive.
func (svc *Service) Check(ctx context.Context, token, workstation string) (access.Subject, error) {
	return svc.authenticate(ctx, token, workstation, false)
}

func (svc *Service) authenticate(ctx context.Context, token, workstation string, use bool) (access.Subject, error) {
	if !access.IsWorkstation(workstation) {
		return access.Subject{}, access.ErrNoSession
	}
	now := time.Now().UTC()
	c, err := svc.parse(ctx, token, now)
	if err != nil {
		return access.Subject{}, err
	}
	s, err := svc.dir.Session(ctx, c.Session)
	if errors.Is(err, access.ErrNotFound) {
		return access.Subject{}, access.ErrNoSession
	}
	if err != nil {
		return access.Subject{}, fmt.Errorf("signin: authenticate: %w", err)
	}
	//defence:fresh-session a session is of the person who signed in
	if s.PersonID != c.Subject {
		return access.Subject{}, access.ErrNoSession
	}
	if s.Workstation != c.Confirmation.Workstation {
		return access.Subject{}, access.ErrNoSession
	}
	p, err := svc.alive(ctx, s, workstation, now)
	if err != nil {
		return access.Subject{}, err
	}
	if use && now.Sub(s.LastUsed) >= min(touchEvery, svc.idle/4) {
		switch err := svc.dir.TouchSession(ctx, s.ID, now); {
		case errors.Is(err, access.ErrNotFound): // signed out just now
			return access.Subject{}, access.ErrNoSession
		case err != nil:
			return access.Subject{}, fmt.Errorf("signin: authenticate: %w", err)
		}
	}
	return subjectOf(s, p), nil
}

// Recheck is who a session speaks for now, for live views that outlive their access token: ErrNoSession once it has ended.
// It counts as no use.
func (svc *Service) Recheck(ctx context.Context, was access.Subject) (access.Subject, error) {
	s, err := svc.dir.Session(ctx, was.Session)
	if errors.Is(err, access.ErrNotFound) {
		return access.Subject{}, access.ErrNoSession
	}
	if err != nil {
		return access.Subject{}, fmt.Errorf("signin: recheck: %w", err)
	}
	p, err := svc.alive(ctx, s, was.Workstation, time.Now().UTC())
	if err != nil {
		return access.Subject{}, err
	}
	return subjectOf(s, p), nil
}

// alive ends a session that may not go on, and gives the person of one that may.
func (svc *Service) alive(ctx context.Context, s access.Session, workstation string, now time.Time) (access.Person, error) {
	switch {
	//defence:token-station tokens are bound to their workstation
	case s.Workstation != workstation:
		svc.access.Tell(access.Event{Kind: access.EventTheft, Person: s.PersonID, Where: workstation, Detail: "a token was shown by another workstation"})
		return access.Person{}, svc.end(ctx, s, workstation, actionUse, "token shown by another workstation")
	case !now.Before(s.Expires):
		return access.Person{}, svc.end(ctx, s, workstation, actionUse, "session expired")
	case now.Sub(s.LastUsed) >= svc.idle:
		return access.Person{}, svc.end(ctx, s, workstation, actionUse, "session idle")
	}
	p, err := svc.dir.Person(ctx, s.PersonID)
	if errors.Is(err, access.ErrNotFound) || err == nil && p.Disabled {
		return access.Person{}, svc.end(ctx, s, workstation, actionUse, "person disabled or deleted")
	}
	if err != nil {
		return access.Person{}, fmt.Errorf("signin: session: %w", err)
	}
	return p, nil
}

// end deletes a session that may not go on, records why, and is ErrNoSession or what failed.
func (svc *Service) end(ctx context.Context, s access.Session, workstation, action, reason string) error {
	ctx = context.WithoutCancel(ctx)
	if err := svc.dir.DeleteSession(ctx, s.ID); err != nil {
		return fmt.Errorf("signin: end session: %w", err)
	}
	if err := svc.record(ctx, access.Person{ID: s.PersonID}, workstation, action, false, reason); err != nil {
		return err
	}
	return access.ErrNoSession
}

// IdleLimit is how long a session lasts without use.
func (svc *Service) IdleLimit() time.Duration { return svc.idle }

// SignOut ends the session of s.
//
//defence:sign-out-ends signing out ends the session at the hub
func (svc *Service) SignOut(ctx context.Context, s access.Subject) error {
	if s.Session == "" {
		return nil
	}
	if err := svc.dir.DeleteSession(ctx, s.Session); err != nil {
		return fmt.Errorf("signin: sign out: %w", err)
	}
	return svc.record(ctx, s.Person, s.Workstation, actionSignOut, true, "")
}

// SignOutAll ends all sessions of a person, and sign-ins that wait for a second factor, as when the person is disabled or gets a
// new password.
func (svc *Service) SignOutAll(ctx context.Context, personID string) error {
	svc.pendings.forget(personID)
	if err := svc.dir.DeleteSessionsOf(ctx, personID, ""); err != nil {
		return fmt.Errorf("signin: sign out: %w", err)
	}
	return svc.record(ctx, access.Person{ID: personID}, "", actionSignOut, true, "all sessions")
}
