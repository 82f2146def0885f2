package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// Guesses are those on what people prove themselves with, at a hub's inside in this process: the
// clock of a real one would make them wait.
func Guesses() []attack.Attack {
	return []attack.Attack{
		{ID: "session-guess-stations", Threat: "guess a password", Position: "many enrolled workstations",
			Does:     "20 passwords for one login, each from another workstation, the right one last; between them the attacker's own sign-in succeeds",
			Expected: "five are judged, and one more at the end of each wait (2 s, doubling), whatever the workstation", Right: attack.Reads("ten at most of 20 judged"), Control: weaken.CountsTogether, Fast: true, Run: office.In(guessOverStations)},
		{ID: "session-guess-codes", Threat: "guess a second factor", Position: "many enrolled workstations, with a stolen password",
			Does:     "40 codes of one person over 20 workstations",
			Expected: "five are judged, and one more at the end of each wait (2 s, doubling), whatever the workstation", Right: attack.Reads("ten at most of 40 judged"), Control: weaken.CountsTogether, Fast: true, Run: office.In(guessCodes)},
		{ID: "session-junk-locks", Threat: "keep people from signing in and from emergency access", Position: "a ward's workstation",
			Does:     "40 sign-ins with made-up logins and a signed-in nurse's own, before the nurse's step-up there",
			Expected: "the step-up goes through", Right: attack.Reads("step-up goes through"), Control: weaken.OwnCounts, Fast: true, Run: office.In(junkLocks)},
		{ID: "session-old-login", Threat: "use a sign-in at the hospital's provider of hours ago", Position: "an unlocked browser of a doctor who has signed in there before",
			Does: "the provider lets the browser in without asking, and says so in auth_time", Expected: "refused", Right: attack.Fails(signin.ErrSignIn), Control: weaken.AuthTime,
			Fast: true, Run: office.In(oldLogin)},
		{ID: "session-claims-twice", Threat: "give oneself a role", Position: "a nurse whose own name reaches the ID token of the hospital's provider unescaped",
			Does:     "the provider's signed ID token has the claim of the roles twice: what the provider means, and after it what the nurse wrote",
			Expected: "refused, with the name of the claim in the audit log", Right: attack.Fails(signin.ErrSignIn), Control: weaken.ClaimsOnce, Fast: true, Run: office.In(claimsTwice)},
	}
}

func officeStation(i int) string {
	return fmt.Sprintf("spiffe://%s/workstation/station-%d", office.Domain, i)
}

// budget says whether the guesses that were judged are five with what a few waits let through on a
// slow machine.
func budget(judged int) string {
	if judged >= 5 && judged <= 10 {
		return "ten at most"
	}
	return fmt.Sprint(judged)
}

// looked reports whether a try was judged, or had to wait.
func looked(err error) bool {
	var wait *signin.Throttled
	return !errors.As(err, &wait)
}

func guessOverStations(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	if _, err := o.SignedIn(ctx, access.RoleNurse); err != nil {
		return attack.Result{}, err
	}
	if _, err := o.SignedIn(ctx, access.RoleStaff); err != nil {
		return attack.Result{}, err
	}
	judged := 0
	for i := range 20 {
		guess := fmt.Sprintf("guess-number-%d", i)
		if i == 19 {
			guess = office.Password
		}
		_, err := o.SignIn.SignIn(ctx, string(access.RoleNurse), guess, officeStation(i))
		switch {
		case err == nil:
			return attack.Through("every guess was judged, the right one worked", "%d judged before it", judged)
		case !errors.Is(err, signin.ErrSignIn):
			return attack.Result{}, err
		case looked(err):
			judged++
		}
		if i%7 == 0 {
			if _, err := o.SignIn.SignIn(ctx, string(access.RoleStaff), office.Password, office.Desk); err != nil {
				return attack.Result{}, fmt.Errorf("the attacker's own sign-in: %w", err)
			}
		}
	}
	return attack.Judge(judged > 10, attack.Word("%s of 20 judged", budget(judged)), "each workstation was worth new guesses", "slowed down over all workstations", "%d of 20 guesses were judged", judged)
}

func guessCodes(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	in, err := o.SignedIn(ctx, access.RoleNurse)
	if err != nil {
		return attack.Result{}, err
	}
	secret, _, err := o.SignIn.BeginTOTP(ctx, in.Subject)
	if err != nil {
		return attack.Result{}, err
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	if _, err := o.SignIn.ConfirmTOTP(ctx, in.Subject, code); err != nil {
		return attack.Result{}, err
	}
	judged := 0
	for i := range 40 {
		at := officeStation(i % 20)
		half, err := o.SignIn.SignIn(ctx, string(access.RoleNurse), office.Password, at)
		if err != nil || half.Pending == nil {
			return attack.Result{}, fmt.Errorf("the stolen password: %w", err)
		}
		// No digit at the end: it is judged as any other, and is never right by chance.
		_, err = o.SignIn.SecondFactor(ctx, signin.Proof{Pending: half.Pending.ID, TOTP: fmt.Sprintf("%05dx", i)}, at)
		if !errors.Is(err, signin.ErrSignIn) {
			return attack.Result{}, fmt.Errorf("a wrong code: %w", err)
		}
		if looked(err) {
			judged++
		}
	}
	return attack.Judge(judged > 10, attack.Word("%s of 40 judged", budget(judged)), "each workstation was worth new guesses", "slowed down over all workstations", "%d of 40 codes were judged", judged)
}

func junkLocks(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	in, err := o.SignedIn(ctx, access.RoleNurse)
	if err != nil {
		return attack.Result{}, err
	}
	for i := range 40 {
		login := fmt.Sprint("junk-", i)
		if i%4 == 0 {
			login = string(access.RoleNurse)
		}
		if _, err := o.SignIn.SignIn(ctx, login, "wrong horse battery", office.Desk); !errors.Is(err, signin.ErrSignIn) {
			return attack.Result{}, fmt.Errorf("a junk sign-in: %w", err)
		}
	}
	err = o.SignIn.StepUp(ctx, in.Subject, signin.Proof{Password: office.Password})
	if err != nil && !errors.Is(err, signin.ErrSignIn) {
		return attack.Result{}, err
	}
	return attack.Judge(err != nil, []attack.Seen{{Word: "step-up goes through"}}, "the nurse's step-up is locked", "the nurse is not held up", "after 40 junk sign-ins: %v", err)
}
