package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// personAct is an act on one person.
type personAct struct {
	Person    string `json:"person"`
	FirstHalf string `json:"first_half,omitempty"` // of the one-time password
}

// relations are what a person may see: by role, wards and patients.
type relations struct {
	Role     access.Role `json:"role"`
	Wards    []string    `json:"wards"`
	Patients []string    `json:"patients"`
}

// relationsAct replaces relations by others, if they are still those.
type relationsAct struct {
	Person string    `json:"person"`
	Before relations `json:"before"`
	After  relations `json:"after"`
}

func read[T any](raw []byte) (out T, err error) {
	if err = json.Unmarshal(raw, &out); err != nil {
		err = fmt.Errorf("admin: an act that waits cannot be read: %w", err)
	}
	return out, err
}

// halfPassword is 65 bits.
func halfPassword() string { return rand.Text()[:13] }

// withHalf adds the first half of a password to an act.
func withHalf(raw []byte, half string) ([]byte, error) {
	m, err := read[map[string]any](raw)
	if err != nil {
		return nil, err
	}
	m["first_half"] = half
	return json.Marshal(m)
}

// oneTime is a one-time password, of which the first half may be given, and what of it the one who does the act is told.
func oneTime(first string) (password, told string) {
	if first == "" {
		password = rand.Text() // 130 bits; no person chooses a password for another
		return password, password
	}
	second := halfPassword()
	return first + "-" + second, second
}

// passwordOut is what the one who does an act is told of the password that it makes.
type passwordOut struct {
	ID         string `json:"id,omitempty"`
	Login      string `json:"login,omitempty"`
	Password   string `json:"password,omitempty"`             // must be changed at the first sign-in
	SecondHalf string `json:"password_second_half,omitempty"` // in place of Password: it is FIRST-SECOND
}

func (o passwordOut) with(first, told string) passwordOut {
	if first == "" {
		o.Password = told
	} else {
		o.SecondHalf = told
	}
	return o
}

// newLogin refuses a login that is taken and a second one of a patient.
func (h *handler) newLogin(ctx context.Context, in personIn) error {
	all, err := h.Store.Persons(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		switch {
		case p.Login == in.Login:
			return store.ErrExists
		case in.Self != "" && p.Self == in.Self:
			return directory.ErrSecondLogin
		}
	}
	return nil
}

// legend says in words what ids mean, for an approver: a ward's name, and where a patient lies now. It names no patient.
func (h *handler) legend(ctx context.Context, wards, patients []string) ([]string, error) {
	var out []string
	all, err := h.Store.Wards(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if slices.Contains(wards, w.ID) {
			out = append(out, w.ID+" is the ward "+w.Name)
		}
	}
	for _, id := range patients {
		switch p, err := h.Store.Patient(ctx, id); {
		case errors.Is(err, store.ErrNotFound):
			out = append(out, id+" is a patient who is not known any more")
		case err != nil:
			return nil, err
		case p.Bed == "":
			out = append(out, id+" is a patient who lies at no bed now")
		default:
			out = append(out, id+" is the patient at bed "+p.Bed+" now")
		}
	}
	return out, nil
}

func (h *handler) whatPerson(ctx context.Context, raw []byte) ([]string, error) {
	in, err := read[personIn](raw)
	out := []string{fmt.Sprintf("makes %q (login %s) a %s who may sign in", in.DisplayName, in.Login, in.Role)}
	if len(in.Wards) > 0 {
		out = append(out, "sees every patient of the wards "+strings.Join(in.Wards, ", "))
	}
	if len(in.Patients) > 0 {
		out = append(out, "treats the patients "+strings.Join(in.Patients, ", "))
	}
	if in.Self != "" {
		out = append(out, "is the patient "+in.Self+", whose values they see and whose consent they give")
	}
	if err != nil {
		return out, err
	}
	patients := in.Patients
	if in.Self != "" {
		patients = append(slices.Clone(patients), in.Self)
	}
	legend, err := h.legend(ctx, in.Wards, patients)
	out = append(out, legend...)
	return append(out, "who approves gets the second half of the one-time password and hands it over in person"), err
}

