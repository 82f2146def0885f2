// Package admin is the hub's administration face: JSON over HTTP for wards, beds, patients, persons, components and
// channels, for reading inventory, delivery and the audit log, for judging emergency accesses, and for asking why the
// policies decide as they do. The command line and the dashboard are its clients; nothing else administers a running hub.
//
// It hides HTTP: one table of routes, one strict decoder, one mapping of errors to statuses. It guarantees that every
// request is a signed-in person's, decided by the policies and durable in the audit log before anything is done (and
// again what came of it; a GET that repeats itself is one entry in ten minutes, named as a look); that a page of another site cannot make a browser send one; that bodies are at most 64 KiB
// and fields it does not know are refused by name; that a client gets fixed texts and the log the causes, and that no
// password, ticket or name reaches a log. One-time passwords and tickets are in exactly one answer; no person chooses a
// password or makes a key for another.
//
// It shows an administrator the names of patients, because the directory is theirs to keep right, and never a value
// of one: it has no way to open any. It does not protect against an administrator's own acts beyond recording them.
package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// Prefix is where the handler expects to be mounted.
const Prefix = "/api/admin/"

const maxBody = 64 << 10

// Trail is the audit log, as far as this face reads it.
type Trail interface {
	Recent(ctx context.Context, n int) ([]access.AuditEntry, error)
}

// Config is what the face works with. All of it but Live is required.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	SignIn *signin.Service
	Audit  Trail
	// Proven is the end of the audit log, its newest n entries, in JSON, with the proof that they are, and that the sizes of also are beginnings
	// of it; nil answers 500.
	Proven func(ctx context.Context, n int, also []int64) (json.RawMessage, error)
	// Search finds entries of the audit log; nil answers 500.
	Search func(ctx context.Context, q AuditQuestion) (AuditPage, error)
	// Subject is who sends the request: access.ErrNoSession, or the person at the workstation that the connection
	// proves.
	Subject func(r *http.Request) (access.Subject, error)
	// Domain is the deployment's, in which SPIFFE ids are made from short names.
	Domain string
	// Invite creates devices that may enrol once, and answers with the ticket that lets them.
	Invite func(ctx context.Context, enrolledBy string, devices []directory.Device) (json.RawMessage, error)
	// Disable, Delete and Enable change an identity (SPIFFE id) here and on the overlay, and end its connections; the inventory keeps
	// by whom (person id) it was kept out. Rotate demands a new key of it.
	Disable, Delete func(ctx context.Context, spiffeID, by string) error
	Enable, Rotate  func(ctx context.Context, spiffeID string) error
	// ResetNumbers forgets how high a component counted its starts and epochs, and ends its connections.
	ResetNumbers func(ctx context.Context, spiffeID string) error
	// Reissue ends a component's keys and answers with a new ticket for it; a gateway's is for its sensors as well.
	Reissue func(ctx context.Context, by, spiffeID string) (json.RawMessage, error)
	Log     *slog.Logger
	// Live is what is known of live views; nil: nothing.
	Live func() Live
}

// New makes the handler.
func New(c Config) http.Handler {
	h := &handler{Config: c}
	f := &api.Face{Prefix: Prefix, Access: c.Access, Subject: c.Subject, MaxBody: maxBody, Routes: h.routes(), Looks: true, Created: true,
		Detail: detail, Done: h.done, Fail: h.fail}
	return f.Handler()
}

type handler struct {
	Config
}

// decidedByEngine marks a route whose engine function decides and audits by itself.
const decidedByEngine = api.DecidedByEngine

