package signin_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

const wrongPassword = "wrong horse battery"

// nth is one of many enrolled workstations.
func nth(i int) string {
	return fmt.Sprintf("spiffe://demo.vitalseal.internal/workstation/ward-%d", 100+i)
}

// judged reports whether a try was looked at; every one of them must fail as a sign-in does.
func judged(t testing.TB, err error) bool {
	t.Helper()
	if !errors.Is(err, signin.ErrSignIn) {
		t.Fatalf("got %v, want a failed sign-in", err)
	}
	var throttled *signin.Throttled
	return !errors.As(err, &throttled)
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, log := setup(t, d)
		try := func(login, pw, ws string) error {
			_, err := e.SignIn(t.Context(), login, pw, ws)
			return err
		}
		var throttled *signin.Throttled
		for _, login := range []string{"nurse", "nobody", "no such login!"} { // the same for one who exists and one who does not
			for i := range 5 {
				if !judged(t, try(login, wrongPassword, station)) {
					t.Fatalf("%s: attempt %d throttled", login, i)
				}
			}
			before := last(t, log).Seq
			for range 20 {
				err := try(login, password, station)
				if !errors.As(err, &throttled) || !errors.Is(err, signin.ErrSignIn) || throttled.RetryAfter > 2*time.Second {
					t.Fatalf("%s: %v", login, err)
				}
			}
			if last(t, log).Seq != before+1 {
				t.Errorf("%d audit entries for 20 throttled attempts", last(t, log).Seq-before)
			}
		}
		for _, login := range []string{"nurse", "nobody"} {
			if judged(t, try(login, password, otherStation)) {
				t.Errorf("%s: another workstation is worth another five guesses", login)
			}
		}
		if err := try("doctor", password, station); err != nil {
			t.Errorf("a colleague is locked out: %v", err)
		}
		time.Sleep(2 * time.Second)
		if !judged(t, try("nurse", wrongPassword, station)) {
			t.Error("still throttled")
		}
		if err := try("nurse", password, station); !errors.As(err, &throttled) || throttled.RetryAfter <= 2*time.Second {
			t.Errorf("the back-off does not grow: %v", err)
		}
		time.Sleep(4 * time.Second)
		if err := try("nurse", password, station); err != nil {
			t.Errorf("the right password at last: %v", err)
		}
		if !judged(t, try("nurse", wrongPassword, station)) {
			t.Error("success did not clear the count")
		}
	})
}

// TestPasswordGuesses: guesses of one password count together whatever the workstation, whatever else fails there, whatever
// sign-in succeeds there, and whatever hub judges.
func TestPasswordGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		var events []access.Event
		tell := access.WithEvents(func(ev access.Event) {
			if ev.Person != "" {
				events = append(events, ev)
			}
		})
		e, log := setup(t, d, tell)
		second, _ := setup(t, d, tell)
		signIn(t, e, "staff") // the guesser's own sign-in, at this workstation
		for i := range 70 {   // many failing logins, as many as had a place of their own once
			judged(t, func() error {
				_, err := e.SignIn(t.Context(), fmt.Sprint("junk", i%7), wrongPassword, station)
				return err
			}())
		}
		n := 0
		for i := range 88 {
			hub, at := e, nth(i%30)
			if i%2 == 0 {
				hub = second
			}
			if i%3 == 0 {
				at = station
			}
			if _, err := hub.SignIn(t.Context(), "nurse", wrongPassword, at); judged(t, err) {
				n++
			}
			if i%8 == 0 {
				signIn(t, e, "staff")
			}
		}
		if n != 5 {
			t.Errorf("%d guesses were judged at once, want 5", n)
		}
		if len(events) != 1 || events[0].Kind != access.EventGuessing || events[0].Person != "nurse" {
			t.Errorf("events: %+v", events)
		}
		all, err := log.Recent(t.Context(), 50)
		if err != nil || !slices.ContainsFunc(all, func(a access.AuditEntry) bool { return a.Person == "nurse" && a.Reason == "throttled" && !a.Allowed }) {
			t.Errorf("not in the audit log (%v)", err)
		}
		// A guesser who goes on for a day, with a hub that is started anew each hour.
		for range 24 * 60 * 6 {
			time.Sleep(10 * time.Second)
			if _, err := second.SignIn(t.Context(), "nurse", wrongPassword, otherStation); judged(t, err) {
				n++
			}
		}
		if n > 5+10+96 {
			t.Errorf("%d guesses in a day", n)
		}
		third, _ := setup(t, d)
		if _, err := third.SignIn(t.Context(), "nurse", password, otherStation); err == nil {
			t.Error("a restarted hub has forgotten the guesses")
		}
		// A new password ends the wait: the guesses were about the old one.
		one, err := e.OneTimePassword(t.Context(), "nurse")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.SignIn(t.Context(), "nurse", one, otherStation); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

