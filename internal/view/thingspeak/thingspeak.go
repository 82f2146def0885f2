// Package thingspeak is the face that ThingSpeak's clients know: channels of eight fields, read and written with API
// keys over plain REST. A patient's monitor is a channel; other channels can be made for anything else.
//
// It hides that a patient's channel is no table of entries: its feed is derived from the patient's sealed numerics, one
// entry for each second in which a sensor said something, with that second (Unix time) as the entry id, so ids are
// stable and never reused. It guarantees that every read is a policy decision in the name of the key's owner and is
// audited, that a patient's channel cannot be written by any key, that absent and doubtful values are null rather than a
// number, that requests and answers are bounded, and that neither key nor address reaches a log. It is safe for
// concurrent use. Cookies mean nothing to it.
//
// It does not protect against a stolen key: a key is a bearer secret of 16 characters, as ThingSpeak has it, and whoever
// holds it and sits at an enrolled workstation may read that one channel, until the policies refuse its owner or the owner
// deletes it. Nor does it limit by itself how often a workstation may ask: the hub does that for all faces together.
package thingspeak

import (
	"context"
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
	mediaJSON = "application/json; charset=utf-8"
	mediaText = "text/plain; charset=utf-8"
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
	return &face{c}, nil
}

// ServeHTTP routes by hand: a ServeMux would redirect an unclean path, and repeat the key in the answer. Pages of other sites
// may use free channels, as ThingSpeak has it; what comes of a patient's channel no other site's page may read (shared). No
// cookie counts here.
func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method == http.MethodOptions || !strings.HasPrefix(r.URL.Path, "/channels/") {
		shared(h)
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, THINGSPEAKAPIKEY, X-THINGSPEAKAPIKEY")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address may hold a key
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusOK)
	case r.URL.Path == "/update", r.URL.Path == "/update.json":
		if r.Method == http.MethodGet || r.Method == http.MethodPost {
			f.update(w, r)
			return
		}
		h.Set("Allow", "GET, POST, OPTIONS")
		if r.URL.Path == "/update" {
			f.failText(w, errMethod)
			return
		}
		f.fail(w, errMethod)
	default:
		if err := f.read(w, r); err != nil {
			f.fail(w, err)
		}
	}
}

// shared lets pages of other sites read the answer.
func shared(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") }

// read routes /channels/ID/ and what comes below it. ThingSpeak answers to the singular of feeds and fields as well.
func (f *face) read(w http.ResponseWriter, r *http.Request) error {
	part := strings.Split(r.URL.Path, "/")
	if len(part) < 4 || len(part) > 6 || part[0] != "" || part[1] != "channels" {
		return errNotFound
	}
	answer, field := f.feeds, ""
	switch id, tail := part[2], strings.Join(part[3:], "/"); {
	case id == "":
		return errNotFound
	case tail == "feeds.json", tail == "feed.json":
	case tail == "feeds/last.json", tail == "feed/last.json":
		answer = f.last
	case part[3] != "fields" && part[3] != "field":
		return errNotFound
	case len(part) == 5 && strings.HasSuffix(part[4], ".json"):
		field = strings.TrimSuffix(part[4], ".json")
	case len(part) == 6 && part[5] == "last.json":
		answer, field = f.last, part[4]
	default:
		return errNotFound
	}
	n := 0
	if len(part) > 4 && part[3] != "feeds" && part[3] != "feed" {
		var err error
		if n, err = fieldNumber(field); err != nil {
			return err
		}
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET, OPTIONS")
		return errMethod
	}
	return answer(w, r, part[2], n)
}

// The face's own refusals. Their texts reach the client.
var (
	errNotFound = errors.New("thingspeak: no such channel, field or path")
	errTooLarge = errors.New("thingspeak: too large")
	errMethod   = errors.New("thingspeak: method not allowed")
)

// badRequest is a mistake of the client that the text explains. It never repeats what the client sent.
type badRequest struct{ message string }

func (b *badRequest) Error() string { return "thingspeak: " + b.message }

// classify is the one place where an error becomes a status and a text.
func classify(err error) (status int, code, message string) {
	var bad *badRequest
	switch {
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, "error_auth_required", "Please provide proper authentication details."
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotAllowed), errors.Is(err, store.ErrPatientChannel):
		return http.StatusForbidden, "error_forbidden", "This key may not do that."
	case errors.Is(err, errNotFound), errors.Is(err, access.ErrNotFound):
		return http.StatusNotFound, "error_resource_not_found", "The requested resource was not found."
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed, "error_method_invalid", "Method not allowed."
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, "error_request_too_large", "Your request is too large."
	case errors.As(err, &bad):
		return http.StatusBadRequest, "error_bad_request", bad.message
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, "error_bad_request", "A value is out of its range."
	}
	return http.StatusInternalServerError, "error_internal", "Something went wrong here."
}

// fail answers with ThingSpeak's error object.
func (f *face) fail(w http.ResponseWriter, err error) {
	status, code, message := classify(err)
	f.report(status, err)
	b := append([]byte(`{"status":"`), strconv.Itoa(status)...)
	b = append(append(append(b, `","error":{"error_code":"`...), code...), '"')
	b = appendText(appendText(b, "message", &message), "details", &message)
	write(w, status, mediaJSON, append(b, "}}"...))
}

// failText answers as ThingSpeak's text form of a write does: 0, and 400 for whatever was wrong with the request.
func (f *face) failText(w http.ResponseWriter, err error) {
	status, _, _ := classify(err)
	f.report(status, err)
	if status < http.StatusInternalServerError && status != http.StatusMethodNotAllowed {
		status = http.StatusBadRequest
	}
	write(w, status, mediaText, []byte("0"))
}

// report logs what is our fault.
func (f *face) report(status int, err error) {
	if status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		f.Log.Error("thingspeak request failed", "err", err)
	}
}

// write sends an answer whole: small clients cannot read chunked ones.
func write(w http.ResponseWriter, status int, media string, b []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // #nosec G705 -- never HTML: JSON with its strings escaped, or plain text, and not to be sniffed
}
