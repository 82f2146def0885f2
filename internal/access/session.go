package access

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

	"vitalseal/internal/audit"
	"vitalseal/internal/lab/weaken"
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

var (
	// ErrSuperseded is the answer to a refresh token that another tab of the same browser has just used: the new one is
	// there already.
	ErrSuperseded = errors.New("access: refreshed just now")
	// ErrConflict is a Directory's answer to a change of what has changed meanwhile.
	ErrConflict = errors.New("access: changed meanwhile")
)

// Session is one sign-in: a family of tokens. The tokens themselves are stored nowhere.
type Session struct {
	ID           string // random; in every token of the family
	PersonID     string
	Workstation  string    // SPIFFE id it is bound to
	Started      time.Time // UTC, as are all times here
	LastUsed     time.Time // written at most once a minute
	Expires      time.Time // absolute, however much the session is used
	Proven       time.Time // last proof of identity
	SecondFactor bool
	Methods      string // RFC 8176 names, space-separated: "pwd", "pwd otp", "hwk user", "fed"
	Generation   int64  // of the newest refresh token
	Rotated      time.Time
	Key          [32]byte // authenticates the family's refresh tokens; a Directory seals it
}

// Sessions is the part of a Directory about sign-ins.
type Sessions interface {
	// SaveSession also makes the workstation known to the person, and the failed sign-ins since the person's last session this one's.
	SaveSession(ctx context.Context, s Session) error
	Session(ctx context.Context, id string) (Session, error)
	// SessionsOf are a person's sign-ins, expired ones too.
	SessionsOf(ctx context.Context, personID string) ([]Session, error)
	// TouchSession sets LastUsed of a session that exists, and never brings back one that was deleted meanwhile.
	TouchSession(ctx context.Context, id string, lastUsed time.Time) error
	// ProveSession sets Proven, and SecondFactor if it is true.
	ProveSession(ctx context.Context, id string, at time.Time, secondFactor bool) error
	// RotateSession goes from one generation to the next; ErrConflict if it was another.
	RotateSession(ctx context.Context, id string, from int64, at time.Time) error
	// DeleteSession is no error for a session that does not exist; nor is DeleteSessionsOf for a person without any. except
	// is the id of one that stays, or empty.
	DeleteSession(ctx context.Context, id string) error
	DeleteSessionsOf(ctx context.Context, personID, except string) error
}

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
	Subject Subject
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
func (e *Engine) makeRoom(ctx context.Context, p Person, workstation string, now time.Time) (ended int, err error) {
	all, err := e.dir.SessionsOf(ctx, p.ID)
	if err != nil {
		return 0, fmt.Errorf("access: sign in: %w", err)
	}
	slices.SortStableFunc(all, func(a, b Session) int { return a.Started.Compare(b.Started) })
	at, n := map[string][]Session{}, 0
	for _, s := range all {
		if now.Before(s.Expires) && now.Sub(s.LastUsed) < e.idle {
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
		if err := e.dir.DeleteSession(ctx, oldest.ID); err != nil {
			return ended, fmt.Errorf("access: sign in: %w", err)
		}
		if err := e.record(ctx, p, from, actionSignOut, true, why); err != nil {
			return ended, err
		}
		at[from] = at[from][1:]
		n--
		ended++
	}
}

// startSession starts a family and audits it. Methods are RFC 8176 names.
func (e *Engine) startSession(ctx context.Context, p Person, workstation, methods string, second bool, now time.Time) (SignedIn, error) {
	return e.startSessionProven(ctx, p, workstation, methods, second, now, now)
}

// startSessionShown is startSession for who showed the password with the hash shown, at this hub and some moments ago; empty: none was
// shown. A change or a reset of the password sets the new one and then ends the sessions that are there, over all hubs: a session that
// is made after that is found by its password, which is another by now.
func (e *Engine) startSessionShown(ctx context.Context, p Person, workstation, methods string, second bool, now time.Time, shown string) (SignedIn, error) {
	in, err := e.startSession(ctx, p, workstation, methods, second, now)
	if err != nil || shown == "" || weaken.Skip(weaken.PasswordSwap) {
		return in, err
	}
	was, hash, err := e.dir.PersonByLogin(ctx, p.Login)
	switch {
	case err == nil && hash == shown && was.ID == p.ID && !was.Disabled:
		return in, nil
	case err == nil || errors.Is(err, ErrNotFound):
		err = e.signInRefused(ctx, p, workstation, "the password was changed, or the person disabled, while signing in")
	default:
		err = fmt.Errorf("access: sign in: %w", err)
	}
	return SignedIn{}, errors.Join(err, e.dir.DeleteSession(context.WithoutCancel(ctx), in.Subject.Session))
}

// startSessionProven is startSession for a proof of identity of another moment.
func (e *Engine) startSessionProven(ctx context.Context, p Person, workstation, methods string, second bool, now, proven time.Time) (SignedIn, error) {
	s := Session{ID: strings.ToLower(rand.Text()), PersonID: p.ID, Workstation: workstation, Started: now, LastUsed: now,
		Expires: now.Add(e.absolute), Proven: proven, SecondFactor: second, Methods: methods, Generation: 1, Rotated: now}
	rand.Read(s.Key[:]) // never fails
	ended, err := e.makeRoom(ctx, p, workstation, now)
	if err != nil {
		return SignedIn{}, err
	}
	if err := e.dir.SaveSession(ctx, s); err != nil {
		return SignedIn{}, fmt.Errorf("access: sign in: %w", err)
	}
	tokens, err := e.tokens(ctx, s, now)
	if err == nil {
		err = e.record(ctx, p, workstation, actionSignIn, true, methods)
	}
	if err != nil {
		return SignedIn{}, errors.Join(err, e.dir.DeleteSession(context.WithoutCancel(ctx), s.ID))
	}
	return SignedIn{Tokens: tokens, Subject: s.subject(p), Ended: ended}, nil
}

// subject is who a session speaks for.
func (s Session) subject(p Person) Subject {
	return Subject{Person: p, Workstation: s.Workstation, Session: s.ID, SessionStarted: s.Started, SecondFactor: s.SecondFactor, Proven: s.Proven}
}

// tokens makes the pair of the session's generation.
func (e *Engine) tokens(ctx context.Context, s Session, now time.Time) (Tokens, error) {
	access, expires, err := e.mint(ctx, s, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, AccessExpires: expires, Refresh: s.refreshToken(s.Generation), RefreshExpires: s.Expires}, nil
}

// refreshToken is "id.generation.mac", base64url. It proves itself with the family's key, so that a used one can be told
// from an invented one: only the first is theft.
func (s Session) refreshToken(generation int64) string {
	g := binary.BigEndian.AppendUint64(nil, uint64(generation)) // #nosec G115 -- counts from 1
	b64 := base64.RawURLEncoding
	return s.ID + "." + b64.EncodeToString(g) + "." + b64.EncodeToString(s.mac(g))
}

func (s Session) mac(generation []byte) []byte {
	m := hmac.New(sha256.New, s.Key[:])
	m.Write([]byte("vitalseal refresh " + s.ID + " "))
	m.Write(generation)
	return m.Sum(nil)
}

// generationOf is which of the family's refresh tokens this is; ok is false for one that the family never had.
func (s Session) generationOf(parts []string) (n int64, ok bool) {
	b64 := base64.RawURLEncoding.Strict()
	g, err1 := b64.DecodeString(parts[1])
	mac, err2 := b64.DecodeString(parts[2])
	if err1 != nil || err2 != nil || len(g) != 8 || !hmac.Equal(mac, s.mac(g)) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(g)), true // #nosec G115 -- made by refreshToken
}

