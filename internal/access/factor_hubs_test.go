package access_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/access"
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
	d := withPassword(t, newDirectory().withEveryRole())
	one, _ := setup(t, d)
	two, _ := setup(t, d)
	b := signIn(t, one, "nurse")
	secret, codes := withTOTP(t, b)
	pending := func(e *access.Engine) string {
		t.Helper()
		in, err := e.SignIn(t.Context(), "nurse", password, station)
		if err != nil || in.Pending == nil {
			t.Fatalf("%+v %v", in, err)
		}
		return in.Pending.ID
	}
	atOnce := func(a, b access.Proof) (out [2]error) {
		t.Helper()
		a.Pending, b.Pending = pending(one), pending(two)
		d.mu.Lock()
		d.writing = meet()
		d.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() { _, out[0] = one.SecondFactor(t.Context(), a, station) })
		wg.Go(func() { _, out[1] = two.SecondFactor(t.Context(), b, station) })
		wg.Wait()
		d.mu.Lock()
		d.writing = nil
		d.mu.Unlock()
		return out
	}
	once := func(what string, got [2]error) {
		t.Helper()
		good := 0
		for _, err := range got {
			if err == nil {
				good++
			} else if !errors.Is(err, access.ErrSignIn) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if good != 1 {
			t.Errorf("%s counted %d times", what, good)
		}
	}
	once("a recovery code", atOnce(access.Proof{Recovery: codes[0]}, access.Proof{Recovery: codes[0]}))
	if got := atOnce(access.Proof{Recovery: codes[1]}, access.Proof{Recovery: codes[2]}); got != [2]error{} {
		t.Errorf("two different codes: %v", got)
	}
	for _, code := range codes[:2] {
		if _, err := one.SecondFactor(t.Context(), access.Proof{Pending: pending(one), Recovery: code}, station); !errors.Is(err, access.ErrSignIn) {
			t.Errorf("a used code came back: %v", err)
		}
	}
	next, err := totp.GenerateCode(secret, time.Now().Add(30*time.Second)) // the present one was used to confirm the app
	if err != nil {
		t.Fatal(err)
	}
	once("a code of the app", atOnce(access.Proof{TOTP: next}, access.Proof{TOTP: next}))

	// New recovery codes at two hubs at once: those of one of them count.
	s := b.subject()
	sets := [2][]string{}
	var wg sync.WaitGroup
	for i, e := range []*access.Engine{one, two} {
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
	d.mu.Lock()
	d.writing = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.factors, id)
	}
	d.mu.Unlock()
	for _, set := range sets {
		_, err := one.SecondFactor(t.Context(), access.Proof{Pending: pending(one), Recovery: set[0]}, station)
		if !errors.Is(err, access.ErrSignIn) {
			t.Errorf("a code of a set that is gone: %v", err)
		}
	}
}
