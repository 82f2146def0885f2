package storetest

import (
	"bytes"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
)

// approvals: a request is decided once, and a patient has one login and learns of new ones and of new relationships.
func approvals(t *testing.T, b *bench) {
	ctx := t.Context()
	a := access.Approval{ID: "ap-1", Kind: "person.create", Target: "login:x", Act: []byte(`{"login":"x"}`), Requester: "u-1", Role: access.RoleAdmin,
		Workstation: "spiffe://test/workstation/w", Requested: b.now, Expires: b.now.Add(time.Hour)}
	must(t, b.SaveApproval(ctx, a))
	is(t, b.SaveApproval(ctx, a), store.ErrExists)
	got, err := b.Approval(ctx, "ap-1")
	must(t, err)
	if !bytes.Equal(got.Act, a.Act) || !got.Requested.Equal(a.Requested) || !got.Waits(b.now) || got.Waits(b.now.Add(time.Hour)) || got.Role != access.RoleAdmin {
		t.Errorf("%+v", got)
	}
	is(t, b.FinishApproval(ctx, "ap-1", access.ApprovalDone), store.ErrNotFound) // nothing was approved
	must(t, b.DecideApproval(ctx, "ap-1", "u-2", access.ApprovalApproved, "because", b.now))
	is(t, b.DecideApproval(ctx, "ap-1", "u-3", access.ApprovalRefused, "", b.now), store.ErrNotFound)
	must(t, b.FinishApproval(ctx, "ap-1", access.ApprovalDone))
	is(t, b.FinishApproval(ctx, "ap-1", access.ApprovalFailed), store.ErrNotFound)
	all, err := b.Approvals(ctx, b.now)
	must(t, err)
	if len(all) != 1 || all[0].Outcome != access.ApprovalDone || all[0].Decider != "u-2" || all[0].Note != "because" {
		t.Errorf("%+v", all)
	}
	_, err = b.Approval(ctx, "ap-2")
	is(t, err, access.ErrNotFound)

	own, err := b.CreatePerson(ctx, access.Person{Login: "ada", Role: access.RolePatient, Self: b.patient}, "hash")
	must(t, err)
	_, err = b.CreatePerson(ctx, access.Person{Login: "ada2", Role: access.RolePatient, Self: b.patient}, "hash")
	is(t, err, directory.ErrSecondLogin)
	doctor, err := b.CreatePerson(ctx, access.Person{Login: "doc", Role: access.RoleDoctor}, "hash")
	must(t, err)
	p, err := b.Person(ctx, doctor)
	must(t, err)
	if p.Created.IsZero() || !p.Changed.IsZero() {
		t.Errorf("made %v, changed %v", p.Created, p.Changed)
	}
	must(t, b.SetRelations(ctx, p, access.RoleDoctor, nil, []string{b.patient}))
	is(t, b.SetRelations(ctx, p, access.RoleNurse, []string{"a"}, nil), store.ErrConflict) // of before
	p, err = b.Person(ctx, doctor)
	must(t, err)
	if p.Changed.IsZero() || len(p.Patients) != 1 {
		t.Errorf("%+v", p)
	}
	must(t, b.SetRelations(ctx, p, access.RoleNurse, []string{"a"}, nil))
	must(t, b.SetPassword(ctx, own, "hash2", false)) // one's own
	if p, err := b.Person(ctx, own); err != nil || !p.Changed.IsZero() {
		t.Errorf("%+v %v", p, err)
	}
	must(t, b.SetPassword(ctx, own, "hash3", true))
	must(t, b.PersonChanged(ctx, own))
	notices, err := b.Notices(ctx, b.patient)
	must(t, err)
	kinds := map[string]int{}
	for _, n := range notices {
		kinds[n.Kind+" "+n.Person]++
	}
	for kind, want := range map[string]int{"login " + own: 1, "treats " + doctor: 1, "ward " + doctor: 1, "login-reset " + own: 2} {
		if kinds[kind] != want {
			t.Errorf("%s: %d notices, want %d (%v)", kind, kinds[kind], want, kinds)
		}
	}
}
