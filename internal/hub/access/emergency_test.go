package access_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/audit"
)

const reason = "collapsed in the corridor, no doctor of hers here"

// TestBreakGlass: a clinician opens one patient, in this session, for 15 minutes, loudly.
func TestBreakGlass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		var events []access.Event
		e, log := setup(t, d, access.WithEvents(func(x access.Event) { events = append(events, x) }))
		s := subject(access.RoleDoctor)
		view := func(s access.Subject, patient string) error {
			_, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient(patient))
			return err
		}
		if err := view(s, "other-ward"); !errors.Is(err, access.ErrDenied) {
			t.Fatalf("before: %v", err)
		}
		g, err := e.BreakGlass(t.Context(), s, "other-ward", "  "+reason+" \n")
		if err != nil {
			t.Fatal(err)
		}
		if got := last(t, log); !got.Allowed || got.Patient != "other-ward" || got.Person != "doctor" || !strings.Contains(got.Reason, reason) {
			t.Errorf("audited as %+v", got)
		}
		if len(events) != 1 || events[0].Kind != access.EventEmergency || events[0].Patient != "other-ward" || events[0].Person != "doctor" {
			t.Errorf("announced %v", events)
		}
		grant, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("other-ward"))
		if err != nil || last(t, log).Policies[0] != "glass-is-broken" {
			t.Fatalf("opened: %v, %+v", err, last(t, log))
		}
		if err := view(s, "nobody"); !errors.Is(err, access.ErrDenied) {
			t.Errorf("another patient: %v", err)
		}
		elsewhere, later, colleague := s, s, subject(access.RoleNurse)
		elsewhere.Workstation, later.Session = otherStation, "another session"
		colleague.Session = s.Session
		for what, other := range map[string]access.Subject{"workstation": elsewhere, "session": later, "person": colleague} {
			if err := view(other, "other-ward"); !errors.Is(err, access.ErrDenied) {
				t.Errorf("another %s: %v", what, err)
			}
		}
		if open, err := e.OpenEmergencies(t.Context()); err != nil || len(open) != 1 || open[0].Reason != "" {
			t.Errorf("for banners: %+v %v", open, err)
		}
		if got, err := e.Filter(t.Context(), s, access.ViewPatient, []access.PatientRef{{ID: "other-ward", Ward: "ward-2"}, {ID: "nobody"}}); err != nil || len(got) != 1 {
			t.Errorf("in a list: %v, %v", got, err)
		}
		time.Sleep(access.EmergencyLife - time.Second)
		if _, err := e.Renew(t.Context(), s, grant); err != nil {
			t.Errorf("a live view, just before the end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := e.Renew(t.Context(), s, grant); !errors.Is(err, access.ErrDenied) {
			t.Errorf("a live view goes on: %v", err)
		}
		if err := view(s, "other-ward"); !errors.Is(err, access.ErrDenied) {
			t.Errorf("after 15 minutes: %v", err)
		}
		if g.Expires.Sub(g.Opened) != 15*time.Minute {
			t.Errorf("%+v", g)
		}
	})
}

func TestBreakGlassIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, log := setup(t, d)
		// What is not opened must not stand in the log as allowed.
		refused := func(why string) {
			t.Helper()
			if got := last(t, log); got.Allowed || got.Action != string(access.BreakGlass) || !strings.Contains(got.Reason, why) {
				t.Errorf("%q: audited as %+v", why, got)
			}
		}
		for _, role := range []access.Role{access.RolePatient, access.RoleStaff, access.RoleAuditor, access.RoleAdmin} {
			if _, err := e.BreakGlass(t.Context(), subject(role), "other-ward", reason); !errors.Is(err, access.ErrDenied) || errors.Is(err, access.ErrStepUp) {
				t.Errorf("%s: %v", role, err)
			}
		}
		s := subject(access.RoleDoctor)
		for _, bad := range []string{"", "too short", strings.Repeat(" ", 40), strings.Repeat("x", 501), "not text \xff\xfe at all"} {
			if _, err := e.BreakGlass(t.Context(), s, "other-ward", bad); !errors.Is(err, access.ErrInvalid) {
				t.Errorf("reason %.20q: %v", bad, err)
			}
			refused("without a valid reason")
		}
		if _, err := e.BreakGlass(t.Context(), s, "no such patient", reason); !errors.Is(err, access.ErrDenied) {
			t.Errorf("nobody: %v", err)
		}
		stale := s
		stale.Proven = time.Now().Add(-6 * time.Minute)
		if _, err := e.BreakGlass(t.Context(), stale, "other-ward", reason); !errors.Is(err, access.ErrStepUp) || !errors.Is(err, access.ErrDenied) {
			t.Errorf("without a fresh proof: %v", err)
		}
		key := s
		key.Key, key.Session = &access.APIKey{PersonID: "doctor", Channel: 5}, ""
		if _, err := e.BreakGlass(t.Context(), key, "other-ward", reason); !errors.Is(err, access.ErrDenied) {
			t.Errorf("by API key: %v", err)
		}
		if len(d.AllEmergencies) != 0 {
			t.Errorf("opened all the same: %v", d.AllEmergencies)
		}
		for _, patient := range []string{"other-ward", "nobody", "own"} {
			if _, err := e.BreakGlass(t.Context(), s, patient, reason); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.BreakGlass(t.Context(), s, "same-ward", reason); !errors.Is(err, access.ErrEmergencyRate) {
			t.Errorf("a fourth patient in an hour: %v", err)
		}
		other := s
		other.Session = "another"
		if _, err := e.BreakGlass(t.Context(), other, "same-ward", reason); !errors.Is(err, access.ErrEmergencyRate) {
			t.Errorf("a fourth patient in an hour, in another session: %v", err)
		}
		refused("too many in an hour")
		if _, err := e.BreakGlass(t.Context(), subject(access.RoleNurse), "other-ward", reason); err != nil {
			t.Errorf("a colleague is held up: %v", err)
		}
		time.Sleep(time.Hour + time.Second)
		s = subject(access.RoleDoctor)
		if _, err := e.BreakGlass(t.Context(), s, "other-ward", reason); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// TestResuscitation: a patient who is open stays open as long as it is renewed; pressed twice it is one emergency; renewing counts
// against no other patient; and what has lasted for hours is opened anew, to be judged anew.
func TestResuscitation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		var many int
		e, log := setup(t, d, access.WithEvents(func(x access.Event) {
			if x.Kind == access.EventMany {
				many++
			}
		}))
		s := subject(access.RoleDoctor)
		open := func(patient string) access.EmergencyAccess {
			t.Helper()
			s.Proven = time.Now()
			g, err := e.BreakGlass(t.Context(), s, patient, reason)
			if err != nil {
				t.Fatalf("%s, after %s: %v", patient, time.Since(s.SessionStarted), err)
			}
			if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient(patient)); err != nil {
				t.Fatalf("%s is dark: %v", patient, err)
			}
			return g
		}
		first := open("other-ward")
		for range 11 { // 110 minutes, each time before it ends
			time.Sleep(10 * time.Minute)
			if g := open("other-ward"); g.ID != first.ID || !g.Expires.Equal(time.Now().Add(access.EmergencyLife).UTC()) || !g.Opened.Equal(first.Opened) {
				t.Fatalf("renewed: %+v", g)
			}
		}
		entries, err := log.Recent(t.Context(), 5)
		if err != nil || !slices.ContainsFunc(entries, func(x audit.Entry) bool {
			return x.Action == string(access.BreakGlass) && x.Allowed && strings.HasPrefix(x.Reason, "renews "+first.ID) && strings.Contains(x.Reason, reason)
		}) {
			t.Errorf("the renewal in the log: %+v, %v", entries, err)
		}
		time.Sleep(access.EmergencyLife + time.Minute)
		for range 5 { // late by a minute each time: it was dark, and is opened anew
			open("other-ward")
			time.Sleep(access.EmergencyLife + time.Minute)
		}
		if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("other-ward")); !errors.Is(err, access.ErrDenied) {
			t.Errorf("not renewed, and open: %v", err)
		}
		open("other-ward")
		open("nobody")
		open("own")
		open("nobody") // a double click
		if _, err := e.BreakGlass(t.Context(), s, "same-ward", reason); !errors.Is(err, access.ErrEmergencyRate) {
			t.Errorf("a fourth patient: %v", err)
		}
		if many > 0 {
			t.Errorf("renewals are told of as %d unusually many emergencies", many)
		}
		time.Sleep(2 * time.Hour)
		first = open("other-ward")
		var last access.EmergencyAccess
		for time.Since(first.Opened) < access.EmergencyLongest {
			time.Sleep(10 * time.Minute)
			last = open("other-ward")
		}
		if last.ID == first.ID || d.AllEmergencies[first.ID].Expires.Sub(first.Opened) > access.EmergencyLongest {
			t.Errorf("one emergency lasts from %s to %s", first.Opened, d.AllEmergencies[first.ID].Expires)
		}
		// What was judged is not renewed: a reviewer would not look at the rest.
		if err := e.ReviewEmergency(t.Context(), subject(access.RoleAuditor), last.ID, access.Justified, ""); err != nil {
			t.Fatal(err)
		}
		if g := open("other-ward"); g.ID == last.ID {
			t.Error("an emergency that was judged is renewed")
		}
	})
}

