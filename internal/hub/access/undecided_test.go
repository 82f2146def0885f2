package access_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/shared/audit"
)

// hung is a directory that answers for persons, and for patients only when the request has ended.
type hung struct {
	*accesstest.Directory
	hangs bool
}

func (h *hung) Patient(ctx context.Context, id string) (access.PatientRef, error) {
	if h.hangs {
		<-ctx.Done()
		return access.PatientRef{}, ctx.Err()
	}
	return h.Directory.Patient(ctx, id)
}

// TestNotDecidedIsNoRefusal: a decision that the directory does not let the hub finish allows
// nothing, and is no refusal: not by its error, not in the audit log, not as a risk.
func TestNotDecidedIsNoRefusal(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	s, admin := subject(access.RoleDoctor), subject(access.RoleAdmin)
	s.Person, admin.Person = person(access.RoleDoctor), person(access.RoleAdmin) // as they signed in
	refs := []access.PatientRef{{ID: "own", Ward: "ward-1"}}
	if list, err := e.Filter(t.Context(), s, access.ViewPatient, refs); err != nil || len(list) != 1 {
		t.Fatalf("before: %v, %v", list, err)
	}
	d.Broken = errors.New("disk on fire")
	for what, ask := range map[string]func() error{
		"Decide": func() error {
			_, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own"))
			return err
		},
		"DecideLook": func() error {
			_, err := e.DecideLook(t.Context(), s, access.ViewPatient, access.OnPatient("own"), "p")
			return err
		},
		"DecideAll": func() error {
			answers, err := e.DecideAll(t.Context(), s, access.ViewPatient, []string{"own"})
			if len(answers) > 0 {
				t.Errorf("DecideAll answers %v", answers)
			}
			return err
		},
		"Filter": func() error {
			list, err := e.Filter(t.Context(), s, access.ViewPatient, refs)
			if len(list) > 0 {
				t.Errorf("Filter lists %v", list)
			}
			return err
		},
		"ReviewEmergency": func() error {
			return e.ReviewEmergency(t.Context(), subject(access.RoleAuditor), "bg-1", access.Justified, "")
		},
		"Explain": func() error {
			_, err := e.Explain(t.Context(), s, access.ViewPatient, access.OnPatient("own"))
			return err
		},
	} {
		if err := ask(); !errors.Is(err, access.ErrUndecided) || !errors.Is(err, d.Broken) || errors.Is(err, access.ErrDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 60 { // as many refusals pause administration
		_, _ = e.Decide(t.Context(), admin, access.ManageDirectory, access.OnSystem())
	}
	d.Broken = nil
	all, err := log.Recent(t.Context(), audit.MaxRecent)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range all {
		if entry.Person != s.Person.ID && entry.Person != admin.Person.ID {
			continue
		}
		if found++; !entry.Undecided() || entry.Allowed || entry.Role == "" || !strings.HasPrefix(entry.Reason, audit.NotDecided) || len(entry.Policies) > 0 {
			t.Errorf("in the log as %+v", entry)
		}
		if entry.Person == s.Person.ID && entry.Patient != "own" {
			t.Errorf("without its patient: %+v", entry)
		}
	}
	if found < 2 || found > 5 {
		t.Errorf("%d entries", found)
	}
	if _, err := e.Decide(t.Context(), admin, access.ManageDirectory, access.OnSystem()); err != nil {
		t.Errorf("what was not decided counts against the person: %v", err)
	}
}

// TestClientThatLeft: a request that ended before it was decided is no entry of the audit log where
// its client has left, and one that is not decided where its time was over. What was decided before
// the client left is an entry all the same.
func TestClientThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &hung{Directory: newDirectory().WithEveryRole()}
		dir := t.TempDir()
		log, err := audit.Open(dir+"/log", dir+"/key", quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		}()
		e, err := access.New(d, log, nil, quiet)
		if err != nil {
			t.Fatal(err)
		}
		s, r := subject(access.RoleNurse), access.OnPatient("own")
		left, leave := context.WithCancel(t.Context())
		leave()
		if _, err := e.Decide(left, s, access.ViewPatient, r); err != nil || !last(t, log).Allowed {
			t.Errorf("decided for a client that is gone: %v, %+v", err, last(t, log))
		}
		seq := last(t, log).Seq
		d.hangs = true
		if _, err := e.Decide(left, s, access.ViewPatient, r); !errors.Is(err, access.ErrUndecided) || !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
		if _, err := e.DecideAll(left, s, access.ViewPatient, []string{"own", "same-ward"}); !errors.Is(err, access.ErrUndecided) {
			t.Errorf("a client that left a list: %v", err)
		}
		if got := last(t, log); got.Seq != seq {
			t.Errorf("a client that left made an entry: %+v", got)
		}
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = e.Decide(late, s, access.ViewPatient, r)
		if got := last(t, log); !errors.Is(err, access.ErrUndecided) || got.Seq != seq+1 || !got.Undecided() || got.Patient != "own" || got.Role != "nurse" {
			t.Errorf("a deadline: %v, %+v", err, got)
		}
	})
}

