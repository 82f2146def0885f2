package admin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// twoCharts are two wards with a patient each, and one number of a's; an auditor and a doctor who treats both can approve.
func twoCharts(t *testing.T) (w *world, a, b string, body func(from, to string) string, has func(patient string) int) {
	t.Helper()
	w, a, b = twoWards(t)
	w.sign(access.RoleAuditor, "")
	doctor := w.sign(access.RoleDoctor, "")
	w.must(w.store.SetRelations(t.Context(), access.Person{ID: doctor, Role: access.RoleDoctor}, access.RoleDoctor, nil, []string{a, b}))
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	g := w.engine.Standing("ingest", access.AppendVitals, access.ViewPatient)
	c := vitals.Chunk{Signal: vitals.Numerics, Start: begin, Bundles: []vitals.Bundle{{At: begin, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 71, vitals.Good)}}}}
	o, why, err := w.store.Append(t.Context(), g, archive.Arrival{Sensor: domain + "/sensor/oxi-1", Chunk: c, Received: time.Now(),
		Header: seal.Header{Sensor: domain + "/sensor/oxi-1", Signal: uint8(c.Signal), Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}, Start: begin}})
	if err != nil || o != delivery.Accepted {
		t.Fatal(o, why, err)
	}
	return w, a, b, func(from, to string) string {
			return `{"from":"` + from + `","to":"` + to + `","begin":"` + begin.Add(-time.Minute).Format(time.RFC3339) + `","end":"` + begin.Add(time.Minute).Format(time.RFC3339) + `"}`
		}, func(patient string) int {
			t.Helper()
			got, err := w.store.Numerics(context.Background(), g, patient, begin.Add(-time.Hour), time.Now(), 0)
			w.must(err)
			return len(got)
		}
}

// TestMoveToAnotherWardTakesTwo: it waits for a second person, who reads what will move, and is then done once, in the name of the one who
// asked; whom the rules do not permit it any more moves nothing. A transfer beforehand, of now or entered late, changes nothing.
func TestMoveToAnotherWardTakesTwo(t *testing.T) {
	w, a, b, body, has := twoCharts(t)
	w.get("admin", "PUT", "two-persons", `{"on":true}`, http.StatusOK, nil)
	asked := w.request("POST", "readings/move", body(a, b))
	id, what := asked.Waiting.ID, strings.Join(asked.Waiting.What, "\n")
	for _, want := range []string{`from the patient "` + a + `" to the patient "` + b + `": 1 number`, "ward-a is the ward ward-a", "ward-b is the ward ward-b",
		`"` + b + `" lies on the ward ward-b now`, "UTC", "what every sensor measured"} {
		if !strings.Contains(what, want) {
			t.Errorf("the approver does not read %q in %q", want, what)
		}
	}
	if got := w.get("auditor", "GET", "approvals?waiting=1", "", http.StatusOK, nil); !strings.Contains(got, "1 number") {
		t.Error(got)
	}
	w.get("admin", "POST", "approvals/"+id+"/approve", `{}`, http.StatusForbidden, nil)
	if has(a) != 1 || has(b) != 0 || len(w.events(access.EventMoved)) > 0 {
		t.Fatalf("moved by one person: %d and %d, %v", has(a), has(b), w.told)
	}
	// A doctor who treats both asks as well, and no other doctor approves.
	own := w.request("POST", "readings/move", body(a, b))
	if strings.Contains(strings.Join(own.Approvers, " "), "admin") {
		t.Errorf("approvers: %v", own.Approvers)
	}
	var doctors waits
	w.get("doctor", "POST", "readings/move", body(a, b), http.StatusAccepted, &doctors)
	if got := strings.Join(doctors.Approvers, " "); got != "auditor staff" {
		t.Errorf("who could approve a doctor's move: %q", got)
	}
	// Whom the patient has excluded since moves nothing.
	doctor, _, err := w.store.PersonByLogin(t.Context(), "doctor")
	w.must(err)
	w.must(w.store.Exclude(t.Context(), b, doctor.ID, true))
	w.get("auditor", "POST", "approvals/"+doctors.Waiting.ID+"/approve", `{}`, http.StatusForbidden, nil)
	if has(a) != 1 || has(b) != 0 {
		t.Fatalf("moved for an excluded person: %d and %d", has(a), has(b))
	}
	// To the other patient's ward first, and then it would be within one.
	w.get("admin", "POST", "patients/"+b+"/admit", `{"bed":"a-2"}`, http.StatusNoContent, nil)
	w.request("POST", "readings/move", body(a, b))

	var done struct{ Done bool }
	w.get("auditor", "POST", "approvals/"+id+"/approve", `{}`, http.StatusCreated, &done)
	if !done.Done || has(a) != 0 || has(b) != 1 {
		t.Errorf("approved: %v, %d and %d", done.Done, has(a), has(b))
	}
	w.get("auditor", "POST", "approvals/"+id+"/approve", `{}`, http.StatusConflict, nil) // once
	admin, _, err := w.store.PersonByLogin(t.Context(), "admin")
	w.must(err)
	moves, err := w.store.MovesOf(t.Context(), w.engine.Standing("ingest", access.ViewPatient), a, time.Now().Add(-2*time.Hour), time.Now())
	if err != nil || len(moves) != 1 || moves[0].Person != admin.ID {
		t.Errorf("what the charts say: %+v %v", moves, err)
	}
	said := 0
	entries, err := w.trail.Recent(t.Context(), 1000)
	w.must(err)
	for _, e := range entries {
		if strings.Contains(e.Reason, "asked for by "+admin.ID+", approved by") && strings.HasPrefix(e.Reason, "readings of ") && e.Person == admin.ID {
			said++
			if !e.Concerns(a) || !e.Concerns(b) {
				t.Errorf("not found under both patients: %+v", e)
			}
		}
		if strings.HasPrefix(e.Reason, "asks for approval: ") && (!e.Concerns(a) || !e.Concerns(b)) {
			t.Errorf("the request is not found under both patients: %+v", e)
		}
	}
	if said != 3 {
		t.Errorf("%d entries say what went, what came and that it was done, and by whom it was asked for and approved", said)
	}
}

