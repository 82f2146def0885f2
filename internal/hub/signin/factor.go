package signin

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

	"vitalseal/internal/hub/access"
)

const (
	totpPeriod    = 30 // seconds
	recoveryCodes = 10
	maxFactors    = 16
	maxFactorName = 64
)

// totpData is a TOTP factor.
type totpData struct {
	Secret    string `json:"secret"`    // base32
	Confirmed bool   `json:"confirmed"` // shown once that the person has it; until then it counts for nothing
	Step      int64  `json:"step"`      // the newest time step whose code was used: no code counts twice
}

// kinds are the methods that a person can show as a second factor. Recovery codes count only beside another.
func (svc *Service) kinds(ctx context.Context, personID string) ([]string, error) {
	all, err := svc.dir.Factors(ctx, personID)
	if err != nil {
		return nil, fmt.Errorf("signin: factors: %w", err)
	}
	var out []string
	for _, f := range all {
		if f.Kind == access.FactorPasskey || f.Kind == access.FactorTOTP && confirmed(f) {
			out = append(out, f.Kind)
		}
	}
	if len(out) > 0 && slices.ContainsFunc(all, func(f access.Factor) bool { return f.Kind == access.FactorRecovery }) {
		out = append(out, access.FactorRecovery)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func confirmed(f access.Factor) bool {
	var d totpData
	return json.Unmarshal(f.Data, &d) == nil && d.Confirmed
}

// Factors are a person's own second factors, without their secrets.
func (svc *Service) Factors(ctx context.Context, s access.Subject) ([]access.Factor, error) {
	if s.Session == "" {
		return nil, access.ErrNoSession
	}
	all, err := svc.dir.Factors(ctx, s.Person.ID)
	all = slices.DeleteFunc(all, func(f access.Factor) bool { return f.Kind == access.FactorTOTP && !confirmed(f) })
	for i := range all {
		all[i].Data = nil
	}
	return all, err
}

// BeginTOTP makes a secret for an authenticator app: as text, and as the address that its QR code holds. It counts once
// ConfirmTOTP has seen a code of it. It needs a fresh proof of identity.
func (svc *Service) BeginTOTP(ctx context.Context, s access.Subject) (secret, uri string, err error) {
	if err := svc.fresh(ctx, s); err != nil {
		return "", "", err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Vitalseal " + svc.issuer, AccountName: s.Person.Login, Period: totpPeriod, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("signin: totp: %w", err)
	}
	all, err := svc.dir.Factors(ctx, s.Person.ID)
	if err != nil {
		return "", "", fmt.Errorf("signin: totp: %w", err)
	}
	for _, f := range all { // a secret that was never confirmed gives way
		if f.Kind == access.FactorTOTP && !confirmed(f) {
			if err := svc.dir.DeleteFactor(ctx, s.Person.ID, f.ID); err != nil {
				return "", "", fmt.Errorf("signin: totp: %w", err)
			}
		}
	}
	return key.Secret(), key.URL(), svc.saveFactor(ctx, s.Person.ID, len(all), access.FactorTOTP, "Authenticator app", totpData{Secret: key.Secret()})
}

// ConfirmTOTP takes the first code of the secret of BeginTOTP, from when on it is asked for at every sign-in, and gives new
// recovery codes, which are shown once. A wrong code is ErrSignIn.
func (svc *Service) ConfirmTOTP(ctx context.Context, s access.Subject, code string) (recovery []string, err error) {
	if err := svc.fresh(ctx, s); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	try, err := svc.attempt(ctx, s.Person, s.Workstation, actionFactor, now, stepUpPool(s))
	if err != nil {
		return nil, err
	}
	all, err := svc.dir.Factors(ctx, s.Person.ID)
	if err != nil {
		return nil, fmt.Errorf("signin: totp: %w", err)
	}
	for _, f := range all {
		var d totpData
		if f.Kind != access.FactorTOTP || json.Unmarshal(f.Data, &d) != nil || d.Confirmed {
			continue
		}
		step, ok := matches(d, plainCode(code), now)
		if !ok {
			return nil, try.wrong(ctx, s.Person, s.Workstation, now, svc.proofRefused(ctx, s, actionFactor, now))
		}
		if err := try.right(ctx); err != nil {
			return nil, err
		}
		d.Confirmed, d.Step = true, step
		switch err := svc.keep(ctx, f, d, now); {
		case errors.Is(err, access.ErrConflict): // it was confirmed, or taken away, meanwhile
			return nil, ErrSignIn
		case err != nil:
			return nil, err
		}
		if err := svc.record(ctx, s.Person, s.Workstation, actionFactor, true, "totp added"); err != nil {
			return nil, err
		}
		return svc.newRecovery(ctx, s)
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
func (svc *Service) totp(ctx context.Context, p access.Person, code string, now time.Time) (method string, err error) {
	return again(func() (string, error) { return svc.totpOnce(ctx, p, code, now) })
}

func (svc *Service) totpOnce(ctx context.Context, p access.Person, code string, now time.Time) (method string, err error) {
	all, err := svc.dir.Factors(ctx, p.ID)
	if err != nil {
		return "", fmt.Errorf("signin: totp: %w", err)
	}
	for _, f := range all {
		var d totpData
		if f.Kind != access.FactorTOTP || json.Unmarshal(f.Data, &d) != nil || !d.Confirmed {
			continue
		}
		if step, ok := matches(d, plainCode(code), now); ok {
			//defence:proof-once a one-time code counts once
			d.Step = step
			return "otp", svc.keep(ctx, f, d, now)
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
		if method, err = f(); !errors.Is(err, access.ErrConflict) {
			return method, err
		}
	}
	return "", ErrBusy
}

// newRecovery replaces a person's recovery codes. They are shown once; their hashes are kept.
func (svc *Service) newRecovery(ctx context.Context, s access.Subject) ([]string, error) {
	codes, hashes := make([]string, recoveryCodes), make([]string, recoveryCodes)
	for i := range codes {
		t := strings.ToLower(rand.Text())
		codes[i] = t[0:5] + "-" + t[5:10] + "-" + t[10:15] // 75 bits
		hashes[i] = hexHash(codes[i])
	}
	f, err := newFactor(s.Person.ID, access.FactorRecovery, "Recovery codes", hashes)
	if err != nil {
		return nil, err
	}
	if err := svc.dir.ReplaceFactors(ctx, f); err != nil {
		return nil, fmt.Errorf("signin: recovery codes: %w", err)
	}
	return codes, nil
}

// NewRecovery makes ten new recovery codes, which replace those that were there. It needs a fresh proof of identity.
func (svc *Service) NewRecovery(ctx context.Context, s access.Subject) ([]string, error) {
	if err := svc.fresh(ctx, s); err != nil {
		return nil, err
	}
	if err := svc.record(ctx, s.Person, s.Workstation, actionFactor, true, "recovery codes made"); err != nil {
		return nil, err
	}
	return svc.newRecovery(ctx, s)
}

// recovery checks a recovery code and uses it up.
func (svc *Service) recovery(ctx context.Context, p access.Person, code string) (method string, err error) {
	return again(func() (string, error) { return svc.recoveryOnce(ctx, p, code) })
}

func (svc *Service) recoveryOnce(ctx context.Context, p access.Person, code string) (method string, err error) {
	all, err := svc.dir.Factors(ctx, p.ID)
	if err != nil {
		return "", fmt.Errorf("signin: recovery codes: %w", err)
	}
	hash := hexHash(recoveryText(code))
	for _, f := range all {
		var hashes []string
		if f.Kind != access.FactorRecovery || json.Unmarshal(f.Data, &hashes) != nil {
			continue
		}
		for i, h := range hashes {
			if subtle.ConstantTimeCompare([]byte(h), []byte(hash)) == 1 {
				return "otp", svc.keep(ctx, f, slices.Delete(hashes, i, i+1), time.Now().UTC())
			}
		}
	}
	return "", nil
}

// RemoveFactor takes away one of a person's own second factors. It needs a fresh proof of identity.
func (svc *Service) RemoveFactor(ctx context.Context, s access.Subject, id string) error {
	if err := svc.fresh(ctx, s); err != nil {
		return err
	}
	if err := svc.record(ctx, s.Person, s.Workstation, actionFactor, true, "remove"); err != nil {
		return err
	}
	return svc.dir.DeleteFactor(ctx, s.Person.ID, id)
}

// ResetFactors takes away all second factors of a person who has lost them, and ends the person's sessions. The caller
// decides and audits first.
func (svc *Service) ResetFactors(ctx context.Context, personID string) error {
	all, err := svc.dir.Factors(ctx, personID)
	if err != nil {
		return fmt.Errorf("signin: factors: %w", err)
	}
	if err := svc.record(ctx, access.Person{ID: personID}, "", actionFactor, true, "remove all"); err != nil {
		return err
	}
	for _, f := range all {
		if err := svc.dir.DeleteFactor(ctx, personID, f.ID); err != nil {
			return fmt.Errorf("signin: factors: %w", err)
		}
	}
	return svc.SignOutAll(ctx, personID)
}

// freshProof is how old a proof of identity may be for acts on one's own account; default.cedar has the same for others.
const freshProof = 5 * time.Minute

// fresh refuses an act on one's own account without a recent proof of identity, or with a password that is not one's own.
func (svc *Service) fresh(ctx context.Context, s access.Subject) error {
	if s.Session == "" {
		return access.ErrNoSession
	}
	p, err := svc.dir.Person(ctx, s.Person.ID)
	if err != nil {
		return fmt.Errorf("signin: account: %w", err)
	}
	if p.MustChangePassword {
		return &access.Denied{Reason: "own password first"}
	}
	if age := time.Since(s.Proven); age > freshProof || age < -access.ClockLeeway {
		return &access.Denied{Reason: "a fresh proof of identity is needed", StepUp: true}
	}
	return nil
}

// saveFactor adds a factor to a person who has so many.
func (svc *Service) saveFactor(ctx context.Context, personID string, have int, kind, name string, data any) error {
	if have >= maxFactors {
		return fmt.Errorf("%w: at most %d second factors; remove one first", access.ErrInvalid, maxFactors)
	}
	f, err := newFactor(personID, kind, name, data)
	if err != nil {
		return err
	}
	if err := svc.dir.SaveFactor(ctx, f); err != nil {
		return fmt.Errorf("signin: factor: %w", err)
	}
	return nil
}

func newFactor(personID, kind, name string, data any) (access.Factor, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return access.Factor{}, fmt.Errorf("signin: factor: %w", err)
	}
	return access.Factor{ID: strings.ToLower(rand.Text()[:16]), PersonID: personID, Kind: kind, Name: name, Data: b, Created: time.Now().UTC()}, nil
}

// keep writes what a factor's use changed; ErrConflict if f is not what is kept any more.
func (svc *Service) keep(ctx context.Context, f access.Factor, data any, now time.Time) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("signin: factor: %w", err)
	}
	next := f
	next.Data, next.LastUsed = b, now
	if err := svc.swapFactor(ctx, f, next); err != nil {
		return fmt.Errorf("signin: factor: %w", err)
	}
	return nil
}

// swapFactor writes a factor over the one that was read.
//
//defence:factor-swap what a code's use changes is written only over what was read
func (svc *Service) swapFactor(ctx context.Context, was, next access.Factor) error {
	return svc.dir.SwapFactor(ctx, was, next)
}
