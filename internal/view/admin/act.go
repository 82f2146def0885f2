package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// An act is something that gives a person or a screen access to patients, or to another patient's readings. Where acts take two persons, it waits as an
// access.Approval, and what was asked for, to the letter, is carried out when a second person approves. Where they do not, it
// is carried out at once. Either way one function does it: a new kind of act is one more entry in acts.
//
// The kinds of act, and their parameters as JSON.
const (
	actPersonCreate = "person.create"    // personIn
	actRelations    = "person.relations" // relationsAct
	actEnable       = "person.enable"    // personAct
	actDisable      = "person.disable"   // personAct; only where too few approvers would stay
	actPassword     = "person.password"  // personAct
	actFactors      = "person.factors"   // personAct
	actDisplay      = "display.invite"   // displayAct
	actTicket       = "display.ticket"   // displayAgainAct
	actDisplayOn    = "display.enable"   // displayAgainAct
	actMove         = "readings.move"    // moveAct; only from one ward to another
	actTwoOff       = "two-persons.off"  // nothing
)

// doing is who does an act: the holder of grant, after a request of requester, who is the same where it took one person.
type doing struct {
	grant     access.Grant
	requester string
	approval  string // id; empty: it took one person
}

// words add to an audit entry who else had a part in it.
func (d doing) words() string {
	if d.approval == "" {
		return ""
	}
	return "; asked for by " + d.requester + ", approved by " + d.grant.Holder() + " (" + d.approval + ")"
}

// actKind carries out one kind of act. what says in short sentences what it changes, with names, for the approver; quietly says the
// same without names, for the audit log. do checks everything anew: time has passed since the request.
type actKind struct {
	what    func(ctx context.Context, raw []byte) ([]string, error)
	quietly func(raw []byte) string
	do      func(ctx context.Context, d doing, raw []byte) (any, error)
}

func (h *handler) acts() map[string]actKind {
	return map[string]actKind{
		actPersonCreate: {h.whatPerson, quietPerson, h.doCreatePerson},
		actRelations:    {h.whatRelations, quietRelations, h.doRelations},
		actEnable:       {h.whatOf("lets %s sign in again"), quietly("enabled"), h.doEnable},
		actDisable:      {h.whatOf("keeps %s out, who is one of the few that can approve"), quietly("disabled"), h.doDisable},
		actPassword:     {h.whatOf("makes a one-time password for %s, in two halves"), quietly("one-time password"), h.doPassword},
		actFactors:      {h.whatOf("takes away the second factors and passkeys of %s"), quietly("second factors reset"), h.doFactors},
		actDisplay:      {h.whatDisplay, quietDisplay, h.doDisplay},
		actTicket: {h.whatDisplayAgain("makes a new ticket for the wall display %s: what enrols with it shows the live numbers of every bed of the wards %s, the present display goes dark", handOnTicket),
			quietDisplayAgain("a new ticket"), h.doTicket},
		actDisplayOn: {h.whatDisplayAgain("lets the disabled wall display %s in again, which shows the live numbers of every bed of the wards %s to everyone in front of it"),
			quietDisplayAgain("enabled"), h.doDisplayOn},
		actMove: {h.whatMove, quietMove, h.doMove},
		actTwoOff: {func(context.Context, []byte) ([]string, error) {
			return []string{"from then on one administrator alone makes clinicians, auditors, patients' logins and displays, and moves readings to another ward"}, nil
		}, quietly("two persons: on -> off"), h.doTwoOff},
	}
}

func quietly(s string) func([]byte) string { return func([]byte) string { return s } }

// waiting is the answer to an act that waits, and an entry of the list.
type waiting struct {
	ID   string   `json:"id"`
	Kind string   `json:"kind"`
	What []string `json:"what"` // what it changes, in short sentences
	// Fields is the same, for a page that says it in another language; absent for a kind that this hub does not know.
	Fields        *actFields `json:"fields,omitempty"`
	Requester     string     `json:"requester"`
	RequesterName string     `json:"requester_name"`
	Role          string     `json:"role"` // the requester's
	Workstation   string     `json:"workstation"`
	Requested     time.Time  `json:"requested"`
	Expires       time.Time  `json:"expires"`
	// Outcome is waiting, expired, approved, done, failed, refused or withdrawn.
	Outcome     string `json:"outcome"`
	Decider     string `json:"decider,omitempty"`
	DeciderName string `json:"decider_name,omitempty"`
	Note        string `json:"note,omitempty"`
	// Mine says that the reader asked for it.
	Mine bool `json:"mine"`
}