// TestBreakGlassUncounted: a hub that cannot count emergencies opens, loudly; one that counts too late refuses, and says that it did.
func TestBreakGlassUncounted(t *testing.T) {
	d := newDirectory().WithEveryRole()
	var events []access.Event
	e, _ := setup(t, d, access.WithEvents(func(x access.Event) { events = append(events, x) }))
	s := subject(access.RoleDoctor)
	d.Uncounted = errors.New("the table is damaged")
	for _, patient := range []string{"other-ward", "nobody", "own", "same-ward"} {
		events = nil
		if _, err := e.BreakGlass(t.Context(), s, patient, reason); err != nil {
			t.Fatalf("%s: %v", patient, err)
		}
		if len(events) != 2 || events[0].Kind != access.EventUncounted || events[0].Patient != patient || events[1].Kind != access.EventEmergency {
			t.Errorf("told: %+v", events)
		}
		if _, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient(patient)); err != nil {
			t.Errorf("%s is dark: %v", patient, err)
		}
	}
	d.Uncounted = nil
	// Another hub opens the third patient between this one's count and its write.
	d2 := newDirectory().WithEveryRole()
	d2.Counted = func(g access.EmergencyAccess) {
		for _, patient := range []string{"nobody", "own", "same-ward"} {
			g.ID, g.PatientID = "at another hub "+patient, patient
			if err := d2.SaveEmergency(t.Context(), g); err != nil {
				t.Error(err)
			}
		}
	}
	e, log := setup(t, d2, access.WithEvents(func(x access.Event) { events = append(events, x) }))
	if _, err := e.BreakGlass(t.Context(), s, "other-ward", reason); !errors.Is(err, access.ErrEmergencyRate) {
		t.Fatalf("overtaken: %v", err)
	}
	if got := last(t, log); got.Allowed || !strings.Contains(got.Reason, "too many in an hour") {
		t.Errorf("the log says that it was opened: %+v", got)
	}
}

// TestBreakGlassNeedsTheAuditLog: what cannot be written down does not open.
func TestBreakGlassNeedsTheAuditLog(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.BreakGlass(t.Context(), subject(access.RoleDoctor), "other-ward", reason); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("%v", err)
	}
	if len(d.AllEmergencies) != 0 {
		t.Error("opened all the same")
	}
}

