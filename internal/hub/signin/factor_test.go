package signin_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// code is what an authenticator app shows now.
func code(t testing.TB, secret string) string {
	t.Helper()
	c, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// withTOTP gives a person an authenticator app, and its secret and recovery codes to the test.
func withTOTP(t testing.TB, b *browser) (secret string, recovery []string) {
	t.Helper()
	secret, uri, err := b.e.BeginTOTP(t.Context(), b.subject())
	if err != nil || !strings.HasPrefix(uri, "otpauth://totp/") {
		t.Fatal(uri, err)
	}
	if recovery, err = b.e.ConfirmTOTP(t.Context(), b.subject(), code(t, secret)); err != nil || len(recovery) != 10 {
		t.Fatal(recovery, err)
	}
	return secret, recovery
}

func TestTOTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, log := setup(t, d)
		b := signIn(t, e, "nurse")
		// A secret that was never confirmed asks nothing of its owner.
		if _, _, err := e.BeginTOTP(t.Context(), b.subject()); err != nil {
			t.Fatal(err)
		}
		if got, err := e.SignIn(t.Context(), "nurse", password, station); err != nil || got.Pending != nil {
			t.Fatalf("an unconfirmed secret: %v", err)
		}
		if _, err := e.ConfirmTOTP(t.Context(), b.subject(), "000000"); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("a wrong first code: %v", err)
		}
		time.Sleep(time.Minute)
		secret, recovery := withTOTP(t, b)

		ask := func() signin.Pending {
			t.Helper()
			in, err := e.SignIn(t.Context(), "nurse", password, station)
			if err != nil || in.Pending == nil || in.Tokens != (signin.Tokens{}) {
				t.Fatalf("%+v %v", in, err)
			}
			return *in.Pending
		}
		p := ask()
		if !slices.Equal(p.Methods, []string{"recovery", "totp"}) {
			t.Errorf("asks for %v", p.Methods)
		}
		// The code that confirmed it has been used.
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, TOTP: code(t, secret)}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("a code used twice: %v", err)
		}
		time.Sleep(30 * time.Second)
		now := code(t, secret)
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, TOTP: now}, otherStation); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("from another workstation: %v", err)
		}
		in, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, TOTP: now}, station)
		if err != nil || !in.Subject.SecondFactor {
			t.Fatalf("%+v %v", in.Subject, err)
		}
		if got := last(t, log); got.Reason != "pwd otp" || got.Person != "nurse" {
			t.Errorf("audited as %+v", got)
		}
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, TOTP: now}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("a sign-in completed twice: %v", err)
		}
		// Recovery codes, each once.
		p = ask()
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, Recovery: " " + strings.ToUpper(recovery[3])}, station); err != nil {
			t.Errorf("recovery code: %v", err)
		}
		p = ask()
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, Recovery: recovery[3]}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("recovery code twice: %v", err)
		}
		// A sign-in does not wait for ever, nor for another person.
		time.Sleep(5 * time.Minute)
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: p.ID, TOTP: code(t, secret)}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("too late: %v", err)
		}
		for _, f := range d.AllFactors {
			if strings.Contains(string(f.Data), recovery[0]) {
				t.Error("recovery codes are stored as they are")
			}
		}
		// An administrator's new password does not get past it.
		one, err := e.OneTimePassword(t.Context(), "nurse")
		if err != nil {
			t.Fatal(err)
		}
		if in, err := e.SignIn(t.Context(), "nurse", one, station); err != nil || in.Pending == nil {
			t.Errorf("a new password alone signs in: %v", err)
		}
		if err := e.ResetFactors(t.Context(), "nurse"); err != nil || len(d.AllFactors) != 0 {
			t.Errorf("reset: %v", err)
		}
	})
}

// TestSecondFactorIsThrottled: six digits must not be guessed, and trying does not lock the person out elsewhere.
func TestSecondFactorIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, _ := setup(t, d)
		secret, _ := withTOTP(t, signIn(t, e, "nurse"))
		var throttled *signin.Throttled
		judged := 0
		for range 40 {
			in, err := e.SignIn(t.Context(), "nurse", password, station)
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.SecondFactor(t.Context(), signin.Proof{Pending: in.Pending.ID, TOTP: "123456"}, station)
			if !errors.Is(err, signin.ErrSignIn) {
				t.Fatal(err)
			}
			if !errors.As(err, &throttled) {
				judged++
			}
		}
		if judged > 6 {
			t.Errorf("%d guesses were judged", judged)
		}
		time.Sleep(30 * time.Second)
		in, err := e.SignIn(t.Context(), "nurse", password, otherStation)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: in.Pending.ID, TOTP: code(t, secret)}, otherStation); err != nil {
			t.Errorf("locked out elsewhere: %v", err)
		}
	})
}

func TestStepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, log := setup(t, d)
		b := signIn(t, e, "admin")
		manage := func() error {
			_, err := e.Decide(t.Context(), b.subject(), access.ManagePeople, access.OnSystem())
			return err
		}
		time.Sleep(6 * time.Minute)
		if err := manage(); !errors.Is(err, access.ErrStepUp) {
			t.Fatal(err)
		}
		if p, err := e.BeginProof(t.Context(), b.subject()); err != nil || !slices.Equal(p.Methods, []string{"password"}) {
			t.Errorf("asks for %v %v", p.Methods, err)
		}
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{Password: "wrong horse battery"}); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("wrong password: %v", err)
		}
		if got := last(t, log); got.Allowed || got.Action != "session:step-up" {
			t.Errorf("audited as %+v", got)
		}
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{Password: password}); err != nil {
			t.Fatal(err)
		}
		if err := manage(); err != nil {
			t.Errorf("after the proof: %v", err)
		}
		// With a second factor the password is not enough any more.
		secret, _ := withTOTP(t, b)
		time.Sleep(6 * time.Minute)
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{Password: password}); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("the password alone: %v", err)
		}
		if err := manage(); !errors.Is(err, access.ErrStepUp) {
			t.Errorf("the password alone: %v", err)
		}
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{TOTP: code(t, secret)}); err != nil {
			t.Fatal(err)
		}
		if err := manage(); err != nil || !b.subject().SecondFactor {
			t.Errorf("after the second factor: %v", err)
		}
	})
}

// TestOneTimePassword: a password that another person made is good for choosing one's own, and for nothing else.
func TestOneTimePassword(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, log := setup(t, d)
	before := signIn(t, e, "nurse")
	one, err := e.OneTimePassword(t.Context(), "nurse")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.as(); !errors.Is(err, access.ErrNoSession) {
		t.Errorf("the session before it: %v", err)
	}
	in, err := e.SignIn(t.Context(), "nurse", one, station)
	if err != nil {
		t.Fatal(err)
	}
	s := in.Subject
	if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own")); !errors.Is(err, access.ErrDenied) || !slices.Contains(last(t, log).Policies, "own-password-first") {
		t.Errorf("used for more: %v", err)
	}
	if _, _, err := e.BeginTOTP(t.Context(), s); !errors.Is(err, access.ErrDenied) {
		t.Errorf("a second factor: %v", err)
	}
	for _, c := range []struct {
		old, new string
		want     error
	}{
		{"wrong horse battery", "a password of my own", signin.ErrSignIn}, {one, "short", signin.ErrPassword}, {one, one, access.ErrInvalid},
	} {
		if err := e.ChangePassword(t.Context(), s, c.old, c.new); !errors.Is(err, c.want) {
			t.Errorf("%q: %v", c.new, err)
		}
	}
	if err := e.ChangePassword(t.Context(), s, one, "a password of my own"); err != nil {
		t.Fatal(err)
	}
	if s, err = e.Recheck(t.Context(), s); err != nil || s.Person.MustChangePassword {
		t.Errorf("the session after it: %+v %v", s, err)
	}
	if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := e.SignIn(t.Context(), "nurse", one, station); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("the one-time password again: %v", err)
	}
}

