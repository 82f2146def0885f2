package signin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// TestSessionsAreBounded: one more than a person may have ends the oldest, and says so; that at a bed stays, however often someone
// signs in elsewhere.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := setup(t, withPassword(t, newDirectory().WithEveryRole()))
		in := func(name string) (signin.SignedIn, string) {
			t.Helper()
			time.Sleep(time.Second) // on the test's own clock
			at := station + "-" + name
			s, err := e.SignIn(t.Context(), "nurse", password, at)
			if err != nil {
				t.Fatal(err)
			}
			return s, at
		}
		alive := func(s signin.SignedIn, at string) bool {
			_, err := e.Refresh(t.Context(), s.Tokens.Refresh, at)
			if err != nil && !errors.Is(err, access.ErrNoSession) {
				t.Fatal(err)
			}
			return err == nil
		}
		bed, atBed := in("bed")
		first, atFirst := in("a")
		ended := 0
		for range 63 {
			s, _ := in("a")
			ended += s.Ended
		}
		if ended != 0 {
			t.Errorf("%d ended of 64", ended)
		}
		if s, _ := in("a"); s.Ended != 1 || alive(first, atFirst) {
			t.Errorf("the 65th at a workstation ended %d", s.Ended)
		}
		all, err := log.Recent(t.Context(), 3)
		if err != nil || !strings.Contains(fmt.Sprint(all), "64 sessions of a person at one workstation") {
			t.Errorf("the log does not say it: %v %v", all, err)
		}
		for range 63 {
			in("b")
		}
		// 128 by now: one at the bed, 64 and 63.
		if s, _ := in("c"); s.Ended != 1 {
			t.Errorf("the 129th ended %d", s.Ended)
		}
		if !alive(bed, atBed) {
			t.Error("sign-ins elsewhere ended the session at the bed")
		}
	})
}