// TestCodeGuesses: the codes of one person are guessed a few times, whatever the workstation, and the person's own right code
// gives the guesser no further guesses.
func TestCodeGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		var events []access.Event
		e, _ := setup(t, d, access.WithEvents(func(ev access.Event) { events = append(events, ev) }))
		b := signIn(t, e, "nurse")
		secret, recovery := withTOTP(t, b)
		second := func(proof signin.Proof, at string) error {
			t.Helper()
			in, err := e.SignIn(t.Context(), "nurse", password, at)
			if err != nil {
				t.Fatal(err)
			}
			proof.Pending = in.Pending.ID
			_, err = e.SecondFactor(t.Context(), proof, at)
			return err
		}
		n := 0
		for i := range 60 {
			if judged(t, second(signin.Proof{TOTP: "12345x"}, nth(i%20))) {
				n++
			}
		}
		if n != 5 {
			t.Errorf("%d codes were judged, want 5", n)
		}
		if len(events) != 1 || events[0].Kind != access.EventGuessing || events[0].Person != "nurse" {
			t.Errorf("events: %+v", events)
		}
		// The person is not held up: a step-up has a count of its own, and so have the codes on paper.
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{TOTP: "123456"}); !judged(t, err) {
			t.Error("a guesser elsewhere holds up the step-up of who is signed in")
		}
		time.Sleep(30 * time.Second)
		if err := e.StepUp(t.Context(), b.subject(), signin.Proof{TOTP: code(t, secret)}); err != nil {
			t.Errorf("step-up: %v", err)
		}
		if err := second(signin.Proof{Recovery: recovery[0]}, station); err != nil {
			t.Errorf("a recovery code: %v", err)
		}
		time.Sleep(30 * time.Second)
		if err := second(signin.Proof{TOTP: code(t, secret)}, station); err != nil {
			t.Errorf("the right code, after the wait: %v", err)
		}
		once := judged(t, second(signin.Proof{TOTP: "12345x"}, otherStation))
		if twice := judged(t, second(signin.Proof{TOTP: "12345x"}, otherStation)); once && twice {
			t.Error("the person's own code gave the guesser new guesses")
		}
		// A session that was left open does not guess its person's codes at every workstation anew.
		n = 0
		for i := range 40 {
			s := b.subject()
			s.Workstation = nth(i)
			if judged(t, e.StepUp(t.Context(), s, signin.Proof{TOTP: "12345x"})) {
				n++
			}
		}
		if n > 20 {
			t.Errorf("%d codes were judged at step-ups", n)
		}
	})
}