func TestBreakGlassIsReviewed(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	g, err := e.BreakGlass(t.Context(), subject(access.RoleNurse), "other-ward", reason)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []access.Role{access.RolePatient, access.RoleNurse, access.RoleDoctor, access.RoleStaff, access.RoleAdmin} {
		if _, err := e.Emergencies(t.Context(), subject(role), true); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s sees the reviews: %v", role, err)
		}
		if err := e.ReviewEmergency(t.Context(), subject(role), g.ID, access.Justified, ""); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s reviews: %v", role, err)
		}
	}
	auditor := subject(access.RoleAuditor)
	if open, err := e.Emergencies(t.Context(), auditor, true); err != nil || len(open) != 1 || open[0].Reason != reason {
		t.Errorf("open reviews: %+v %v", open, err)
	}
	if err := e.ReviewEmergency(t.Context(), auditor, g.ID, "maybe", ""); !errors.Is(err, access.ErrInvalid) {
		t.Errorf("a verdict that is none: %v", err)
	}
	if err := e.ReviewEmergency(t.Context(), auditor, g.ID, access.Unjustified, "no patient of hers, and no emergency"); err != nil {
		t.Fatal(err)
	}
	if got := last(t, log); got.Reason != access.Unjustified || got.Patient != "other-ward" || got.Person != "auditor" {
		t.Errorf("audited as %+v", got)
	}
	if err := e.ReviewEmergency(t.Context(), auditor, g.ID, access.Justified, ""); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("judged twice: %v", err)
	}
	if open, err := e.Emergencies(t.Context(), auditor, true); err != nil || len(open) != 0 {
		t.Errorf("still open: %+v %v", open, err)
	}
	own := d.AllEmergencies[g.ID]
	own.PersonID, own.ReviewedBy = "auditor", ""
	d.AllEmergencies[g.ID] = own
	if err := e.ReviewEmergency(t.Context(), auditor, g.ID, access.Justified, ""); !errors.Is(err, access.ErrDenied) {
		t.Errorf("judged their own: %v", err)
	}
}

// TestConsent: a patient excludes a person, whose list of beds stays whole; an emergency overrides, and the patient learns of it.
func TestConsent(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, _ := setup(t, d)
	patient, nurse := subject(access.RolePatient), subject(access.RoleNurse)
	view := func() error {
		_, err := e.Decide(t.Context(), nurse, access.ViewPatient, access.OnPatient("own"))
		return err
	}
	if err := view(); err != nil {
		t.Fatal(err)
	}
	for _, role := range []access.Role{access.RoleNurse, access.RoleDoctor, access.RoleStaff, access.RoleAuditor, access.RoleAdmin} {
		if err := e.Exclude(t.Context(), subject(role), "own", "doctor", true); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s decides for the patient: %v", role, err)
		}
	}
	if err := e.Exclude(t.Context(), patient, "same-ward", "nurse", true); !errors.Is(err, access.ErrDenied) {
		t.Errorf("for another patient: %v", err)
	}
	if err := e.Exclude(t.Context(), patient, "own", "no-such-person", true); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if err := e.Exclude(t.Context(), patient, "own", "nurse", true); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Exclusions(t.Context(), patient, "own"); err != nil || len(got) != 1 || got[0] != "nurse" {
		t.Errorf("%v %v", got, err)
	}
	if err := view(); !errors.Is(err, access.ErrDenied) {
		t.Errorf("excluded, and sees: %v", err)
	}
	if _, err := e.Decide(t.Context(), nurse, access.ViewChannel, access.OnChannel(1)); !errors.Is(err, access.ErrDenied) {
		t.Errorf("excluded, and sees the channel: %v", err)
	}
	if _, err := e.Decide(t.Context(), nurse, access.ListBeds, access.OnPatient("own")); err != nil {
		t.Errorf("the bed is hidden: %v", err)
	}
	if _, err := e.Decide(t.Context(), subject(access.RoleDoctor), access.ViewPatient, access.OnPatient("own")); err != nil {
		t.Errorf("somebody else is excluded: %v", err)
	}
	if _, err := e.BreakGlass(t.Context(), nurse, "own", reason); err != nil {
		t.Fatal(err)
	}
	if err := view(); err != nil {
		t.Errorf("an emergency does not override: %v", err)
	}
	got, err := e.EmergencyAccesses(t.Context(), patient, "own")
	if err != nil || len(got) != 1 || got[0].PersonID != "nurse" || got[0].Reason != reason {
		t.Errorf("the patient learns %+v %v", got, err)
	}
	if _, err := e.EmergencyAccesses(t.Context(), nurse, "own"); !errors.Is(err, access.ErrDenied) {
		t.Errorf("somebody else learns it: %v", err)
	}
	if err := e.Exclude(t.Context(), patient, "own", "nurse", false); err != nil {
		t.Fatal(err)
	}
	nurse.Session = "after the emergency"
	if err := view(); err != nil {
		t.Errorf("let again: %v", err)
	}
}

