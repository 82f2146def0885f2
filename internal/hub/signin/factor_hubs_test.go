package signin_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// meet lets the first two who call it go on together, and all others at once.
func meet() func() {
	var mu sync.Mutex
	n, both := 0, make(chan struct{})
	return func() {
		mu.Lock()
		n++
		mine := n
		if n == 2 {
			close(both)
		}
		mu.Unlock()
		if mine < 2 {
			<-both
		}
	}
}

// TestCodesOverTwoHubs: two hubs on one directory that have both read a person's factor before either writes. The same code counts
// once, whichever hub is first; of two different ones neither comes back.
func TestCodesOverTwoHubs(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	one, _ := setup(t, d)
	two, _ := setup(t, d)
	b := signIn(t, one, "nurse")
	secret, codes := withTOTP(t, b)
	pending := func(e *hub) string {
		t.Helper()
		in, err := e.SignIn(t.Context(), "nurse", password, station)
		if err != nil || in.Pending == nil {
			t.Fatalf("%+v %v", in, err)
		}
		return in.Pending.ID
	}
	atOnce := func(a, b signin.Proof) (out [2]error) {
		t.Helper()
		a.Pending, b.Pending = pending(one), pending(two)
		d.Mu.Lock()
		d.Writing = meet()
		d.Mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() { _, out[0] = one.SecondFactor(t.Context(), a, station) })
		wg.Go(func() { _, out[1] = two.SecondFactor(t.Context(), b, station) })
		wg.Wait()
		d.Mu.Lock()
		d.Writing = nil
		d.Mu.Unlock()
		return out
	}
	once := func(what string, got [2]error) {
		t.Helper()
		good := 0
		for _, err := range got {
			if err == nil {
				good++
			} else if !errors.Is(err, signin.ErrSignIn) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if good != 1 {
			t.Errorf("%s counted %d times", what, good)
		}
	}
	once("a recovery code", atOnce(signin.Proof{Recovery: codes[0]}, signin.Proof{Recovery: codes[0]}))
	if got := atOnce(signin.Proof{Recovery: codes[1]}, signin.Proof{Recovery: codes[2]}); got != [2]error{} {
		t.Errorf("two different codes: %v", got)
	}
	for _, code := range codes[:2] {
		if _, err := one.SecondFactor(t.Context(), signin.Proof{Pending: pending(one), Recovery: code}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("a used code came back: %v", err)
		}
	}
	next, err := totp.GenerateCode(secret, time.Now().Add(30*time.Second)) // the present one was used to confirm the app
	if err != nil {
		t.Fatal(err)
	}
	once("a code of the app", atOnce(signin.Proof{TOTP: next}, signin.Proof{TOTP: next}))

	// New recovery codes at two hubs at once: those of one of them count.
	s := b.subject()
	sets := [2][]string{}
	var wg sync.WaitGroup
	for i, e := range []*hub{one, two} {
		wg.Go(func() {
			var err error
			if sets[i], err = e.NewRecovery(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := d.Factors(t.Context(), "nurse")
	if n := len(slices.DeleteFunc(all, func(f access.Factor) bool { return f.Kind != access.FactorRecovery })); err != nil || n != 1 {
		t.Errorf("%d sets of recovery codes, %v", n, err)
	}
	// What was taken away meanwhile does not come back by being used.
	id := all[0].ID
	d.Mu.Lock()
	d.Writing = func() {
		d.Mu.Lock()
		defer d.Mu.Unlock()
		delete(d.AllFactors, id)
	}
	d.Mu.Unlock()
	for _, set := range sets {
		_, err := one.SecondFactor(t.Context(), signin.Proof{Pending: pending(one), Recovery: set[0]}, station)
		if !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("a code of a set that is gone: %v", err)
		}
	}
}
