package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
)

// actFields is what an act that waits will change, as fields, for a page that says it in its own language: all that its sentences (What)
// say. It has no part of a password, and names no patient.
type actFields struct {
	Name    string      `json:"name,omitempty"` // of the person whom it makes or concerns
	Login   string      `json:"login,omitempty"`
	Role    access.Role `json:"role,omitempty"`
	Self    string      `json:"self,omitempty"`   // the patient that the person is
	Before  *relations  `json:"before,omitempty"` // what the person may see; absent: nothing
	After   *relations  `json:"after,omitempty"`
	Display *displayAct `json:"display,omitempty"`
	Move    *moveAct    `json:"move,omitempty"`
	// What ids mean: wards by name, and where patients lie now; a patient who is not known any more is not in it.
	WardNames map[string]string  `json:"ward_names"`
	Lie       map[string]actsBed `json:"lie"`
}

// actsBed is where a patient lies: nowhere, or at a bed of a ward.
type actsBed struct {
	Bed  string `json:"bed"`
	Ward string `json:"ward"`
}

// fieldsOf are an act's; nil for one of a kind that this hub does not know.
func (h *handler) fieldsOf(ctx context.Context, kind string, raw []byte) (*actFields, error) {
	out := &actFields{WardNames: map[string]string{}, Lie: map[string]actsBed{}}
	var wards, patients []string
	person := func(id string) error {
		p, err := h.Store.Person(ctx, id)
		out.Name, out.Login, out.Role = p.DisplayName, p.Login, p.Role
		return err
	}
	var err error
	switch kind {
	case actPersonCreate:
		var in personIn
		if in, err = read[personIn](raw); err != nil {
			return nil, err
		}
		out.Name, out.Login, out.Role, out.Self = in.DisplayName, in.Login, in.Role, in.Self
		out.After = &relations{Role: in.Role, Wards: in.Wards, Patients: in.Patients}
		wards, patients = in.Wards, in.Patients
		if in.Self != "" {
			patients = append(slices.Clone(patients), in.Self)
		}
	case actRelations:
		var in relationsAct
		if in, err = read[relationsAct](raw); err != nil {
			return nil, err
		}
		out.Before, out.After = &in.Before, &in.After
		wards, patients = changed(in.Before.Wards, in.After.Wards), changed(in.Before.Patients, in.After.Patients)
		err = person(in.Person)
	case actEnable, actDisable, actPassword, actFactors:
		var in personAct
		if in, err = read[personAct](raw); err != nil {
			return nil, err
		}
		err = person(in.Person)
	case actDisplay, actTicket, actDisplayOn:
		var in displayAct
		if in, err = read[displayAct](raw); err != nil {
			return nil, err
		}
		out.Display, wards = &in, in.Wards
	case actMove:
		var in moveAct
		if in, err = read[moveAct](raw); err != nil {
			return nil, err
		}
		out.Move, patients = &in, []string{in.From, in.To}
		in.Begin, in.End = in.Begin.UTC().Truncate(time.Second), in.End.Add(-time.Microsecond).UTC().Truncate(time.Second) // first and last second, as in span
	case actTwoOff:
	default:
		return nil, nil
	}
	if err != nil {
		return out, err
	}
	for _, id := range patients {
		if id == store.Unassigned {
			continue
		}
		switch p, err := h.Store.Patient(ctx, id); {
		case err == nil:
			out.Lie[id] = actsBed{p.Bed, p.Ward}
			wards = append(slices.Clone(wards), p.Ward)
		case !errors.Is(err, store.ErrNotFound):
			return out, err
		}
	}
	all, err := h.Store.Wards(ctx)
	for _, w := range all {
		if slices.Contains(wards, w.ID) {
			out.WardNames[w.ID] = w.Name
		}
	}
	return out, err
}
