package administer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"vitalseal/internal/workstation/client"
)

// TestOldPasswordOnce: a change of the own password sends the one that just signed in; no person is asked for it again.
func TestOldPasswordOnce(t *testing.T) {
	var got struct{ Old, New string }
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/account/password" {
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer hub.Close()
	c, err := client.New(hub.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(passwordEnv, "")
	t.Setenv(newPasswordEnv, "the new one")
	if err := changeOwnPassword(t.Context(), c, session{login: "nurse", password: "the one that was typed"}); err != nil {
		t.Fatal(err)
	}
	if got.Old != "the one that was typed" || got.New != "the new one" {
		t.Errorf("sent %+v", got)
	}
}
