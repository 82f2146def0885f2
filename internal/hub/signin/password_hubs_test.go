package signin_test

import (
	"context"
	"errors"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// TestPasswordOverAnother: what another hub did to a password after the old one was found right, and before the new one is written,
// stands: a change by the person elsewhere, a reset, a lock. The audit log has that it was not done.
func TestPasswordOverAnother(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(ctx context.Context, d *directory, other *hub, b *browser) error
		valid     string // afterwards
	}{
		"changed": {func(ctx context.Context, _ *directory, other *hub, b *browser) error {
			return other.ChangePassword(ctx, b.subject(), password, "the first of the two")
		}, "the first of the two"},
		"reset": {func(ctx context.Context, _ *directory, other *hub, _ *browser) error {
			return other.SetOneTimePassword(ctx, "nurse", "made by an administrator")
		}, "made by an administrator"},
		"locked": {func(ctx context.Context, d *directory, other *hub, _ *browser) error {
			p := person(access.RoleNurse)
			p.Disabled = true
			d.Set(p)
			return other.SignOutAll(ctx, "nurse")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := withPassword(t, newDirectory().WithEveryRole())
			one, log := setup(t, d)
			two, _ := setup(t, d)
			b, elsewhere := signIn(t, one, "nurse"), signIn(t, two, "nurse")
			s := b.subject()
			d.OnceWriting(func() {
				if err := c.meanwhile(t.Context(), d, two, elsewhere); err != nil {
					t.Error(err)
				}
			})
			if err := one.ChangePassword(t.Context(), s, password, "written over it"); !errors.Is(err, signin.ErrPasswordChanged) || errors.Is(err, signin.ErrSignIn) {
				t.Errorf("over what was done meanwhile: %v", err)
			}
			if e := last(t, log); e.Allowed || e.Action != "password:change" || e.Reason == "own" {
				t.Errorf("the log ends with %+v", e)
			}
			if c.valid == "" {
				p := person(access.RoleNurse)
				d.Set(p) // let in again
				c.valid = password
			}
			if _, err := two.SignIn(t.Context(), "nurse", "written over it", station); !errors.Is(err, signin.ErrSignIn) {
				t.Errorf("with the password that came too late: %v", err)
			}
			if in, err := two.SignIn(t.Context(), "nurse", c.valid, station); err != nil || in.Subject.Person.ID != "nurse" {
				t.Errorf("with the one that was first: %v", err)
			}
		})
	}
}

// TestOldPasswordLetsNobodyIn: a sign-in for which the old password was found right does not outlive a reset that comes before its session
// is there, at the same hub or another, with or without a second factor in between.
func TestOldPasswordLetsNobodyIn(t *testing.T) {
	reset := func(ctx context.Context, t *testing.T, e *hub) {
		if err := e.SetOneTimePassword(ctx, "nurse", "made by an administrator"); err != nil {
			t.Error(err)
		}
	}
	left := func(t *testing.T, d *directory, err error) {
		t.Helper()
		d.Mu.Lock()
		defer d.Mu.Unlock()
		if !errors.Is(err, signin.ErrSignIn) || len(d.Sessions) != 0 {
			t.Errorf("%v, and %d sessions are left", err, len(d.Sessions))
		}
	}
	t.Run("at once", func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		one, log := setup(t, d)
		two, _ := setup(t, d)
		d.OnceWriting(func() { reset(t.Context(), t, two) })
		in, err := one.SignIn(t.Context(), "nurse", password, station)
		left(t, d, err)
		if e := last(t, log); e.Allowed || in.Tokens.Access != "" {
			t.Errorf("the log ends with %+v", e)
		}
	})
	t.Run("second factor", func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		one, _ := setup(t, d)
		two, _ := setup(t, d)
		_, codes := withTOTP(t, signIn(t, one, "nurse"))
		in, err := one.SignIn(t.Context(), "nurse", password, station)
		if err != nil || in.Pending == nil {
			t.Fatal(err)
		}
		reset(t.Context(), t, two)
		_, err = one.SecondFactor(t.Context(), signin.Proof{Pending: in.Pending.ID, Recovery: codes[0]}, station)
		left(t, d, err)
	})
}
