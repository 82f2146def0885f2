package admin

import (
	"context"
	"crypto/rand"
	"slices"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

type personIn struct {
	Login       string      `json:"login"`
	DisplayName string      `json:"display_name"`
	Role        access.Role `json:"role"`
	Wards       []string    `json:"wards"`    // nurse
	Patients    []string    `json:"patients"` // doctor: whom he treats
	Self        string      `json:"self"`     // patient: the patient's own id
}

// check refuses relationships that would have no effect for the role, before someone relies on them.
func (p *personIn) check() error {
	login, ok := access.NormalLogin(p.Login)
	switch {
	case !ok:
		return invalid("login", "1 to 64 of a-z, 0-9 and . _ @ -, starting with a letter or digit")
	case !p.Role.Valid():
		return invalid("role", "one of %v", access.Roles())
	case len(p.Wards) > 0 && p.Role != access.RoleNurse:
		return invalid("wards", "only for role nurse")
	case len(p.Patients) > 0 && p.Role != access.RoleDoctor:
		return invalid("patients", "only for role doctor")
	case p.Self != "" && p.Role != access.RolePatient:
		return invalid("self", "only for role patient")
	case p.Self == "" && p.Role == access.RolePatient:
		return invalid("self", "required for role patient: the id of the patient")
	}
	p.Login = login
	return nil
}

func (h *handler) createPerson(ctx context.Context, rq *request) (any, error) {
	in, err := decode[personIn](rq)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.Wards, append(slices.Clone(in.Patients), in.Self)); err != nil {
		return nil, err
	}
	password := rand.Text() // 130 bits; nobody chooses a password for another
	hash, err := h.Access.HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	id, err := h.Store.CreatePerson(ctx, access.Person{Login: in.Login, DisplayName: in.DisplayName, Role: in.Role,
		Wards: in.Wards, Patients: in.Patients, Self: in.Self, MustChangePassword: true}, hash)
	if err != nil {
		return nil, err
	}
	return struct {
		ID       string `json:"id"`
		Login    string `json:"login"`
		Password string `json:"password"` // must be changed at the first sign-in
	}{id, in.Login, password}, h.Access.Record(ctx, rq.grant, onPerson(id), "created as "+string(in.Role))
}

func onPerson(id string) access.Resource { return access.Resource{Kind: "person", ID: id} }

// exist refuses relationships to wards or patients that do not exist: a typing error must not wait to be somebody.
func (h *handler) exist(ctx context.Context, wards, patients []string) error {
	known, err := h.Store.Wards(ctx)
	if err != nil {
		return err
	}
	for _, w := range wards {
		if !slices.ContainsFunc(known, func(k store.Ward) bool { return k.ID == w }) {
			return invalid("wards", "no ward %.64q", w)
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

func (h *handler) setWards(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
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
		return nil, invalid("wards", "only for role nurse")
	}
	if err := h.exist(ctx, in.Wards, nil); err != nil {
		return nil, err
	}
	if err := h.Store.SetWards(ctx, p.ID, in.Wards); err != nil {
		return nil, err
	}
	return nil, h.Access.Record(ctx, rq.grant, onPerson(p.ID), "wards set")
}

func (h *handler) setPatients(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
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
		return nil, invalid("patients", "only for role doctor")
	}
	if err := h.exist(ctx, nil, in.Patients); err != nil {
		return nil, err
	}
	if err := h.Store.SetPatients(ctx, p.ID, in.Patients); err != nil {
		return nil, err
	}
	return nil, h.Access.Record(ctx, rq.grant, onPerson(p.ID), "patients set")
}

// setRole changes what somebody is, with the relationships that the new role has. The old role's relationships end first: at
// no moment does anybody hold both. It takes effect on live views as well.
func (h *handler) setRole(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		Role     access.Role `json:"role"`
		Wards    []string    `json:"wards"`
		Patients []string    `json:"patients"`
	}](rq)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	switch {
	case p.ID == rq.subject.Person.ID:
		return nil, &badRequest{"nobody changes their own role: the last administrator could be locked out"}
	case p.Role == access.RolePatient || in.Role == access.RolePatient:
		return nil, invalid("role", "a patient's sign-in stays one, and no other becomes one; create another person")
	}
	check := personIn{Login: p.Login, Role: in.Role, Wards: in.Wards, Patients: in.Patients}
	if err := check.check(); err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.Wards, in.Patients); err != nil {
		return nil, err
	}
	// A trace first: what follows is more than one step.
	if err := h.Access.Record(ctx, rq.grant, onPerson(p.ID), "becomes "+string(in.Role)); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return h.Store.SetWards(ctx, p.ID, nil) },
		func() error { return h.Store.SetPatients(ctx, p.ID, nil) },
		func() error { return h.Store.SetRole(ctx, p.ID, in.Role) },
		func() error { return h.Store.SetWards(ctx, p.ID, in.Wards) },
		func() error { return h.Store.SetPatients(ctx, p.ID, in.Patients) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// changePerson disables, enables or signs out a person, makes a one-time password, which is answered once, or takes away
// all second factors. All but enabling end the person's sessions.
func (h *handler) changePerson(ctx context.Context, rq *request) (any, error) {
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	switch rq.PathValue("change") {
	case "enable":
		if err := h.Store.SetPersonDisabled(ctx, p.ID, false); err != nil {
			return nil, err
		}
		return nil, h.Access.Record(ctx, rq.grant, onPerson(p.ID), "enabled")
	case "disable":
		if p.ID == rq.subject.Person.ID {
			return nil, &badRequest{"nobody disables themselves: the last administrator could be locked out"}
		}
		if err := h.Store.SetPersonDisabled(ctx, p.ID, true); err != nil {
			return nil, err
		}
		if err := h.Access.Record(ctx, rq.grant, onPerson(p.ID), "disabled"); err != nil {
			return nil, err
		}
		return nil, h.Access.SignOutAll(ctx, p.ID)
	case "sign-out":
		return nil, h.Access.SignOutAll(ctx, p.ID)
	case "password":
		if p.ID == rq.subject.Person.ID {
			return nil, &badRequest{"one's own password is changed in one's own account"}
		}
		if err := h.Access.Record(ctx, rq.grant, onPerson(p.ID), "one-time password"); err != nil {
			return nil, err
		}
		password, err := h.Access.OneTimePassword(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		return struct {
			Password string `json:"password"`
		}{password}, nil
	case "reset-factors":
		if p.ID == rq.subject.Person.ID {
			return nil, &badRequest{"one's own second factors are changed in one's own account"}
		}
		if err := h.Access.Record(ctx, rq.grant, onPerson(p.ID), "second factors reset"); err != nil {
			return nil, err
		}
		if err := h.Access.ResetFactors(ctx, p.ID); err != nil {
			return nil, err
		}
		return nil, h.Access.SignOutAll(ctx, p.ID)
	}
	return nil, &badRequest{"a person can be disabled (disable), enabled (enable), signed out (sign-out), given a one-time password (password) or have the second factors taken away (reset-factors)"}
}
