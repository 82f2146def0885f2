package access_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
)

func world(t testing.TB, text string) *access.Scenario {
	t.Helper()
	w, err := access.ReadScenario(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestPolicyTable: the table that comes with the rules is what they say, and a wrong expectation is noticed.
func TestPolicyTable(t *testing.T) {
	b, err := os.ReadFile("testdata/ward.table")
	if err != nil {
		t.Fatal(err)
	}
	w := world(t, string(b))
	got, err := access.TestPolicies(t.Context(), "", nil, w)
	if err != nil || len(got) < 40 {
		t.Fatalf("%d expectations, %v", len(got), err)
	}
	for _, o := range got {
		if !o.OK {
			t.Errorf("line %d: %s: got %s, decided by %v", o.Line, o, o.Got, o.Explanation.Deciding)
		}
	}
	wrong := strings.NewReplacer("\nallow ", "\nrefuse ", "\nrefuse ", "\nallow ", "\nstep-up ", "\nallow ").Replace(string(b))
	if got, err = access.TestPolicies(t.Context(), "", nil, world(t, wrong)); err != nil {
		t.Fatal(err)
	}
	for _, o := range got {
		if o.OK {
			t.Errorf("line %d: %s: a wrong expectation is met", o.Line, o)
		}
	}
}

func TestTablesNameTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"nurse nina":                      "line 1: begins with \"nurse\"",
		"\nperson nina nurs":              "line 2: a person is",
		"person nina nurse wards":         "wards needs a name",
		"person nina nurse on ward-1":     "\"on\" is none of",
		"patient anna on":                 "a patient is",
		"patient anna in ward-1":          "a patient is",
		"channel one":                     "not a channel's number",
		"component x sensor":              "a component is",
		"allow nina patient:view":         "an expectation is",
		"allow nina patient:se patient:x": "no action",
		"allow nina patient:view anna":    "not patient:ID",
		"allow nina patient:view system":  "nobody is called \"nina\"",
		"person nina nurse\nallow nina patient:view patient:anna":        "no patient is called \"anna\"",
		"person nina nurse\nallow nina bed:list system with proven=soon": "cannot be read",
		"person nina nurse\nallow nina bed:list system with magic":       "is none of second-factor",
		"person nina nurse\nallow nina bed:list system because":          "behind the thing",
		"person otto doctor treats anna":                                 "person otto: no patient is called",
		"channel 1 of anna":                                              "channel 1: no patient",
		strings.Repeat("x", 5000):                                        "4096 bytes",
		strings.Repeat("#\n", 10_001):                                    "more than 10000 lines",
	} {
		if _, err := access.ReadScenario(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzWorld(f *testing.F) {
	b, err := os.ReadFile("testdata/ward.table")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("person a nurse wards 1\npatient p on 1\nallow a patient:view patient:p with hour=3,risk=5 by nurse-on-ward")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := access.ReadScenario(strings.NewReader(text))
		if err != nil || len(w.Expectations) > 20 {
			return
		}
		if _, err := access.TestPolicies(t.Context(), "", nil, w); err != nil {
			t.Fatalf("a table that was read cannot be asked: %v", err)
		}
	})
}

// TestExplain: which rule decided, and why each other one did not.
func TestExplain(t *testing.T) {
	e, log := setup(t, newDirectory().WithEveryRole())
	before, _ := log.Recent(t.Context(), 10)
	x, err := e.Explain(t.Context(), subject(access.RoleNurse), access.ViewPatient, access.OnPatient("other-ward"))
	if err != nil || x.Allowed || len(x.Deciding) != 0 {
		t.Fatalf("%+v %v", x, err)
	}
	failed := map[string]string{}
	for _, r := range x.Rules {
		failed[r.ID] = r.Failed
		if r.Line < 1 || r.Holds != (r.Failed == "") {
			t.Errorf("%+v", r)
		}
	}
	for id, want := range map[string]string{
		"nurse-on-ward":   "principal.wards.contains(resource.ward)",
		"doctor-treats":   `principal in Role::"doctor"`,
		"glass-is-broken": "context.break_glass",
		"staff-delivery":  "delivery:read",
		"no-workstation":  "unless",
	} {
		if !strings.Contains(failed[id], want) {
			t.Errorf("%s failed by %q, want %q", id, failed[id], want)
		}
	}
	x, err = e.Explain(t.Context(), subject(access.RoleNurse), access.ViewPatient, access.OnPatient("own"))
	if err != nil || !x.Allowed || !slices.Equal(x.Deciding, []string{"nurse-on-ward"}) {
		t.Errorf("%+v %v", x, err)
	}
	stranger := access.Subject{Person: access.Person{ID: "nobody"}, Workstation: station}
	if _, err := e.Explain(t.Context(), stranger, access.ViewPatient, access.OnPatient("own")); err == nil {
		t.Error("explained a stranger")
	}
	if after, _ := log.Recent(t.Context(), 10); len(after) != len(before) {
		t.Error("an explanation is no access, and was audited as one")
	}
}

// TestOverlayRoles: what the rules say of components is what the overlay gets.
func TestOverlayRoles(t *testing.T) {
	e, _ := setup(t, newDirectory())
	for _, c := range []struct{ kind, state, want string }{
		{"sensor", "active", "dial.vitalseal.ingest dial.vitalseal.renew"},
		{"gateway", "active", "dial.vitalseal.ingest dial.vitalseal.renew"},
		{"workstation", "active", "dial.vitalseal.faces dial.vitalseal.renew"},
		{"egress", "active", "bind.vitalseal.cloud dial.vitalseal.renew"},
		{"hub", "active", "dial.vitalseal.cloud bind.vitalseal.enrol bind.vitalseal.faces bind.vitalseal.ingest dial.vitalseal.renew bind.vitalseal.renew"},
		{"router", "active", ""}, {"something", "active", ""},
		{"sensor", "invited", "dial.vitalseal.enrol"}, {"workstation", "invited", "dial.vitalseal.enrol"},
		{"sensor", "disabled", ""}, {"gateway", "deleted", ""}, {"hub", "disabled", ""}, {"sensor", "", ""},
	} {
		if got := strings.Join(e.OverlayRoles(access.Component{ID: "spiffe://d/x/y", Kind: c.kind, State: c.state}), " "); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.kind, c.state, got, c.want)
		}
	}
	seen := map[string]bool{}
	for _, p := range access.OverlayPolicies() {
		if seen[p.Name] || len(p.Roles) != 1 || len(p.Services) != 1 {
			t.Errorf("%+v", p)
		}
		seen[p.Name] = true
	}
	if len(seen) != 2*len(access.OverlayServices()) {
		t.Errorf("%d policies", len(seen))
	}
}

