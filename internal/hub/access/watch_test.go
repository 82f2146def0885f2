package access_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/audit"
)

// TestOpenViewsAreToldEachHour: the log says who watched at any hour: a view that stays open is an
// entry at its beginning and one each hour, for a person who watches several patients one for all of
// them, and for a wall alike. A view that was closed is none.
func TestOpenViewsAreToldEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := setup(t, newDirectory().WithEveryRole())
		nurse := subject(access.RoleNurse)
		nurse.Session = "s1"
		wall := access.Display(station, []string{"ward-1"})
		begin := time.Now()
		all, err := e.ViewAll(t.Context(), nurse, access.ViewPatient, []string{"own", "same-ward"})
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		shown, err := e.DecideView(t.Context(), wall, access.ViewDisplay, access.OnPatient("own"))
		if err != nil {
			t.Fatal(err)
		}
		renew := func(s access.Subject, g *access.Grant) {
			t.Helper()
			n, err := e.Renew(t.Context(), s, *g)
			if err != nil {
				t.Fatal(err)
			}
			*g = n
		}
		for time.Since(begin) < 3*time.Hour+30*time.Minute {
			time.Sleep(10 * time.Second)
			renew(nurse, &all[0].Grant)
			renew(nurse, &all[1].Grant)
			renew(wall, &shown)
		}
		for a, check := range map[access.Action]func(audit.Entry) bool{
			access.ViewPatient: func(x audit.Entry) bool { return len(x.Patients) == 2 && x.Person != "" },
			access.ViewDisplay: func(x audit.Entry) bool { return x.Patient == "own" && x.Workstation == station },
		} {
			got := entries(t, log, a)
			if len(got) != 4 {
				t.Fatalf("%s: %d entries in three and a half hours: %+v", a, len(got), got)
			}
			for _, x := range got {
				hour := x.Time.Sub(begin)
				if !x.Allowed || !check(x) || hour%time.Hour != 0 {
					t.Errorf("%s: after %v: %+v", a, hour, x)
				}
				if still := strings.Contains(x.Reason, "still open since entry ") && strings.HasSuffix(x.Reason, " of "+begin.UTC().Format(time.RFC3339)); still != (hour > 0) {
					t.Errorf("%s: after %v: %q", a, hour, x.Reason)
				}
			}
		}
		time.Sleep(5 * time.Hour) // closed
		if n := len(entries(t, log, access.ViewDisplay)); n != 4 {
			t.Errorf("%d entries of a wall that was switched off", n)
		}
	})
}
