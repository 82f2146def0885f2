package admin

import (
	"context"
	"slices"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

type personIn struct {
	Login       string      `json:"login"`
	DisplayName string      `json:"display_name"`
	Role        access.Role `json:"role"`
	Wards       []string    `json:"wards"`    // nurse
	Patients    []string    `json:"patients"` // doctor: whom he treats
	Self        string      `json:"self"`     // patient: the patient's own id
	// FirstHalf is of the password, in an act that waits; a client cannot give it.
	FirstHalf string `json:"first_half,omitempty"`
}

// check refuses relationships that would have no effect for the role, before someone relies on them.
func (p *personIn) check() error {
	login, ok := signin.NormalLogin(p.Login)
	switch {
	case !ok:
		return api.Invalid("login", "1 to 64 of a-z, 0-9 and . _ @ -, starting with a letter or digit")
	case !p.Role.Valid():
		return api.Invalid("role", "one of %v", access.Roles())
	case len(p.Wards) > 0 && p.Role != access.RoleNurse:
		return api.Invalid("wards", "only for role nurse")
	case len(p.Patients) > 0 && p.Role != access.RoleDoctor:
		return api.Invalid("patients", "only for role doctor")
	case p.Self != "" && p.Role != access.RolePatient:
		return api.Invalid("self", "only for role patient")
	case p.Self == "" && p.Role == access.RolePatient:
		return api.Invalid("self", "required for role patient: the id of the patient")
	}
	p.Login = login
	return store.CheckDisplayName(p.DisplayName) // now, not when another person has approved it
}

func (h *handler) createPerson(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[personIn](rq)
	if err != nil {
		return nil, err
	}
	in.FirstHalf = ""
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.Wards, append(slices.Clone(in.Patients), in.Self)); err != nil {
		return nil, err
	}
	if err := h.newLogin(ctx, in); err != nil {
		return nil, err
	}
	return h.perform(ctx, rq, actPersonCreate, "login:"+in.Login, in)
}

func onPerson(id string) access.Resource { return access.Resource{Kind: "person", ID: id} }

// exist refuses relationships to wards or patients that do not exist: a typing error must not become the relationship of a later ward or patient.
func (h *handler) exist(ctx context.Context, wards, patients []string) error {
	known, err := h.Store.Wards(ctx)
	if err != nil {
		return err
	}
	for _, w := range wards {
		if !slices.ContainsFunc(known, func(k directory.Ward) bool { return k.ID == w }) {
			return api.Invalid("wards", "no ward %.64q", w)
		}
	}
	for _, p := range patients {
		if p == "" {
			continue
		}
		if _, err := h.Store.Patient(ctx, p); err != nil {
			return notFoundAs(err, "patients", "no patient %.64q", p)
		}
	}
	return nil
}

func (h *handler) setWards(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Wards []string `json:"wards"`
	}](rq)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if p.Role != access.RoleNurse {
		return nil, api.Invalid("wards", "only for role nurse")
	}
	if err := h.exist(ctx, in.Wards, nil); err != nil {
		return nil, err
	}
	return h.relate(ctx, rq, p, relations{p.Role, in.Wards, p.Patients})
}

func (h *handler) setPatients(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Patients []string `json:"patients"`
	}](rq)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if p.Role != access.RoleDoctor {
		return nil, api.Invalid("patients", "only for role doctor")
	}
	if err := h.exist(ctx, nil, in.Patients); err != nil {
		return nil, err
	}
	return h.relate(ctx, rq, p, relations{p.Role, p.Wards, in.Patients})
}

// setRole changes what a person is, with the relationships that the new role has. The old role's end in the same moment. It takes
// effect on live views as well.
func (h *handler) setRole(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[relations](rq)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	switch {
	case p.ID == rq.Subject.Person.ID:
		return nil, &api.BadRequest{Text: "your own role is changed by another administrator: the last one could be locked out"}
	case p.Role == access.RolePatient || in.Role == access.RolePatient:
		return nil, api.Invalid("role", "a patient's sign-in stays one, and no other becomes one; create another person")
	}
	check := personIn{Login: p.Login, Role: in.Role, Wards: in.Wards, Patients: in.Patients}
	if err := check.check(); err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.Wards, in.Patients); err != nil {
		return nil, err
	}
	return h.relate(ctx, rq, p, in)
}

// changePerson disables, enables or signs out a person, makes a one-time password, which is answered once, or takes away
// all second factors. All but enabling end the person's sessions.
func (h *handler) changePerson(ctx context.Context, rq *api.Request) (any, error) {
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	self := p.ID == rq.Subject.Person.ID
	perform := func(kind string) (any, error) {
		return h.perform(ctx, rq, kind, onPerson(p.ID).String(), personAct{Person: p.ID})
	}
	switch rq.PathValue("change") {
	case "enable":
		if !p.Disabled {
			return nil, nil
		}
		return perform(actEnable)
	case "disable":
		if self {
			return nil, &api.BadRequest{Text: "another administrator disables you: the last one could be locked out"}
		}
		return h.disable(ctx, rq, p)
	case "sign-out":
		if err := h.Access.Record(ctx, rq.Grant, onPerson(p.ID), "all sessions ended"); err != nil {
			return nil, err
		}
		return nil, h.SignIn.SignOutAll(ctx, p.ID)
	case "password":
		if self {
			return nil, &api.BadRequest{Text: "one's own password is changed in one's own account"}
		}
		return perform(actPassword)
	case "reset-factors":
		if self {
			return nil, &api.BadRequest{Text: "one's own second factors are changed in one's own account"}
		}
		return perform(actFactors)
	}
	return nil, &api.BadRequest{Text: "a person can be disabled (disable), enabled (enable), signed out (sign-out), given a one-time password (password) or have the second factors taken away (reset-factors)"}
}