// TestMoveAfterLateTransfer: a transfer that is entered late, so that both were in one ward in the span, does not make it one person's act.
func TestMoveAfterLateTransfer(t *testing.T) {
	w, a, b, body, has := twoCharts(t)
	w.get("admin", "PUT", "two-persons", `{"on":true}`, http.StatusOK, nil)
	w.get("admin", "POST", "patients/"+b+"/admit", `{"bed":"a-2","at":"`+time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339)+`"}`, http.StatusNoContent, nil)
	w.request("POST", "readings/move", body(a, b))
	if has(a) != 1 {
		t.Error("moved by one person")
	}
}

// TestMoveWithinWard is one person's act: a nurse of the ward mends a chart at night.
func TestMoveWithinWard(t *testing.T) {
	w, a, _, body, has := twoCharts(t)
	w.get("admin", "PUT", "two-persons", `{"on":true}`, http.StatusOK, nil)
	c, err := w.store.CreatePatient(t.Context(), "C")
	w.must(err)
	w.must(w.store.Admit(t.Context(), c, "a-2", time.Now().Add(-2*time.Hour)))
	w.get("nurse", "POST", "readings/move", body(a, c), http.StatusCreated, nil)
	if has(a) != 0 || has(c) != 1 || len(w.events(access.EventMoved)) > 0 {
		t.Errorf("%d and %d, told of %v", has(a), has(c), w.told)
	}
}

// TestMoveByOnePersonIsTold: where acts take one person, others learn of it. What is refused is not told as done.
func TestMoveByOnePersonIsTold(t *testing.T) {
	w, a, b, body, _ := twoCharts(t)
	w.must(w.store.PlaceHold(t.Context(), a, "u-law", "trial"))
	w.get("admin", "POST", "readings/move", body(a, b), http.StatusConflict, nil)
	if len(w.events(access.EventMoved)) > 0 {
		t.Errorf("refused, and yet told: %v", w.told)
	}
	w.must(w.store.ReleaseHold(t.Context(), a))
	w.get("admin", "POST", "readings/move", body(a, b), http.StatusCreated, nil)
	admin, _, err := w.store.PersonByLogin(t.Context(), "admin")
	w.must(err)
	got := w.events(access.EventMoved)
	if len(got) != 1 || got[0].Person != admin.ID || got[0].Where != station || !strings.Contains(got[0].Detail, "from "+a+" to "+b) {
		t.Errorf("told: %+v", got)
	}
}

// TestTicketOfDisplay: a new ticket for a wall display shows its wards elsewhere: it takes two persons, or is told.
func TestTicketOfDisplay(t *testing.T) {
	w, _, _, _, _ := twoCharts(t)
	wall := domain + "/workstation/wall"
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: wall, Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"ward-a"}, State: directory.DeviceActive}))
	w.get("admin", "POST", "identities/workstation/wall/ticket", `{}`, http.StatusCreated, nil)
	if got := w.events(access.EventDisplay); len(got) != 1 || got[0].Where != wall {
		t.Errorf("told: %+v", got)
	}
	w.changes = nil
	w.get("admin", "PUT", "two-persons", `{"on":true}`, http.StatusOK, nil)
	asked := w.request("POST", "identities/workstation/wall/ticket", `{}`)
	if what := strings.Join(asked.Waiting.What, "\n"); !strings.Contains(what, wall) || !strings.Contains(what, "ward-a is the ward ward-a") {
		t.Errorf("the approver reads %q", what)
	}
	if len(w.changes) > 0 {
		t.Errorf("done by one person: %v", w.changes)
	}
	w.get("admin", "POST", "identities/gateway/gw-1/ticket", `{}`, http.StatusCreated, nil) // shows nothing to a person
	if text := w.get("auditor", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, http.StatusCreated, nil); !strings.Contains(text, "NEW-SECRET") {
		t.Error(text)
	}
	if len(w.changes) != 2 || !strings.HasPrefix(w.changes[1], "reissue "+wall+" for ") {
		t.Errorf("%v", w.changes)
	}
}