// Refresh changes a refresh token for a new pair, once. A token that was used before has been copied: its whole family ends,
// audited and announced. The one exception is the token just before the newest, for a few seconds and at the same
// workstation: that is a second tab, and gets ErrSuperseded. Everything else that is no live session's token at this very
// workstation is ErrNoSession. A refresh counts as no use: it does not keep a session alive.
func (e *Engine) Refresh(ctx context.Context, refresh, workstation string) (Tokens, error) {
	now := time.Now().UTC()
	s, _, superseded, err := e.ofRefresh(ctx, refresh, workstation, now)
	if err == nil && superseded {
		err = ErrSuperseded
	}
	if err != nil {
		return Tokens{}, err
	}
	switch err := e.dir.RotateSession(ctx, s.ID, s.Generation, now); {
	case errors.Is(err, ErrConflict):
		return Tokens{}, ErrSuperseded
	case errors.Is(err, ErrNotFound):
		return Tokens{}, ErrNoSession
	case err != nil:
		return Tokens{}, fmt.Errorf("access: refresh: %w", err)
	}
	s.Generation++
	return e.tokens(ctx, s, now)
}

// Holder is who a refresh token speaks for, and changes nothing: the token stays good, its use counts for nothing. The token just before
// the newest, as in Refresh, is as good. Errors: as Refresh's, but never ErrSuperseded.
func (e *Engine) Holder(ctx context.Context, refresh, workstation string) (Subject, error) {
	s, p, _, err := e.ofRefresh(ctx, refresh, workstation, time.Now().UTC())
	if err != nil {
		return Subject{}, err
	}
	return s.subject(p), nil
}

