package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"vitalseal/internal/hub/access"
)

// Problem is the body of every error answer.
type Problem struct {
	Error      string `json:"error"`
	StepUp     bool   `json:"step_up,omitempty"`     // a fresh proof of identity is all that is missing
	SignedOut  bool   `json:"signed_out,omitempty"`  // there is no session, or it has ended
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
	// Questions are what looks like a mistake; the same request with "meant": true is done.
	Questions []string `json:"questions,omitempty"`
}

// Undecided is the text of an access.ErrUndecided, which is answered 503.
const Undecided = "not decided: the hub's directory does not answer. This is no refusal and counts as none; try again"

// Undone is what writes down that an act was allowed and then answered with err and a status: a
// refusal for a mistake in the request, no refusal where the hub failed, and no failure of what
// holds already (access.ErrInForce).
func Undone(e *access.Engine, status int, err error) func(context.Context, access.Grant, access.Resource, string) error {
	switch {
	case errors.Is(err, access.ErrInForce):
		return func(ctx context.Context, g access.Grant, r access.Resource, what string) error {
			return e.Record(ctx, g, r, what)
		}
	case status >= http.StatusInternalServerError:
		return e.RecordFailed
	}
	return e.RecordRefused
}

// failed is the answer where there is none that can be written.
const failed = "failed; the hub's log says why"

// Answer writes a status and a body in JSON; nil: no body. The error is a body that cannot be
// encoded: a programmer's mistake, which is answered 500 without a word of it, and which the caller
// logs.
//
//defence:safe-markup answers are no page: media type, nosniff, content security policy
func Answer(w http.ResponseWriter, status int, body any) error {
	if body == nil {
		w.WriteHeader(status)
		return nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"`+failed+`"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
	return err
}

// DecidedByEngine marks a Route whose own call of package access decides and audits.
const DecidedByEngine access.Action = ""

// Route is one thing that can be done at a Face, and the action that the policies decide on before
// it is done.
type Route struct {
	Method, Path string // Path is below the face's prefix; it may have wildcards of http.ServeMux
	Action       access.Action
	// Do does it. What it returns is the answer's body: nil for 204, else 200, or the Status of a
	// body that has one.
	Do func(context.Context, *Request) (any, error)
}

// At makes a Route.
func At(method, path string, a access.Action, do func(context.Context, *Request) (any, error)) Route {
	return Route{Method: method, Path: path, Action: a, Do: do}
}

// Request is an HTTP request that has been allowed.
type Request struct {
	*http.Request
	Subject access.Subject
	Grant   access.Grant // for the route's action on On; empty with DecidedByEngine
	On      access.Resource
}

// Decode reads the body of a request, see ReadJSON.
func Decode[T any](r *Request) (out T, err error) {
	err = ReadJSON(r.Request, &out)
	return out, err
}

// Face is a set of routes, each decided by the policies and durable in the audit log before it is
// done. All fields but those that say so are required.
type Face struct {
	Prefix string // where it is mounted, with a slash at its end
	Access *access.Engine
	// Subject is who sends the request: access.ErrNoSession, or the person at the workstation that
	// the connection proves.
	Subject func(*http.Request) (access.Subject, error)
	MaxBody int64 // bytes
	Routes  []Route
	// On is what a route's action is done to; nil: the system.
	On func(*http.Request) (access.Resource, error)
	// Detail is what the audit log has of a request. It may have ids of the path, and nothing of
	// the body.
	Detail func(Route, *http.Request) string
	// Looks has a GET that repeats itself audited as a look, once in ten minutes.
	Looks bool
	// Created answers 201 to a POST that has a body to answer.
	Created bool
	// Done is called when a request has been done, before it is answered; nil: nothing more.
	Done func(context.Context, Route, *Request) error
	// Fail is the one mapping of errors to statuses and texts.
	Fail func(*http.Request, error) (int, Problem)
}

// Handler serves the face. Requests that pages of other sites have caused are refused.
func (f *Face) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range f.Routes {
		mux.HandleFunc(rt.Method+" "+f.Prefix+rt.Path, func(w http.ResponseWriter, r *http.Request) {
			Bound(w, r, f.MaxBody)
			status, out, err := f.handle(rt, r)
			if err != nil {
				status, out = f.fail(r, err)
			}
			if err := Answer(w, status, out); err != nil {
				f.Fail(r, err) // which logs it
			}
		})
	}
	mux.HandleFunc(f.Prefix, func(w http.ResponseWriter, _ *http.Request) {
		_ = Answer(w, http.StatusNotFound, Problem{Error: "no such path"})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if SameOrigin(r) != nil {
			_ = Answer(w, http.StatusForbidden, Problem{Error: "request from another site"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (f *Face) fail(r *http.Request, err error) (int, any) {
	status, problem := f.Fail(r, err)
	return status, problem
}

// handle is the way of every request: who, may they, do it, answer.
func (f *Face) handle(rt Route, r *http.Request) (int, any, error) {
	ctx := r.Context()
	subject, err := f.Subject(r)
	if err != nil {
		return 0, nil, err
	}
	rq := &Request{Request: r, Subject: subject, On: access.OnSystem()}
	if f.On != nil {
		if rq.On, err = f.On(r); err != nil {
			return 0, nil, err
		}
	}
	if rt.Action != DecidedByEngine {
		decide := f.Access.DecideFor
		if f.Looks && rt.Method == http.MethodGet {
			decide = f.Access.DecideLook
		}
		if rq.Grant, err = decide(ctx, subject, rt.Action, rq.On, f.Detail(rt, r)); err != nil {
			return 0, nil, err
		}
	}
	out, err := rt.Do(ctx, rq)
	if err != nil {
		if rt.Action != DecidedByEngine && rt.Method != http.MethodGet {
			// What was allowed and then not done must not stand in the log as done.
			status, problem := f.Fail(r, err)
			if rerr := Undone(f.Access, status, err)(ctx, rq.Grant, rq.On, f.Detail(rt, r)+": "+problem.Error); rerr != nil {
				return 0, nil, errors.Join(err, rerr)
			}
		}
		return 0, nil, err
	}
	if f.Done != nil {
		if err := f.Done(ctx, rt, rq); err != nil {
			return 0, nil, err
		}
	}
	status := http.StatusOK
	s, own := out.(interface{ Status() int })
	switch {
	case own:
		status = s.Status()
	case out == nil:
		status = http.StatusNoContent
	case f.Created && rt.Method == http.MethodPost:
		status = http.StatusCreated
	}
	return status, out, nil
}
