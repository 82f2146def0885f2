package dashboard

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

const maxBodyBytes = 64 << 10

var (
	errNoSuchPath = errors.New("dashboard: no such path")
	errTooLarge   = errors.New("dashboard: body too large")
	errNotJSON    = errors.New("dashboard: body is not JSON")
	errTooMany    = errors.New("dashboard: too many live connections")
	errNotOpen    = errors.New("dashboard: the question is not open any more")
)

// signInText is the same for every failed sign-in, whatever was wrong.
const signInText = "Login or password wrong, or too many tries. Wait a little and try again."

// badRequest is a request that names its own mistake; the text goes to the client.
type badRequest string

func (b badRequest) Error() string { return "dashboard: bad request: " + string(b) }

// fullText is of what was refused because it could not be written down, in the audit log or the directory.
const fullText = "The hub's disk is full. What cannot be written into the audit log is refused. Live numbers go on. Tell those who run the hub now: they must make room."

// providerText is of a sign-in at the OpenID provider that was not decided.
const providerText = "The hospital's sign-in does not answer now. This is no refusal and counts as none. Go back and try again in a moment."

// undecidedText is of what the hub could not decide: no refusal.
const undecidedText = "The hub could not decide this now, because its directory does not answer. This is no refusal and counts as none. Try again."

// api makes a handler of f: refuses requests from elsewhere, bounds the body, forbids caching and maps the error.
func (h *Handler) api(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		api.Bound(w, r, maxBodyBytes)
		err := h.cfg.Gate.Check(r)
		if err == nil {
			err = f(w, r)
		}
		if err != nil {
			h.refuse(w, r, err)
		}
	})
}