// ofRefresh is the live session of a refresh token and its person, and whether the token is the one just before the newest. A token of the
// family that is older ends the session.
func (e *Engine) ofRefresh(ctx context.Context, refresh, workstation string, now time.Time) (s Session, p Person, superseded bool, err error) {
	parts := strings.Split(refresh, ".")
	if len(refresh) > 200 || len(parts) != 3 || !IsWorkstation(workstation) {
		return s, p, false, ErrNoSession
	}
	s, err = e.dir.Session(ctx, parts[0])
	if errors.Is(err, ErrNotFound) {
		return s, p, false, ErrNoSession
	}
	if err != nil {
		return s, p, false, fmt.Errorf("access: refresh: %w", err)
	}
	generation, genuine := s.generationOf(parts)
	if !genuine {
		return s, p, false, ErrNoSession
	}
	if p, err = e.alive(ctx, s, workstation, now); err != nil {
		return s, p, false, err
	}
	switch {
	case weaken.Skip(weaken.RefreshOnce):
		// whoever holds any token of the family gets the next one
	case generation == s.Generation-1 && now.Sub(s.Rotated) < supersededGrace:
		return s, p, true, nil
	case generation != s.Generation:
		e.log.WarnContext(ctx, "a used refresh token was shown again; its session has ended", "person", s.PersonID, "workstation", workstation)
		e.events(Event{Kind: EventTheft, Person: s.PersonID, Where: workstation, Detail: "a used refresh token was shown again"})
		return s, p, false, e.end(ctx, s, workstation, actionRefresh, "refresh token used twice")
	}
	return s, p, false, nil
}

// Authenticate is who an access token speaks for at this workstation, and counts as use of the session. Everything that is
// not a valid token of a live session of an enabled person at this very workstation is ErrNoSession. A valid token shown by
// another workstation has been stolen: its session ends, audited.
func (e *Engine) Authenticate(ctx context.Context, token, workstation string) (Subject, error) {
	return e.authenticate(ctx, token, workstation, true)
}

// Check is Authenticate without counting as use, for live views that ask by themselves: watching alone does not keep
// a session alive.
func (e *Engine) Check(ctx context.Context, token, workstation string) (Subject, error) {
	return e.authenticate(ctx, token, workstation, false)
}

