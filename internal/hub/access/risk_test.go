package access_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
)

// TestPausedAdministration: many failed sign-ins stop administration, and say that it is for that; trying again does not prolong it, and
// a change of the password ends it.
func TestPausedAdministration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := setup(t, newDirectory().WithEveryRole())
		s := subject(access.RoleAdmin)
		decide := func() error {
			_, err := e.Decide(t.Context(), s, access.ManageDirectory, access.OnSystem())
			return err
		}
		if err := decide(); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			e.CountFailure(s.Person.ID, s.Workstation, time.Now())
		}
		var denied *access.Denied
		for range 50 {
			if err := decide(); !errors.As(err, &denied) || !denied.Paused() || errors.Is(err, access.ErrStepUp) {
				t.Fatalf("after nine failures: %v, %+v", err, denied)
			}
		}
		time.Sleep(61 * time.Second) // 90 points melt by 10 a minute; 50 refusals more would have made them 100
		if err := decide(); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		for range 9 {
			e.CountFailure(s.Person.ID, s.Workstation, time.Now())
		}
		if err := decide(); !errors.As(err, &denied) || !denied.Paused() {
			t.Fatalf("after nine more: %v", err)
		}
		e.ForgetFailures(s.Person.ID, s.Workstation)
		if err := decide(); err != nil {
			t.Errorf("after a change of the password: %v", err)
		}
		// Another reason is none of this.
		n := subject(access.RoleNurse)
		_, err := e.Decide(t.Context(), n, access.ManageDirectory, access.OnSystem())
		if !errors.As(err, &denied) || denied.Paused() {
			t.Errorf("a nurse: %v, %+v", err, denied)
		}
	})
}
