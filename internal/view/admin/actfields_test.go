package admin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

// TestFieldsOfWhatWaits: what an act will change is there as fields too, all of it, for a page in another language: each id and login of the
// request, and what the ids mean; no name of a patient, no part of a password.
func TestFieldsOfWhatWaits(t *testing.T) {
	w, patient, doctor, _ := twoPersons(t)
	for _, id := range []string{"wall-2", "wall-3"} {
		w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: "spiffe://demo.vitalseal.internal/workstation/" + id, Kind: "workstation", Mode: directory.ModeDisplay,
			Wards: []string{"ward-a"}, State: directory.DeviceDisabled}))
	}
	for name, x := range map[string]struct{ method, path, body, has string }{
		"a doctor":       {"POST", "persons", `{"login":"new-d","display_name":"Nora Neu","role":"doctor","patients":["` + patient + `"]}`, "Nora Neu,new-d,doctor," + patient},
		"a patient":      {"POST", "persons", `{"login":"new-p","display_name":"P","role":"patient","self":"` + patient + `"}`, `new-p,"self":"` + patient},
		"a nurse":        {"POST", "persons", `{"login":"new-n","display_name":"N","role":"nurse","wards":["ward-a"]}`, `new-n,nurse,ward-a,{"ward-a":"A"}`},
		"a relationship": {"PUT", "persons/" + doctor + "/patients", `{"patients":["` + patient + `"]}`, `"login":"doctor","before","after",` + patient},
		"a role":         {"PUT", "persons/" + doctor + "/role", `{"role":"auditor"}`, `"role":"doctor","role":"auditor"`},
		"a password":     {"POST", "persons/" + doctor + "/password", `{}`, `"login":"doctor"`},
		"its ticket":     {"POST", "identities/workstation/wall-2/ticket", `{}`, `workstation/wall-2,"wards":["ward-a"],{"ward-a":"A"}`},
		"let in again":   {"POST", "identities/workstation/wall-3/enable", `{}`, `workstation/wall-3,"wards":["ward-a"],{"ward-a":"A"}`},
		"a display":      {"POST", "workstations", `{"id":"wall","mode":"display","wards":["ward-a"]}`, `workstation/wall,"wards":["ward-a"],{"ward-a":"A"}`},
	} {
		var got struct {
			Waiting struct {
				Kind   string
				Fields json.RawMessage
			}
		}
		w.get(access.RoleAdmin, x.method, x.path, x.body, 202, &got)
		text := string(got.Waiting.Fields)
		for _, part := range strings.Split(x.has, `,`) {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %s is not in %s", name, part, text)
			}
		}
		if strings.Contains(text, "first_half") || strings.Contains(text, "Ada") {
			t.Errorf("%s: part of a password, or a patient's name: %s", name, text)
		}
	}
	// The list has them as well, for who approves.
	if text := w.get("auditor", "GET", "approvals", "", 200, nil); !strings.Contains(text, `"fields":{"name":"Nora Neu"`) {
		t.Error(text)
	}
}