func (h *handler) routes() []api.Route {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	at := api.At
	directory, people, identities := access.ManageDirectory, access.ManagePeople, access.ManageIdentities
	return []api.Route{
		at(post, "wards", directory, h.createWard),
		at(post, "beds", directory, h.createBed),
		at(post, "patients", directory, h.createPatient),
		at(post, "patients/{id}/{change}", people, h.changePatient),
		at(get, "holds", directory, h.holds),
		at(get, "quarantine", access.ViewDelivery, h.quarantine),
		at(get, "gaps", access.ViewDelivery, h.gaps),
		at(post, "persons", people, h.createPerson),
		at(put, "persons/{id}/wards", people, h.setWards),
		at(put, "persons/{id}/patients", people, h.setPatients),
		at(put, "persons/{id}/role", people, h.setRole),
		at(post, "persons/{id}/{change}", people, h.changePerson),
		at(post, "channels", directory, h.createChannel),

		at(post, "gateways", identities, h.inviteGateway),
		at(post, "gateways/{name}/sensors", identities, h.inviteSensors),
		at(post, "workstations", identities, h.inviteWorkstation),
		at(post, "routers", identities, h.inviteRouter),
		at(post, "hubs", identities, h.inviteHub),
		at(post, "egresses", identities, h.inviteEgress),
		at(get, "identities/{kind}/{name}", access.ViewDelivery, h.identity),
		at(post, "identities/sensor/{name}/clock", identities, h.settleClock),
		at(post, "identities/{id}/{change}", identities, h.changeIdentity),
		at(post, "identities/{kind}/{name}/{change}", identities, h.changeIdentity),
		at(post, "identities/{kind}/{name}/bed", decidedByEngine, h.placeSensor),
		at(post, "readings/move", decidedByEngine, h.moveReadings),
		at(get, "readings", decidedByEngine, h.previewMove),
		at(get, "sensors", decidedByEngine, h.sensorsHere),

		at(get, "wards", access.ViewDelivery, h.wards),
		at(get, "beds", access.ViewDelivery, h.beds),
		at(get, "patients", directory, h.patients),
		at(get, "persons", directory, h.persons),
		at(get, "persons/{id}", directory, h.person),
		at(get, "inventory", access.ViewDelivery, h.inventory),
		at(get, "delivery", access.ViewDelivery, h.delivery),
		at(get, "quotas", access.ViewDelivery, h.quotas),
		at(put, "quotas", directory, h.setQuota),
		at(get, "audit", access.ViewAudit, h.audit),
		at(get, "audit/proven", access.ViewAudit, h.provenAudit),
		at(get, "audit/search", access.ViewAudit, h.searchAudit),
		at(get, "audit/names", access.ViewAudit, h.auditNames),
		at(get, "reviews", decidedByEngine, h.reviews),
		at(post, "reviews/{id}", decidedByEngine, h.review),
		at(get, "approvals", decidedByEngine, h.approvals),
		at(post, "approvals/{id}/{change}", decidedByEngine, h.decideApproval),
		at(get, "two-persons", directory, h.twoPersons),
		at(put, "two-persons", people, h.switchTwoPersons),
		at(get, "explain", access.ExplainPolicy, h.explain),
		at(get, "explain/choices", access.ExplainPolicy, h.choices),
	}
}

// detail is what the audit log has of a request. The path has ids only, so it may be written down;
// bodies have names and secrets, and may not. Of a question it has what was asked for.
func detail(rt api.Route, r *http.Request) string {
	line := rt.Method + " " + clipPath(r.URL.Path)
	if rt.Method == http.MethodGet {
		line += asked(r.URL.Query())
	}
	return line
}

// done has what is dangerous witnessed before it is answered.
func (h *handler) done(ctx context.Context, rt api.Route, rq *api.Request) error {
	dangerous := rt.Action == access.ManagePeople || rt.Action == access.ManageIdentities || rt.Action == decidedByEngine
	if !dangerous || rt.Method == http.MethodGet {
		return nil
	}
	return h.Access.Witness(ctx, rq.Subject.Person.ID, rq.Subject.Workstation, cmp.Or(rt.Action, access.GiveApproval), access.OnSystem())
}

func clipPath(p string) string { return p[:min(len(p), 300)] }

// unnamedValue is told of a value that is refused where the refusal does not say which; it should not happen.
const unnamedValue = "a value in the request is out of its range or not of its form"

// unknownThing names what a request asked for that is not there: an id from the path, which the client knows.
func unknownThing(r *http.Request) string {
	id := r.PathValue("id")
	if kind := r.PathValue("kind"); kind != "" {
		id = kind + "/" + r.PathValue("name")
	}
	if id == "" {
		return "what the request names is not known at this hub"
	}
	return fmt.Sprintf("%.80q is not known at this hub; check the id", id)
}

// pausedText is for a person whose own failures stop administration (policy risk-too-high): the role is not what is missing.
const pausedText = "administration from this workstation is paused, because too many of your sign-ins or requests were refused here; it opens again within ten minutes, or at once after you change your password"

