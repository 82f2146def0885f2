package signin_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

const password = "correct horse battery"

// hashOnce is the hash of password as users get it; made once, because it is meant to be slow.
var hashOnce = sync.OnceValues(func() (string, error) { return signin.HashPassword(password) })

// cheapHash is a hash of password at the least cost that is taken; what it costs is not what these tests are about.
func cheapHash() string {
	salt := []byte("eight or more bytes")
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=8192,t=1,p=1$%s$%s", b64.EncodeToString(salt), b64.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 8192, 1, 32)))
}

func withPassword(t testing.TB, d *directory) *directory {
	t.Helper()
	h := cheapHash()
	for id := range d.People {
		d.Hashes[id] = h
	}
	return d
}

func TestPasswordHash(t *testing.T) {
	h, err := hashOnce()
	if err != nil || !strings.HasPrefix(h, "$argon2id$v=19$m=65536,t=2,p=1$") {
		t.Fatal(h, err)
	}
	if !signin.VerifyPassword(h, password) || signin.VerifyPassword(h, password+" ") || signin.VerifyPassword(h, "") {
		t.Error("wrong answer")
	}
	if other, _ := signin.HashPassword(password); other == h {
		t.Error("no salt")
	}
	for _, pw := range []string{"", "ninechars", "äöüäöüäöü", strings.Repeat("x", 513), "bad\xff utf-8 text"} {
		if _, err := signin.HashPassword(pw); !errors.Is(err, signin.ErrPassword) {
			t.Errorf("%.20q: %v", pw, err)
		}
	}
}

func TestForeignHashes(t *testing.T) {
	h, _ := hashOnce()
	for what, phc := range map[string]string{
		"empty": "", "plain": password, "bcrypt": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"argon2i": strings.Replace(h, "argon2id", "argon2i", 1), "old version": strings.Replace(h, "v=19", "v=16", 1),
		"no work": strings.Replace(h, "m=65536", "m=8", 1), "all memory": strings.Replace(h, "m=65536", "m=4294967295", 1),
		"for ever": strings.Replace(h, "t=2", "t=4000000000", 1), "no pass": strings.Replace(h, "t=2", "t=0", 1),
		"no lane": strings.Replace(h, "p=1", "p=0", 1), "cut": h[:len(h)-30], "long": h + strings.Repeat("A", 300),
	} {
		if signin.VerifyPassword(phc, password) {
			t.Errorf("%s: verified", what)
		}
	}
}

func FuzzVerifyPassword(f *testing.F) {
	h, _ := hashOnce()
	f.Add(h[:len(h)-43])
	f.Add("$argon2id$v=19$m=8192,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, phc string) {
		if strings.Count(phc, "$") == 5 && len(phc) > 60 {
			t.Skip("may be a hash; verifying it is slow and tested elsewhere")
		}
		if signin.VerifyPassword(phc, password) {
			t.Fatal("verified")
		}
	})
}

func TestSignInAndOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		e, log := setup(t, d)
		in, err := e.SignIn(t.Context(), " Nurse ", password, station)
		if err != nil {
			t.Fatal(err)
		}
		if in.Pending != nil || time.Until(in.Tokens.AccessExpires) != 5*time.Minute || time.Until(in.Tokens.RefreshExpires) != 12*time.Hour {
			t.Errorf("signed in: %+v", in)
		}
		if got := last(t, log); got.Person != "nurse" || !got.Allowed || got.Action != "session:sign-in" || strings.Contains(fmt.Sprint(got), "eyJ") {
			t.Errorf("audited as %+v", got)
		}
		b := &browser{t, e, station, in.Tokens}
		s := b.subject()
		if s.Person.ID != "nurse" || s.Workstation != station || !s.SessionStarted.Equal(time.Now()) || !s.Proven.Equal(time.Now()) || s.Key != nil || s.SecondFactor {
			t.Errorf("%+v", s)
		}
		if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own")); err != nil {
			t.Error(err)
		}
		if err := e.SignOut(t.Context(), s); err != nil || last(t, log).Action != "session:sign-out" {
			t.Errorf("%v, audited as %+v", err, last(t, log))
		}
		if _, err := b.as(); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("after signing out: %v", err)
		}
		if err := b.refresh(); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("refreshed after signing out: %v", err)
		}
		if _, err := e.Recheck(t.Context(), s); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("a live view after signing out: %v", err)
		}
		if err := e.SignOut(t.Context(), s); err != nil {
			t.Errorf("signing out twice: %v", err)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	gone := func(t *testing.T, b *browser, d *directory) {
		t.Helper()
		if _, err := b.as(); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("still signed in: %v", err)
		}
		if len(d.Sessions) != 0 {
			t.Error("the session is still stored")
		}
	}
	for what, f := range map[string]func(*testing.T, *browser, *directory){
		"idle, while a live view watches": func(t *testing.T, b *browser, _ *directory) {
			for range 29 {
				time.Sleep(time.Minute)
				if _, err := b.check(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			if _, err := b.check(); !errors.Is(err, access.ErrNoSession) {
				t.Error("watching and refreshing kept the session alive")
			}
		},
		"at last, however busy": func(t *testing.T, b *browser, d *directory) {
			for range 12*6 - 1 {
				time.Sleep(10 * time.Minute)
				b.subject()
			}
			if d.Touches != 12*6-1 {
				t.Errorf("touched %d times", d.Touches)
			}
			time.Sleep(10 * time.Minute)
		},
		"stolen": func(t *testing.T, b *browser, _ *directory) {
			if _, err := b.e.Authenticate(t.Context(), b.tokens.Access, otherStation); !errors.Is(err, access.ErrNoSession) {
				t.Errorf("a stolen token works: %v", err)
			}
		},
		"stolen refresh token": func(t *testing.T, b *browser, _ *directory) {
			if _, err := b.e.Refresh(t.Context(), b.tokens.Refresh, otherStation); !errors.Is(err, access.ErrNoSession) {
				t.Errorf("a stolen refresh token works: %v", err)
			}
		},
		"disabled": func(_ *testing.T, _ *browser, d *directory) {
			p := person(access.RoleDoctor)
			p.Disabled = true
			d.Set(p)
		},
		"deleted":    func(_ *testing.T, _ *browser, d *directory) { delete(d.People, "doctor") },
		"everywhere": func(t *testing.T, b *browser, _ *directory) { _ = b.e.SignOutAll(t.Context(), "doctor") },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := withPassword(t, newDirectory().WithEveryRole())
				e, _ := setup(t, d)
				b := signIn(t, e, "doctor")
				f(t, b, d)
				gone(t, b, d)
			})
		})
	}
	t.Run("use is not written down every time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := withPassword(t, newDirectory().WithEveryRole())
			e, _ := setup(t, d)
			b := signIn(t, e, "doctor")
			for range 600 {
				time.Sleep(time.Second)
				b.subject()
			}
			if d.Touches != 10 {
				t.Errorf("%d writes in ten minutes", d.Touches)
			}
		})
	})
}

// TestFailuresLookAlike: the client learns nothing about why.
func TestFailuresLookAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		disabled := person(access.RoleStaff)
		disabled.Disabled = true
		d.Set(disabled)
		d.Hashes["auditor"] = ""
		e, log := setup(t, d)
		for _, c := range []struct{ login, password, ws, reason string }{
			{"nurse", "wrong horse battery", station, "wrong password"},
			{"nurse", "", station, "wrong password"},
			{"nurse", strings.Repeat("x", 100_000), station, "wrong password"},
			{"nobody", password, station, "unknown login"},
			{"my secret password typed here!", password, station, "unknown login"},
			{"", "", station, "unknown login"},
			{"staff", password, station, "person disabled"},
			{"auditor", "", station, "wrong password"}, // has no password yet
			{"nurse", password, "", "no workstation"},
			{"nurse", password, "spiffe://demo.vitalseal.internal/gateway/g", "no workstation"},
		} {
			in, err := e.SignIn(t.Context(), c.login, c.password, c.ws)
			if err != signin.ErrSignIn || in.Pending != nil || in.Tokens != (signin.Tokens{}) || in.Subject.Session != "" { //nolint:errorlint // exactly that one
				t.Errorf("%.20q: %v", c.login, err)
			}
			got := last(t, log)
			if got.Reason != c.reason || got.Allowed || strings.Contains(fmt.Sprint(got), "secret") {
				t.Errorf("%.20q: audited as %+v", c.login, got)
			}
		}
	})
}

func TestParallelSignIns(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d)
	var wg sync.WaitGroup
	var mu sync.Mutex
	kinds := map[string]int{}
	for range 12 {
		wg.Go(func() {
			_, err := e.SignIn(t.Context(), "nurse", "wrong horse battery", station)
			mu.Lock()
			defer mu.Unlock()
			var throttled *signin.Throttled
			switch {
			case errors.As(err, &throttled):
				kinds["throttled"]++
			case errors.Is(err, signin.ErrSignIn):
				kinds["judged"]++
			default:
				kinds[fmt.Sprint(err)]++
			}
		})
	}
	wg.Wait()
	if kinds["judged"] != 5 || kinds["throttled"] != 7 {
		t.Errorf("attempts side by side slip past the count: %v", kinds)
	}
}
