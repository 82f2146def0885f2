package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"vitalseal/internal/hub/access"
)

var loginText = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// NormalLogin is the one spelling of a login (trimmed, lower case) under which a Directory keeps it; ok is false if it
// cannot be one: 1 to 64 of a-z, 0-9 and . _ @ -, starting with a letter or digit.
func NormalLogin(login string) (normal string, ok bool) {
	normal = strings.ToLower(strings.TrimSpace(login))
	return normal, loginText.MatchString(normal)
}

// Proof is what a person shows of who they are; exactly what is asked for is filled.
type Proof struct {
	Pending  string          // id of the Pending that asked
	Password string          //
	TOTP     string          // six digits, as typed
	Recovery string          // a recovery code, as typed
	Passkey  json.RawMessage // the browser's answer (PublicKeyCredential as JSON)
	Page     string          // for a passkey: the origin of the workstation's connect that the request comes through
}

// Pending is a proof that has been asked for.
type Pending struct {
	ID string
	// Methods are what will do: "totp", "recovery", "passkey", "password".
	Methods []string
	// PasskeyOptions are for navigator.credentials.get, if "passkey" is among the methods.
	PasskeyOptions json.RawMessage
}

const (
	pendingLife  = 5 * time.Minute
	mostPending  = 4096 // of all workstations together
	mostHere     = 32   // of one
	pendingTries = 5
)

// pending is the hub's side of a Pending. It lives in memory: after a restart people start their sign-in again.
type pending struct {
	person      string // id; empty for a passkey sign-in, where the passkey tells
	workstation string
	session     string // of the session that steps up, or enrols a passkey; empty for a sign-in
	methods     string // RFC 8176 names of what was shown so far
	shown       string // hash of the password that was shown; empty: none
	passkey     *webauthn.SessionData
	expires     time.Time
	tries       int
}

// pendings are bounded: when there are too many of a workstation its own oldest goes, so that none can take those of others.
type pendings struct {
	mu  sync.Mutex
	all map[string]*pending
}

func newPendings() *pendings { return &pendings{all: map[string]*pending{}} }

func (p *pendings) put(n *pending, now time.Time) (id string) {
	id = rand.Text()
	p.putAs(id, n, now)
	return id
}

func (p *pendings) putAs(id string, n *pending, now time.Time) {
	n.expires = now.Add(pendingLife)
	p.mu.Lock()
	defer p.mu.Unlock()
	evict(p.all, n.workstation, now, func(o *pending) (string, time.Time) { return o.workstation, o.expires })
	p.all[id] = n
}

// evict makes room for one more of a workstation among what waits: first what is over, then its own oldest where it has
// mostHere, then, where all together are too many, the oldest of the workstation that has most.
func evict[T any](all map[string]T, workstation string, now time.Time, about func(T) (workstation string, expires time.Time)) {
	count, oldest := map[string]int{}, map[string]string{}
	end := map[string]time.Time{}
	for id, o := range all {
		ws, expires := about(o)
		if !now.Before(expires) {
			delete(all, id)
			continue
		}
		count[ws]++
		if end[ws].IsZero() || expires.Before(end[ws]) {
			oldest[ws], end[ws] = id, expires
		}
	}
	if count[workstation] >= mostHere {
		delete(all, oldest[workstation])
		return
	}
	if len(all) >= mostPending {
		greedy := ""
		for ws, n := range count {
			if greedy == "" || n > count[greedy] {
				greedy = ws
			}
		}
		delete(all, oldest[greedy])
	}
}

// try gives the pending of this id at this workstation and counts a try. There are few; then it is gone.
func (p *pendings) try(id, workstation string, now time.Time) (pending, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.all[id]
	if n == nil || n.workstation != workstation || !now.Before(n.expires) {
		return pending{}, false
	}
	if n.tries++; n.tries >= pendingTries {
		delete(p.all, id)
	}
	return *n, true
}

// forget drops all that waits for a person, as when the password that was shown for it is no longer one.
func (p *pendings) forget(person string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.all, func(_ string, n *pending) bool { return n.person == person })
}

func (p *pendings) done(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, id)
}

