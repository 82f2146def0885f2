package access_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/shared/audit"
)

// things are what can be asked about.
var things = accesstest.Things()

// matrix reads the table: cell by action, thing and role. What has no line is "-" for every role.
func matrix(t testing.TB) map[access.Action]map[string]map[access.Role]string {
	t.Helper()
	b, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[access.Action]map[string]map[access.Role]string{}
	for _, a := range access.Actions() {
		out[a] = map[string]map[access.Role]string{}
	}
	var roles []access.Role
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#" || strings.HasPrefix(f[0], "#"):
		case f[0] == "action":
			for _, r := range f[2:] {
				roles = append(roles, access.Role(r))
			}
			if diff := cmp.Diff(access.Roles(), roles); diff != "" {
				t.Fatalf("matrix.txt: roles: %s", diff)
			}
		default:
			if len(f) != 2+len(roles) || out[access.Action(f[0])] == nil || things[f[1]] == (access.Resource{}) {
				t.Fatalf("matrix.txt: cannot read %q", line)
			}
			cells := map[access.Role]string{}
			for i, r := range roles {
				cells[r] = f[2+i]
			}
			out[access.Action(f[0])][f[1]] = cells
		}
	}
	return out
}

// cell is what the audit log says about a decision, in the table's words.
func cell(e audit.Entry) string {
	ids := strings.Join(e.Policies, ",")
	switch {
	case e.Allowed:
		return ids
	case ids == "":
		return "-"
	}
	return "!" + ids
}

func TestMatrix(t *testing.T) {
	e, log := setup(t, newDirectory().WithEveryRole())
	table := matrix(t)
	n := 0
	for _, a := range access.Actions() {
		for thing, r := range things {
			for _, role := range access.Roles() {
				want := "-"
				if cells := table[a][thing]; cells != nil {
					want = cells[role]
				}
				// Each question comes from a workstation of its own: the risk of so many refusals is another test's matter.
				n++
				s := subject(role)
				s.Workstation = fmt.Sprintf("%s-%d", station, n)
				g, err := e.Decide(t.Context(), s, a, r)
				entry := last(t, log)
				if got := cell(entry); got != want {
					t.Errorf("%s, %s on %s: %s, want %s", role, a, thing, got, want)
				}
				if entry.Allowed != (err == nil) || entry.Allowed != g.Allows(a, r, time.Now()) {
					t.Errorf("%s, %s on %s: audited %v, returned %v, grant %v", role, a, thing, entry.Allowed, err, g.Allows(a, r, time.Now()))
				}
				if err != nil && !errors.Is(err, access.ErrDenied) {
					t.Errorf("%s, %s on %s: %v", role, a, thing, err)
				}
				if entry.Person != string(role) || entry.Role != string(role) || entry.Workstation != s.Workstation ||
					entry.Action != string(a) || entry.Resource != r.String() {
					t.Errorf("audited as %+v", entry)
				}
				if strings.HasPrefix(thing, "own") && entry.Patient != "own" || thing == "free-channel" && entry.Patient != "" {
					t.Errorf("%s: audited patient %q", thing, entry.Patient)
				}
				if err == nil {
					for other, r2 := range things {
						if other != thing && g.Allows(a, r2, time.Now()) {
							t.Errorf("grant for %s also covers %s", thing, other)
						}
					}
				}
			}
		}
	}
}

// TestMatrixWithoutWorkstation asks everything that is allowed again, from nowhere.
func TestMatrixWithoutWorkstation(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	for a, row := range matrix(t) {
		for thing, cells := range row {
			for role, want := range cells {
				if want == "-" || strings.HasPrefix(want, "!") {
					continue
				}
				for _, ws := range []string{"", "ward-1", "spiffe://demo.vitalseal.internal/gateway/ward-1", station + "\n"} {
					s := subject(role)
					s.Workstation = ws
					if _, err := e.Decide(t.Context(), s, a, things[thing]); !errors.Is(err, access.ErrDenied) || !strings.Contains(cell(last(t, log)), "no-workstation") {
						t.Errorf("%s, %s on %s from %q: %v, %s", role, a, thing, ws, err, cell(last(t, log)))
					}
				}
			}
		}
	}
	for _, role := range access.Roles() {
		p := person(role)
		p.Disabled = true
		d.Set(p)
	}
	for a := range matrix(t) {
		for thing, r := range things {
			for _, role := range access.Roles() {
				if _, err := e.Decide(t.Context(), subject(role), a, r); !errors.Is(err, access.ErrDenied) {
					t.Errorf("disabled %s, %s on %s: %v", role, a, thing, err)
				}
			}
		}
	}
}

func TestFilterAgreesWithTheMatrix(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	refs, _ := d.Patients(t.Context())
	before, _ := log.Recent(t.Context(), 10)
	for _, a := range []access.Action{access.ViewPatient, access.ListBeds, access.ManageDirectory, ""} {
		for _, role := range access.Roles() {
			want := map[string]bool{}
			for _, ref := range refs {
				cells := matrix(t)[a][ref.ID]
				want[ref.ID] = cells != nil && cells[role] != "-"
			}
			got := map[string]bool{"own": false, "same-ward": false, "other-ward": false, "nobody": false}
			list, err := e.Filter(t.Context(), subject(role), a, refs)
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range list {
				got[ref.ID] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: %s", role, a, diff)
			}
		}
	}
	if after, _ := log.Recent(t.Context(), 10); len(after) != len(before) {
		t.Error("a list was audited bed by bed")
	}
	if got, err := e.Filter(t.Context(), access.Subject{Person: access.Person{ID: "nurse"}}, access.ViewPatient, refs); err != nil || len(got) != 0 {
		t.Errorf("a list from no workstation: %v, %v", got, err)
	}
}