// TestJunkLocksNobodyOut: whatever fails at a workstation or elsewhere, people who work there still sign in there, and who is
// signed in still proves who they are, so that a patient can be opened in an emergency.
func TestJunkLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, _ := setup(t, d)
		nurse := signIn(t, e, "nurse")
		signIn(t, e, "staff")
		for i := range 75 {
			_, err := e.SignIn(t.Context(), fmt.Sprint("junk", i), wrongPassword, station)
			judged(t, err)
		}
		for i := range 30 {
			for _, login := range []string{"nurse", "staff", "doctor"} {
				_, err := e.SignIn(t.Context(), login, wrongPassword, nth(i))
				judged(t, err)
			}
			for range 3 {
				if _, err := e.FinishPasskeySignIn(t.Context(), signin.Proof{Pending: "none", Passkey: []byte("{}")}, station); !judged(t, err) {
					t.Fatal("passkeys wait")
				}
			}
		}
		if err := e.StepUp(t.Context(), nurse.subject(), signin.Proof{Password: password}); err != nil {
			t.Errorf("the nurse's step-up: %v", err)
		}
		if _, err := e.BreakGlass(t.Context(), nurse.subject(), "other-ward", "collapsed in the corridor"); err != nil {
			t.Errorf("break-glass: %v", err)
		}
		for _, login := range []string{"nurse", "staff"} {
			if _, err := e.SignIn(t.Context(), login, password, station); err != nil {
				t.Errorf("%s, who has signed in here before: %v", login, err)
			}
			if _, err := e.SignIn(t.Context(), login, password, otherStation); err == nil {
				t.Errorf("%s is let in at once at a workstation that does not know the person", login)
			}
		}
		if _, err := e.SignIn(t.Context(), "auditor", password, station); err != nil {
			t.Errorf("who has never been here: %v", err)
		}
		// Being known is no way to guess: it has a count of its own.
		n := 0
		for range 20 {
			if _, err := e.SignIn(t.Context(), "nurse", wrongPassword, station); judged(t, err) {
				n++
			}
		}
		if n != 5 {
			t.Errorf("%d guesses at a known workstation, want 5", n)
		}
		if err := e.StepUp(t.Context(), nurse.subject(), signin.Proof{Password: password}); err != nil {
			t.Errorf("the nurse's step-up after that: %v", err)
		}
		// Wrong passwords at the own workstation do not keep the right one out, until they are as many as a guesser's.
		if _, err := e.SignIn(t.Context(), "nurse", password, station); err != nil {
			t.Errorf("the right password after 20 wrong ones at a known workstation: %v", err)
		}
		for range 40 {
			if _, err := e.SignIn(t.Context(), "nurse", wrongPassword, station); err == nil {
				t.Fatal("a wrong password is let in")
			}
		}
		var throttled *signin.Throttled
		if _, err := e.SignIn(t.Context(), "nurse", password, station); !errors.As(err, &throttled) {
			t.Errorf("after 40 wrong ones the next password is judged at once: %v", err)
		}
	})
}

// TestFailedSignInsAreTold: the next sign-in that succeeds says how many failed since, and where; the one after it no longer does.
func TestFailedSignInsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, _ := setup(t, d)
		first := time.Now().UTC()
		for range 3 {
			_, err := e.SignIn(t.Context(), "nurse", wrongPassword, otherStation)
			judged(t, err)
			time.Sleep(time.Minute)
		}
		b := signIn(t, e, "nurse")
		got, err := e.FailedSignIns(t.Context(), b.subject())
		if err != nil || len(got) != 1 || got[0].Workstation != otherStation || got[0].Count != 3 || !got[0].First.Equal(first) || !got[0].Last.Equal(first.Add(2*time.Minute)) {
			t.Errorf("told %+v, %v", got, err)
		}
		if got, err := e.FailedSignIns(t.Context(), signIn(t, e, "doctor").subject()); err != nil || len(got) != 0 {
			t.Errorf("a colleague is told %+v, %v", got, err)
		}
		if got, err := e.FailedSignIns(t.Context(), signIn(t, e, "nurse").subject()); err != nil || len(got) != 0 {
			t.Errorf("told again: %+v, %v", got, err)
		}
	})
}

// TestThrottleNeedsTheDirectory: what cannot be counted is not judged.
func TestThrottleNeedsTheDirectory(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d)
	b := signIn(t, e, "nurse").subject()
	d.Broken = errors.New("disk full")
	if _, err := e.SignIn(t.Context(), "nurse", password, station); !errors.Is(err, d.Broken) {
		t.Errorf("sign-in: %v", err)
	}
	if err := e.StepUp(t.Context(), b, signin.Proof{Password: password}); !errors.Is(err, d.Broken) {
		t.Errorf("step-up: %v", err)
	}
}

// TestThrottleAfterTheClock: a clock that was set back locks no person out for as long as it was ahead.
func TestThrottleAfterTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, _ := setup(t, d)
		for range 6 {
			_, err := e.SignIn(t.Context(), "nurse", wrongPassword, station)
			judged(t, err)
		}
		for name, c := range d.Counts { // as if they had been counted a year ahead
			c.At, c.Until = c.At.AddDate(1, 0, 0), c.Until.AddDate(1, 0, 0)
			d.Counts[name] = c
		}
		if _, err := e.SignIn(t.Context(), "nurse", password, station); err != nil {
			t.Error(err)
		}
	})
}
