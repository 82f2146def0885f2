package dashboard

import (
	"errors"
	"net/http"
	"time"

	"vitalseal/internal/hub/access"
)

// notices tells a patient what is new about who may see the values, and what happened to the patient's own login.
func (h *Handler) notices(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := h.cfg.Access.Decide(r.Context(), s, access.ViewAccesses, access.OnPatient(id)); err != nil {
		return err
	}
	list, err := h.cfg.Store.Notices(r.Context(), id)
	if err != nil {
		return err
	}
	type notice struct {
		At     time.Time `json:"at"`
		Kind   string    `json:"kind"` // login, login-reset, treats or ward
		Person string    `json:"person"`
		Login  string    `json:"login"`
		Role   string    `json:"role"`
	}
	out := make([]notice, 0, len(list))
	for _, n := range list {
		p, err := h.cfg.Store.Person(r.Context(), n.Person)
		if err != nil && !errors.Is(err, access.ErrNotFound) {
			return err
		}
		out = append(out, notice{n.At.UTC(), n.Kind, p.DisplayName, p.Login, string(p.Role)})
	}
	h.write(w, http.StatusOK, out)
	return nil
}
