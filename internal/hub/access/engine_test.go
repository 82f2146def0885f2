package access_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/audit"
)

// TestZeroGrant: nothing makes the zero Grant, or one of a refusal, allow anything.
func TestZeroGrant(t *testing.T) {
	e, _ := setup(t, newDirectory().WithEveryRole())
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.OneOf(rapid.SampledFrom(append(access.Actions(), "")), rapid.Map(rapid.String(), func(s string) access.Action { return access.Action(s) })).Draw(t, "action")
		r := access.Resource{Kind: rapid.SampledFrom([]string{"patient", "ward", "channel", "system", "", "x"}).Draw(t, "kind"),
			ID: rapid.SampledFrom([]string{"", "own", "same-ward", "ward-1", "1", "5", "*", "-1", "999999999999999999999"}).Draw(t, "id")}
		now := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "now"), 0)
		if (access.Grant{}).Allows(a, r, now) || (access.Grant{}).Allows(a, r, time.Time{}) {
			t.Fatal("the zero Grant allows something")
		}
		role := access.Role(rapid.SampledFrom([]string{"patient", "nurse", "doctor", "staff", "auditor", "admin", "root", ""}).Draw(t, "role"))
		g, err := e.Decide(t.Context(), access.Subject{Person: access.Person{ID: string(role), Role: access.RoleAdmin, Self: r.ID, Patients: []string{r.ID}}, Workstation: station}, a, r)
		if err != nil && (g.Allows(a, r, now) || g.Holder() != "") {
			t.Fatalf("a refusal came with a grant: %+v", g)
		}
		if err == nil && (!g.Allows(a, r, time.Now()) || g.Allows(a, r, time.Now().Add(time.Hour)) || g.Allows("", r, time.Now())) {
			t.Fatalf("grant of %s on %v", a, r)
		}
		if err == nil && !role.Valid() {
			t.Fatalf("role %q got something", role)
		}
	})
}

func TestGrantExpiresAndIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory().WithEveryRole()
		e, log := setup(t, d, access.WithGrantLife(time.Minute))
		s, r := subject(access.RoleNurse), access.OnPatient("own")
		g, err := e.Decide(t.Context(), s, access.ViewPatient, r)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if !g.Allows(access.ViewPatient, r, time.Now()) {
			t.Error("gone too early")
		}
		time.Sleep(time.Second)
		if g.Allows(access.ViewPatient, r, time.Now()) || !g.Expires().Equal(time.Now()) {
			t.Error("not expired")
		}
		seq := last(t, log).Seq
		g2, err := e.Renew(t.Context(), s, g)
		if err != nil || !g2.Allows(access.ViewPatient, r, time.Now()) || last(t, log).Seq != seq {
			t.Errorf("renew: %v, audited %v", err, last(t, log))
		}
		time.Sleep(3 * time.Minute)
		if _, err := e.Renew(t.Context(), s, g2); err != nil || last(t, log).Seq != seq+1 {
			t.Errorf("renewing what ended long ago is a new access, to be audited: %v", err)
		}
		// Moved off the ward: the next renewal ends the view, on record.
		p := person(access.RoleNurse)
		p.Wards = nil
		d.Set(p)
		if _, err := e.Renew(t.Context(), s, g2); !errors.Is(err, access.ErrDenied) || last(t, log).Allowed {
			t.Errorf("renewed after the nurse was moved: %v", err)
		}
		for name, other := range map[string]access.Subject{"person": subject(access.RoleDoctor), "workstation": {Person: s.Person, Workstation: otherStation}} {
			if _, err := e.Renew(t.Context(), other, g2); !errors.Is(err, access.ErrDenied) {
				t.Errorf("another %s renewed the grant: %v", name, err)
			}
		}
		if _, err := e.Renew(t.Context(), access.Subject{}, access.Grant{}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("renewed the zero grant: %v", err)
		}
		if _, err := e.Renew(t.Context(), s, e.Standing("ingest", access.ViewPatient)); !errors.Is(err, access.ErrDenied) {
			t.Errorf("renewed a standing grant: %v", err)
		}
	})
}

func TestStanding(t *testing.T) {
	e, log := setup(t, newDirectory())
	g := e.Standing("ingest", access.AppendVitals, access.ManageDirectory, access.ViewChannel)
	now := time.Now().Add(1000 * time.Hour)
	for _, a := range []access.Action{access.AppendVitals, access.ViewChannel} {
		if !g.Allows(a, access.OnPatient("anyone"), now) {
			t.Errorf("%s refused", a)
		}
	}
	for _, a := range []access.Action{access.ManageDirectory, access.ViewPatient, ""} {
		if g.Allows(a, access.OnSystem(), now) {
			t.Errorf("%s allowed", a)
		}
	}
	if g := e.Standing("ingest", access.ManageIdentities, access.ViewAudit); g.Holder() != "" || g.Standing() {
		t.Errorf("a standing grant to manage: %+v", g)
	}
	if got := last(t, log); got.Person != "engine:ingest" || got.Allowed {
		t.Errorf("audited as %+v", got)
	}
}