// statusOf is the one place where an error becomes a status and the fixed text for the client.
func statusOf(err error) (status int, text string) {
	var bad badRequest
	var throttled *signin.Throttled
	switch {
	case errors.As(err, &throttled):
		return http.StatusTooManyRequests, signInText
	case errors.Is(err, signin.ErrSignIn):
		return http.StatusUnauthorized, signInText
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, "Not signed in."
	case errors.Is(err, signin.ErrPasswordChanged):
		return http.StatusConflict, "Not changed: your password was set anew meanwhile, or your account was locked. Sign in again, with the newer password."
	case errors.Is(err, signin.ErrSuperseded):
		return http.StatusConflict, "Refreshed just now by another tab."
	case errors.Is(err, access.ErrStepUp):
		return http.StatusForbidden, "Prove again who you are; then this goes on."
	case errors.Is(err, access.ErrEmergencyRate):
		return http.StatusTooManyRequests, "Too many patients were opened in emergencies in the last hour. Ask the ward to open this patient for you."
	case errors.Is(err, signin.ErrPassword):
		return http.StatusBadRequest, "A password has at least 10 characters and at most 512 bytes, and is not the old one."
	case errors.Is(err, access.ErrInvalid):
		return http.StatusBadRequest, invalidText(err)
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotAllowed):
		return http.StatusForbidden, "You are not permitted to see this. The attempt is in the audit log."
	case errors.Is(err, api.ErrForeign):
		return http.StatusForbidden, "This request did not come from the dashboard itself (header " + api.RequestHeader + ": 1, same origin)."
	case errors.Is(err, errNotOpen):
		return http.StatusConflict, "This question is not open any more: it was answered, or the sensor or the patient was moved. Look at the bed again."
	case errors.As(err, &bad):
		return http.StatusBadRequest, string(bad)
	case errors.Is(err, store.ErrTooMuch):
		return http.StatusBadRequest, "Too much asked for at once; ask for a shorter time."
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, "The request is too large (at most 64 KiB)."
	case errors.Is(err, errNotJSON):
		return http.StatusUnsupportedMediaType, "Send JSON (Content-Type: application/json)."
	case errors.Is(err, errNoSuchPath):
		return http.StatusNotFound, "This address does not exist. Go back to the first page."
	case errors.Is(err, store.ErrNotFound), errors.Is(err, access.ErrNotFound):
		return http.StatusNotFound, "What this address names does not exist, or not any more. Go back and choose again."
	case errors.Is(err, errTooMany):
		return http.StatusTooManyRequests, "Too many live views are open (" + strings.TrimPrefix(err.Error(), errTooMany.Error()+": ") + "). Close some."
	case errors.Is(err, access.ErrQuota):
		return http.StatusTooManyRequests, "Too much was asked for in a short time (" + quotaName(err) + "). Wait a moment."
	case errors.Is(err, api.ErrTooFast):
		return http.StatusTooManyRequests, api.TooFast
	case errors.Is(err, store.ErrUnwritten):
		return http.StatusServiceUnavailable, "Done, and in force now. The hub cannot write it down yet and tries until it can."
	case errors.Is(err, signin.ErrBusy):
		return http.StatusServiceUnavailable, "Many people are signing in right now. Try again in a moment."
	case store.Full(err):
		return http.StatusInsufficientStorage, fullText
	case errors.Is(err, signin.ErrProvider):
		return http.StatusServiceUnavailable, providerText
	case errors.Is(err, access.ErrUndecided):
		return http.StatusServiceUnavailable, undecidedText
	}
	return http.StatusInternalServerError, "The hub cannot answer this now."
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text := statusOf(err)
	ours := status == http.StatusInternalServerError || status == http.StatusInsufficientStorage || errors.Is(err, access.ErrUndecided)
	if ours && !errors.Is(err, context.Canceled) && !errors.Is(r.Context().Err(), context.Canceled) {
		h.cfg.Log.ErrorContext(r.Context(), "dashboard request failed", "route", r.Pattern, "err", err)
	}
	answer := api.Problem{Error: text, StepUp: errors.Is(err, access.ErrStepUp), SignedOut: errors.Is(err, access.ErrNoSession)}
	var throttled *signin.Throttled
	var quota *access.QuotaError
	switch {
	case errors.As(err, &throttled):
		answer.RetryAfter = int(throttled.RetryAfter.Seconds()) + 1
	case errors.Is(err, access.ErrEmergencyRate):
		answer.RetryAfter = 600
	case errors.As(err, &quota):
		answer.RetryAfter = int(quota.RetryAfter.Seconds()) + 1
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		answer.RetryAfter = api.RetryAfter
	}
	if answer.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(answer.RetryAfter))
	}
	h.write(w, status, answer)
}

// quotaName is which quota an access.ErrQuota is of.
func quotaName(err error) string {
	var q *access.QuotaError
	if errors.As(err, &q) {
		return q.Name
	}
	return "quota"
}

// invalidText is what an error of access says after its fixed beginning: which argument, and what is allowed.
func invalidText(err error) string {
	_, text, ok := strings.Cut(err.Error(), access.ErrInvalid.Error()+": ")
	if !ok {
		return "The request is not valid."
	}
	return text + "."
}

func (h *Handler) write(w http.ResponseWriter, status int, v any) {
	if err := api.Answer(w, status, v); err != nil {
		h.cfg.Log.Error("dashboard answer not encoded", "err", err)
	}
}

// read decodes a body of exactly one JSON value with known fields.
func read(r *http.Request, v any) error {
	err := api.ReadJSON(r, v)
	var large *http.MaxBytesError
	var bad *api.BadRequest
	switch {
	case errors.As(err, &large):
		return errTooLarge
	case !errors.As(err, &bad):
		return err
	}
	switch bad.Fault {
	case api.FaultNotJSON:
		return errNotJSON
	case api.FaultCutOff:
		return badRequest("The request ended early.")
	case api.FaultTwice:
		return badRequest("The request is not clear: " + bad.Text + ".")
	case api.FaultTrailing:
		return badRequest("The request has something after its JSON.")
	}
	return badRequest("The request is not the JSON that is expected here.")
}