// SignIn starts a session of the person with this login and password at this workstation, or asks for the person's second
// factor. Every failure of login, password, person or workstation is ErrSignIn, after the same work; too many are a
// *Throttled, which is one too. ErrBusy and errors of directory or audit log may be tried again. Success and failure are
// audited; a login that belongs to no person is not written down, because people type passwords there.
//
//defence:same-answer every failed sign-in looks the same
func (svc *Service) SignIn(ctx context.Context, login, password, workstation string) (SignedIn, error) {
	now := time.Now().UTC()
	login, plausible := NormalLogin(login)
	if !access.IsWorkstation(workstation) {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "no workstation")
	}
	name := login
	if !plausible {
		name = " " + workstation // all of them at a workstation share one count: no person can have such a login
	}
	name, err := svc.logins.name(ctx, svc.dir, name)
	if err != nil {
		return SignedIn{}, err
	}
	p, hash, err := access.Person{}, svc.unknownPassword, error(access.ErrNotFound)
	if plausible {
		var h string
		if p, h, err = svc.dir.PersonByLogin(ctx, login); err == nil {
			hash = h
		} else if !errors.Is(err, access.ErrNotFound) {
			return SignedIn{}, fmt.Errorf("signin: sign in: %w", err)
		}
	}
	known := err == nil
	// Asked of logins that belong to no person too, for the same work.
	here, err := svc.dir.KnownWorkstation(ctx, p.ID, workstation)
	if err != nil {
		return SignedIn{}, fmt.Errorf("signin: sign in: %w", err)
	}
	in, lane := loginPool(name), workstation
	if known && here {
		in = knownPool(p, workstation)
		lane = in.name
	}
	try, err := svc.attempt(ctx, p, workstation, actionSignIn, now, in)
	if err != nil {
		return SignedIn{}, err
	}
	right, err := svc.verify(ctx, lane, hash, password)
	if err != nil {
		return SignedIn{}, errors.Join(err, try.withdraw(ctx))
	}
	reason := ""
	switch {
	case !known:
		reason = "unknown login"
	case !right:
		reason = "wrong password"
	case p.Disabled:
		reason = "person disabled"
	}
	if reason != "" {
		if err := svc.sprayed(ctx, name, workstation, now); err != nil {
			return SignedIn{}, err
		}
		return SignedIn{}, try.wrong(ctx, p, workstation, now, svc.signInRefused(ctx, p, workstation, reason))
	}
	if err := try.right(ctx); err != nil {
		return SignedIn{}, err
	}
	if err := svc.unsprayed(ctx, name, workstation, now); err != nil {
		return SignedIn{}, err
	}
	ask, err := svc.ask(ctx, p, workstation, "", "pwd", hash, now)
	if err != nil {
		return SignedIn{}, err
	}
	//defence:second-factor a second factor is asked for
	if ask != nil {
		return SignedIn{Pending: ask}, nil
	}
	return svc.startSessionShown(ctx, p, workstation, "pwd", false, now, hash)
}

// SecondFactor completes a sign-in that waits for one. Errors as SignIn.
func (svc *Service) SecondFactor(ctx context.Context, proof Proof, workstation string) (SignedIn, error) {
	now := time.Now().UTC()
	n, ok := svc.pendings.try(proof.Pending, workstation, now)
	if !ok || n.session != "" || n.person == "" {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "no sign-in waits for this")
	}
	p, err := svc.dir.Person(ctx, n.person)
	if err != nil {
		return SignedIn{}, fmt.Errorf("signin: sign in: %w", err)
	}
	var in []pool
	switch {
	case proof.isPasskey(n):
	case proof.TOTP != "":
		in = []pool{codePool(p)}
	default:
		in = []pool{recoveryPool(p, workstation)}
	}
	try, err := svc.attempt(ctx, p, workstation, actionSignIn, now, in...)
	if err != nil {
		return SignedIn{}, err
	}
	method, err := svc.second(ctx, p, proof, n, now)
	if err != nil {
		return SignedIn{}, errors.Join(err, try.withdraw(ctx))
	}
	reason := ""
	switch {
	case method == "":
		reason = "wrong second factor"
	case p.Disabled:
		reason = "person disabled"
	}
	if reason != "" {
		return SignedIn{}, try.wrong(ctx, p, workstation, now, svc.signInRefused(ctx, p, workstation, reason))
	}
	if err := try.right(ctx); err != nil {
		return SignedIn{}, err
	}
	svc.pendings.done(proof.Pending)
	return svc.startSessionShown(ctx, p, workstation, n.methods+" "+method, true, now, n.shown)
}

// BeginProof asks s for a fresh proof of identity: a second factor if the person has one, else the password.
func (svc *Service) BeginProof(ctx context.Context, s access.Subject) (Pending, error) {
	if s.Session == "" {
		return Pending{}, access.ErrNoSession
	}
	now := time.Now().UTC()
	ask, err := svc.ask(ctx, s.Person, s.Workstation, s.Session, "", "", now)
	if err != nil {
		return Pending{}, err
	}
	if ask == nil {
		ask = &Pending{Methods: []string{"password"}}
		ask.ID = svc.pendings.put(&pending{person: s.Person.ID, workstation: s.Workstation, session: s.Session}, now)
	}
	return *ask, nil
}

