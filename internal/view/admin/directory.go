package admin

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

type made struct {
	ID string `json:"id"`
}

func (h *handler) createWard(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := h.Store.CreateWard(ctx, store.Ward{ID: in.ID, Name: in.Name}); err != nil {
		return nil, err
	}
	return made{in.ID}, h.Access.Record(ctx, rq.grant, access.OnWard(in.ID), "created")
}

func (h *handler) createBed(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		ID   string `json:"id"`
		Ward string `json:"ward"`
		Name string `json:"name"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := h.Store.CreateBed(ctx, store.Bed{ID: in.ID, Ward: in.Ward, Name: in.Name}); err != nil {
		return nil, err
	}
	return made{in.ID}, h.Access.Record(ctx, rq.grant, access.Resource{Kind: "bed", ID: in.ID}, "created")
}

func (h *handler) createPatient(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		Name string `json:"name"`
		Bed  string `json:"bed"` // empty: not admitted yet
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := h.free(ctx, in.Bed); err != nil {
		return nil, err
	}
	id, err := h.Store.CreatePatient(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if err := h.Access.Record(ctx, rq.grant, access.OnPatient(id), "created"); err != nil {
		return nil, err
	}
	if in.Bed != "" {
		if err := h.Store.Admit(ctx, id, in.Bed, time.Now()); err != nil {
			return nil, err
		}
	}
	channel, err := h.Store.ChannelOf(ctx, id)
	if err != nil {
		return nil, err
	}
	return struct {
		ID      string `json:"id"`
		Channel int64  `json:"channel"`
	}{id, channel.ID}, nil
}

// free refuses a bed that does not exist or is taken, before a patient is made that could then not lie in it.
func (h *handler) free(ctx context.Context, bed string) error {
	if bed == "" {
		return nil
	}
	beds, err := h.Store.Beds(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(beds, func(b store.Bed) bool { return b.ID == bed }) {
		return invalid("bed", "no bed %.64q", bed)
	}
	refs, err := h.Store.Patients(ctx)
	if err == nil && slices.ContainsFunc(refs, func(r access.PatientRef) bool { return r.Bed == bed }) {
		err = store.ErrOccupied
	}
	return err
}

type personIn struct {
	Login       string      `json:"login"`
	DisplayName string      `json:"display_name"`
	Role        access.Role `json:"role"`
	Wards       []string    `json:"wards"`    // nurse
	Patients    []string    `json:"patients"` // doctor: whom he treats
	Self        string      `json:"self"`     // patient: the patient's own id
	Password    string      `json:"password"` // empty: one is made and answered, once
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
	out := struct {
		ID       string `json:"id"`
		Login    string `json:"login"`
		Password string `json:"password,omitempty"`
	}{Login: in.Login}
	password := in.Password
	if password == "" {
		password = rand.Text() // 130 bits
		out.Password = password
	}
	hash, err := h.Access.HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	out.ID, err = h.Store.CreatePerson(ctx, access.Person{Login: in.Login, DisplayName: in.DisplayName, Role: in.Role,
		Wards: in.Wards, Patients: in.Patients, Self: in.Self}, hash)
	if err != nil {
		return nil, err
	}
	return out, h.Access.Record(ctx, rq.grant, onPerson(out.ID), "created as "+string(in.Role))
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

// changePerson disables, enables or signs out a person, or makes a new password, which is answered once. All but
// enabling end the person's sessions.
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
		password := rand.Text()
		hash, err := h.Access.HashPassword(ctx, password)
		if err != nil {
			return nil, err
		}
		if err := h.Store.SetPassword(ctx, p.ID, hash); err != nil {
			return nil, err
		}
		if err := h.Access.SignOutAll(ctx, p.ID); err != nil {
			return nil, err
		}
		return struct {
			Password string `json:"password"`
		}{password}, h.Access.Record(ctx, rq.grant, onPerson(p.ID), "new password")
	}
	return nil, &badRequest{"a person can be disabled, enabled, signed out (sign-out) or given a new password (password)"}
}

func (h *handler) createChannel(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		Name   string   `json:"name"`
		Fields []string `json:"fields"`
	}](rq)
	if err != nil {
		return nil, err
	}
	c := store.Channel{Name: in.Name}
	if len(in.Fields) > len(c.Fields) {
		return nil, invalid("fields", "at most %d", len(c.Fields))
	}
	copy(c.Fields[:], in.Fields)
	if c, err = h.Store.CreateChannel(ctx, c); err != nil {
		return nil, err
	}
	key, stored := access.NewAPIKey(rq.subject.Person.ID, c.ID, true)
	if err := h.Store.SaveAPIKey(ctx, stored); err != nil {
		return nil, err
	}
	return struct {
		ID       int64  `json:"id"`
		WriteKey string `json:"write_key"`
	}{c.ID, key}, h.Access.Record(ctx, rq.grant, access.OnChannel(c.ID), "created with a write key")
}

// createKey makes a read key: it reads what its person may read, of that one channel.
func (h *handler) createKey(ctx context.Context, rq *request) (any, error) {
	in, err := decode[struct {
		Person  string `json:"person"`
		Channel int64  `json:"channel"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if _, err := h.Store.Person(ctx, in.Person); err != nil {
		return nil, notFoundAs(err, "person", "no such person")
	}
	if _, err := h.Store.ChannelRef(ctx, in.Channel); err != nil {
		return nil, notFoundAs(err, "channel", "no such channel")
	}
	key, stored := access.NewAPIKey(in.Person, in.Channel, false)
	if err := h.Store.SaveAPIKey(ctx, stored); err != nil {
		return nil, err
	}
	return struct {
		Key string `json:"key"`
	}{key}, h.Access.Record(ctx, rq.grant, access.OnChannel(in.Channel), "read key for person:"+in.Person)
}
