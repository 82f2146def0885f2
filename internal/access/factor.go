package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"vitalseal/internal/lab/weaken"
)

// Kinds of Factor.
const (
	FactorTOTP     = "totp"     // a code every 30 seconds (RFC 6238)
	FactorRecovery = "recovery" // ten codes on paper, each good once
	FactorPasskey  = "passkey"  // WebAuthn
)

const (
	totpPeriod    = 30 // seconds
	recoveryCodes = 10
	maxFactors    = 16
	maxFactorName = 64
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

	// Secret and UpdateSecret keep the keys that sign tokens. UpdateSecret gives change what is stored, nil for nothing, stores what
	// it returns unless that is nil, and returns what is stored then; nobody changes it in between.
	Secret(ctx context.Context, name string) ([]byte, error)
	UpdateSecret(ctx context.Context, name string, change func(old []byte) ([]byte, error)) (now []byte, err error)
}

// totpData is a TOTP factor.
type totpData struct {
	Secret    string `json:"secret"`    // base32
	Confirmed bool   `json:"confirmed"` // shown once that the person has it; until then it counts for nothing
	Step      int64  `json:"step"`      // the newest time step whose code was used: no code counts twice
}

// kinds are the methods that a person can show as a second factor. Recovery codes count only beside another.
func (e *Engine) kinds(ctx context.Context, personID string) ([]string, error) {
	all, err := e.dir.Factors(ctx, personID)
	if err != nil {
		return nil, fmt.Errorf("access: factors: %w", err)
	}
	var out []string
	for _, f := range all {
		if f.Kind == FactorPasskey || f.Kind == FactorTOTP && confirmed(f) {
			out = append(out, f.Kind)
		}
	}
	if len(out) > 0 && slices.ContainsFunc(all, func(f Factor) bool { return f.Kind == FactorRecovery }) {
		out = append(out, FactorRecovery)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func confirmed(f Factor) bool {
	var d totpData
	return json.Unmarshal(f.Data, &d) == nil && d.Confirmed
}

// Factors are a person's own second factors, without their secrets.
func (e *Engine) Factors(ctx context.Context, s Subject) ([]Factor, error) {
	if s.Session == "" {
		return nil, ErrNoSession
	}
	all, err := e.dir.Factors(ctx, s.Person.ID)
	all = slices.DeleteFunc(all, func(f Factor) bool { return f.Kind == FactorTOTP && !confirmed(f) })
	for i := range all {
		all[i].Data = nil
	}
	return all, err
}

// BeginTOTP makes a secret for an authenticator app: as text, and as the address that its QR code holds. It counts once
// ConfirmTOTP has seen a code of it. It needs a fresh proof of identity.
func (e *Engine) BeginTOTP(ctx context.Context, s Subject) (secret, uri string, err error) {
	if err := e.fresh(ctx, s); err != nil {
		return "", "", err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Vitalseal " + e.issuer, AccountName: s.Person.Login, Period: totpPeriod, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("access: totp: %w", err)
	}
	all, err := e.dir.Factors(ctx, s.Person.ID)
	if err != nil {
		return "", "", fmt.Errorf("access: totp: %w", err)
	}
	for _, f := range all { // a secret that was never confirmed gives way
		if f.Kind == FactorTOTP && !confirmed(f) {
			if err := e.dir.DeleteFactor(ctx, s.Person.ID, f.ID); err != nil {
				return "", "", fmt.Errorf("access: totp: %w", err)
			}
		}
	}
	return key.Secret(), key.URL(), e.saveFactor(ctx, s.Person.ID, len(all), FactorTOTP, "Authenticator app", totpData{Secret: key.Secret()})
}

// ConfirmTOTP takes the first code of the secret of BeginTOTP, from when on it is asked for at every sign-in, and gives new
// recovery codes, which are shown once. A wrong code is ErrSignIn.
func (e *Engine) ConfirmTOTP(ctx context.Context, s Subject, code string) (recovery []string, err error) {
	if err := e.fresh(ctx, s); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	try, err := e.attempt(ctx, s.Person, s.Workstation, actionFactor, now, stepUpPool(s))
	if err != nil {
		return nil, err
	}
	all, err := e.dir.Factors(ctx, s.Person.ID)
	if err != nil {
		return nil, fmt.Errorf("access: totp: %w", err)
	}
	for _, f := range all {
		var d totpData
		if f.Kind != FactorTOTP || json.Unmarshal(f.Data, &d) != nil || d.Confirmed {
			continue
		}
		step, ok := matches(d, plainCode(code), now)
		if !ok {
			return nil, try.wrong(ctx, s.Person, s.Workstation, now, e.proofRefused(ctx, s, actionFactor, now))
		}
		if err := try.right(ctx); err != nil {
			return nil, err
		}
		d.Confirmed, d.Step = true, step
		switch err := e.keep(ctx, f, d, now); {
		case errors.Is(err, ErrConflict): // it was confirmed, or taken away, meanwhile
			return nil, ErrSignIn
		case err != nil:
			return nil, err
		}
		if err := e.record(ctx, s.Person, s.Workstation, actionFactor, true, "totp added"); err != nil {
			return nil, err
		}
		return e.newRecovery(ctx, s)
	}
	return nil, ErrSignIn
}

// matches finds the time step, now or the one before or after, whose code this is, and that was not used before.
func matches(d totpData, code string, now time.Time) (step int64, ok bool) {
	current := now.Unix() / totpPeriod
	for _, step := range []int64{current, current - 1, current + 1} {
		want, err := totp.GenerateCodeCustom(d.Secret, time.Unix(step*totpPeriod, 0), totp.ValidateOpts{Period: totpPeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && step > d.Step && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

// totp checks a code of any of the person's authenticator apps.
func (e *Engine) totp(ctx context.Context, p Person, code string, now time.Time) (method string, err error) {
	return again(func() (string, error) { return e.totpOnce(ctx, p, code, now) })
}

func (e *Engine) totpOnce(ctx context.Context, p Person, code string, now time.Time) (method string, err error) {
	all, err := e.dir.Factors(ctx, p.ID)
	if err != nil {
		return "", fmt.Errorf("access: totp: %w", err)
	}
	for _, f := range all {
		var d totpData
		if f.Kind != FactorTOTP || json.Unmarshal(f.Data, &d) != nil || !d.Confirmed {
			continue
		}
		if step, ok := matches(d, plainCode(code), now); ok {
			if !weaken.Skip(weaken.ProofOnce) {
				d.Step = step
			}
			return "otp", e.keep(ctx, f, d, now)
		}
	}
	return "", nil
}

// swaps is how often a factor's use is tried that others get ahead of. Each of them has used a code, so that it ends long before.
const swaps = 32

// again calls f until no other sign-in, at this hub or another, has changed the factor between its read and its write: so that no code
// counts twice, and none that was used comes back.
func again(f func() (string, error)) (method string, err error) {
	for range swaps {
		if method, err = f(); !errors.Is(err, ErrConflict) {
			return method, err
		}
	}
	return "", ErrBusy
}

// newRecovery replaces a person's recovery codes. They are shown once; their hashes are kept.
func (e *Engine) newRecovery(ctx context.Context, s Subject) ([]string, error) {
	codes, hashes := make([]string, recoveryCodes), make([]string, recoveryCodes)
	for i := range codes {
		t := strings.ToLower(rand.Text())
		codes[i] = t[0:5] + "-" + t[5:10] + "-" + t[10:15] // 75 bits
		hashes[i] = hexHash(codes[i])
	}
	f, err := newFactor(s.Person.ID, FactorRecovery, "Recovery codes", hashes)
	if err != nil {
		return nil, err
	}
	if err := e.dir.ReplaceFactors(ctx, f); err != nil {
		return nil, fmt.Errorf("access: recovery codes: %w", err)
	}
	return codes, nil
}

// NewRecovery makes ten new recovery codes, which replace those that were there. It needs a fresh proof of identity.
func (e *Engine) NewRecovery(ctx context.Context, s Subject) ([]string, error) {
	if err := e.fresh(ctx, s); err != nil {
		return nil, err
	}
	if err := e.record(ctx, s.Person, s.Workstation, actionFactor, true, "recovery codes made"); err != nil {
		return nil, err
	}
	return e.newRecovery(ctx, s)
}

// recovery checks a recovery code and uses it up.
func (e *Engine) recovery(ctx context.Context, p Person, code string) (method string, err error) {
	return again(func() (string, error) { return e.recoveryOnce(ctx, p, code) })
}

func (e *Engine) recoveryOnce(ctx context.Context, p Person, code string) (method string, err error) {
	all, err := e.dir.Factors(ctx, p.ID)
	if err != nil {
		return "", fmt.Errorf("access: recovery codes: %w", err)
	}
	hash := hexHash(recoveryText(code))
	for _, f := range all {
		var hashes []string
		if f.Kind != FactorRecovery || json.Unmarshal(f.Data, &hashes) != nil {
			continue
		}
		for i, h := range hashes {
			if subtle.ConstantTimeCompare([]byte(h), []byte(hash)) == 1 {
				return "otp", e.keep(ctx, f, slices.Delete(hashes, i, i+1), time.Now().UTC())
			}
		}
	}
	return "", nil
}

// RemoveFactor takes away one of a person's own second factors. It needs a fresh proof of identity.
func (e *Engine) RemoveFactor(ctx context.Context, s Subject, id string) error {
	if err := e.fresh(ctx, s); err != nil {
		return err
	}
	if err := e.record(ctx, s.Person, s.Workstation, actionFactor, true, "remove"); err != nil {
		return err
	}
	return e.dir.DeleteFactor(ctx, s.Person.ID, id)
}

// ResetFactors takes away all second factors of a person who has lost them, and ends the person's sessions. The caller
// decides and audits first.
func (e *Engine) ResetFactors(ctx context.Context, personID string) error {
	all, err := e.dir.Factors(ctx, personID)
	if err != nil {
		return fmt.Errorf("access: factors: %w", err)
	}
	if err := e.record(ctx, Person{ID: personID}, "", actionFactor, true, "remove all"); err != nil {
		return err
	}
	for _, f := range all {
		if err := e.dir.DeleteFactor(ctx, personID, f.ID); err != nil {
			return fmt.Errorf("access: factors: %w", err)
		}
	}
	return e.SignOutAll(ctx, personID)
}

// freshProof is how old a proof of identity may be for acts on one's own account; default.cedar has the same for others.
const freshProof = 5 * time.Minute

// fresh refuses an act on one's own account without a recent proof of identity, or with a password that is not one's own.
func (e *Engine) fresh(ctx context.Context, s Subject) error {
	if s.Session == "" {
		return ErrNoSession
	}
	p, err := e.dir.Person(ctx, s.Person.ID)
	if err != nil {
		return fmt.Errorf("access: account: %w", err)
	}
	if p.MustChangePassword {
		return &Denied{Reason: "own password first"}
	}
	if age := time.Since(s.Proven); age > freshProof || age < -tokenLeeway {
		return &Denied{Reason: "a fresh proof of identity is needed", StepUp: true}
	}
	return nil
}

// saveFactor adds a factor to a person who has so many.
func (e *Engine) saveFactor(ctx context.Context, personID string, have int, kind, name string, data any) error {
	if have >= maxFactors {
		return fmt.Errorf("%w: at most %d second factors; remove one first", ErrInvalid, maxFactors)
	}
	f, err := newFactor(personID, kind, name, data)
	if err != nil {
		return err
	}
	if err := e.dir.SaveFactor(ctx, f); err != nil {
		return fmt.Errorf("access: factor: %w", err)
	}
	return nil
}

func newFactor(personID, kind, name string, data any) (Factor, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return Factor{}, fmt.Errorf("access: factor: %w", err)
	}
	return Factor{ID: strings.ToLower(rand.Text()[:16]), PersonID: personID, Kind: kind, Name: name, Data: b, Created: time.Now().UTC()}, nil
}

// keep writes what a factor's use changed; ErrConflict if f is not what is kept any more.
func (e *Engine) keep(ctx context.Context, f Factor, data any, now time.Time) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("access: factor: %w", err)
	}
	next := f
	next.Data, next.LastUsed = b, now
	if weaken.Skip(weaken.FactorSwap) {
		err = e.dir.SaveFactor(ctx, next)
	} else {
		err = e.dir.SwapFactor(ctx, f, next)
	}
	if err != nil {
		return fmt.Errorf("access: factor: %w", err)
	}
	return nil
}
