package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

const (
	// securityFor is how long one look at the events serves all pages: they ask every few seconds.
	securityFor = 2 * time.Second
	// maxShownEvents bounds one answer; more says how many there are besides.
	maxShownEvents = 50
)

// security remembers the events for all who ask at once.
type security struct {
	mu   sync.Mutex // guards all below
	at   time.Time
	open []directory.SecurityEvent
}

// securityEvent is one event, for the Security banner and for the tiles of its beds.
type securityEvent struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Place  string    `json:"place"`  // SPIFFE id of the component or workstation; empty: none in particular
	Person string    `json:"person"` // display name; empty: none
	Detail string    `json:"detail"`
	Beds   []place   `json:"beds"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Times  int64     `json:"times"`
	Lasts  bool      `json:"lasts"`           // it is so now
	Again  bool      `json:"again,omitempty"` // it was acknowledged before, and goes on
}

type securityAnswer struct {
	ServerTime time.Time `json:"server_time"`
	// MayAcknowledge says that the reader watches over security: Events are then all that are open, else those of the beds that the
	// reader may know of.
	MayAcknowledge bool            `json:"may_acknowledge"`
	Events         []securityEvent `json:"events"`
	More           int             `json:"more,omitempty"` // that are not in Events
}

// watches is the action by which a person watches over security, of those that such a person is permitted; "" for others.
func (h *Handler) watches(ctx context.Context, s access.Subject) access.Action {
	for _, a := range []access.Action{access.ViewAudit, access.ManageDirectory} {
		if h.cfg.Access.May(ctx, s, a, access.OnSystem()) {
			return a
		}
	}
	// An administrator whose administration is paused (policy risk-too-high) still sees, and is told so at an acknowledgement.
	if s.Person.Role == access.RoleAdmin && h.cfg.Access.May(ctx, s, access.ViewDelivery, access.OnSystem()) {
		return access.ManageDirectory
	}
	return ""
}

// openEvents are the events that must be shown now.
func (h *Handler) openEvents(ctx context.Context) ([]directory.SecurityEvent, error) {
	now := h.cfg.Now()
	h.alerts.mu.Lock()
	defer h.alerts.mu.Unlock()
	if age := now.Sub(h.alerts.at); age >= 0 && age < securityFor {
		return h.alerts.open, nil
	}
	all, err := h.cfg.Store.SecurityEvents(ctx, now)
	if err != nil {
		return nil, err
	}
	if all, err = h.withOnePerson(ctx, all, now); err != nil {
		return nil, err
	}
	h.alerts.open = slices.DeleteFunc(all, func(e directory.SecurityEvent) bool { return !e.Open(now) })
	// Guesses come last: a person who has not signed in can make one event a login of them, and so hide the others.
	rank := func(e directory.SecurityEvent) int {
		if e.Kind == access.EventGuessing {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(h.alerts.open, func(a, b directory.SecurityEvent) int { return rank(a) - rank(b) })
	h.alerts.at = now
	return h.alerts.open, nil
}

// withOnePerson adds that one administrator alone is enough for dangerous acts, for as long as that is so.
func (h *Handler) withOnePerson(ctx context.Context, all []directory.SecurityEvent, now time.Time) ([]directory.SecurityEvent, error) {
	e := directory.SecurityEvent{ID: directory.SecurityID(access.EventOnePerson, "", ""), Kind: access.EventOnePerson, First: now, Times: 1}
	if i := slices.IndexFunc(all, func(x directory.SecurityEvent) bool { return x.ID == e.ID }); i >= 0 {
		e = all[i]
		all = slices.Delete(all, i, i+1)
	}
	t, err := h.cfg.Access.TwoPersons(ctx)
	if err != nil || t.On {
		return all, err
	}
	e.Last, e.Lasts, e.Detail = now, true, fmt.Sprintf("%d could approve, %d are needed", len(t.Approvers), access.MinApprovers)
	if t.Off {
		e.Detail = "the hub's configuration says two_persons: off"
	}
	if !t.Since.IsZero() {
		e.First = t.Since
	}
	return append([]directory.SecurityEvent{e}, all...), nil
}

// securityEvents are what must be shown to the reader now.
func (h *Handler) securityEvents(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	answer := securityAnswer{ServerTime: h.now(), MayAcknowledge: h.watches(ctx, s) != "", Events: []securityEvent{}}
	open, err := h.openEvents(ctx)
	if err != nil {
		return err
	}
	if len(open) == 0 {
		h.write(w, http.StatusOK, answer)
		return nil
	}
	rooms, err := h.rooms(ctx)
	if err != nil {
		return err
	}
	for _, e := range open {
		out := securityEvent{e.ID, e.Kind, e.Place, "", e.Detail, []place{}, e.First.UTC(), e.Last.UTC(), e.Times, e.Lasts, !e.Seen.IsZero()}
		var refs []access.PatientRef
		for _, b := range rooms.beds {
			if slices.Contains(e.Beds, b.ID) {
				refs = append(refs, access.PatientRef{Ward: b.Ward, Bed: b.ID})
			}
		}
		if !answer.MayAcknowledge {
			if refs, err = h.whoseBeds(ctx, s, refs); err != nil {
				return err
			}
			if len(refs) == 0 || s.Person.Role == access.RolePatient {
				continue
			}
		} else if e.Person != "" {
			p, err := h.cfg.Store.Person(ctx, e.Person)
			if err != nil && !errors.Is(err, access.ErrNotFound) {
				return err
			}
			out.Person = p.DisplayName
		}
		if len(answer.Events) >= maxShownEvents {
			answer.More++
			continue
		}
		for _, ref := range refs {
			out.Beds = append(out.Beds, rooms.place(ref))
		}
		answer.Events = append(answer.Events, out)
	}
	h.write(w, http.StatusOK, answer)
	return nil
}

// whoseBeds are those of beds that the person may know of, by who lies there.
func (h *Handler) whoseBeds(ctx context.Context, s access.Subject, beds []access.PatientRef) ([]access.PatientRef, error) {
	if len(beds) == 0 {
		return nil, nil
	}
	admitted, err := h.cfg.Store.Patients(ctx)
	if err != nil {
		return nil, err
	}
	for i := range beds {
		for _, p := range admitted {
			if p.Bed == beds[i].Bed {
				beds[i] = p
			}
		}
	}
	return h.cfg.Access.Filter(ctx, s, access.ListBeds, beds)
}

// acknowledgeSecurity notes that the person has seen an event. It is shown again if it comes again, or goes on for long.
func (h *Handler) acknowledgeSecurity(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Last time.Time `json:"last"` // of what was on the screen: what came since stays
	}
	if err := read(r, &in); err != nil {
		return err
	}
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	action, id := h.watches(ctx, s), r.PathValue("id")
	if action == "" {
		action = access.ViewAudit // decides, refuses, and is in the audit log
	}
	open, err := h.openEvents(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(open, func(e directory.SecurityEvent) bool { return e.ID == id })
	words := "acknowledge security event"
	if i >= 0 {
		words += " " + open[i].Kind + " at " + open[i].Place
	}
	if _, err := h.cfg.Access.DecideFor(ctx, s, action, access.OnSystem(), words); err != nil {
		return err
	}
	if i < 0 {
		w.WriteHeader(http.StatusNoContent) // another person was faster
		return nil
	}
	seen := h.cfg.Now()
	if !open[i].Lasts && !in.Last.IsZero() && in.Last.Before(seen) {
		seen = in.Last
	}
	if err := h.cfg.Store.AcknowledgeSecurity(ctx, open[i], s.Person.ID, seen); err != nil {
		return err
	}
	h.alerts.mu.Lock()
	h.alerts.at = time.Time{}
	h.alerts.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
	return nil
}
