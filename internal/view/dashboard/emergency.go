package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
)

// openEmergency is one emergency access that lasts, for the banner.
type openEmergency struct {
	Patient string `json:"patient"`
	place
	Person  string    `json:"person"` // display name of who opened it
	Opened  time.Time `json:"opened"`
	Expires time.Time `json:"expires"`
	Mine    bool      `json:"mine"` // the viewer's own, in this session
}

// emergencies are the emergency accesses that last and that the viewer must know of: their own, and those on patients whom
// the viewer may see without one. No reasons.
func (h *Handler) emergencies(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	open, err := h.cfg.Access.OpenEmergencies(ctx)
	if err != nil {
		return err
	}
	answer := struct {
		ServerTime time.Time       `json:"server_time"`
		Open       []openEmergency `json:"open"`
	}{h.now(), []openEmergency{}}
	if len(open) > 0 {
		rooms, err := h.rooms(ctx)
		if err != nil {
			return err
		}
		for _, g := range open {
			e, ok, err := h.emergency(ctx, s, g, rooms)
			if err != nil {
				return err
			}
			if ok {
				answer.Open = append(answer.Open, e)
			}
		}
	}
	h.write(w, http.StatusOK, answer)
	return nil
}

func (h *Handler) emergency(ctx context.Context, s access.Subject, g access.EmergencyAccess, rooms layout) (e openEmergency, ok bool, err error) {
	mine := g.PersonID == s.Person.ID && g.Session == s.Session
	ref, err := h.cfg.Store.Patient(ctx, g.PatientID)
	if errors.Is(err, access.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	if !mine {
		visible, err := h.cfg.Access.Filter(ctx, s, access.ViewPatient, []access.PatientRef{ref})
		if err != nil || len(visible) == 0 {
			return e, false, err
		}
	}
	person, err := h.cfg.Store.Person(ctx, g.PersonID)
	if err != nil {
		return e, false, err
	}
	return openEmergency{g.PatientID, rooms.place(ref), person.DisplayName, g.Opened.UTC(), g.Expires.UTC(), mine}, true, nil
}

// brokenBy are the patients that emergencies of this very session hold open.
func (h *Handler) brokenBy(ctx context.Context, s access.Subject) (patients []string) {
	open, err := h.cfg.Access.OpenEmergencies(ctx)
	if err != nil {
		return nil // only the words of a farewell depend on it
	}
	for _, g := range open {
		if g.PersonID == s.Person.ID && g.Session == s.Session {
			patients = append(patients, g.PatientID)
		}
	}
	return patients
}

// emergencyBeds are the taken beds that the person may open in an emergency and not otherwise, to find a patient by bed: no
// names, no values. Whether the proof of identity is fresh is asked when one is opened, so the list supposes it is.
func (h *Handler) emergencyBeds(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if _, err := h.cfg.Access.DecideLook(ctx, s, access.ListBeds, access.OnSystem(), "beds to open in an emergency"); err != nil {
		return err
	}
	refs, err := h.cfg.Store.Patients(ctx)
	if err != nil {
		return err
	}
	rooms, err := h.rooms(ctx)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(p access.PatientRef) bool { return p.Bed == "" })
	proven := s
	proven.Proven = h.cfg.Now()
	seen := map[string]bool{}
	visible, err := h.cfg.Access.Filter(ctx, s, access.ViewPatient, refs)
	if err != nil {
		return err
	}
	for _, p := range visible {
		seen[p.ID] = true
	}
	type bed struct {
		place
		Patient string `json:"patient"`
	}
	answer := struct {
		Beds []bed `json:"beds"`
	}{[]bed{}}
	openable, err := h.cfg.Access.Filter(ctx, proven, access.BreakGlass, refs)
	if err != nil {
		return err
	}
	for _, p := range openable {
		if !seen[p.ID] {
			answer.Beds = append(answer.Beds, bed{rooms.place(p), p.ID})
		}
	}
	slices.SortStableFunc(answer.Beds, func(a, b bed) int {
		switch {
		case a.WardName != b.WardName && a.WardName < b.WardName, a.WardName == b.WardName && lessNatural(a.Bed, b.Bed):
			return -1
		case a.WardName == b.WardName && a.Bed == b.Bed:
			return 0
		}
		return 1
	})
	h.write(w, http.StatusOK, answer)
	return nil
}

func (h *Handler) breakGlass(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	g, err := h.cfg.Access.BreakGlass(r.Context(), s, r.PathValue("id"), in.Reason)
	if err != nil {
		return err
	}
	h.write(w, http.StatusCreated, struct {
		ID      string    `json:"id"`
		Patient string    `json:"patient"`
		Expires time.Time `json:"expires"`
	}{g.ID, g.PatientID, g.Expires.UTC()})
	return nil
}

// accesses tells a patient who opened their values in an emergency, and why.
func (h *Handler) accesses(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	list, err := h.cfg.Access.EmergencyAccesses(r.Context(), s, r.PathValue("id"))
	if err != nil {
		return err
	}
	type accessed struct {
		Person   string    `json:"person"`
		Role     string    `json:"role"`
		Reason   string    `json:"reason"`
		Opened   time.Time `json:"opened"`
		Expires  time.Time `json:"expires"`
		Reviewed bool      `json:"reviewed"`
		Outcome  string    `json:"outcome,omitempty"`
	}
	out := make([]accessed, 0, len(list))
	for _, g := range list {
		p, err := h.cfg.Store.Person(r.Context(), g.PersonID)
		if err != nil && !errors.Is(err, access.ErrNotFound) {
			return err
		}
		out = append(out, accessed{p.DisplayName, string(p.Role), g.Reason, g.Opened.UTC(), g.Expires.UTC(), g.ReviewedBy != "", g.Outcome})
	}
	h.write(w, http.StatusOK, out)
	return nil
}

// consent lists the clinicians of the hospital who can come to see this patient, and whom of them the patient has excluded.
func (h *Handler) consent(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	excluded, err := h.cfg.Access.Exclusions(ctx, s, id)
	if err != nil {
		return err
	}
	ref, err := h.cfg.Store.Patient(ctx, id)
	if err != nil {
		return err
	}
	persons, err := h.cfg.Store.Persons(ctx)
	if err != nil {
		return err
	}
	type person struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Role     string `json:"role"`
		Excluded bool   `json:"excluded"`
	}
	out := []person{}
	for _, p := range persons {
		out2 := slices.Contains(excluded, p.ID)
		cares := p.Role == access.RoleNurse && slices.Contains(p.Wards, ref.Ward) || p.Role == access.RoleDoctor && slices.Contains(p.Patients, id)
		if out2 || cares && !p.Disabled {
			out = append(out, person{p.ID, p.DisplayName, string(p.Role), out2})
		}
	}
	h.write(w, http.StatusOK, out)
	return nil
}

// setConsent excludes a person from seeing the patient, or lets them again.
func (h *Handler) setConsent(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Person   string `json:"person"`
		Excluded bool   `json:"excluded"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.Access.Exclude(r.Context(), s, r.PathValue("id"), in.Person, in.Excluded); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
