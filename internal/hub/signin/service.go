// Package signin answers "who is it?": it signs people in at a workstation, and says for whom a
// token, an API key or an MQTT client speaks. What they may do is decided by package access.
//
// It hides password hashing, second factors, passkeys, the OpenID provider, session tokens, API keys
// and throttling. It guarantees: tokens and keys are stored only as SHA-256, passwords only as
// argon2id; a session is worth nothing at another workstation; a one-time code and a refresh token
// count once, over all hubs on one directory; a sign-in that cannot be audited fails; failures are
// counted, slow down and are announced. A [Service] is safe for concurrent use and starts no
// goroutine.
//
// It does not protect against a hub whose memory is read, nor against a workstation used by another
// person while its owner is signed in (the idle limit bounds that), and it trusts its caller for the
// workstation: that must be the identity proven by the inner TLS.
package signin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"vitalseal/internal/hub/access"
)

// Service signs people in. Its fields are set once, by [New]; what changes has its own lock.
type Service struct {
	access *access.Engine // decides about keys, and has the audit log, the risk and the events
	dir    access.Accounts
	log    *slog.Logger

	idle, absolute  time.Duration
	issuer, host    string
	keys            tokenKeys
	pendings        *pendings
	oidc            *provider // nil: none
	hashing         *hashing
	logins          loginKey
	unknownPassword string // a hash that no password has, for logins of no person
}

// Option changes a default of [New].
type Option func(*Service)

// New makes a service for the people of dir. What it audits, counts as risk and announces goes
// through engine.
func New(engine *access.Engine, dir access.Accounts, logger *slog.Logger, options ...Option) (*Service, error) {
	svc := &Service{
		access: engine, dir: dir, log: logger,
		idle: 30 * time.Minute, absolute: 12 * time.Hour, issuer: "vitalseal", host: DefaultHost,
		pendings: newPendings(), hashing: newHashing(), unknownPassword: unknownHash(),
	}
	for _, o := range options {
		o(svc)
	}
	if svc.idle <= 0 || svc.absolute <= 0 {
		return nil, errors.New("signin: new: lifetimes must be positive")
	}
	return svc, nil
}

var (
	// ErrSignIn is the one answer to every failed sign-in: unknown login, wrong password, disabled
	// person, throttled.
	ErrSignIn = errors.New("signin: sign-in failed")
	// ErrPasswordChanged means that another password was set, or the person disabled, while this
	// one's own was being changed or shown. What was there first stands.
	ErrPasswordChanged = errors.New("signin: the password was changed meanwhile, or the person was disabled")
	// ErrBusy means too many sign-ins are waiting for their password to be hashed; try again.
	ErrBusy = errors.New("signin: too many sign-ins at once")
)

// record audits what is no decision of the policies.
func (svc *Service) record(ctx context.Context, p access.Person, workstation, action string, allowed bool, reason string) error {
	return svc.access.RecordSignIn(ctx, p, workstation, action, allowed, reason)
}