// TestContextDecides: the same person, the same patient, another circumstance.
func TestContextDecides(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, _ := setup(t, d)
	admin := subject(access.RoleAdmin)
	manage := func(s access.Subject) error {
		_, err := e.Decide(t.Context(), s, access.ManagePeople, access.OnSystem())
		return err
	}
	if err := manage(admin); err != nil {
		t.Fatal(err)
	}
	stale := admin
	stale.Proven = time.Now().Add(-5*time.Minute - 2*time.Second)
	var denied *access.Denied
	if err := manage(stale); !errors.Is(err, access.ErrStepUp) || !errors.As(err, &denied) || denied.Policies[0] != "fresh-proof" {
		t.Errorf("without a fresh proof: %v", err)
	}
	if _, err := e.Decide(t.Context(), stale, access.ManageDirectory, access.OnSystem()); err != nil {
		t.Errorf("what is not dangerous: %v", err)
	}
	nurse := subject(access.RoleNurse)
	nurse.Proven = stale.Proven
	if err := manage(nurse); errors.Is(err, access.ErrStepUp) || !errors.Is(err, access.ErrDenied) {
		t.Errorf("a proof would not help: %v", err)
	}
	p := person(access.RoleAdmin)
	p.MustChangePassword = true
	d.Set(p)
	if err := manage(admin); !errors.Is(err, access.ErrDenied) || errors.Is(err, access.ErrStepUp) {
		t.Errorf("with a password that somebody else made: %v", err)
	}
}

// TestOwnPolicies: rules about one person, one workstation, one hour, a second factor.
func TestOwnPolicies(t *testing.T) {
	d := newDirectory().WithEveryRole()
	_, log := setup(t, d)
	own := access.DefaultPolicies() + `
@id("never-this-person")
forbid (principal == Person::"nurse", action == Action::"patient:view", resource == Patient::"same-ward");
@id("not-from-the-lobby")
forbid (principal, action == Action::"patient:view", resource)
when { context has workstation && context.workstation == Workstation::"` + otherStation + `" };
@id("doctors-use-two-factors")
forbid (principal in Role::"doctor", action == Action::"patient:view", resource)
unless { context.second_factor };
@id("one-sensor-is-out")
forbid (principal == Component::"spiffe://d/sensor/oxi-1", action == Action::"service:dial", resource == Service::"vitalseal.ingest");
`
	e, err := access.New(d, log, []byte(own), quiet)
	if err != nil {
		t.Fatal(err)
	}
	lobby, two := subject(access.RoleNurse), subject(access.RoleDoctor)
	lobby.Workstation, two.SecondFactor = otherStation, true
	for _, c := range []struct {
		s       access.Subject
		patient string
		ok      bool
	}{
		{subject(access.RoleNurse), "own", true}, {subject(access.RoleNurse), "same-ward", false}, {lobby, "own", false},
		{subject(access.RoleDoctor), "own", false}, {two, "own", true},
	} {
		if _, err := e.Decide(t.Context(), c.s, access.ViewPatient, access.OnPatient(c.patient)); (err == nil) != c.ok {
			t.Errorf("%s from %s on %s: %v", c.s.Person.ID, c.s.Workstation, c.patient, err)
		}
	}
	for id, want := range map[string]int{"spiffe://d/sensor/oxi-1": 1, "spiffe://d/sensor/oxi-2": 2} {
		if got := e.OverlayRoles(access.Component{ID: id, Kind: "sensor", State: "active"}); len(got) != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}

// TestRisk: failures count against this person at this workstation, melt, and hold up no person's care.
func TestRisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, _ := setup(t, d)
		admin := subject(access.RoleAdmin)
		manage := func(s access.Subject) error {
			s.Proven = time.Now()
			_, err := e.Decide(t.Context(), s, access.ManageDirectory, access.OnSystem())
			return err
		}
		for range 41 {
			if _, err := e.Decide(t.Context(), admin, access.ViewPatient, access.OnPatient("own")); !errors.Is(err, access.ErrDenied) {
				t.Fatal(err)
			}
		}
		if err := manage(admin); !errors.Is(err, access.ErrDenied) {
			t.Errorf("after 41 refusals: %v", err)
		}
		elsewhere := admin
		elsewhere.Workstation = otherStation
		if err := manage(elsewhere); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
		nurse := subject(access.RoleNurse)
		for range 60 {
			_, _ = e.Decide(t.Context(), nurse, access.ManagePeople, access.OnSystem())
		}
		if _, err := e.Decide(t.Context(), nurse, access.ViewPatient, access.OnPatient("own")); err != nil {
			t.Errorf("care is held up: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if err := manage(admin); err != nil {
			t.Errorf("ten minutes later: %v", err)
		}
	})
}

