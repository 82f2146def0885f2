package signin_test

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
)

// sprayed collects where sprays were told of; "" is all workstations together.
func sprayed(told *[]string) access.Option {
	return access.WithEvents(func(ev access.Event) {
		if ev.Kind == access.EventSpray {
			*told = append(*told, ev.Where)
		}
	})
}

// TestPasswordSpray: one password over many logins, of persons and of none, is told once an hour: for one workstation at eight, for
// all workstations and hubs together at twenty-four. It holds no person up.
func TestPasswordSpray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		var told []string
		e, _ := setup(t, d, sprayed(&told))
		second, _ := setup(t, d, sprayed(&told))
		try := func(hub *hub, login, at string) {
			t.Helper()
			if _, err := hub.SignIn(t.Context(), login, wrongPassword, at); !judged(t, err) {
				t.Fatalf("%s was throttled", login)
			}
		}
		expect := func(when string, want ...string) {
			t.Helper()
			if len(told)+len(want) > 0 && !reflect.DeepEqual(told, want) {
				t.Fatalf("%s: told of %q, want %q", when, told, want)
			}
		}
		for range 2 { // the same ones again are no more of them
			for i := range 6 {
				try(e, fmt.Sprint("nobody-", i), station)
			}
			try(second, "nurse", station)
		}
		expect("seven logins at a workstation")
		try(second, "doctor", station)
		expect("the eighth, at another hub", station)
		try(e, "staff", station)
		expect("a ninth within the hour", station)
		signIn(t, e, "admin")
		for i := range 15 { // with the nine: twenty-four, no workstation with more than eight
			expect(fmt.Sprint(9+i, " logins"), station)
			try(e, fmt.Sprint("spread-", i), nth(i%5))
		}
		expect("twenty-four over all workstations", station, "")
		told = nil
		time.Sleep(time.Hour)
		for i := range 7 {
			try(e, fmt.Sprint("later-", i), station)
		}
		expect("after an hour, seven")
		try(e, "later-7", station)
		expect("after an hour, eight", station)
		for name, c := range d.Counts {
			if c.Person == "later-7" {
				t.Errorf("the count %q holds what was typed", name)
			}
		}
	})
}

// TestMistypedIsNoSpray: who mistypes and then signs in at the same workstation is not counted; a sign-in elsewhere takes nothing back.
func TestMistypedIsNoSpray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := withPassword(t, newDirectory().WithEveryRole())
		var told []string
		e, _ := setup(t, d, sprayed(&told))
		try := func(login, pw, at string) {
			t.Helper()
			if _, err := e.SignIn(t.Context(), login, pw, at); err != nil {
				judged(t, err)
			}
		}
		try("nurse", wrongPassword, station)
		try("nurse", password, station)
		try("doctor", wrongPassword, station)
		try("doctor", password, otherStation)
		for i := range 6 {
			try(fmt.Sprint("nobody-", i), wrongPassword, station)
		}
		if len(told) > 0 {
			t.Fatalf("told of %q at seven", told)
		}
		try("nobody-6", wrongPassword, station)
		if len(told) != 1 || told[0] != station {
			t.Fatalf("told of %q at eight", told)
		}
	})
}