// TestSubjectIsLookedUpAgain: what the subject says about itself does not count.
func TestSubjectIsLookedUpAgain(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, _ := setup(t, d)
	forged := subject(access.RoleStaff)
	forged.Person = access.Person{ID: "staff", Role: access.RoleDoctor, Patients: []string{"own"}}
	if _, err := e.Decide(t.Context(), forged, access.ViewPatient, access.OnPatient("own")); !errors.Is(err, access.ErrDenied) {
		t.Error(err)
	}
	for _, p := range []access.Person{{}, {ID: "stranger", Role: access.RoleAdmin}} {
		if _, err := e.Decide(t.Context(), access.Subject{Person: p, Workstation: station}, access.ManageDirectory, access.OnSystem()); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%v: %v", p, err)
		}
	}
	for _, r := range []access.Resource{{}, access.OnPatient(""), access.OnPatient("none"), access.OnChannel(99), {Kind: "channel", ID: "x"}, access.OnPatient(strings.Repeat("x", 5000))} {
		if _, err := e.Decide(t.Context(), subject(access.RoleDoctor), access.ViewPatient, r); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%.40v: %v", r, err)
		}
	}
}

func TestFailuresRefuse(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	s, r := subject(access.RoleDoctor), access.OnPatient("own")
	d.Broken = errors.New("disk on fire")
	if g, err := e.Decide(t.Context(), s, access.ViewPatient, r); err == nil || errors.Is(err, access.ErrDenied) || g.Holder() != "" {
		t.Errorf("without a directory: %v", err)
	}
	if got := last(t, log); got.Allowed || got.Reason == "" {
		t.Errorf("audited as %+v", got)
	}
	d.Broken = nil
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if g, err := e.Decide(t.Context(), s, access.ViewPatient, r); !errors.Is(err, audit.ErrClosed) || g.Holder() != "" {
		t.Errorf("without an audit log: %v", err)
	}
	if g := e.Standing("ingest", access.AppendVitals); g.Allows(access.AppendVitals, r, time.Now()) {
		t.Error("a standing grant without an audit log")
	}
}

func TestPolicyFiles(t *testing.T) {
	const good = "@id(\"a\")\npermit (principal in Role::\"nurse\", action == Action::\"patient:view\", resource);\n"
	for what, c := range map[string]struct{ text, want string }{
		"empty":             {"// nothing\n", "no policy"},
		"syntax":            {good + "\npermit (principal, action, resource) when { };\n", "ward.cedar:4"},
		"unfinished":        {good + "@id(\"b\")\npermit (principal,\n", "ward.cedar:5"},
		"no id":             {good + "\npermit (principal, action, resource);", "ward.cedar:4"},
		"strange id":        {good + "@id(\"Ünsinn\")\npermit (principal, action, resource);", "ward.cedar:3"},
		"same id":           {good + good, "ward.cedar:3"},
		"unknown action":    {good + "@id(\"b\")\npermit (principal, action == Action::\"patient:veiw\", resource);", "ward.cedar:3"},
		"unknown attribute": {good + "@id(\"b\")\npermit (principal is Person, action, resource) when { principal.ward == resource };", "ward.cedar:3"},
		"unguarded":         {good + "@id(\"b\")\npermit (principal in Role::\"nurse\", action == Action::\"patient:view\", resource) when { principal.wards.contains(resource.ward) };", "ward.cedar:3"},
		"unknown role":      {good + "@id(\"b\")\npermit (principal in Role::\"Nurse\", action == Action::\"patient:view\", resource);", `ward.cedar:3: @id("b"): no Role::"Nurse"; there are patient, nurse, doctor, staff, auditor, admin`},
		"unknown role, if":  {good + "@id(\"b\")\nforbid (principal is Person, action == Action::\"patient:view\", resource) unless { principal in Role::\"docter\" };", `no Role::"docter"`},
		"unknown roles":     {good + "@id(\"b\")\nforbid (principal is Person, action == Action::\"patient:view\", resource) when { principal in [Role::\"nurse\", Role::\"nures\"] };", `no Role::"nures"`},
		"unknown kind":      {good + "@id(\"b\")\npermit (principal in Kind::\"sensors\", action == Action::\"service:dial\", resource);", `no Kind::"sensors"`},
		"unknown service":   {good + "@id(\"b\")\npermit (principal in Kind::\"sensor\", action == Action::\"service:dial\", resource == Service::\"vitalseal.ingst\");", `no Service::"vitalseal.ingst"`},
		"huge":              {strings.Repeat(" ", 1<<20+1), "bytes"},
	} {
		if err := access.CheckPolicies("ward.cedar", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	if err := access.CheckPolicies("ward.cedar", []byte(good)); err != nil {
		t.Error(err)
	}
	d := newDirectory().WithEveryRole()
	_, log := setup(t, d)
	e, err := access.New(d, log, []byte(good+"@id(\"never\") forbid (principal, action, resource) when { resource == Patient::\"same-ward\" };"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Decide(t.Context(), subject(access.RoleNurse), access.ViewPatient, access.OnPatient("nobody")); err != nil {
		t.Errorf("own policies: %v", err)
	}
	var denied *access.Denied
	if _, err := e.Decide(t.Context(), subject(access.RoleNurse), access.ViewPatient, access.OnPatient("same-ward")); !errors.As(err, &denied) || !slices.Equal(denied.Policies, []string{"never"}) {
		t.Errorf("forbid wins: %v", err)
	}
	if _, err := access.New(d, log, []byte("permit"), quiet); err == nil {
		t.Error("a broken policy file was taken")
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add([]byte(access.DefaultPolicies()))
	f.Add([]byte("@id(\"a\") permit (principal, action, resource) when { context.key.write };"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_ = access.CheckPolicies("x", text) // must only return
	})
}

// TestDefaultPoliciesAreTheDefault keeps the file a person reads and the embedded one the same thing.
func TestDefaultPoliciesAreTheDefault(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("default.cedar"))
	if err != nil || string(b) != access.DefaultPolicies() {
		t.Fatal("default.cedar is not what is embedded")
	}
}
