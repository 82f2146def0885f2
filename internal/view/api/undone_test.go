package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/api"
)

// TestUndone: an act that was allowed and then not done stands in the audit log as refused where
// the request was wrong, and as not decided where the hub failed.
func TestUndone(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	e, err := access.New(accesstest.New().WithEveryRole(), log, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	g, err := e.Decide(t.Context(), accesstest.Subject(access.RoleAdmin), access.ManageDirectory, access.OnSystem())
	if err != nil {
		t.Fatal(err)
	}
	for status, undecided := range map[int]bool{
		http.StatusBadRequest: false, http.StatusConflict: false, http.StatusTooManyRequests: false,
		http.StatusInternalServerError: true, http.StatusServiceUnavailable: true, http.StatusInsufficientStorage: true,
	} {
		if err := api.Undone(e, status, nil)(t.Context(), g, access.OnPatient("own"), fmt.Sprint("status ", status)); err != nil {
			t.Fatal(err)
		}
		all, err := log.Recent(t.Context(), 1)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if got := all[0]; got.Allowed || got.Undecided() != undecided || got.Patient != "own" || got.Person != "admin" || got.Action != "directory:manage" {
			t.Errorf("%d: %+v", status, got)
		}
	}
	// What holds already is not written down as not done, whatever the answer is.
	held := fmt.Errorf("not on disk yet: %w", access.ErrInForce)
	if err := api.Undone(e, http.StatusServiceUnavailable, held)(t.Context(), g, access.OnPatient("own"), "disabled, in force"); err != nil {
		t.Fatal(err)
	}
	if all, err := log.Recent(t.Context(), 1); err != nil || len(all) != 1 || !all[0].Allowed || all[0].Undecided() || all[0].Reason != "disabled, in force" {
		t.Errorf("in force: %+v, %v", all, err)
	}
}
