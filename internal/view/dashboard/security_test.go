package dashboard_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

type securityAnswer struct {
	MayAcknowledge bool `json:"may_acknowledge"`
	Events         []struct {
		ID, Kind, Place, Person, Detail string
		Beds                            []struct{ Bed string }
		First, Last                     time.Time
		Times                           int64
		Lasts, Again                    bool
	}
}

func (s securityAnswer) kinds() string {
	var out []string
	for _, e := range s.Events {
		if e.Kind != access.EventOnePerson { // lasts all through the test
			out = append(out, e.Kind)
		}
	}
	return strings.Join(out, " ")
}

// TestSecurityEvents: auditor and administrator see all of them, the ward's staff those of its beds, a patient none; only the first two
// acknowledge, by an entry in the audit log; what comes again is back.
func TestSecurityEvents(t *testing.T) {
	w := newWard(t)
	note := func(kind, place, person string) {
		t.Helper()
		if err := w.store.NoteSecurity(t.Context(), directory.SecurityEvent{Kind: kind, Place: place, Person: person, Detail: "as found", Last: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	note(access.EventGuessing, station, w.nurse)
	note(access.EventForgery, sensorOf("b-1"), "")
	note(access.EventNonce, sensorOf("a-1"), "")
	for login, want := range map[string]string{
		"auditor": "nonce-reused forgery guessing", "admin": "nonce-reused forgery guessing",
		"nurse": "nonce-reused", "doctor": "nonce-reused forgery", "patient": "",
	} {
		var got securityAnswer
		w.signedIn(login).get("/api/security", &got)
		watches := login == "auditor" || login == "admin"
		if got.kinds() != want || got.MayAcknowledge != watches {
			t.Errorf("%s sees %q, may acknowledge %v; want %q, %v", login, got.kinds(), got.MayAcknowledge, want, watches)
		}
		for _, e := range got.Events {
			if e.Person != "" && (!watches || e.Person != "Nurse Tomas Ek") {
				t.Errorf("%s reads the name %q at %s", login, e.Person, e.Kind)
			}
		}
	}

	auditor := w.signedIn("auditor")
	var got securityAnswer
	auditor.get("/api/security", &got)
	e := got.Events[1]
	if e.Kind != access.EventNonce || len(e.Beds) != 1 || e.Beds[0].Bed != "a-1" || e.Times != 1 || e.First.IsZero() || e.Detail != "as found" {
		t.Fatalf("%+v", e)
	}
	path := "/api/security/" + e.ID + "/acknowledge"
	w.signedIn("nurse").must("POST", path, map[string]any{"last": e.Last}, http.StatusForbidden)
	auditor.must("POST", path, map[string]any{"last": e.Last}, http.StatusNoContent)
	if auditor.get("/api/security", &got); got.kinds() != "forgery guessing" {
		t.Errorf("after the acknowledgement: %q", got.kinds())
	}
	var nurse securityAnswer
	if w.signedIn("nurse").get("/api/security", &nurse); nurse.kinds() != "" {
		t.Errorf("the ward still sees %q", nurse.kinds())
	}
	entries, err := w.trail.Recent(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, e := range entries {
		if strings.Contains(e.Reason, "acknowledge security event") {
			found += e.Role + " " + map[bool]string{true: "allowed", false: "refused"}[e.Allowed] + " " + e.Reason + "\n"
		}
	}
	if !strings.Contains(found, "auditor allowed acknowledge security event nonce-reused at "+sensorOf("a-1")) || !strings.Contains(found, "nurse refused") {
		t.Errorf("audited: %s", found)
	}
}

// TestSecurityComesBack: an acknowledgement counts for what was on the screen; what came in between stays.
func TestSecurityComesBack(t *testing.T) {
	w := newWard(t)
	began := time.Now().Add(-time.Minute)
	note := func(at time.Time) {
		t.Helper()
		if err := w.store.NoteSecurity(t.Context(), directory.SecurityEvent{Kind: access.EventDrift, Last: at}); err != nil {
			t.Fatal(err)
		}
	}
	note(began)
	admin := w.signedIn("admin")
	var got securityAnswer
	admin.get("/api/security", &got)
	if got.kinds() != access.EventDrift {
		t.Fatalf("%+v", got)
	}
	seen := got.Events[len(got.Events)-1]
	note(began.Add(time.Second)) // while the page still shows the first
	admin.must("POST", "/api/security/"+seen.ID+"/acknowledge", map[string]any{"last": seen.Last}, http.StatusNoContent)
	admin.get("/api/security", &got)
	if got.kinds() != access.EventDrift || !got.Events[len(got.Events)-1].Again {
		t.Errorf("what came after the screen was looked at is gone: %+v", got)
	}
}

// TestDoubledFields: a body that says a field twice signs no person in, whichever of the two is right.
func TestDoubledFields(t *testing.T) {
	w := newWard(t)
	for _, body := range []string{
		`{"login":"nurse","password":"wrong","password":"` + password + `"}`, `{"login":"nurse","password":"` + password + `","password":"wrong"}`,
		`{"login":"admin","Login":"nurse","password":"` + password + `"}`,
	} {
		status, text := w.browser().do("POST", "/api/session", json.RawMessage(body), nil)
		if status != http.StatusBadRequest || !strings.Contains(text, "is given twice") {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}