// StepUp takes a fresh proof of identity of s. What it shows is written to the session, so that the next decision sees it.
// A wrong proof is ErrSignIn, too many are a *Throttled. proof.Pending may be empty where no passkey is shown.
func (svc *Service) StepUp(ctx context.Context, s access.Subject, proof Proof) error {
	if s.Session == "" {
		return access.ErrNoSession
	}
	now := time.Now().UTC()
	n := pending{person: s.Person.ID, workstation: s.Workstation, session: s.Session}
	if proof.Pending != "" {
		var ok bool
		if n, ok = svc.pendings.try(proof.Pending, s.Workstation, now); !ok || n.session != s.Session || n.person != s.Person.ID {
			return ErrSignIn
		}
	}
	kinds, err := svc.kinds(ctx, s.Person.ID)
	if err != nil {
		return err
	}
	in := []pool{stepUpPool(s)}
	switch {
	case len(kinds) > 0 && proof.isPasskey(n):
		in = nil
	case len(kinds) > 0 && proof.TOTP != "":
		in = append(in, stepUpCodePool(s))
	}
	try, err := svc.attempt(ctx, s.Person, s.Workstation, actionStepUp, now, in...)
	if err != nil {
		return err
	}
	method := ""
	if len(kinds) > 0 {
		method, err = svc.second(ctx, s.Person, proof, n, now)
	} else {
		method, _, err = svc.password(ctx, s, proof.Password)
	}
	if err != nil {
		return errors.Join(err, try.withdraw(ctx))
	}
	if method == "" {
		return try.wrong(ctx, s.Person, s.Workstation, now, svc.proofRefused(ctx, s, actionStepUp, now))
	}
	if err := try.right(ctx); err != nil {
		return err
	}
	svc.pendings.done(proof.Pending)
	if err := svc.record(ctx, s.Person, s.Workstation, actionStepUp, true, method); err != nil {
		return err
	}
	if err := svc.dir.ProveSession(ctx, s.Session, now, len(kinds) > 0); errors.Is(err, access.ErrNotFound) {
		return access.ErrNoSession
	} else if err != nil {
		return fmt.Errorf("signin: step up: %w", err)
	}
	return nil
}

// proofRefused counts and audits a wrong proof of a person who is signed in, and is ErrSignIn or the audit log's error.
func (svc *Service) proofRefused(ctx context.Context, s access.Subject, action string, now time.Time) error {
	svc.access.CountFailure(s.Person.ID, s.Workstation, now)
	if err := svc.record(ctx, s.Person, s.Workstation, action, false, "wrong proof"); err != nil {
		return err
	}
	return ErrSignIn
}

// ask makes a Pending for a person's second factors, or nil if there are none.
func (svc *Service) ask(ctx context.Context, p access.Person, workstation, session, methods, shown string, now time.Time) (*Pending, error) {
	kinds, err := svc.kinds(ctx, p.ID)
	if err != nil || len(kinds) == 0 {
		return nil, err
	}
	n := &pending{person: p.ID, workstation: workstation, session: session, methods: methods, shown: shown}
	out := &Pending{Methods: kinds}
	if slices.Contains(kinds, access.FactorPasskey) {
		if out.PasskeyOptions, n.passkey, err = svc.beginPasskey(ctx, p); err != nil {
			return nil, err
		}
	}
	out.ID = svc.pendings.put(n, now)
	return out, nil
}

// isPasskey reports whether what is shown is the passkey that n asked for.
func (p Proof) isPasskey(n pending) bool { return len(p.Passkey) > 0 && n.passkey != nil }

// second checks a second factor. An empty method without an error means that it is wrong.
func (svc *Service) second(ctx context.Context, p access.Person, proof Proof, n pending, now time.Time) (method string, err error) {
	switch {
	case proof.isPasskey(n):
		return svc.passkeyOf(ctx, p, proof, *n.passkey)
	case proof.TOTP != "":
		return svc.totp(ctx, p, proof.TOTP, now)
	case proof.Recovery != "":
		return svc.recovery(ctx, p, proof.Recovery)
	}
	return "", nil
}

// password checks the own password of a person who is signed in. hash is what is kept of it.
func (svc *Service) password(ctx context.Context, s access.Subject, password string) (method, hash string, err error) {
	_, hash, err = svc.dir.PersonByLogin(ctx, s.Person.Login)
	if err != nil {
		return "", "", fmt.Errorf("signin: password: %w", err)
	}
	right, err := svc.verify(ctx, stepUpPool(s).name, hash, password)
	if err != nil || !right {
		return "", "", err
	}
	return "pwd", hash, nil
}