// TestOwnKeysOnly: a key speaks for the person who made it, and for a channel that they may read.
func TestOwnKeysOnly(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, _ := setup(t, d)
	for _, c := range []struct {
		role    access.Role
		channel int64
		write   bool
		ok      bool
	}{
		{access.RoleNurse, 1, false, true}, {access.RoleNurse, 3, false, false}, {access.RoleNurse, 1, true, false}, {access.RoleNurse, 5, true, true},
		{access.RoleDoctor, 1, false, true}, {access.RoleDoctor, 2, false, false}, {access.RolePatient, 1, false, true}, {access.RolePatient, 2, false, false},
		{access.RoleAdmin, 1, false, false}, {access.RoleAdmin, 5, true, true}, {access.RoleAuditor, 5, false, false},
	} {
		key, stored, err := e.NewKey(t.Context(), subject(c.role), c.channel, c.write)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s, channel %d, write %v: %v", c.role, c.channel, c.write, err)
		}
		if err != nil {
			continue
		}
		if s, k, err := e.AuthenticateKey(t.Context(), key, station); err != nil || s.Person.ID != string(c.role) || k != stored {
			t.Errorf("%s's key speaks for %s: %v", c.role, s.Person.ID, err)
		}
		by := subject(c.role)
		by.Key = &stored
		if _, _, err := e.NewKey(t.Context(), by, c.channel, c.write); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a key made a key: %v", err)
		}
	}
	stale := subject(access.RoleNurse)
	stale.Proven = time.Now().Add(-time.Hour)
	if _, _, err := e.NewKey(t.Context(), stale, 1, false); !errors.Is(err, access.ErrStepUp) {
		t.Errorf("without a fresh proof: %v", err)
	}
	mine, err := e.Keys(t.Context(), subject(access.RoleNurse))
	if err != nil || len(mine) != 2 {
		t.Fatalf("%d keys, %v", len(mine), err)
	}
	if err := e.DeleteKey(t.Context(), subject(access.RoleDoctor), mine[0].Hash); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	if err := e.DeleteKey(t.Context(), subject(access.RoleNurse), mine[0].Hash); err != nil {
		t.Error(err)
	}
}

// TestNobodyTakesTheOthersPlaces: a workstation that begins sign-ins without end pushes out its own, and no other workstation's.
func TestNobodyTakesTheOthersPlaces(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	f := newForger(t)
	e, log := setup(t, d, signin.WithOIDC(openID(f.URL)))
	nurse := signIn(t, e, "nurse")
	_, recovery := withTOTP(t, nurse)
	in, err := e.SignIn(t.Context(), "nurse", password, station)
	if err != nil || in.Pending == nil {
		t.Fatal(err)
	}
	other, err := e.StartOIDC(t.Context(), station, page)
	if err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		if _, err := e.BeginPasskeySignIn(t.Context(), otherStation); err != nil {
			t.Fatal(err)
		}
		if _, err := e.StartOIDC(t.Context(), otherStation, page); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: in.Pending.ID, Recovery: recovery[0]}, station); err != nil {
		t.Errorf("the nurse's sign-in was pushed out: %v", err)
	}
	if _, err := e.StartOIDC(t.Context(), station, page); err != nil {
		t.Errorf("nobody else gets to the provider: %v", err)
	}
	u, err := url.Parse(other)
	if err != nil {
		t.Fatal(err)
	}
	f.token = func(string) string { return "" }
	if _, err := e.FinishOIDC(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"c"}}, station, page); !errors.Is(err, signin.ErrSignIn) || !strings.Contains(last(t, log).Reason, "not valid") {
		t.Errorf("the errand to the provider was pushed out: %v, %+v", err, last(t, log)) // the forger's answer is no token
	}
}

// TestOldPasswordWaitsForNothing: a sign-in for which a password was shown that is no longer one is not completed.
func TestOldPasswordWaitsForNothing(t *testing.T) {
	for name, change := range map[string]func(ctx context.Context, e *hub, b *browser) error{
		"changed": func(ctx context.Context, e *hub, b *browser) error {
			return e.ChangePassword(ctx, b.subject(), password, "another long passphrase")
		},
		"reset": func(ctx context.Context, e *hub, _ *browser) error {
			_, err := e.OneTimePassword(ctx, "nurse")
			return err
		},
		"signed out": func(ctx context.Context, e *hub, _ *browser) error { return e.SignOutAll(ctx, "nurse") },
	} {
		synctest.Test(t, func(t *testing.T) {
			e, _ := setup(t, withPassword(t, newDirectory().WithEveryRole()))
			b := signIn(t, e, "nurse")
			secret, _ := withTOTP(t, b)
			in, err := e.SignIn(t.Context(), "nurse", password, otherStation)
			if err != nil || in.Pending == nil {
				t.Fatal(err)
			}
			if err := change(t.Context(), e, b); err != nil {
				t.Fatal(name, err)
			}
			time.Sleep(30 * time.Second)
			if _, err := e.SecondFactor(t.Context(), signin.Proof{Pending: in.Pending.ID, TOTP: code(t, secret)}, otherStation); !errors.Is(err, signin.ErrSignIn) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