// hospital is 1,000 patients on 50 wards and 200 people.
func hospital() *directory {
	d := newDirectory()
	for i := range 1000 {
		id := fmt.Sprint("p", i)
		d.AllPatients[id] = access.PatientRef{ID: id, Ward: fmt.Sprint("w", i%50), Bed: id}
	}
	for i := range 200 {
		p := access.Person{ID: fmt.Sprint("u", i), Login: fmt.Sprint("u", i), Role: access.Roles()[i%6]}
		for j := range 4 {
			p.Wards = append(p.Wards, fmt.Sprint("w", (i+j)%50))
		}
		for j := range 20 {
			p.Patients = append(p.Patients, fmt.Sprint("p", (i*5+j)%1000))
		}
		p.Self = fmt.Sprint("p", i)
		d.People[p.ID] = p
	}
	return d
}

// BenchmarkDecision is one decision without its audit entry: 200 people about 1,000 patients on 50 wards, most of them
// refused, as the policies see it. It reports the median and the 99th percentile.
func BenchmarkDecision(b *testing.B) {
	e, _ := setup(b, hospital())
	measure(b, func(i int) {
		s := access.Subject{Person: access.Person{ID: fmt.Sprint("u", i%200)}, Workstation: station, Session: "s"}
		if _, err := e.Explained(b.Context(), s, access.ViewPatient, access.OnPatient(fmt.Sprint("p", i*7%1000))); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkFilter is the list of all 1,000 patients for a nurse.
func BenchmarkFilter(b *testing.B) {
	d := hospital()
	e, _ := setup(b, d)
	refs, _ := d.Patients(b.Context())
	s := access.Subject{Person: access.Person{ID: "u1"}, Workstation: station, Session: "s"}
	for b.Loop() {
		if list, err := e.Filter(b.Context(), s, access.ViewPatient, refs); err != nil || len(list) != 80 {
			b.Fatal("another list", err)
		}
	}
}

// BenchmarkAuditedDecision is a decision with its entry on disk.
func BenchmarkAuditedDecision(b *testing.B) {
	e, _ := setup(b, hospital())
	s := access.Subject{Person: access.Person{ID: "u1"}, Workstation: station, Session: "s"}
	for b.Loop() {
		if _, err := e.Decide(b.Context(), s, access.ViewPatient, access.OnPatient("p1")); err != nil {
			b.Fatal(err)
		}
	}
}
