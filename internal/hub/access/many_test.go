package access_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/audit"
)

// entries are those of the log about an action, oldest first.
func entries(t *testing.T, log *audit.Log, a access.Action) (out []audit.Entry) {
	t.Helper()
	all, err := log.Recent(t.Context(), audit.MaxRecent)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(all) {
		if e.Action == string(a) {
			out = append(out, e)
		}
	}
	return out
}

// TestListIsOneEntry: a list of patients is one entry of the audit log, in which each of them is found; who is refused has an entry of
// their own and no grant.
func TestListIsOneEntry(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	s := subject(access.RoleNurse)
	answers, err := e.DecideAll(t.Context(), s, access.ViewPatient, []string{"same-ward", "own", "other-ward", "none"})
	if err != nil || len(answers) != 4 {
		t.Fatal(answers, err)
	}
	var seen []string
	for _, a := range answers {
		single, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient(a.Patient))
		if (err == nil) != (a.Err == nil) || errors.Is(err, access.ErrDenied) != errors.Is(a.Err, access.ErrDenied) {
			t.Errorf("%s: together %v, alone %v", a.Patient, a.Err, err)
		}
		if got := a.Grant.Allows(access.ViewPatient, access.OnPatient(a.Patient), time.Now()); got != (a.Err == nil) {
			t.Errorf("%s: the grant allows: %v", a.Patient, got)
		}
		if a.Err == nil {
			seen = append(seen, a.Patient)
			if a.Grant.Allows(access.ViewPatient, access.OnPatient("x"), time.Now()) || single.Holder() != a.Grant.Holder() {
				t.Errorf("%s: a grant for more", a.Patient)
			}
		}
	}
	slices.Sort(seen)
	if len(seen) < 2 {
		t.Fatalf("the nurse sees %v", seen)
	}
	found := 0
	for _, entry := range entries(t, log, access.ViewPatient) {
		if len(entry.Patients) == 0 {
			continue
		}
		found++
		if !entry.Allowed || !slices.Equal(entry.Patients, seen) || entry.Person != s.Person.ID || entry.Workstation != s.Workstation || len(entry.Policies) == 0 {
			t.Errorf("%+v", entry)
		}
		for _, p := range seen {
			if !(audit.Filter{Patient: p}).Match(entry) {
				t.Errorf("%s is not found by the patient's id", p)
			}
		}
		if (audit.Filter{Patient: "none"}).Match(entry) {
			t.Error("a patient who was not seen is found")
		}
	}
	if found != 1 {
		t.Errorf("%d entries for one list", found)
	}
}

// TestAuditQuota: who asks without end gets a bounded number of entries, and after a while more; colleagues, and the person's own
// emergencies, are not concerned, nor does a key that runs wild take anything from its person.
func TestAuditQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, log := setup(t, d, access.WithAuditQuota(access.AuditQuota{PersonEntries: 2, StationEntries: 4, PersonWrites: 10}))
		s, r := subject(access.RoleNurse), access.OnPatient("own")
		ask := func(s access.Subject) (n int, err error) {
			for range 1000 {
				if _, err = e.Decide(t.Context(), s, access.ViewPatient, r); err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		}
		n, err := ask(s)
		var q *access.QuotaError
		if n != 80 || !errors.As(err, &q) || q.RetryAfter <= 0 || q.RetryAfter > time.Second || q.Name != "audit entries of a person" {
			t.Fatalf("%d requests, then %v", n, err)
		}
		for range 500 {
			if _, err := e.Decide(t.Context(), s, access.ViewPatient, r); !errors.Is(err, access.ErrQuota) {
				t.Fatal(err)
			}
		}
		if all := entries(t, log, access.ViewPatient); len(all) != 80+10 { // the refusals of a minute are counted from the eleventh on
			t.Errorf("%d entries", len(all))
		}
		if got := e.QuotaRefusals(); len(got) != 1 || got[0].Count != 501 || got[0].Who != s.Person.ID {
			t.Errorf("refusals: %+v", got)
		}
		elsewhere := s
		elsewhere.Workstation = "spiffe://test/workstation/other"
		if n, _ := ask(elsewhere); n != 0 {
			t.Errorf("at another workstation: %d more", n)
		}
		if n, err := ask(subject(access.RoleDoctor)); n == 0 {
			t.Errorf("a colleague at the same workstation: %v", err)
		}
		if _, err := e.Decide(t.Context(), s, access.ManageConsent, r); errors.Is(err, access.ErrQuota) {
			t.Error("what must always be possible was refused for the quota")
		}
		time.Sleep(5 * time.Second)
		if n, _ := ask(s); n != 10 {
			t.Errorf("after five seconds: %d more", n)
		}
	})
}

// TestAuditQuotaOfAWorkstation: many persons at one workstation share what it has.
func TestAuditQuotaOfAWorkstation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, _ := setup(t, d, access.WithAuditQuota(access.AuditQuota{PersonEntries: 100, StationEntries: 1, StationWrites: 1, PersonWrites: 1}))
		s := subject(access.RoleNurse)
		for i := range 41 {
			_, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own"))
			if want := i == 40; errors.Is(err, access.ErrQuota) != want {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		var q *access.QuotaError
		if _, err := e.Decide(t.Context(), subject(access.RoleDoctor), access.ListBeds, access.OnSystem()); !errors.As(err, &q) || q.Name != "audit entries of a workstation" {
			t.Errorf("the next person there: %v", err)
		}
	})
}

// TestWritesQuota: entries of channels are bounded per person and workstation, whichever channels they are for.
func TestWritesQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := setup(t, newDirectory().WithEveryRole(), access.WithAuditQuota(access.AuditQuota{PersonWrites: 10, StationWrites: 30}))
		g, err := e.Decide(t.Context(), subject(access.RoleNurse), access.ViewPatient, access.OnPatient("own"))
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct {
			n    int
			fits bool
		}{{400, true}, {1, false}, {0, true}} {
			if err := e.SpendWrites(g, c.n); (err == nil) != c.fits || err != nil && !errors.Is(err, access.ErrQuota) {
				t.Errorf("%d: %v", i, err)
			}
		}
		time.Sleep(time.Second)
		if err := e.SpendWrites(g, 10); err != nil {
			t.Error(err)
		}
		if err := e.SpendWrites(g, 1); fmt.Sprint(err) != "access: quota reached: channel entries of a person" {
			t.Error(err)
		}
	})
}
