// Package admin is the hub's administration face: JSON over HTTP for wards, beds, patients, persons, components and
// channels, for reading inventory, delivery and the audit log, for judging emergency accesses, and for asking why the
// policies decide as they do. The command line and the dashboard are its clients; nothing else administers a running hub.
//
// It hides HTTP: one table of routes, one strict decoder, one mapping of errors to statuses. It guarantees that every
// request is a signed-in person's, decided by the policies and durable in the audit log before anything is done (and
// again what came of it; a GET that repeats itself is one entry in ten minutes, named as a look); that a page of another site cannot make a browser send one; that bodies are at most 64 KiB
// and fields it does not know are refused by name; that a client gets fixed texts and the log the causes, and that no
// password, ticket or name reaches a log. One-time passwords and tickets are in exactly one answer; nobody chooses a
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

	"vitalseal/internal/access"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/signin"
	"vitalseal/internal/store"
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
	Invite func(ctx context.Context, enrolledBy string, devices []store.Device) (json.RawMessage, error)
	// Disable, Enable and Delete change an identity (SPIFFE id) here and on the overlay, and end its connections.
	// Rotate demands a new key of it.
	Disable, Enable, Delete, Rotate func(ctx context.Context, spiffeID string) error
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
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.Handle(r.method+" "+Prefix+r.path, h.serve(r))
	}
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, problem{Error: "no such path"})
	})
	// Two defences against other sites: what the browser says about where a request comes from, and a header that a
	// form cannot set and a script of another site may not.
	sameOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		if err := sameOrigin.Check(r); (err != nil || !read && r.Header.Get("X-Vitalseal-Request") != "1") && !weaken.Skip(weaken.OwnPages) {
			answer(w, http.StatusForbidden, problem{Error: "request from another site"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

type handler struct {
	Config
}

// decidedByEngine marks a route whose engine function decides and audits by itself.
const decidedByEngine access.Action = ""

// route is one thing that can be done, and the action that the policies decide on.
type route struct {
	method, path string
	action       access.Action
	do           func(context.Context, *request) (any, error)
}

func (h *handler) routes() []route {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	directory, people, identities := access.ManageDirectory, access.ManagePeople, access.ManageIdentities
	return []route{
		{post, "wards", directory, h.createWard},
		{post, "beds", directory, h.createBed},
		{post, "patients", directory, h.createPatient},
		{post, "patients/{id}/{change}", people, h.changePatient},
		{get, "holds", directory, h.holds},
		{get, "quarantine", access.ViewDelivery, h.quarantine},
		{get, "gaps", access.ViewDelivery, h.gaps},
		{post, "persons", people, h.createPerson},
		{put, "persons/{id}/wards", people, h.setWards},
		{put, "persons/{id}/patients", people, h.setPatients},
		{put, "persons/{id}/role", people, h.setRole},
		{post, "persons/{id}/{change}", people, h.changePerson},
		{post, "channels", directory, h.createChannel},

		{post, "gateways", identities, h.inviteGateway},
		{post, "gateways/{name}/sensors", identities, h.inviteSensors},
		{post, "workstations", identities, h.inviteWorkstation},
		{post, "routers", identities, h.inviteRouter},
		{post, "hubs", identities, h.inviteHub},
		{post, "egresses", identities, h.inviteEgress},
		{get, "identities/{kind}/{name}", access.ViewDelivery, h.identity},
		{post, "identities/sensor/{name}/clock", identities, h.settleClock},
		{post, "identities/{id}/{change}", identities, h.changeIdentity},
		{post, "identities/{kind}/{name}/{change}", identities, h.changeIdentity},
		{post, "identities/{kind}/{name}/bed", decidedByEngine, h.placeSensor},
		{post, "readings/move", decidedByEngine, h.moveReadings},
		{get, "readings", decidedByEngine, h.previewMove},
		{get, "sensors", decidedByEngine, h.sensorsHere},

		{get, "wards", access.ViewDelivery, h.wards},
		{get, "beds", access.ViewDelivery, h.beds},
		{get, "patients", directory, h.patients},
		{get, "persons", directory, h.persons},
		{get, "persons/{id}", directory, h.person},
		{get, "inventory", access.ViewDelivery, h.inventory},
		{get, "delivery", access.ViewDelivery, h.delivery},
		{get, "quotas", access.ViewDelivery, h.quotas},
		{put, "quotas", directory, h.setQuota},
		{get, "audit", access.ViewAudit, h.audit},
		{get, "audit/proven", access.ViewAudit, h.provenAudit},
		{get, "audit/search", access.ViewAudit, h.searchAudit},
		{get, "audit/names", access.ViewAudit, h.auditNames},
		{get, "reviews", decidedByEngine, h.reviews},
		{post, "reviews/{id}", decidedByEngine, h.review},
		{get, "approvals", decidedByEngine, h.approvals},
		{post, "approvals/{id}/{change}", decidedByEngine, h.decideApproval},
		{get, "two-persons", directory, h.twoPersons},
		{put, "two-persons", people, h.switchTwoPersons},
		{get, "explain", access.ExplainPolicy, h.explain},
		{get, "explain/choices", access.ExplainPolicy, h.choices},
	}
}

// serve is the way of every request: who, may they, do it, answer.
func (h *handler) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		status, out, err := h.handle(r, w, hr)
		if err != nil {
			status, out = h.fail(hr, err)
		}
		answer(w, status, out)
	})
}