// asked is the answer to a request that waits: status 202.
type askedFor struct {
	Waiting waiting `json:"waiting"`
	// Approvers are the logins of those who could approve it now.
	Approvers []string `json:"approvers"`
	// FirstHalf is the first half of the one-time password that the act makes; the approver gets the second. Neither can sign in alone.
	FirstHalf string `json:"password_first_half,omitempty"`
}

func (askedFor) Status() int { return http.StatusAccepted }

// perform has an act done: at once, or when a second person approves.
func (h *handler) perform(ctx context.Context, rq *api.Request, kind, target string, params any) (any, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("admin: act: %w", err)
	}
	two, err := h.Access.NeedsTwo(ctx)
	if err != nil {
		return nil, err
	}
	if !two {
		return h.acts()[kind].do(ctx, doing{grant: rq.Grant, requester: rq.Subject.Person.ID}, raw)
	}
	return h.request(ctx, rq, kind, target, raw)
}

// request has an act wait.
func (h *handler) request(ctx context.Context, rq *api.Request, kind, target string, raw []byte) (any, error) {
	out := askedFor{Approvers: []string{}}
	if kind == actPersonCreate || kind == actPassword {
		out.FirstHalf = halfPassword()
		var err error
		if raw, err = withHalf(raw, out.FirstHalf); err != nil {
			return nil, err
		}
	}
	var patients []string
	if kind == actMove {
		act, err := read[moveAct](raw)
		if err != nil {
			return nil, err
		}
		patients = act.patients()
	}
	a, err := h.Access.RequestApproval(ctx, rq.Subject, rq.Grant, kind, target, raw, h.acts()[kind].quietly(raw), patients...)
	if err != nil {
		return nil, err
	}
	if out.Waiting, err = h.describeApproval(ctx, a, rq.Subject.Person.ID); err != nil {
		return nil, err
	}
	state, err := h.Access.TwoPersons(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range state.Approvers {
		p, err := h.Store.Person(ctx, id)
		if err != nil {
			return nil, err
		}
		if target != onPerson(id).String() && string(p.Role) != out.Waiting.Role {
			out.Approvers = append(out.Approvers, p.Login)
		}
	}
	return out, nil
}

// describeApproval is a request as people see it.
func (h *handler) describeApproval(ctx context.Context, a access.Approval, reader string) (waiting, error) {
	o := waiting{ID: a.ID, Kind: a.Kind, What: []string{}, Requester: a.Requester, Role: string(a.Role), Workstation: a.Workstation,
		Requested: a.Requested.UTC(), Expires: a.Expires.UTC(), Outcome: a.Outcome, Decider: a.Decider, Note: a.Note, Mine: a.Requester == reader}
	if a.Outcome == "" {
		o.Outcome = "waiting"
		if !a.Waits(time.Now()) {
			o.Outcome = "expired"
		}
	}
	if kind, ok := h.acts()[a.Kind]; ok {
		what, err := kind.what(ctx, a.Act)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return o, err
		}
		o.What = append(o.What, what...)
		if o.Fields, err = h.fieldsOf(ctx, a.Kind, a.Act); err != nil && !errors.Is(err, store.ErrNotFound) {
			return o, err
		}
	}
	for _, x := range []struct {
		id   string
		name *string
	}{{a.Requester, &o.RequesterName}, {a.Decider, &o.DeciderName}} {
		if x.id == "" {
			continue
		}
		switch p, err := h.Store.Person(ctx, x.id); {
		case err == nil:
			*x.name = p.DisplayName
		case !errors.Is(err, store.ErrNotFound):
			return o, err
		}
	}
	return o, nil
}