func quietPerson(raw []byte) string {
	in, _ := read[personIn](raw)
	return describeNew(in)
}

func describeNew(in personIn) string {
	out := "created as " + string(in.Role)
	for _, x := range []string{diff("wards", nil, in.Wards), diff("patients", nil, in.Patients)} {
		if x != "" {
			out += "; " + x
		}
	}
	if in.Self != "" {
		out += "; self: " + in.Self
	}
	return out
}

func (h *handler) doCreatePerson(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[personIn](raw)
	if err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.Wards, append(slices.Clone(in.Patients), in.Self)); err != nil {
		return nil, err
	}
	password, told := oneTime(in.FirstHalf)
	hash, err := h.SignIn.HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	id, err := h.Store.CreatePerson(ctx, access.Person{Login: in.Login, DisplayName: in.DisplayName, Role: in.Role,
		Wards: in.Wards, Patients: in.Patients, Self: in.Self, MustChangePassword: true}, hash)
	if err != nil {
		return nil, err
	}
	return passwordOut{ID: id, Login: in.Login}.with(in.FirstHalf, told), h.record(ctx, d.grant, onPerson(id), describeNew(in), d.words())
}

// relate changes a person's relations. What only takes away is done at once: it must not wait.
func (h *handler) relate(ctx context.Context, rq *api.Request, p access.Person, after relations) (any, error) {
	act := relationsAct{Person: p.ID, Before: relations{p.Role, p.Wards, p.Patients}, After: after}
	fewer := after.Role == p.Role && containsAll(p.Wards, after.Wards) && containsAll(p.Patients, after.Patients)
	if fewer {
		raw, err := json.Marshal(act)
		if err != nil {
			return nil, fmt.Errorf("admin: act: %w", err)
		}
		return h.doRelations(ctx, doing{grant: rq.Grant, requester: rq.Subject.Person.ID}, raw)
	}
	return h.perform(ctx, rq, actRelations, onPerson(p.ID).String(), act)
}

func containsAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(id string) bool { return !slices.Contains(all, id) })
}

func (h *handler) whatRelations(ctx context.Context, raw []byte) ([]string, error) {
	in, err := read[relationsAct](raw)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, in.Person)
	who := fmt.Sprintf("%q (login %s)", p.DisplayName, p.Login)
	var out []string
	if in.Before.Role != in.After.Role {
		out = append(out, fmt.Sprintf("%s: role %s -> %s", who, in.Before.Role, in.After.Role))
	}
	for _, x := range []string{diff("wards", in.Before.Wards, in.After.Wards), diff("patients", in.Before.Patients, in.After.Patients)} {
		if x != "" {
			out = append(out, who+": "+x)
		}
	}
	if err != nil {
		return out, err
	}
	legend, err := h.legend(ctx, changed(in.Before.Wards, in.After.Wards), changed(in.Before.Patients, in.After.Patients))
	return append(out, legend...), err
}

// changed are the ids that are in one of two sets only.
func changed(before, after []string) []string {
	out := slices.DeleteFunc(slices.Clone(before), func(id string) bool { return slices.Contains(after, id) })
	return append(out, slices.DeleteFunc(slices.Clone(after), func(id string) bool { return slices.Contains(before, id) })...)
}

func quietRelations(raw []byte) string {
	in, _ := read[relationsAct](raw)
	return describeRelations(in)
}