func (h *handler) handle(r route, w http.ResponseWriter, hr *http.Request) (int, any, error) {
	ctx := hr.Context()
	subject, err := h.Subject(hr)
	if err != nil {
		return 0, nil, err
	}
	// The path has ids only, so it may be written down; bodies have names and secrets, and may not.
	var grant access.Grant
	if r.action != decidedByEngine {
		decide := h.Access.DecideFor
		if r.method == http.MethodGet {
			decide = h.Access.DecideLook
		}
		grant, err = decide(ctx, subject, r.action, access.OnSystem(), r.method+" "+clipPath(hr.URL.Path))
		if err != nil {
			return 0, nil, err
		}
	}
	out, err := r.do(ctx, &request{Request: hr, w: w, subject: subject, grant: grant})
	if err != nil {
		if r.action != decidedByEngine && r.method != http.MethodGet {
			// What was allowed and then not done must not stand in the log as done.
			_, problem := h.fail(hr, err)
			if rerr := h.Access.RecordRefused(ctx, grant, access.OnSystem(), r.method+" "+clipPath(hr.URL.Path)+": "+problem.Error); rerr != nil {
				return 0, nil, errors.Join(err, rerr)
			}
		}
		return 0, nil, err
	}
	if dangerous := r.action == access.ManagePeople || r.action == access.ManageIdentities || r.action == decidedByEngine; dangerous && r.method != http.MethodGet {
		if err := h.Access.Witness(ctx, subject.Person.ID, subject.Workstation, cmp.Or(r.action, access.GiveApproval), access.OnSystem()); err != nil {
			return 0, nil, err
		}
	}
	if s, ok := out.(interface{ status() int }); ok {
		return s.status(), out, nil
	}
	switch {
	case out == nil:
		return http.StatusNoContent, nil, nil
	case r.method == http.MethodPost:
		return http.StatusCreated, out, nil
	}
	return http.StatusOK, out, nil
}

func clipPath(p string) string { return p[:min(len(p), 300)] }

// request is an HTTP request that has been allowed.
type request struct {
	*http.Request
	w       http.ResponseWriter
	subject access.Subject
	grant   access.Grant
}

// problem is the body of every error answer.
type problem struct {
	Error      string `json:"error"`
	StepUp     bool   `json:"step_up,omitempty"`     // a fresh proof of identity is all that is missing
	SignedOut  bool   `json:"signed_out,omitempty"`  // there is no session, or it has ended
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
	// Questions are what looks like a mistake; the same request with "meant": true is done.
	Questions []string `json:"questions,omitempty"`
}

func answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	b, err := json.Marshal(body)
	if err != nil { // a programmer's error; nothing of body may leak
		status, b = http.StatusInternalServerError, []byte(`{"error":"failed; the hub's log says why"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
}

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
func (h *handler) fail(r *http.Request, err error) (int, problem) {
	var bad *badRequest
	var big *http.MaxBytesError
	var asked *question
	var denied *access.Denied
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest, problem{Error: bad.text}
	case errors.As(err, &asked):
		return http.StatusConflict, problem{Error: "is this meant? " + strings.Join(asked.found, "; ") + `. If it is, send the same again with "meant": true`, Questions: asked.found}
	case errors.As(err, &big):
		return http.StatusRequestEntityTooLarge, problem{Error: "the body is larger than 64 KiB"}
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, problem{Error: "sign in first", SignedOut: true}
	case errors.Is(err, access.ErrStepUp):
		return http.StatusForbidden, problem{Error: "prove again who you are, then try again", StepUp: true}
	case errors.As(err, &denied) && denied.Paused():
		return http.StatusForbidden, problem{Error: pausedText}
	case errors.Is(err, access.ErrDenied):
		return http.StatusForbidden, problem{Error: "not allowed"}
	case errors.Is(err, signin.ErrBusy):
		return http.StatusServiceUnavailable, problem{Error: "too busy, try again", RetryAfter: 2}
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, problem{Error: cmp.Or(afterSentinel(err, store.ErrInvalid), unnamedValue)}
	case errors.Is(err, access.ErrInvalid):
		return http.StatusBadRequest, problem{Error: cmp.Or(afterSentinel(err, access.ErrInvalid), unnamedValue)}
	case errors.Is(err, store.ErrNotFound), errors.Is(err, access.ErrNotFound):
		return http.StatusNotFound, problem{Error: unknownThing(r)}
	case errors.Is(err, access.ErrApprover):
		return http.StatusForbidden, problem{Error: afterSentinel(err, access.ErrApprover)}
	case errors.Is(err, access.ErrApprovalOver):
		return http.StatusConflict, problem{Error: "the request is decided already, or has expired"}
	case errors.Is(err, access.ErrFewApprovers):
		return http.StatusConflict, problem{Error: fmt.Sprintf("too few approvers: it takes %d auditors, doctors or staff who are enabled and have a password of their own", access.MinApprovers)}
	case errors.Is(err, store.ErrSecondLogin):
		return http.StatusConflict, problem{Error: "the patient has a login already; a patient has one: give it a new password instead"}
	case errors.Is(err, store.ErrExists):
		return http.StatusConflict, problem{Error: "exists already"}
	case errors.Is(err, store.ErrOccupied):
		return http.StatusConflict, problem{Error: inWords(err, store.ErrOccupied, "the bed is occupied")}
	case errors.Is(err, store.ErrHeld):
		return http.StatusConflict, problem{Error: "the patient is under a legal hold; release it first"}
	case errors.Is(err, store.ErrAdmitted):
		return http.StatusConflict, problem{Error: "the patient lies in a bed; discharge the patient first"}
	case errors.Is(err, access.ErrQuota):
		return http.StatusTooManyRequests, problem{Error: strings.TrimPrefix(err.Error(), "access: ") + "; wait a moment", RetryAfter: 2}
	case errors.Is(err, store.ErrUnwritten):
		return http.StatusServiceUnavailable, problem{Error: "done, and in force on this hub; the disk or the database does not take it yet, and the hub tries until it does. Look at the hub's log"}
	case store.Full(err):
		h.Log.ErrorContext(r.Context(), "administration failed", "method", r.Method, "path", clipPath(r.URL.Path), "err", err)
		return http.StatusInsufficientStorage, problem{Error: "the hub's disk is full, so this is refused; make room on the disk of the hub's folder"}
	case errors.Is(err, store.ErrConflict):
		return http.StatusConflict, problem{Error: inWords(err, store.ErrConflict, "conflicts with what is recorded")}
	}
	h.Log.ErrorContext(r.Context(), "administration failed", "method", r.Method, "path", clipPath(r.URL.Path), "err", err)
	return http.StatusInternalServerError, problem{Error: "failed; the hub's log says why"}
}