// approvals lists the requests of the last 30 days; with waiting=1 only those that wait.
func (h *handler) approvals(ctx context.Context, rq *api.Request) (any, error) {
	all, err := h.Access.ListApprovals(ctx, rq.Subject)
	if err != nil {
		return nil, err
	}
	out := []waiting{}
	for _, a := range all {
		if rq.URL.Query().Get("waiting") == "1" && !a.Waits(time.Now()) {
			continue
		}
		o, err := h.describeApproval(ctx, a, rq.Subject.Person.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// decideApproval approves or refuses a request. What is approved is carried out before the answer, which has what the approver hands
// on: a ticket, or the second half of a password.
func (h *handler) decideApproval(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Reason string `json:"reason"` // of a refusal
	}](rq)
	if err != nil {
		return nil, err
	}
	id := rq.PathValue("id")
	switch rq.PathValue("change") {
	case "refuse":
		return nil, h.Access.RefuseApproval(ctx, rq.Subject, id, in.Reason)
	case "approve":
		a, grant, err := h.Access.Approve(ctx, rq.Subject, id)
		if err != nil {
			return nil, err
		}
		kind, ok := h.acts()[a.Kind]
		if !ok {
			err = &api.BadRequest{Text: "this hub does not know acts of this kind; a newer hub does"}
		}
		var out any
		if err == nil {
			out, err = kind.do(ctx, doing{grant, a.Requester, a.ID}, a.Act)
		}
		if ferr := h.Access.FinishApproval(ctx, a.ID, err); ferr != nil {
			return nil, errors.Join(err, ferr)
		}
		if err != nil {
			status, problem := h.fail(rq.Request, err)
			if rerr := api.Undone(h.Access, status, err)(ctx, grant, access.Resource{Kind: "approval", ID: a.ID}, problem.Error); rerr != nil {
				return nil, rerr
			}
			return nil, err
		}
		if out == nil {
			out = made{a.ID}
		}
		return out, nil
	}
	return nil, &api.BadRequest{Text: "a request can be approved (approve) or refused (refuse)"}
}

type twoPersonsOut struct {
	On        bool     `json:"on"`
	Off       bool     `json:"off_by_configuration"`
	Approvers []string `json:"approvers"` // logins of those who could approve what an administrator asks for
	Needed    int      `json:"needed"`    // how many it takes to switch on
	Waiting   int      `json:"waiting"`   // requests that wait
}

// twoPersons says whether acts take two persons, for every administration page.
func (h *handler) twoPersons(ctx context.Context, _ *api.Request) (any, error) {
	t, err := h.Access.TwoPersons(ctx)
	if err != nil {
		return nil, err
	}
	out := twoPersonsOut{On: t.On, Off: t.Off, Approvers: []string{}, Needed: access.MinApprovers}
	for _, id := range t.Approvers {
		p, err := h.Store.Person(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Approvers = append(out.Approvers, p.Login)
	}
	all, err := h.Store.Approvals(ctx, time.Now().Add(-access.ApprovalLife))
	for _, a := range all {
		if a.Waits(time.Now()) {
			out.Waiting++
		}
	}
	return out, err
}

// switchTwoPersons switches it on at once, and off when a second person approves.
func (h *handler) switchTwoPersons(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		On *bool `json:"on"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if in.On == nil {
		return nil, api.Invalid("on", "true or false")
	}
	if *in.On {
		if err := h.Access.SwitchTwoPersons(ctx, rq.Grant, true, "by one act of an administrator"); err != nil {
			return nil, err
		}
		return h.twoPersons(ctx, rq)
	}
	if t, err := h.Access.TwoPersons(ctx); err != nil || !t.On {
		return twoPersonsOut{Off: t.Off, Approvers: []string{}, Needed: access.MinApprovers}, err
	}
	return h.request(ctx, rq, actTwoOff, "two-persons", []byte("{}"))
}

func (h *handler) doTwoOff(ctx context.Context, d doing, _ []byte) (any, error) {
	return nil, h.Access.SwitchTwoPersons(ctx, d.grant, false, strings.TrimPrefix(d.words(), "; "))
}

// diff says in words how a set of ids changed; "" for not at all.
func diff(what string, before, after []string) string {
	gone := slices.DeleteFunc(slices.Clone(before), func(id string) bool { return slices.Contains(after, id) })
	added := slices.DeleteFunc(slices.Clone(after), func(id string) bool { return slices.Contains(before, id) })
	if len(gone) == 0 && len(added) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s -> %s", what, list(before), list(after))
}

func list(ids []string) string { return "[" + strings.Join(ids, " ") + "]" }

// record writes what an act changed, and who else had a part in it.
func (h *handler) record(ctx context.Context, g access.Grant, r access.Resource, what, by string, patients ...string) error {
	return h.Access.RecordAll(ctx, g, r, what, by, patients...)
}
