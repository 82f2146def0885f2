package dashboard

import (
	"context"
	"net/http"
	"os"
	"strings"

	"vitalseal/internal/hub/signin"
	"vitalseal/internal/lab/weaken"
)

// recheck asks nothing.
func (v *liveViewer) recheck(ctx context.Context) error {
	if !weaken.Skip(weaken.LiveRecheck) {
		return v.strictRecheck(ctx)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// begin keeps the session that the browser came with, for the person who signs in.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, s signin.SignedIn) error {
	if weaken.Skip(weaken.FreshSession) {
		old, err := h.lastSubject(r)
		if err == nil && h.cfg.SignIn.Adopt(r.Context(), old.Session, s.Subject.Person.ID) == nil {
			h.write(w, http.StatusOK, h.describe(r.Context(), s.Subject))
			return nil
		}
	}
	return h.strictBegin(w, r, s)
}

// ServeHTTP serves any file that the address leads to.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if weaken.Skip(weaken.KnownFiles) {
		b, err := os.ReadFile(strings.TrimPrefix(r.URL.Path, "/")) // #nosec G304 G703 -- the hole that the control needs
		if err == nil {
			_, _ = w.Write(b) // #nosec G705 -- likewise
			return
		}
	}
	h.strictServeHTTP(w, r)
}
