package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
)

// asked is what an answer about a patient says of questions.
type asked struct {
	Bed       string
	MayAnswer bool `json:"may_answer"`
	Questions []struct {
		ID, Sensor, By string
		No             bool
	}
	Numerics map[string]struct {
		Value        *float64
		NotConfirmed bool `json:"not_confirmed"`
	}
}

// TestIsThisStillThePatient: a sensor that was silent for long and speaks again is asked about: in the list of beds, on the patient's
// page, on the chart; its number stays, with a mark. A nurse of the ward answers, a doctor only sees the question; the audit log says
// what changed.
func TestIsThisStillThePatient(t *testing.T) {
	w := newWard(t)
	now := time.Now()
	w.append("a-1", numerics(now.Add(-archive.DefaultConfirmAfter-time.Minute), good(vitals.SpO2, 97)))
	w.append("a-1", numerics(now, good(vitals.SpO2, 91)))
	w.append("a-2", numerics(now, good(vitals.SpO2, 96)))
	nurse, doctor := w.signedIn("nurse"), w.signedIn("doctor")
	of := func(b *browser, bed string) asked {
		t.Helper()
		var list struct{ Beds []asked }
		b.get("/api/beds", &list)
		for _, one := range list.Beds {
			if one.Bed == bed {
				return one
			}
		}
		t.Fatalf("no bed %s", bed)
		return asked{}
	}
	is := func(what string, a asked, questions int, no bool) {
		t.Helper()
		if n := a.Numerics["spo2_percent"]; n.Value == nil || *n.Value != 91 || n.NotConfirmed != (questions > 0) {
			t.Errorf("%s: number %+v", what, n)
		}
		if len(a.Questions) != questions || questions > 0 && (a.Questions[0].Sensor != "oxi-a-1" || a.Questions[0].No != no) {
			t.Fatalf("%s: questions %+v, want %d", what, a.Questions, questions)
		}
	}
	if a := of(nurse, "a-2"); len(a.Questions) != 0 || a.Numerics["spo2_percent"].NotConfirmed {
		t.Errorf("the neighbour is asked about: %+v", a)
	}
	var page asked
	nurse.get("/api/patients/"+w.ada, &page)
	is("page", page, 1, false)
	first := of(nurse, "a-1")
	is("list", first, 1, false)
	if seen := of(doctor, "a-1"); !first.MayAnswer || seen.MayAnswer {
		t.Errorf("may answer: nurse %v, doctor %v", first.MayAnswer, seen.MayAnswer)
	}
	path, say := "/api/patients/"+w.ada+"/confirm", func(answer string) map[string]any {
		return map[string]any{"questions": []string{first.Questions[0].ID}, "answer": answer}
	}
	if status, _ := doctor.do("POST", path, say("yes"), nil); status != http.StatusForbidden {
		t.Errorf("a doctor's answer: %d", status)
	}
	if status, _ := nurse.do("POST", path, say("perhaps"), nil); status != http.StatusBadRequest {
		t.Errorf("perhaps: %d", status)
	}
	if status, body := nurse.do("POST", path, say("no"), nil); status != http.StatusNoContent {
		t.Fatalf("no: %d %s", status, body)
	}
	refused := of(nurse, "a-1")
	is("after no", refused, 1, true)
	if refused.Questions[0].By != "Nurse Tomas Ek" {
		t.Errorf("who said no: %q", refused.Questions[0].By)
	}
	if status, body := nurse.do("POST", path, say("yes"), nil); status != http.StatusNoContent {
		t.Fatalf("yes: %d %s", status, body)
	}
	if status, _ := nurse.do("POST", path, say("yes"), nil); status != http.StatusConflict {
		t.Errorf("yes once more: %d", status)
	}
	if a := of(nurse, "a-1"); len(a.Questions) != 0 {
		t.Errorf("after yes: %+v", a.Questions)
	}
	var trends struct {
		NotConfirmed []struct{ Sensor, Answer, By, To string } `json:"not_confirmed"`
	}
	nurse.get("/api/patients/"+w.ada+"/trends?kind=spo2_percent", &trends)
	if n := trends.NotConfirmed; len(n) != 1 || n[0].Sensor != "oxi-a-1" || n[0].Answer != "no" || n[0].By != "Nurse Tomas Ek" || n[0].To == "" {
		t.Errorf("chart: %+v", n)
	}
	var said []string
	entries, err := w.trail.Recent(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Reason, "still the right patient: ") && e.Allowed {
			_, change, _ := strings.Cut(e.Reason, "still the right patient: ")
			said = append(said, change)
		}
	}
	if got := strings.Join(said, "; "); got != "no -> yes; not answered -> no" && got != "not answered -> no; no -> yes" {
		t.Errorf("the audit log: %q", got)
	}
}