func (e *Engine) authenticate(ctx context.Context, token, workstation string, use bool) (Subject, error) {
	if !IsWorkstation(workstation) {
		return Subject{}, ErrNoSession
	}
	now := time.Now().UTC()
	c, err := e.parse(ctx, token, now)
	if err != nil {
		return Subject{}, err
	}
	s, err := e.dir.Session(ctx, c.Session)
	if errors.Is(err, ErrNotFound) {
		return Subject{}, ErrNoSession
	}
	if err != nil {
		return Subject{}, fmt.Errorf("access: authenticate: %w", err)
	}
	if s.PersonID != c.Subject && !weaken.Skip(weaken.FreshSession) || s.Workstation != c.Confirmation.Workstation {
		return Subject{}, ErrNoSession
	}
	p, err := e.alive(ctx, s, workstation, now)
	if err != nil {
		return Subject{}, err
	}
	if use && now.Sub(s.LastUsed) >= min(touchEvery, e.idle/4) {
		switch err := e.dir.TouchSession(ctx, s.ID, now); {
		case errors.Is(err, ErrNotFound): // signed out just now
			return Subject{}, ErrNoSession
		case err != nil:
			return Subject{}, fmt.Errorf("access: authenticate: %w", err)
		}
	}
	return s.subject(p), nil
}

// Recheck is who a session speaks for now, for live views that outlive their access token: ErrNoSession once it has ended.
// It counts as no use.
func (e *Engine) Recheck(ctx context.Context, was Subject) (Subject, error) {
	s, err := e.dir.Session(ctx, was.Session)
	if errors.Is(err, ErrNotFound) {
		return Subject{}, ErrNoSession
	}
	if err != nil {
		return Subject{}, fmt.Errorf("access: recheck: %w", err)
	}
	p, err := e.alive(ctx, s, was.Workstation, time.Now().UTC())
	if err != nil {
		return Subject{}, err
	}
	return s.subject(p), nil
}

// alive ends a session that may not go on, and gives the person of one that may.
func (e *Engine) alive(ctx context.Context, s Session, workstation string, now time.Time) (Person, error) {
	switch {
	case s.Workstation != workstation && !weaken.Skip(weaken.TokenStation):
		e.events(Event{Kind: EventTheft, Person: s.PersonID, Where: workstation, Detail: "a token was shown by another workstation"})
		return Person{}, e.end(ctx, s, workstation, actionUse, "token shown by another workstation")
	case !now.Before(s.Expires):
		return Person{}, e.end(ctx, s, workstation, actionUse, "session expired")
	case now.Sub(s.LastUsed) >= e.idle:
		return Person{}, e.end(ctx, s, workstation, actionUse, "session idle")
	}
	p, err := e.dir.Person(ctx, s.PersonID)
	if errors.Is(err, ErrNotFound) || err == nil && p.Disabled {
		return Person{}, e.end(ctx, s, workstation, actionUse, "person disabled or deleted")
	}
	if err != nil {
		return Person{}, fmt.Errorf("access: session: %w", err)
	}
	return p, nil
}

// end deletes a session that may not go on, records why, and is ErrNoSession or what failed.
func (e *Engine) end(ctx context.Context, s Session, workstation, action, reason string) error {
	ctx = context.WithoutCancel(ctx)
	if err := e.dir.DeleteSession(ctx, s.ID); err != nil {
		return fmt.Errorf("access: end session: %w", err)
	}
	if err := e.record(ctx, Person{ID: s.PersonID}, workstation, action, false, reason); err != nil {
		return err
	}
	return ErrNoSession
}

// IdleLimit is how long a session lasts without use.
func (e *Engine) IdleLimit() time.Duration { return e.idle }

// SignOut ends the session of s.
func (e *Engine) SignOut(ctx context.Context, s Subject) error {
	if s.Session == "" || weaken.Skip(weaken.SignOutEnds) {
		return nil
	}
	if err := e.dir.DeleteSession(ctx, s.Session); err != nil {
		return fmt.Errorf("access: sign out: %w", err)
	}
	return e.record(ctx, s.Person, s.Workstation, actionSignOut, true, "")
}

// SignOutAll ends all sessions of a person, and sign-ins that wait for a second factor, as when the person is disabled or gets a
// new password.
func (e *Engine) SignOutAll(ctx context.Context, personID string) error {
	e.pendings.forget(personID)
	if err := e.dir.DeleteSessionsOf(ctx, personID, ""); err != nil {
		return fmt.Errorf("access: sign out: %w", err)
	}
	return e.record(ctx, Person{ID: personID}, "", actionSignOut, true, "all sessions")
}

// record audits what is no decision of the policies.
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