// verify compares, with the same work whatever the hash is, when it is the lane's turn.
func (svc *Service) verify(ctx context.Context, lane, hash, password string) (right bool, err error) {
	ok := true
	if _, err := parsePHC(hash); err != nil {
		hash, ok = svc.unknownPassword, false // someone without a password: the same work all the same
	}
	if len(password) > MaxPassword {
		password = "" // no person's: a password has at least MinPassword characters
	}
	err = svc.hashing.do(ctx, lane, func() { right = VerifyPassword(hash, password) })
	return right && ok, err
}

// signInRefused audits and is ErrSignIn, or the audit log's error.
func (svc *Service) signInRefused(ctx context.Context, p access.Person, workstation, reason string) error {
	svc.access.CountFailure(p.ID, workstation, time.Now())
	if err := svc.record(ctx, p, workstation, actionSignIn, false, reason); err != nil {
		return err
	}
	return ErrSignIn
}

// ChangePassword gives s a password of their own, which ends all their other sessions. A wrong old one is ErrSignIn. If the password was
// reset or changed, or the person disabled, since the old one was found right, nothing is written: ErrPasswordChanged.
func (svc *Service) ChangePassword(ctx context.Context, s access.Subject, old, new string) error {
	if s.Session == "" {
		return access.ErrNoSession
	}
	now := time.Now().UTC()
	try, err := svc.attempt(ctx, s.Person, s.Workstation, actionPassword, now, stepUpPool(s))
	if err != nil {
		return err
	}
	method, was, err := svc.password(ctx, s, old)
	if err != nil {
		return errors.Join(err, try.withdraw(ctx))
	}
	if method == "" {
		return try.wrong(ctx, s.Person, s.Workstation, now, svc.proofRefused(ctx, s, actionPassword, now))
	}
	if err := try.right(ctx); err != nil {
		return err
	}
	if new == old {
		return fmt.Errorf("%w: the new password is the old one", access.ErrInvalid)
	}
	hash, err := svc.hashIn(ctx, stepUpPool(s).name, new)
	if err != nil {
		return err
	}
	if err := svc.record(ctx, s.Person, s.Workstation, actionPassword, true, "own"); err != nil {
		return err
	}
	switch err := svc.swapPassword(ctx, s.Person.ID, was, hash); {
	case errors.Is(err, access.ErrConflict): // the entry above must not stand alone
		return errors.Join(ErrPasswordChanged, svc.record(ctx, s.Person, s.Workstation, actionPassword, false, "not done: changed meanwhile, or the person disabled"))
	case err != nil:
		return fmt.Errorf("signin: password: %w", err)
	}
	if err := svc.dir.DeleteSessionsOf(ctx, s.Person.ID, s.Session); err != nil {
		return fmt.Errorf("signin: password: %w", err)
	}
	svc.pendings.forget(s.Person.ID) // sign-ins for which the old password was shown
	svc.access.ForgetFailures(s.Person.ID, s.Workstation)
	return svc.forgive(ctx, s.Person.ID)
}

// swapPassword writes a new password over the one that was shown for it.
//
//defence:password-swap a password replaces the one that it was shown for, and no other
func (svc *Service) swapPassword(ctx context.Context, person, was, hash string) error {
	return svc.dir.SwapPassword(ctx, person, was, hash)
}

// forgive clears what was counted against a login: the guesses were about a password that is no longer one.
func (svc *Service) forgive(ctx context.Context, personID string) error {
	p, err := svc.dir.Person(ctx, personID)
	if errors.Is(err, access.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signin: password: %w", err)
	}
	login, _ := NormalLogin(p.Login)
	name, err := svc.logins.name(ctx, svc.dir, login)
	if err != nil {
		return err
	}
	a := &attempt{svc: svc, counts: []counted{{pool: loginPool(name)}}}
	return a.right(ctx)
}

// SetOneTimePassword replaces a person's password by one that must be changed at the next sign-in, and ends the person's
// sessions. The caller decides and audits first.
func (svc *Service) SetOneTimePassword(ctx context.Context, personID, password string) error {
	hash, err := svc.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	if err := svc.dir.SetPassword(ctx, personID, hash, true); err != nil {
		return fmt.Errorf("signin: password: %w", err)
	}
	return errors.Join(svc.SignOutAll(ctx, personID), svc.forgive(ctx, personID))
}

// OneTimePassword makes a password that is good for signing in once and choosing another, and ends the person's sessions.
// Second factors stay: who makes the password cannot sign in as a person who has one. The caller decides and audits first.
func (svc *Service) OneTimePassword(ctx context.Context, personID string) (string, error) {
	password := rand.Text() // 130 bits
	return password, svc.SetOneTimePassword(ctx, personID, password)
}
