package signin_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/signin"
)

// TestCodesAsTyped: how people write down and type codes makes no difference, at sign-in, at a step-up, and for the first code.
func TestCodesAsTyped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := setup(t, withPassword(t, newDirectory().WithEveryRole()))
		b := signIn(t, e, "nurse")
		secret, _, err := e.BeginTOTP(t.Context(), b.subject())
		if err != nil {
			t.Fatal(err)
		}
		c := code(t, secret)
		recovery, err := e.ConfirmTOTP(t.Context(), b.subject(), c[:3]+" "+c[3:]+"\n")
		if err != nil {
			t.Fatalf("the first code with a space: %v", err)
		}
		second := func(what string, proof func(c string) signin.Proof) {
			t.Helper()
			time.Sleep(30 * time.Second) // a code counts once
			in, err := e.SignIn(t.Context(), "nurse", password, station)
			if err != nil {
				t.Fatal(err)
			}
			p := proof(code(t, secret))
			p.Pending = in.Pending.ID
			if _, err := e.SecondFactor(t.Context(), p, station); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, between := range map[string]string{"a space": " ", "a no-break space": "\u00a0", "a narrow no-break space": "\u202f"} {
			second(what, func(c string) signin.Proof { return signin.Proof{TOTP: c[:3] + between + c[3:]} })
		}
		for i, as := range []func(string) string{
			func(s string) string { return s }, strings.ToUpper, func(s string) string { return strings.ReplaceAll(s, "-", "") },
			func(s string) string { return strings.ReplaceAll(s, "-", " ") }, func(s string) string { return " " + strings.ReplaceAll(s, "-", "\u2013") },
		} {
			second("recovery code "+as(recovery[i]), func(string) signin.Proof { return signin.Proof{Recovery: as(recovery[i])} })
		}
		time.Sleep(30 * time.Second)
		if c = code(t, secret); e.StepUp(t.Context(), b.subject(), signin.Proof{TOTP: c[:3] + " " + c[3:]}) != nil {
			t.Error("a step-up with a space")
		}
	})
}

// TestPasswordWithASpace: a password is what was typed, wherever it is asked for.
func TestPasswordWithASpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := setup(t, withPassword(t, newDirectory().WithEveryRole()))
		b := signIn(t, e, "nurse")
		const spaced = "correct horse battery staple "
		if err := e.ChangePassword(t.Context(), b.subject(), password, spaced); err != nil {
			t.Fatal(err)
		}
		if _, err := e.SignIn(t.Context(), "nurse", spaced, station); err != nil {
			t.Errorf("sign-in: %v", err)
		}
		if _, err := e.SignIn(t.Context(), "nurse", strings.TrimSpace(spaced), station); err == nil {
			t.Error("signed in without the space")
		}
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{Password: spaced}); err != nil {
			t.Errorf("step-up: %v", err)
		}
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{Password: strings.TrimSpace(spaced)}); err == nil {
			t.Error("step-up without the space")
		}
	})
}
