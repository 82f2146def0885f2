//go:build weaken

package dashboard

import (
	"net/http"
	"os"
	"strings"

	"vitalseal/internal/access"
	"vitalseal/internal/lab/weaken"
)

// kept keeps the session that the browser came with, for whoever signs in.
func (h *Handler) kept(r *http.Request, s access.Subject) bool {
	if !weaken.Skip(weaken.FreshSession) {
		return false
	}
	old, err := h.lastSubject(r)
	return err == nil && h.cfg.SignIn.Adopt(r.Context(), old.Session, s.Person.ID) == nil
}

// anyFile serves whatever file the address leads to.
func anyFile(w http.ResponseWriter, r *http.Request) bool {
	if !weaken.Skip(weaken.KnownFiles) {
		return false
	}
	b, err := os.ReadFile(strings.TrimPrefix(r.URL.Path, "/")) // #nosec G304 G703 -- the hole that the control needs
	if err != nil {
		return false
	}
	_, _ = w.Write(b) // #nosec G705 -- likewise
	return true
}
