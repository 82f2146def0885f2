package access_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
)

// TestLooksAreJoined: the audit log calls a look what it is and not the act that decides it; a page that asks again and again is one entry
// in ten minutes; another resource, purpose, session or workstation is an entry of its own, and so is every refusal.
func TestLooksAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, log := setup(t, d)
		s, ward := subject(access.RoleNurse), access.OnWard("ward-1")
		s.Session = "s1"
		look := func(s access.Subject, r access.Resource, purpose string) error {
			_, err := e.DecideLook(t.Context(), s, access.MoveSensor, r, purpose)
			return err
		}
		if err := look(s, ward, "p"); err != nil {
			t.Fatal(err)
		}
		first := last(t, log)
		if first.Action != "sensor:read" || !first.Allowed || !slices.Contains(access.LookActions(), access.Action(first.Action)) {
			t.Errorf("a look stands as %+v", first)
		}
		for range 59 { // a page, every ten seconds
			time.Sleep(10 * time.Second)
			if err := look(s, ward, "p"); err != nil {
				t.Fatal(err)
			}
		}
		if got := last(t, log); got.Seq != first.Seq {
			t.Errorf("a page that asks again made entry %d: %+v", got.Seq, got)
		}
		time.Sleep(10 * time.Second)
		if err := look(s, ward, "p"); err != nil || last(t, log).Seq != first.Seq+1 {
			t.Errorf("ten minutes later: %v, %+v", err, last(t, log))
		}
		seq := last(t, log).Seq
		elsewhere, again := s, s
		elsewhere.Workstation, again.Session = otherStation, "s2"
		for what, other := range map[string]func() error{
			"purpose":     func() error { return look(s, ward, "q") },
			"workstation": func() error { return look(elsewhere, ward, "p") },
			"session":     func() error { return look(again, ward, "p") },
			"person": func() error {
				other := subject(access.RoleStaff)
				other.Session = "s1"
				return look(other, ward, "p")
			},
		} {
			if err := other(); err != nil || last(t, log).Seq != seq+1 {
				t.Errorf("another %s: %v, %+v", what, err, last(t, log))
			}
			seq = last(t, log).Seq
		}
		// The act itself stands as what it is, each time.
		for range 2 {
			if _, err := e.DecideFor(t.Context(), s, access.MoveSensor, ward, "p"); err != nil || last(t, log).Seq != seq+1 || last(t, log).Action != "sensor:move" {
				t.Errorf("the act: %v, %+v", err, last(t, log))
			}
			seq = last(t, log).Seq
		}
		// Refused in the middle of a window: an entry each, and the look that is allowed again is joined to what stands.
		p := person(access.RoleNurse)
		p.Wards = nil
		d.Set(p)
		for range 3 {
			if err := look(s, ward, "p"); !errors.Is(err, access.ErrDenied) || last(t, log).Seq != seq+1 || last(t, log).Allowed || last(t, log).Action != "sensor:read" {
				t.Errorf("a refused look: %v, %+v", err, last(t, log))
			}
			seq = last(t, log).Seq
		}
	})
}

// TestListsAreJoined: a list of patients that a page asks for again is one entry, until another patient is in it.
func TestListsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := setup(t, newDirectory().WithEveryRole())
		s := subject(access.RoleNurse)
		ask := func(seq int64, patients ...string) {
			t.Helper()
			all, err := e.LookAll(t.Context(), s, access.ViewPatient, patients)
			if err != nil || len(all) != len(patients) || all[0].Err != nil || !all[0].Grant.Allows(access.ViewPatient, access.OnPatient(patients[0]), time.Now()) {
				t.Fatalf("%+v, %v", all, err)
			}
			if got := last(t, log); got.Seq != seq || got.Action != string(access.ViewPatient) {
				t.Errorf("%v: the newest entry is %+v, want number %d", patients, got, seq)
			}
		}
		ask(0, "own")
		ask(0, "own")
		ask(1, "own", "same-ward")
		ask(1, "same-ward", "own")
		ask(1, "own")
		time.Sleep(access.LookWindow)
		ask(2, "own")
	})
}

// TestLooksAreWrittenFirst: a look that the audit log does not take is refused, and stands for none.
func TestLooksAreWrittenFirst(t *testing.T) {
	e, log := setup(t, newDirectory().WithEveryRole())
	s := subject(access.RoleNurse)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if g, err := e.DecideLook(t.Context(), s, access.MoveSensor, access.OnWard("ward-1"), "p"); err == nil || g.Holder() != "" {
			t.Errorf("answered without an entry: %v", err)
		}
	}
}
