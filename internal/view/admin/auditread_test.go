package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/view/admin"
)

// TestSearchOfTheAuditLog: what is asked for reaches the log as it was meant, what is none is refused by its name, and only who may read
// the log may ask.
func TestSearchOfTheAuditLog(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAuditor, "")
	w.sign(access.RoleAdmin, "")
	w.sign(access.RoleNurse, "")
	const long = "audit/search?size=900&before=800&n=20&person=u-1&patient=p-2&action=patient:view&answer=refused&from=2026-03-01T08:00:00Z&to=2026-03-02T08:00:00%2B01:00"
	text := w.get("auditor", "GET", long, "", http.StatusOK, nil)
	if text != `{"entries":[{"seq":3,"line":"{\"seq\":3}","proof":[]}],"next":3,"looked":null}` {
		t.Error(text)
	}
	day := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	want := admin.AuditQuestion{Size: 900, Before: 800, N: 20, Person: "u-1", Patient: "p-2", Action: "patient:view", Answer: "refused", From: day, To: day.Add(23 * time.Hour)}
	if w.sought != want {
		t.Errorf("asked for %+v, want %+v", w.sought, want)
	}
	w.get("auditor", "GET", "audit/search", "", http.StatusOK, nil)
	if want = (admin.AuditQuestion{Size: -1, Before: 1<<63 - 1, N: 100}); w.sought != want {
		t.Errorf("asked for all: %+v", w.sought)
	}
	for query, names := range map[string]string{"size=-1": "size", "before=x": "before", "n=101": "1 to 100", "n=0": "1 to 100", "answer=maybe": "answer", "from=yesterday": "from", "to=1": "to",
		"from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z": "to", "person=" + strings.Repeat("x", 257): "person", "action=" + strings.Repeat("x", 300): "action"} {
		if text := w.get("auditor", "GET", "audit/search?"+query, "", http.StatusBadRequest, nil); !strings.Contains(text, names) {
			t.Errorf("%.40s: %s", query, text)
		}
	}
	w.fail = fmt.Errorf("%w: 9 of 3", admin.ErrAuditQuestion)
	w.get("auditor", "GET", "audit/search?size=9", "", http.StatusBadRequest, nil)
	for _, role := range []access.Role{"nurse", "admin"} {
		w.get(role, "GET", "audit/search", "", http.StatusForbidden, nil)
		w.get(role, "GET", "audit/names", "", http.StatusForbidden, nil)
	}
}

// TestNamesOfTheAuditLog: ids of persons, wards and beds have their names, patients where they lie: no name of a patient.
func TestNamesOfTheAuditLog(t *testing.T) {
	w, a, _ := twoWards(t)
	w.sign(access.RoleAuditor, "")
	secret, err := w.store.CreatePatient(t.Context(), "Xaver Unerhört")
	w.must(err)
	var got struct {
		Persons []struct {
			ID, Login, Name string
			Role            access.Role
		}
		Patients []struct {
			ID   string
			Bed  string `json:"bed_name"`
			Ward string `json:"ward_name"`

			Forgotten bool
		}
		Wards, Beds map[string]string
		Actions     []string
	}
	w.sign(access.RolePatient, a)
	gone, err := w.store.CreatePatient(t.Context(), "Gone Unerhört")
	w.must(err)
	w.must(w.store.Forget(t.Context(), gone))
	text := w.get("auditor", "GET", "audit/names", "", http.StatusOK, &got)
	if strings.Contains(text, "Unerh") || strings.Contains(text, `"login":"patient"`) {
		t.Errorf("a patient's name: %s", text)
	}
	beds := map[string]string{}
	for _, p := range got.Patients {
		beds[p.ID] = p.Bed + "/" + p.Ward
		if p.Forgotten != (p.ID == gone) {
			t.Errorf("forgotten: %+v", p)
		}
	}
	if len(got.Persons) != 5 || len(beds) != 4 || beds[a] != "a-1/ward-a" || beds[secret] != "/" || got.Wards["ward-b"] == "" || got.Beds["a-2"] == "" || len(got.Actions) < 20 {
		t.Errorf("%s", text)
	}
}
