// Package thingspeak is the face that ThingSpeak's clients know: channels of eight fields, read and written with API
// keys over plain REST. A patient's monitor is a channel; other channels can be made for anything else.
//
// It hides that a patient's channel is no table of entries: its feed is derived from the patient's sealed numerics, one
// entry a second, with the entry id counting seconds since the channel was made, so ids are stable and never reused. It
// guarantees that every read is a policy decision in the name of the key's owner and is audited, that a patient's channel
// cannot be written by any key, that absent and doubtful values are null rather than a number, and that answers are
// bounded (MaxResults). It is safe for concurrent use. A key is a bearer secret of 16 characters, as ThingSpeak has it:
// whoever holds it and sits at an enrolled workstation may read that one channel.
package thingspeak

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// MaxResults is the most entries in one answer, as ThingSpeak has it; DefaultResults is what a request without
// parameters gets.
const (
	MaxResults     = 8000
	DefaultResults = 100
)

const (
	maxBodyBytes  = 8 << 10
	maxFieldBytes = 255
)

// Config is what the face needs. All but Now must be set.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	// Workstation is the SPIFFE id proven for the request's connection, or "".
	Workstation func(*http.Request) string
	// Submit takes in an entry of a free channel; it is ingest's, since a view never appends a measurement itself.
	Submit func(ctx context.Context, g access.Grant, channel int64, e store.Entry) (store.Entry, error)
	Log    *slog.Logger
	Now    func() time.Time // time.Now if nil
}

// PatientFields are the field names of a patient's monitor, in ThingSpeak's order.
func PatientFields() [8]string {
	return [8]string{"heart rate bpm", "SpO2 %", "pressure kPa", "systolic mmHg", "diastolic mmHg", "mean mmHg", "respiratory rate /min", "early-warning score"}
}

// fieldOf places a kind in a patient's channel; 0 for none.
func fieldOf(k vitals.Kind) int {
	switch k {
	case vitals.HeartRate:
		return 1
	case vitals.SpO2:
		return 2
	case vitals.CuffPressure:
		return 3
	case vitals.Systolic:
		return 4
	case vitals.Diastolic:
		return 5
	case vitals.MeanArterial:
		return 6
	case vitals.RespiratoryRate:
		return 7
	}
	return 0
}

// Paths are the patterns that the hub routes to this face.
func Paths() []string {
	return []string{"/update", "/update.json", "/channels/"}
}

type face struct {
	Config
}

// New makes the face's handler.
func New(c Config) (http.Handler, error) {
	if c.Store == nil || c.Access == nil || c.Workstation == nil || c.Submit == nil || c.Log == nil {
		return nil, errors.New("thingspeak: configuration incomplete")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &face{c}
	mux := http.NewServeMux()
	mux.HandleFunc("/update", f.update)
	mux.HandleFunc("/update.json", f.update)
	for _, feed := range []string{"feeds", "feed"} { // ThingSpeak answers to both
		mux.HandleFunc("GET /channels/{id}/"+feed+".json", f.feeds)
		mux.HandleFunc("GET /channels/{id}/"+feed+"/last.json", f.last)
	}
	for _, field := range []string{"fields", "field"} {
		mux.HandleFunc("GET /channels/{id}/"+field+"/{field}", f.field) // N.json
		mux.HandleFunc("GET /channels/{id}/"+field+"/{field}/last.json", f.last)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { f.fail(w, errNotFound) })
	return headers(mux), nil
}

// headers are the same on every answer. Cross-origin reading is allowed as ThingSpeak does: a key is needed for
// anything, and no cookie counts here.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, THINGSPEAKAPIKEY, X-THINGSPEAKAPIKEY")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// key finds the API key: a header wins, then the parameters. Header names are matched by substring, as ThingSpeak does.
func key(r *http.Request) string {
	for name, values := range r.Header {
		if strings.Contains(strings.ToUpper(name), "THINGSPEAKAPIKEY") && len(values) > 0 {
			return values[0]
		}
	}
	for _, name := range []string{"key", "api_key", "apikey"} {
		if v := r.FormValue(name); v != "" {
			return v
		}
	}
	return ""
}

// The face's own refusals. Their texts reach the client.
var (
	errBadKey   = errors.New("thingspeak: no valid API key")
	errNotFound = errors.New("thingspeak: no such channel, field or path")
	errTooLarge = errors.New("thingspeak: too large")
	errMethod   = errors.New("thingspeak: method not allowed")
)

// badRequest is a mistake of the client that the text explains.
type badRequest struct{ message string }

func (b *badRequest) Error() string { return "thingspeak: " + b.message }

// fail is the one place where an error becomes a status and a text in ThingSpeak's form.
func (f *face) fail(w http.ResponseWriter, err error) {
	status, code, message := http.StatusInternalServerError, "error_internal", "Something went wrong here."
	var bad *badRequest
	var maxBytes *http.MaxBytesError
	switch {
	case errors.Is(err, errBadKey), errors.Is(err, access.ErrNoSession):
		status, code, message = http.StatusUnauthorized, "error_auth_required", "Please provide proper authentication details."
	case errors.Is(err, access.ErrDenied):
		status, code, message = http.StatusForbidden, "error_forbidden", "This key may not do that."
	case errors.Is(err, errNotFound), errors.Is(err, access.ErrNotFound):
		status, code, message = http.StatusNotFound, "error_resource_not_found", "The requested resource was not found."
	case errors.Is(err, errMethod):
		status, code, message = http.StatusMethodNotAllowed, "error_method_invalid", "Method not allowed."
	case errors.Is(err, errTooLarge), errors.As(err, &maxBytes):
		status, code, message = http.StatusRequestEntityTooLarge, "error_request_too_large", "Your request is too large."
	case errors.As(err, &bad):
		status, code, message = http.StatusBadRequest, "error_bad_request", bad.message
	default:
		f.Log.Error("thingspeak request failed", "err", err)
	}
	writeJSON(w, status, map[string]any{"status": strconv.Itoa(status),
		"error": map[string]string{"error_code": code, "message": message, "details": message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only our own types get here
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// timestamp is ThingSpeak's: UTC, no fraction.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
