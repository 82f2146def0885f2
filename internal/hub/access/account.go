package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/shared/audit"
)

// This file declares what a directory stores of how people sign in. Package signin uses it; package
// store implements it and so needs only the records.

// ErrConflict is the answer of a directory to a change of what has changed meanwhile.
var ErrConflict = errors.New("access: changed meanwhile")

// Accounts is what package signin needs to know about people; package store implements it. Every
// method returns ErrNotFound (wrapped or not) for what does not exist. It must be safe for
// concurrent use.
type Accounts interface {
	PersonByLogin(ctx context.Context, login string) (p Person, passwordHash string, err error)
	Person(ctx context.Context, id string) (Person, error)

	Sessions
	Credentials
	Counts
	Secrets
}

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

// Kinds of Factor.
const (
	FactorTOTP     = "totp"     // a code every 30 seconds (RFC 6238)
	FactorRecovery = "recovery" // ten codes on paper, each good once
	FactorPasskey  = "passkey"  // WebAuthn
)

// Factor is something besides the password that a person can show. Data is secret: a Directory seals it.
type Factor struct {
	ID       string
	PersonID string
	Kind     string // one of the Factor constants
	Name     string // what the person calls it
	Data     []byte // JSON; what it is depends on Kind
	Created  time.Time
	LastUsed time.Time // zero: never
}

// MQTTDevice is what an MQTT client signs in as, after ThingSpeak's "MQTT devices": a bundle of rights on channels in the name of the
// person who made it.
type MQTTDevice struct {
	ClientID string   // of the client, and its user name
	Hash     [32]byte // SHA-256 of the password
	PersonID string
	Rights   []MQTTRight // by channel
}

// MQTTRight is what a device may do with one channel, as far as its person may.
type MQTTRight struct {
	Channel            int64
	Publish, Subscribe bool
}

// meltTime is how long it takes until one failure is forgotten. It is longer than the longest delay
// between two tries (package signin): continued guessing stays at that delay, 96 guesses a day.
const meltTime = time.Hour

// TryCount is how many tries of one kind failed lately. The zero TryCount is none.
type TryCount struct {
	// Failures are the wrong tries, and those that are being judged: a try is counted before it is judged, so that tries side
	// by side count too.
	Failures int
	At       time.Time // when Failures was counted; UTC, whole microseconds, as Until
	Until    time.Time // before this no further try is judged; zero: at once
	Told     bool      // that a try was refused since At is in the audit log
	Person   string    // id of the person whom it is about; empty: the login belongs to no person
}

// Gone is when all of the count is forgotten.
func (c TryCount) Gone() time.Time { return c.At.Add(time.Duration(c.Failures) * meltTime) }

// Melted is the count at now: one failure less for each hour since At.
func (c TryCount) Melted(now time.Time) TryCount {
	n := int(now.Sub(c.At) / meltTime)
	if n <= 0 {
		return c
	}
	c.Failures = max(0, c.Failures-n)
	c.At = c.At.Add(time.Duration(n) * meltTime)
	return c
}

