package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/workstation/client"
)

// TestExportedNames: the text of an entry has what its ids mean beside them, by what the hub tells the
// person who asks: an auditor no patient's name, an administrator that too; a forgotten patient is
// forgotten; a name leads no terminal astray; and the JSON lines have no names.
func TestExportedNames(t *testing.T) {
	entry := audit.Entry{Person: "u-aaaaaaaa", Role: "nurse", Action: "readings:move", Resource: "ward:ward-a", Allowed: true,
		Patients: []string{"p-aaaaaaaa", "p-bbbbbbbb", "p-unknown"}, Reason: "wards of u-bbbbbbbb: [a] -> [b]"}
	for role, x := range map[string]struct{ want, never []string }{
		"auditor": {[]string{`u-aaaaaaaa (Tomás \u202eEk, tomas)`, "on ward:ward-a (Cardiology)", "p-aaaaaaaa (Bed 1, Cardiology)", "p-bbbbbbbb (forgotten)", "p-unknown  by",
			"u-bbbbbbbb (login of a patient: forgotten)"}, []string{"Ada", "\u202e", "admin/patients"}},
		"admin": {[]string{"u-aaaaaaaa (Tomás", "on ward:ward-a (Cardiology)", "p-aaaaaaaa (Ada Brandt)", "p-bbbbbbbb (forgotten)", "p-unknown  by",
			"u-bbbbbbbb (login of a patient: forgotten)"}, []string{"\u202e", "Bed 1,"}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := map[string]any{
				"/api/session":        map[string]any{"role": role},
				"/api/admin/wards":    []any{map[string]any{"id": "ward-a", "name": "Cardiology"}},
				"/api/admin/beds":     []any{map[string]any{"id": "a-1", "ward": "ward-a", "name": "Bed 1"}},
				"/api/admin/patients": []any{map[string]any{"id": "p-aaaaaaaa", "name": "Ada Brandt"}, map[string]any{"id": "p-bbbbbbbb", "name": "(forgotten)"}},
				"/api/admin/persons": []any{map[string]any{"id": "u-aaaaaaaa", "login": "tomas", "display_name": "Tomás \u202eEk"},
					map[string]any{"id": "u-bbbbbbbb", "login": "", "display_name": "(forgotten)", "self": "p-bbbbbbbb"}},
				"/api/admin/audit/names": map[string]any{
					"persons":  []any{map[string]any{"id": "u-aaaaaaaa", "login": "tomas", "name": "Tomás \u202eEk"}, map[string]any{"id": "u-bbbbbbbb", "self": "p-bbbbbbbb"}},
					"patients": []any{map[string]any{"id": "p-aaaaaaaa", "bed_name": "Bed 1", "ward_name": "Cardiology"}, map[string]any{"id": "p-bbbbbbbb", "forgotten": true}},
					"wards":    map[string]any{"ward-a": "Cardiology"}, "beds": map[string]any{"a-1": "Bed 1"}},
			}[r.URL.Path]
			if answer == nil || role == "auditor" && (r.URL.Path == "/api/admin/patients" || r.URL.Path == "/api/admin/persons") {
				t.Errorf("%s asks %s", role, r.URL.Path)
			}
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
		}))
		c, err := client.New(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		names, err := askNames(t.Context(), c)
		if err != nil {
			t.Fatal(role, err)
		}
		var b bytes.Buffer
		if err := printEntry(&b, entry, names); err != nil {
			t.Fatal(err)
		}
		for _, want := range x.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: %q is not in %s", role, want, b.String())
			}
		}
		for _, never := range x.never {
			if strings.Contains(b.String(), never) {
				t.Errorf("%s: %q is in %s", role, never, b.String())
			}
		}
		server.Close()
	}
}