// fail is the one mapping of errors to statuses and texts.
func (h *handler) fail(r *http.Request, err error) (int, api.Problem) {
	var bad *api.BadRequest
	var big *http.MaxBytesError
	var asked *question
	var denied *access.Denied
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest, api.Problem{Error: bad.Text}
	case errors.As(err, &asked):
		return http.StatusConflict, api.Problem{Error: "is this meant? " + strings.Join(asked.found, "; ") + `. If it is, send the same again with "meant": true`, Questions: asked.found}
	case errors.As(err, &big):
		return http.StatusRequestEntityTooLarge, api.Problem{Error: "the body is larger than 64 KiB"}
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, api.Problem{Error: "sign in first", SignedOut: true}
	case errors.Is(err, access.ErrStepUp):
		return http.StatusForbidden, api.Problem{Error: "prove again who you are, then try again", StepUp: true}
	case errors.As(err, &denied) && denied.Paused():
		return http.StatusForbidden, api.Problem{Error: pausedText}
	case errors.Is(err, access.ErrDenied):
		return http.StatusForbidden, api.Problem{Error: "not allowed"}
	case errors.Is(err, signin.ErrBusy):
		return http.StatusServiceUnavailable, api.Problem{Error: "too busy, try again", RetryAfter: 2}
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, api.Problem{Error: cmp.Or(afterSentinel(err, store.ErrInvalid), unnamedValue)}
	case errors.Is(err, access.ErrInvalid):
		return http.StatusBadRequest, api.Problem{Error: cmp.Or(afterSentinel(err, access.ErrInvalid), unnamedValue)}
	case errors.Is(err, store.ErrNotFound), errors.Is(err, access.ErrNotFound):
		return http.StatusNotFound, api.Problem{Error: unknownThing(r)}
	case errors.Is(err, access.ErrApprover):
		return http.StatusForbidden, api.Problem{Error: afterSentinel(err, access.ErrApprover)}
	case errors.Is(err, access.ErrApprovalOver):
		return http.StatusConflict, api.Problem{Error: "the request is decided already, or has expired"}
	case errors.Is(err, access.ErrFewApprovers):
		return http.StatusConflict, api.Problem{Error: fmt.Sprintf("too few approvers: it takes %d auditors, doctors or staff who are enabled and have a password of their own", access.MinApprovers)}
	case errors.Is(err, directory.ErrSecondLogin):
		return http.StatusConflict, api.Problem{Error: "the patient has a login already; a patient has one: give it a new password instead"}
	case errors.Is(err, store.ErrExists):
		return http.StatusConflict, api.Problem{Error: "exists already"}
	case errors.Is(err, store.ErrOccupied):
		return http.StatusConflict, api.Problem{Error: inWords(err, store.ErrOccupied, "the bed is occupied")}
	case errors.Is(err, store.ErrHeld):
		return http.StatusConflict, api.Problem{Error: "the patient is under a legal hold; release it first"}
	case errors.Is(err, store.ErrAdmitted):
		return http.StatusConflict, api.Problem{Error: "the patient lies in a bed; discharge the patient first"}
	case errors.Is(err, access.ErrQuota):
		return http.StatusTooManyRequests, api.Problem{Error: strings.TrimPrefix(err.Error(), "access: ") + "; wait a moment", RetryAfter: 2}
	case errors.Is(err, store.ErrUnwritten):
		return http.StatusServiceUnavailable, api.Problem{Error: "done, and in force on this hub; the disk or the database does not take it yet, and the hub tries until it does. Look at the hub's log"}
	case store.Full(err):
		h.Log.ErrorContext(r.Context(), "administration failed", "method", r.Method, "path", clipPath(r.URL.Path), "err", err)
		return http.StatusInsufficientStorage, api.Problem{Error: "the hub's disk is full, so this is refused; make room on the disk of the hub's folder"}
	case errors.Is(err, access.ErrUndecided):
		if r.Context().Err() == nil {
			h.Log.ErrorContext(r.Context(), "administration not decided", "method", r.Method, "path", clipPath(r.URL.Path), "err", err)
		}
		return http.StatusServiceUnavailable, api.Problem{Error: api.Undecided, RetryAfter: api.RetryAfter}
	case errors.Is(err, store.ErrConflict):
		return http.StatusConflict, api.Problem{Error: inWords(err, store.ErrConflict, "conflicts with what is recorded")}
	}
	h.Log.ErrorContext(r.Context(), "administration failed", "method", r.Method, "path", clipPath(r.URL.Path), "err", err)
	return http.StatusInternalServerError, api.Problem{Error: "failed; the hub's log says why"}
}