// FailedSignIn tells a person of failed sign-ins with their login at one workstation.
type FailedSignIn struct {
	Workstation string // SPIFFE id; empty: several others
	Count       int
	First, Last time.Time // UTC
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

// Credentials is the part of a Directory about what people prove themselves with.
type Credentials interface {
	// SetPassword replaces a person's password hash; a one-time password must be changed before anything else.
	SetPassword(ctx context.Context, personID, hash string, oneTime bool) error
	// SwapPassword replaces the hash was by a person's own in one step over all hubs: ErrConflict if another is there, or the person is
	// disabled or gone.
	SwapPassword(ctx context.Context, personID, was, hash string) error
	Factors(ctx context.Context, personID string) ([]Factor, error)
	// SaveFactor inserts a factor, or replaces the one with its id.
	SaveFactor(ctx context.Context, f Factor) error
	// SwapFactor replaces was by now in one step over all hubs: ErrConflict if it is gone, or its Data is not was's any more.
	SwapFactor(ctx context.Context, was, now Factor) error
	// ReplaceFactors is SaveFactor of a new factor in the place of all of its kind that its person has, in one step.
	ReplaceFactors(ctx context.Context, f Factor) error
	DeleteFactor(ctx context.Context, personID, id string) error
	// LinkedPerson is who an OpenID provider calls subject.
	LinkedPerson(ctx context.Context, issuer, subject string) (Person, error)
	// CreateLinkedPerson adds someone without a password; ErrConflict if the login is taken.
	CreateLinkedPerson(ctx context.Context, p Person, issuer, subject string) (id string, err error)
	SetRole(ctx context.Context, personID string, role Role) error

	APIKey(ctx context.Context, keyHash [32]byte) (APIKey, error)
	SaveAPIKey(ctx context.Context, k APIKey) error
	APIKeysOf(ctx context.Context, personID string) ([]APIKey, error)
	DeleteAPIKey(ctx context.Context, personID string, keyHash [32]byte) error
	MQTTDevice(ctx context.Context, clientID string) (MQTTDevice, error)
	SaveMQTTDevice(ctx context.Context, d MQTTDevice) error
	MQTTDevicesOf(ctx context.Context, personID string) ([]MQTTDevice, error)
	DeleteMQTTDevice(ctx context.Context, personID, clientID string) error
}

// Counts is the part of a Directory about failed proofs of identity. All hubs on one directory count together.
type Counts interface {
	// TryCount is what is counted under a name, the zero TryCount if nothing is.
	TryCount(ctx context.Context, name string) (TryCount, error)
	// SwapTryCount replaces was by now; ErrConflict if something else is there. One without Failures is no longer kept, nor is one
	// after its Gone. Of those without a person a Directory keeps a bounded number, and drops those first that end first.
	SwapTryCount(ctx context.Context, name string, was, now TryCount) error
	// KnownWorkstation reports whether the person has signed in at the workstation lately. SaveSession makes it known.
	KnownWorkstation(ctx context.Context, personID, workstation string) (bool, error)
	// NoteFailedSignIn counts a failed sign-in of a person for the notice at the next one that succeeds.
	NoteFailedSignIn(ctx context.Context, personID, workstation string, at time.Time) error
	// FailedSignIns are those between a session's sign-in and the one before it, by workstation.
	FailedSignIns(ctx context.Context, personID, session string) ([]FailedSignIn, error)
}

// Secrets is the part of a Directory that stores the deployment's own secrets, sealed.
type Secrets interface {
	// Secret is what is stored under a name.
	Secret(ctx context.Context, name string) ([]byte, error)
	// UpdateSecret gives change what is stored, nil for nothing, stores what it returns unless that
	// is nil, and returns what is stored then. No other change happens in between.
	UpdateSecret(ctx context.Context, name string, change func(old []byte) ([]byte, error)) (now []byte, err error)
}

// RecordSignIn adds to the audit log what is no decision of the policies: how a person signed in, or
// changed what they sign in with. It returns when that is durable. p may be the zero Person.
func (e *Engine) RecordSignIn(ctx context.Context, p Person, workstation, action string, allowed bool, reason string) error {
	_, err := e.audit.Append(context.WithoutCancel(ctx), audit.Entry{
		Person: clip(p.ID), Role: clip(string(p.Role)), Workstation: clip(workstation), Action: action,
		Resource: KindSystem, Allowed: allowed, Reason: reason,
	})
	if err != nil {
		return fmt.Errorf("access: refused, the audit log cannot be written: %w", err)
	}
	return nil
}

// SignInUndecided writes down that a sign-in was not decided, and is the ErrUndecided: why says what
// did not answer. No entry is made when the client has left, as of every decision.
func (e *Engine) SignInUndecided(ctx context.Context, workstation, action, why string, cause error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w: %w", ErrUndecided, cause)
	}
	if err := e.RecordSignIn(ctx, Person{}, workstation, action, false, audit.NotDecided+why); err != nil {
		cause = errors.Join(err, cause)
	}
	return fmt.Errorf("%w: %w", ErrUndecided, cause)
}

// CountFailure counts a failed sign-in or step-up of a person at a workstation as risk, which the
// policies see.
func (e *Engine) CountFailure(personID, workstation string, now time.Time) {
	e.risks.failed(personID, workstation, now)
}

// ForgetFailures clears what CountFailure and refusals have counted for a person at a workstation.
func (e *Engine) ForgetFailures(personID, workstation string) { e.risks.forget(personID, workstation) }