// TestDisplay: a wall screen sees its wards' numbers, and nothing else.
func TestDisplay(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	screen := access.Display(station, []string{"ward-1"})
	g, err := e.Decide(t.Context(), screen, access.ViewDisplay, access.OnPatient("own"))
	if err != nil || !g.Allows(access.ViewDisplay, access.OnPatient("own"), time.Now()) || g.Allows(access.ViewPatient, access.OnPatient("own"), time.Now()) {
		t.Errorf("its ward: %v", err)
	}
	if got := last(t, log); got.Person != "display" || got.Workstation != station {
		t.Errorf("audited as %+v", got)
	}
	for what, c := range map[string]struct {
		s access.Subject
		a access.Action
		r access.Resource
	}{
		"another ward":   {screen, access.ViewDisplay, access.OnPatient("other-ward")},
		"not admitted":   {screen, access.ViewDisplay, access.OnPatient("nobody")},
		"names":          {screen, access.ViewPatient, access.OnPatient("own")},
		"administration": {screen, access.ManageDirectory, access.OnSystem()},
		"no workstation": {access.Display("", []string{"ward-1"}), access.ViewDisplay, access.OnPatient("own")},
		"no ward":        {access.Display(station, nil), access.ViewDisplay, access.OnPatient("own")},
		"a person":       {subject(access.RoleNurse), access.ViewDisplay, access.OnPatient("own")},
	} {
		if _, err := e.Decide(t.Context(), c.s, c.a, c.r); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// leaving is a directory during whose work the client leaves.
type leaving struct {
	*directory
	leave context.CancelFunc
	full  bool // others opened as many in the meantime
}

func (l *leaving) OpenEmergency(ctx context.Context, g access.EmergencyAccess, since time.Time, most int) (access.EmergencyAccess, error) {
	l.leave()
	if err := ctx.Err(); err != nil {
		return access.EmergencyAccess{}, err
	}
	if l.full {
		return access.EmergencyAccess{}, access.ErrEmergencyRate
	}
	return l.directory.OpenEmergency(ctx, g, since, most)
}

// TestEmergencyOfAClientThatLeaves: a client that leaves while an emergency is opened makes neither
// a yes without an emergency, nor a refusal that is not written down, nor the alarm that emergencies
// cannot be counted.
func TestEmergencyOfAClientThatLeaves(t *testing.T) {
	for name, full := range map[string]bool{"within the limit": false, "beyond it": true} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			d := &leaving{newDirectory().WithEveryRole(), leave, full}
			dir := t.TempDir()
			log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = log.Close() })
			var events []string
			e, err := access.New(d, log, nil, quiet, access.WithEvents(func(x access.Event) { events = append(events, x.Kind) }))
			if err != nil {
				t.Fatal(err)
			}
			g, err := e.BreakGlass(ctx, subject(access.RoleDoctor), "other-ward", reason)
			got := last(t, log)
			open, listed := e.OpenEmergencies(t.Context())
			if listed != nil {
				t.Fatal(listed)
			}
			want := access.EventEmergency
			if full {
				want = access.EventNoEmergency
				if !errors.Is(err, access.ErrEmergencyRate) || got.Allowed || !strings.Contains(got.Reason, "too many in an hour") || len(open) != 0 {
					t.Errorf("%v, audited as %+v, %d open", err, got, len(open))
				}
			} else if err != nil || !got.Allowed || len(open) != 1 || open[0].ID != g.ID {
				t.Errorf("%v, audited as %+v, %d open", err, got, len(open))
			}
			if len(events) != 1 || events[0] != want {
				t.Errorf("announced %v, want %v", events, want)
			}
		})
	}
}
