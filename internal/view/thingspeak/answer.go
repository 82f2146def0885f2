package thingspeak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/thingspeak/wire"
)

const (
	mediaJSON   = "application/json; charset=utf-8"
	mediaText   = "text/plain; charset=utf-8"
	mediaXML    = "application/xml; charset=utf-8"
	mediaCSV    = "text/csv; charset=utf-8"
	mediaScript = "application/javascript; charset=utf-8"
	mediaHTML   = "text/html; charset=utf-8"
)

// The face's own refusals. Their texts reach the client.
var (
	errNotFound = errors.New("thingspeak: no such channel, field or path")
	errMethod   = errors.New("thingspeak: method not allowed")
	errTooOften = errors.New("thingspeak: too many requests")
)

// classify is the one place where an error becomes a status and a text.
func classify(err error) (status int, code, message string) {
	var bad *wire.BadRequest
	switch {
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, "error_auth_required", "Please provide proper authentication details."
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotAllowed), errors.Is(err, channel.ErrPatientChannel):
		return http.StatusForbidden, "error_forbidden", "This key may not do that."
	case errors.Is(err, errNotFound), errors.Is(err, access.ErrNotFound):
		return http.StatusNotFound, "error_resource_not_found", "The requested resource was not found."
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, "error_method_invalid", "Method not allowed."
	case errors.Is(err, wire.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, "error_request_too_large", "Your request is too large."
	case errors.Is(err, errTooOften), errors.Is(err, access.ErrQuota):
		return http.StatusTooManyRequests, "error_too_many_requests", "Wait before making another request."
	case errors.Is(err, channel.ErrTaken):
		return http.StatusConflict, "error_conflict", "There is another entry with this created_at."
	case errors.Is(err, channel.ErrQuota):
		return http.StatusInsufficientStorage, "error_quota", "Your channels and TalkBacks hold as much as they may: delete entries, or ask an administrator."
	case store.Full(err):
		return http.StatusInsufficientStorage, "error_disk_full", "The hub's disk is full. Try again when those who run it have made room."
	case errors.Is(err, access.ErrUndecided):
		return http.StatusServiceUnavailable, "error_undecided", "The hub could not decide this now. It is no refusal: try again."
	case errors.As(err, &bad):
		return http.StatusBadRequest, "error_bad_request", bad.Message
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, "error_bad_request", "A value is out of its range."
	}
	return http.StatusInternalServerError, "error_internal", "Something went wrong here."
}

// fail tells a refusal the way that the clients of this endpoint understand.
func (f *face) fail(q *request, err error, how tell) {
	status, code, message := classify(err)
	if status >= http.StatusInternalServerError && status != http.StatusInsufficientStorage && !errors.Is(err, context.Canceled) &&
		!errors.Is(q.r.Context().Err(), context.Canceled) {
		f.Log.Error("thingspeak request failed", "err", err)
	}
	switch {
	case how == tellRead && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		// One answer to all of it: no word about whether there is such a channel.
		if q.w.Header().Get(reasonHeader) == "" {
			told(q.w, "a read key of the channel or an account key is wanted")
		}
		write(q.w, http.StatusBadRequest, mediaOf(q.ext), []byte("-1"))
	case how == tellWrite && q.ext == "":
		reasonOf(q.w, status, message)
		switch {
		case errors.Is(err, errTooOften), errors.Is(err, access.ErrQuota):
			status = http.StatusOK
		case status < http.StatusInternalServerError:
			status = http.StatusBadRequest
		}
		write(q.w, status, mediaText, []byte("0"))
	case q.ext == "xml":
		b := fmt.Appendf(nil, "%s<hash>\n  <status>%d</status>\n  <error>\n    <error-code>%s</error-code>\n    <message>%s</message>\n    <details>%s</details>\n  </error>\n</hash>\n",
			wire.XMLHead, status, code, wire.Escape(message), wire.Escape(message))
		write(q.w, status, mediaXML, b)
	case q.ext == "txt", q.ext == "csv":
		reasonOf(q.w, status, message)
		write(q.w, status, mediaText, []byte(code))
	default:
		b, merr := json.Marshal(errorObject{strconv.Itoa(status), errorDetails{code, message, message}})
		if merr != nil {
			b = nil // texts of ours always can
		}
		write(q.w, status, mediaJSON, b)
	}
}

// reasonOf says in a header why a refusal is one whose body has no room for it. Who is not let in learns the same whatever is wrong:
// neither whether there is such a key or channel, nor whose it is.
func reasonOf(w http.ResponseWriter, status int, message string) {
	switch {
	case w.Header().Get(reasonHeader) != "":
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		told(w, "no key that may do this: a write key of the channel is wanted, and with talkback_key one of the TalkBack")
	default:
		told(w, message)
	}
}

// errorObject is ThingSpeak's.
type errorObject struct {
	Status string       `json:"status"`
	Error  errorDetails `json:"error"`
}

type errorDetails struct {
	Code    string `json:"error_code"`
	Message string `json:"message"`
	Details string `json:"details"`
}

func mediaOf(ext string) string {
	switch ext {
	case "xml":
		return mediaXML
	case "csv":
		return mediaCSV
	case "txt", "":
		return mediaText
	}
	return mediaJSON
}

// write sends an answer whole: small clients cannot read chunked ones.
func write(w http.ResponseWriter, status int, media string, b []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // #nosec G705 -- never HTML but for charts, which escape: JSON with its strings escaped, or plain text, and not to be sniffed
}

// object sends a JSON object of ours.
func object(q *request, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	write(q.w, status, mediaJSON, b)
	return nil
}
