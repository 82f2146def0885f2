package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"vitalseal/internal/hub/access"
)

// Statement answers a workstation (SPIFFE id) that is a witness of the audit log: said is what it remembers and has seen, which this package
// does not look into, or nil where the workstation only says how many entries it remembers. wait: when there is something to see.
// ErrAsk means that said is malformed.
type Statement func(ctx context.Context, workstation string, from int64, said []byte, wait bool) (json.RawMessage, error)

// ErrAsk is a Statement's answer to what it cannot read.
var ErrAsk = errors.New("dashboard: malformed message of a witness")

// maxSaid bounds what a workstation says of what it has seen.
const maxSaid = 20 << 10

// checkpoint answers ?from=N with the audit log's signed checkpoint and the proof that its first N entries are still the
// ones that were there: for workstations, which remember it, so that no operator can rewrite the log unnoticed. POST takes what the workstation
// has seen of logs as well, and the answer holds what others have. It holds no entry, so it asks for an enrolled workstation and for no person.
func (h *Handler) checkpoint(w http.ResponseWriter, r *http.Request) error {
	return h.state(w, r, false)
}

// watch is checkpoint for a workstation that waits for the next one: before a dangerous act is answered, it is shown to those.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) error {
	return h.state(w, r, true)
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request, wait bool) error {
	station := h.cfg.Gate.Workstation(r)
	if !access.IsWorkstation(station) {
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
	var said []byte
	if r.Method == http.MethodPost {
		var err error
		if said, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxSaid)); err != nil {
			return badRequest("The message is too large.")
		}
	}
	if h.cfg.Statement == nil {
		return errors.New("dashboard: no audit log to take a checkpoint of")
	}
	statement, err := h.cfg.Statement(r.Context(), station, from, said, wait)
	if errors.Is(err, ErrAsk) {
		return badRequest("This is no message of a witness.")
	}
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, statement)
	return nil
}
