package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// reviewOut is one emergency access, for the reviewer.
type reviewOut struct {
	ID          string     `json:"id"`
	Person      string     `json:"person"`
	PersonName  string     `json:"person_name"`
	Role        string     `json:"role"`
	Patient     string     `json:"patient"`
	BedName     string     `json:"bed_name"` // where the patient lies now; empty: nowhere
	WardName    string     `json:"ward_name"`
	Workstation string     `json:"workstation"`
	Reason      string     `json:"reason"`
	Opened      time.Time  `json:"opened"`
	Expires     time.Time  `json:"expires"`
	Reviewed    *time.Time `json:"reviewed"` // null: not yet
	ReviewedBy  string     `json:"reviewed_by"`
	Outcome     string     `json:"outcome"`
	Note        string     `json:"note"`
}

// reviews are the emergency accesses; with open=1 only those without a judgement.
func (h *handler) reviews(ctx context.Context, rq *api.Request) (any, error) {
	list, err := h.Access.Emergencies(ctx, rq.Subject, rq.URL.Query().Get("open") == "1")
	if err != nil {
		return nil, err
	}
	beds, wards, err := h.names(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]reviewOut, 0, len(list))
	for _, g := range list {
		o := reviewOut{ID: g.ID, Person: g.PersonID, Patient: g.PatientID, Workstation: g.Workstation, Reason: g.Reason,
			Opened: g.Opened.UTC(), Expires: g.Expires.UTC(), ReviewedBy: g.ReviewedBy, Outcome: g.Outcome, Note: g.Note}
		if !g.Reviewed.IsZero() {
			at := g.Reviewed.UTC()
			o.Reviewed = &at
		}
		if p, err := h.Store.Person(ctx, g.PersonID); err == nil {
			o.PersonName, o.Role = p.DisplayName, string(p.Role)
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if p, err := h.Store.Patient(ctx, g.PatientID); err == nil {
			o.BedName, o.WardName = beds[p.Bed], wards[p.Ward]
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// names are the names of beds and wards, by id.
func (h *handler) names(ctx context.Context) (beds, wards map[string]string, err error) {
	b, err := h.Store.Beds(ctx)
	if err != nil {
		return nil, nil, err
	}
	w, err := h.Store.Wards(ctx)
	if err != nil {
		return nil, nil, err
	}
	beds, wards = map[string]string{}, map[string]string{}
	for _, x := range b {
		beds[x.ID] = x.Name
	}
	for _, x := range w {
		wards[x.ID] = x.Name
	}
	return beds, wards, nil
}

func (h *handler) review(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Outcome string `json:"outcome"`
		Note    string `json:"note"`
	}](rq)
	if err != nil {
		return nil, err
	}
	return nil, h.Access.ReviewEmergency(ctx, rq.Subject, rq.PathValue("id"), in.Outcome, in.Note)
}

// explain answers ?who=LOGIN&what=ACTION&on=KIND:ID: what the policies would say, and which rules decide. It supposes that
// the person has just signed in at the workstation that asks.
func (h *handler) explain(ctx context.Context, rq *api.Request) (any, error) {
	query := rq.URL.Query()
	who, err := h.whom(ctx, query.Get("who"))
	if err != nil {
		return nil, err
	}
	action := access.Action(query.Get("what"))
	if !slices.Contains(access.Actions(), action) {
		return nil, api.Invalid("what", "one of %v", access.Actions())
	}
	kind, id, _ := strings.Cut(query.Get("on"), ":")
	on := access.Resource{Kind: kind, ID: id}
	if !slices.Contains([]string{access.KindPatient, access.KindWard, access.KindChannel, access.KindSystem}, kind) || (id == "") != (kind == access.KindSystem) {
		return nil, api.Invalid("on", "patient:ID, ward:ID, channel:NUMBER or system")
	}
	now := time.Now()
	x, err := h.Access.Explain(ctx, access.Subject{Person: who, Workstation: rq.Subject.Workstation, SessionStarted: now, Proven: now}, action, on)
	if err != nil {
		return nil, err
	}
	type rule struct {
		ID     string `json:"id"`
		Line   int    `json:"line"` // in the policy file
		Forbid bool   `json:"forbid"`
		Holds  bool   `json:"holds"`
		Failed string `json:"failed"` // the condition that does not hold, as it stands in the file
	}
	out := struct {
		Allowed  bool     `json:"allowed"`
		StepUp   bool     `json:"step_up"`
		Reason   string   `json:"reason"`
		Deciding []string `json:"deciding"`
		Rules    []rule   `json:"rules"`
	}{x.Allowed, x.StepUp, x.Reason, append([]string{}, x.Deciding...), []rule{}}
	for _, r := range x.Rules {
		out.Rules = append(out.Rules, rule{r.ID, r.Line, r.Forbid, r.Holds, r.Failed})
	}
	return out, nil
}

// whom is the person with this login or id.
func (h *handler) whom(ctx context.Context, who string) (access.Person, error) {
	p, err := h.Store.Person(ctx, who)
	if errors.Is(err, store.ErrNotFound) {
		login, _ := signin.NormalLogin(who)
		p, _, err = h.Store.PersonByLogin(ctx, login)
	}
	return p, notFoundAs(err, "who", "no person with this login or id")
}

// choices are what explain may be asked about: people, actions, and patients by their bed. No names of patients.
func (h *handler) choices(ctx context.Context, _ *api.Request) (any, error) {
	type person struct {
		Login string      `json:"login"`
		Name  string      `json:"name"`
		Role  access.Role `json:"role"`
	}
	type patient struct {
		ID       string `json:"id"`
		BedName  string `json:"bed_name"`
		WardName string `json:"ward_name"`
	}
	out := struct {
		Persons  []person        `json:"persons"`
		Actions  []access.Action `json:"actions"`
		Patients []patient       `json:"patients"`
		Wards    []wardOut       `json:"wards"`
	}{[]person{}, slices.DeleteFunc(access.Actions(), func(a access.Action) bool { return a == access.AppendVitals }), []patient{}, []wardOut{}}
	persons, err := h.Store.Persons(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range persons {
		o := person{p.Login, p.DisplayName, p.Role}
		if p.Role == access.RolePatient {
			o.Name = "" // a patient's name is not the reader's to see
		}
		out.Persons = append(out.Persons, o)
	}
	refs, err := h.Store.Patients(ctx)
	if err != nil {
		return nil, err
	}
	beds, wards, err := h.names(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range refs {
		out.Patients = append(out.Patients, patient{p.ID, beds[p.Bed], wards[p.Ward]})
	}
	for id, name := range wards {
		out.Wards = append(out.Wards, wardOut{id, name})
	}
	slices.SortFunc(out.Wards, func(a, b wardOut) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}