func describeRelations(in relationsAct) string {
	var out []string
	if in.Before.Role != in.After.Role {
		out = append(out, fmt.Sprintf("role: %s -> %s", in.Before.Role, in.After.Role))
	}
	for _, x := range []string{diff("wards", in.Before.Wards, in.After.Wards), diff("patients", in.Before.Patients, in.After.Patients)} {
		if x != "" {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return "relations: unchanged"
	}
	return strings.Join(out, "; ")
}

func (h *handler) doRelations(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[relationsAct](raw)
	if err != nil {
		return nil, err
	}
	if err := h.exist(ctx, in.After.Wards, in.After.Patients); err != nil {
		return nil, err
	}
	// A trace first: what a person may see changes in the next moment.
	if err := h.record(ctx, d.grant, onPerson(in.Person), describeRelations(in), d.words()); err != nil {
		return nil, err
	}
	return nil, h.Store.SetRelations(ctx, access.Person{ID: in.Person, Role: in.Before.Role, Wards: in.Before.Wards, Patients: in.Before.Patients},
		in.After.Role, in.After.Wards, in.After.Patients)
}

// whatOf is one sentence about a person.
func (h *handler) whatOf(format string) func(context.Context, []byte) ([]string, error) {
	return func(ctx context.Context, raw []byte) ([]string, error) {
		in, err := read[personAct](raw)
		if err != nil {
			return nil, err
		}
		p, err := h.Store.Person(ctx, in.Person)
		return []string{fmt.Sprintf(format, fmt.Sprintf("%q (%s, login %s)", p.DisplayName, p.Role, p.Login))}, err
	}
}

func (h *handler) doEnable(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[personAct](raw)
	if err == nil {
		err = h.Store.SetPersonDisabled(ctx, in.Person, false)
	}
	if err != nil {
		return nil, err
	}
	return nil, h.record(ctx, d.grant, onPerson(in.Person), "state: disabled -> enabled", d.words())
}

// disable keeps a person out at once, unless that would leave too few to approve anything: then another approver has to agree.
func (h *handler) disable(ctx context.Context, rq *api.Request, p access.Person) (any, error) {
	enough, err := h.Access.EnoughWithout(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	if !enough {
		return h.perform(ctx, rq, actDisable, onPerson(p.ID).String(), personAct{Person: p.ID})
	}
	raw, err := json.Marshal(personAct{Person: p.ID})
	if err != nil {
		return nil, fmt.Errorf("admin: act: %w", err)
	}
	return h.doDisable(ctx, doing{grant: rq.Grant, requester: rq.Subject.Person.ID}, raw)
}

func (h *handler) doDisable(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[personAct](raw)
	if err != nil {
		return nil, err
	}
	p, err := h.Store.Person(ctx, in.Person)
	if err == nil {
		err = h.Store.SetPersonDisabled(ctx, in.Person, true)
	}
	if err != nil {
		return nil, err
	}
	// The sessions end whatever becomes of the entry.
	return nil, errors.Join(h.record(ctx, d.grant, onPerson(in.Person), "state: "+state(p)+" -> disabled", d.words()), h.SignIn.SignOutAll(ctx, in.Person))
}

func state(p access.Person) string {
	if p.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (h *handler) doPassword(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[personAct](raw)
	if err != nil {
		return nil, err
	}
	password, told := oneTime(in.FirstHalf)
	if err := h.record(ctx, d.grant, onPerson(in.Person), "password: own -> one-time", d.words()); err != nil {
		return nil, err
	}
	if err := h.SignIn.SetOneTimePassword(ctx, in.Person, password); err != nil {
		return nil, err
	}
	return passwordOut{}.with(in.FirstHalf, told), nil
}

func (h *handler) doFactors(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[personAct](raw)
	if err != nil {
		return nil, err
	}
	if err := h.record(ctx, d.grant, onPerson(in.Person), "second factors: taken away, all", d.words()); err != nil {
		return nil, err
	}
	if err := h.Store.PersonChanged(ctx, in.Person); err != nil {
		return nil, err
	}
	if err := h.SignIn.ResetFactors(ctx, in.Person); err != nil {
		return nil, err
	}
	return nil, h.SignIn.SignOutAll(ctx, in.Person)
}
