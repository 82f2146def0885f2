package dashboard

import (
	"errors"
	"net/http"
	"strconv"

	"vitalseal/internal/access"
)

// checkpoint answers ?from=N with the audit log's signed checkpoint and the proof that its first N entries are still the
// ones that were there: for workstations, which remember it, so that nobody can rewrite the log unnoticed. It holds no
// entry, so it asks for an enrolled workstation and for no person.
func (h *Handler) checkpoint(w http.ResponseWriter, r *http.Request) error {
	if !access.IsWorkstation(h.cfg.Workstation(r)) {
		return access.ErrNoSession
	}
	from := int64(0)
	if s := r.URL.Query().Get("from"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return badRequest("from: a number of entries, 0 or more.")
		}
		from = n
	}
	if h.cfg.Checkpoint == nil {
		return errors.New("dashboard: no audit log to take a checkpoint of")
	}
	statement, err := h.cfg.Checkpoint(r.Context(), from)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, statement)
	return nil
}
