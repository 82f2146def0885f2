package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"vitalseal/internal/access"
)

// checkpoint answers ?from=N with the audit log's signed checkpoint and the proof that its first N entries are still the
// ones that were there: for workstations, which remember it, so that nobody can rewrite the log unnoticed. It holds no
// entry, so it asks for an enrolled workstation and for no person.
func (h *Handler) checkpoint(w http.ResponseWriter, r *http.Request) error {
	return h.state(w, r, h.cfg.Checkpoint)
}

// watch is checkpoint for a workstation that waits for the next one: before a dangerous act is answered, it is shown to those.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) error {
	return h.state(w, r, func(ctx context.Context, from int64) (json.RawMessage, error) {
		if h.cfg.NextCheckpoint == nil {
			return nil, errNoSuchPath
		}
		return h.cfg.NextCheckpoint(ctx, h.cfg.Workstation(r), from)
	})
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request, source func(context.Context, int64) (json.RawMessage, error)) error {
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
	if source == nil {
		return errors.New("dashboard: no audit log to take a checkpoint of")
	}
	statement, err := source(r.Context(), from)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, statement)
	return nil
}