// views are the entries of the log about a view, oldest first, without their policies.
func views(t *testing.T, log *audit.Log) []audit.Entry {
	t.Helper()
	out := entries(t, log, access.ViewPatient)
	slices.SortFunc(out, func(a, b audit.Entry) int { return int(a.Seq - b.Seq) })
	return out
}

// TestReconnectsAreJoined: a view that its client opens again every few seconds is one entry in ten
// minutes, and one that says how often and when last; after a pause it is an entry of its own.
func TestReconnectsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := setup(t, newDirectory().WithEveryRole())
		s := subject(access.RoleNurse)
		s.Session = "s1"
		open := func() access.Grant {
			t.Helper()
			all, err := e.ViewAll(t.Context(), s, access.ViewPatient, []string{"own"})
			if err != nil || len(all) != 1 || all[0].Err != nil || !all[0].Grant.Allows(access.ViewPatient, access.OnPatient("own"), time.Now()) {
				t.Fatal(all, err)
			}
			return all[0].Grant
		}
		begin := time.Now()
		for range 150 { // for ten minutes
			open()
			time.Sleep(4 * time.Second)
		}
		if got := views(t, log); len(got) != 1 || !got[0].Time.Equal(begin) {
			t.Fatalf("%d entries in ten minutes: %+v", len(got), got)
		}
		open()
		got := views(t, log)
		if len(got) != 3 {
			t.Fatalf("%d entries after ten minutes", len(got))
		}
		sum := got[2]
		if sum.Seq < got[1].Seq {
			sum = got[1]
		}
		stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
		want := "the page connected again 149 times since entry 0 of " + stamp(begin) + ", the last time at " + stamp(begin.Add(596*time.Second))
		if !sum.Allowed || sum.Patient != "own" || !sum.Time.Equal(begin.Add(600*time.Second)) || sum.Reason != want {
			t.Errorf("the entry of those that were joined: %+v", sum)
		}
		// Another patient, person or session is never joined with it.
		if _, err := e.DecideView(t.Context(), s, access.ViewPatient, access.OnPatient("same-ward")); err != nil {
			t.Fatal(err)
		}
		s.Session = "s2"
		g := open()
		if n := len(views(t, log)); n != 5 {
			t.Errorf("%d entries after another patient and another session", n)
		}
		// A view that lasts is renewed, and then reconnects.
		for range 60 {
			time.Sleep(2 * time.Second)
			var err error
			if g, err = e.Renew(t.Context(), s, g); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		open()
		if n := len(views(t, log)); n != 5 {
			t.Errorf("%d entries: a view that was renewed and reconnected is a new one", n)
		}
		// After a pause it is a new look, however short the one before was.
		time.Sleep(access.ViewPause)
		open()
		got = views(t, log)
		if len(got) != 7 || strings.Contains(got[5].Reason, "connected again") || !strings.HasPrefix(got[6].Reason, "the page connected again once since entry ") {
			t.Errorf("after a pause: %+v", got[5:])
		}
		// What is open still is written when the log is closed.
		open()
		e.WriteJoined(t.Context(), true)
		if got = views(t, log); len(got) != 8 || !strings.HasPrefix(got[7].Reason, "the page connected again once since entry ") {
			t.Errorf("at the end: %+v", got[7:])
		}
		for i, x := range got[1:] { // the log is in the order of time
			if x.Time.Before(got[i].Time) {
				t.Errorf("entry %d stands before %d and is of a later time: %v, %v", got[i].Seq, x.Seq, got[i].Time, x.Time)
			}
		}
	})
}

// TestJoinedLooksCostNothing: a look that writes no entry takes nothing from the person's quota of
// the audit log; one that writes does.
func TestJoinedLooksCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := setup(t, newDirectory().WithEveryRole(), access.WithAuditQuota(access.AuditQuota{PersonEntries: 0.1, StationEntries: 1000}))
		s := subject(access.RoleNurse)
		for i := range 100 { // the quota has 4 entries at once
			if _, err := e.LookAll(t.Context(), s, access.ViewPatient, []string{"own", "same-ward"}); err != nil {
				t.Fatalf("list %d, which makes no entry: %v", i, err)
			}
			if _, err := e.DecideView(t.Context(), s, access.ViewPatient, access.OnPatient("own")); err != nil {
				t.Fatalf("view %d, which makes no entry: %v", i, err)
			}
		}
		if n := len(entries(t, log, access.ViewPatient)); n != 2 {
			t.Errorf("%d entries", n)
		}
		for i := range 3 {
			_, err := e.Decide(t.Context(), s, access.ViewPatient, access.OnPatient("own"))
			if (i < 2) != (err == nil) || i == 2 && !errors.Is(err, access.ErrQuota) {
				t.Errorf("entry %d: %v", i+3, err)
			}
		}
	})
}
