package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/form"
	"vitalseal/internal/store"
)

// Prefix is where the handler expects to be mounted.
const Prefix = "/api/cloud/"

const (
	maxBody = 512 << 10
	// MaxOpen is the most envelopes that one request opens.
	MaxOpen = 500
	// MaxImport is the most entries that one request takes in.
	MaxImport = 500
)

// FaceConfig is what the face works with, all of it required.
type FaceConfig struct {
	Engine *Engine
	// Subject is who sends the request: access.ErrNoSession, or the person at the workstation that
	// the connection proves.
	Subject func(r *http.Request) (access.Subject, error)
	Log     *slog.Logger
}

type face struct {
	FaceConfig
	store  *store.Store
	access *access.Engine
}

// asked is a request that has been allowed.
type asked struct {
	*http.Request
	w       http.ResponseWriter
	grant   access.Grant
	channel int64
	patient string
}

// route is one thing that can be done, and the action that the policies decide on.
type route struct {
	pattern string
	action  access.Action
	do      func(context.Context, *asked) (any, error)
}

// NewFace makes the handler by which people have channels forwarded, approve, agree, open envelopes
// and import. It is JSON; every request is a signed-in person's, decided and audited before
// anything is done, and none can come from a page of another site.
func NewFace(c FaceConfig) http.Handler {
	f := &face{FaceConfig: c, store: c.Engine.c.Store, access: c.Engine.c.Access}
	mux := http.NewServeMux()
	for _, r := range f.routes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, hr *http.Request) {
			status, out, err := f.handle(r, w, hr)
			if err != nil {
				status, out = f.fail(err)
			}
			answer(w, status, out)
		})
	}
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, problem{Error: "no such path"})
	})
	sameOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := sameOrigin.Check(r); err != nil || r.Method != http.MethodGet && r.Header.Get("X-Vitalseal-Request") != "1" {
			answer(w, http.StatusForbidden, problem{Error: "request from another site"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (f *face) routes() []route {
	return []route{
		{"GET /api/cloud/channels", access.ViewDelivery, f.list},
		{"PUT /api/cloud/channels/{channel}", access.ForwardChannel, f.forward},
		{"DELETE /api/cloud/channels/{channel}", access.ForwardChannel, f.stop},
		{"POST /api/cloud/channels/{channel}/approve", access.ForwardChannel, f.approve},
		{"GET /api/cloud/channels/{channel}", access.ViewChannel, f.source},
		{"POST /api/cloud/channels/{channel}/open", access.ViewChannel, f.open},
		{"POST /api/cloud/channels/{channel}/import", access.WriteChannel, f.take},
		{"PUT /api/cloud/patients/{patient}/consent", access.ManageConsent, f.consent},
		{"DELETE /api/cloud/patients/{patient}/consent", access.ManageConsent, f.withdraw},
	}
}

func (f *face) handle(r route, w http.ResponseWriter, hr *http.Request) (int, any, error) {
	ctx := hr.Context()
	subject, err := f.Subject(hr)
	if err != nil {
		return 0, nil, err
	}
	a := &asked{Request: hr, w: w, patient: hr.PathValue("patient")}
	on := access.OnSystem()
	switch id := hr.PathValue("channel"); {
	case id != "":
		if a.channel, err = strconv.ParseInt(id, 10, 64); err != nil || a.channel < 1 {
			return 0, nil, access.ErrNotFound
		}
		on = access.OnChannel(a.channel)
	case a.patient != "":
		on = access.OnPatient(a.patient)
	}
	if a.grant, err = f.access.DecideFor(ctx, subject, r.action, on, "cloud: "+r.pattern); err != nil {
		return 0, nil, err
	}
	out, err := r.do(ctx, a)
	if err != nil && hr.Method != http.MethodGet {
		// What was allowed and then not done must not stand in the log as done.
		_, problem := f.fail(err)
		if rerr := f.access.RecordRefused(ctx, a.grant, on, "cloud: "+r.pattern+": "+problem.Error); rerr != nil {
			return 0, nil, errors.Join(err, rerr)
		}
	}
	switch {
	case err != nil:
		return 0, nil, err
	case out == nil:
		return http.StatusNoContent, nil, nil
	}
	return http.StatusOK, out, nil
}

// forwarding is a sink as the face tells of it.
type forwarding struct {
	Channel     int64      `json:"channel"`
	Server      string     `json:"server"`
	Remote      int64      `json:"remote_channel"`
	Mode        string     `json:"mode"`
	RequestedBy string     `json:"requested_by"`
	Requested   time.Time  `json:"requested"`
	ApprovedBy  string     `json:"approved_by,omitempty"`
	Approved    *time.Time `json:"approved,omitempty"`
	Forwarded   time.Time  `json:"forwarded_until"`
	Messages    int64      `json:"messages"`
	LastSent    *time.Time `json:"last_sent,omitempty"`
	Problem     string     `json:"problem,omitempty"`
}

func tell(k store.Sink) forwarding {
	f := forwarding{Channel: k.Channel, Server: k.Server, Remote: k.Remote, Mode: k.Mode, RequestedBy: k.RequestedBy, Requested: k.Requested,
		ApprovedBy: k.ApprovedBy, Forwarded: k.Cursor, Messages: k.Sent, Problem: k.Problem}
	if !k.Approved.IsZero() {
		f.Approved = &k.Approved
	}
	if !k.LastSent.IsZero() {
		f.LastSent = &k.LastSent
	}
	if f.Problem == "" && k.Mode == store.SinkPlain && k.ApprovedBy == "" {
		f.Problem = ProblemApproval
	}
	return f
}

func (f *face) list(ctx context.Context, _ *asked) (any, error) {
	all, err := f.store.Sinks(ctx)
	out := make([]forwarding, 0, len(all))
	for _, k := range all {
		out = append(out, tell(k))
	}
	return out, err
}

func (f *face) forward(ctx context.Context, a *asked) (any, error) {
	in, err := decode[struct {
		Server   string `json:"server"`
		Remote   int64  `json:"remote_channel"`
		WriteKey string `json:"write_key"`
		Mode     string `json:"mode"` // empty means sealed
	}](a)
	if err != nil {
		return nil, err
	}
	if in.Mode == "" {
		in.Mode = store.SinkSealed
	}
	switch {
	case in.Mode != store.SinkSealed && in.Mode != store.SinkPlain:
		return nil, invalid("mode", "must be sealed or plain")
	case in.Remote < 1:
		return nil, invalid("remote_channel", "must be a number from 1")
	case len(in.WriteKey) < 1 || len(in.WriteKey) > 64:
		return nil, invalid("write_key", "must have 1 to 64 characters")
	}
	if in.Server, err = ParseServer(in.Server); err != nil {
		return nil, invalid("server", "must be an https address without a path, such as https://api.thingspeak.com")
	}
	before := "none"
	switch old, err := f.store.Sink(ctx, a.channel); {
	case err == nil:
		before = old.Mode + " to " + old.Server
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	err = f.store.SaveSink(ctx, a.grant, store.Sink{Channel: a.channel, Server: in.Server, Remote: in.Remote, Mode: in.Mode,
		RequestedBy: a.grant.Holder()}, in.WriteKey)
	if err == nil {
		err = f.access.Record(ctx, a.grant, access.OnChannel(a.channel), "asked for "+in.Mode+" forwarding to "+in.Server+"; forwarding: "+before+" -> "+in.Mode+" to "+in.Server)
	}
	return f.now(ctx, a, err)
}

func (f *face) approve(ctx context.Context, a *asked) (any, error) {
	in, err := decode[struct {
		Requested time.Time `json:"requested"` // of the request that is approved, as the list has it
	}](a)
	if err != nil {
		return nil, err
	}
	if in.Requested.IsZero() {
		return nil, invalid("requested", "must be the time of the request that you approve, as the list shows it")
	}
	k, err := f.store.Sink(ctx, a.channel)
	if err != nil {
		return nil, err
	}
	if k.Requested.Equal(in.Requested) {
		duty, err := f.duty(ctx, k)
		if err != nil {
			return nil, err
		}
		if err := f.access.SecondPerson(ctx, k.RequestedBy, duty, a.grant.Holder(), k.Requested); err != nil {
			return nil, err
		}
	}
	if err := f.store.ApproveSink(ctx, a.grant, a.channel, in.Requested); err != nil {
		return nil, err
	}
	return f.now(ctx, a, f.access.Record(ctx, a.grant, access.OnChannel(a.channel), "approved plain forwarding to "+k.Server+", asked for by "+k.RequestedBy))
}

// duty is the requester's, where the approver's must be another: for a patient's channel, once acts
// take two persons. Only administrators forward a free channel, which holds no patient's values.
func (f *face) duty(ctx context.Context, k store.Sink) (access.Role, error) {
	ref, err := f.store.ChannelRef(ctx, k.Channel)
	if err != nil || ref.Patient == "" {
		return "", err
	}
	two, err := f.access.NeedsTwo(ctx)
	if err != nil || !two {
		return "", err
	}
	p, err := f.store.Person(ctx, k.RequestedBy)
	return p.Role, err
}

func (f *face) stop(ctx context.Context, a *asked) (any, error) {
	err := f.store.RemoveSink(ctx, a.grant, a.channel)
	if err == nil {
		err = f.access.Record(ctx, a.grant, access.OnChannel(a.channel), "ended forwarding")
	}
	return nil, err
}

// now is the state after a change.
func (f *face) now(ctx context.Context, a *asked, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	f.Engine.wake()
	k, err := f.store.Sink(ctx, a.channel)
	return tell(k), err
}

// source is where a channel's envelopes are, for users who may see the channel.
func (f *face) source(ctx context.Context, a *asked) (any, error) {
	k, err := f.store.Sink(ctx, a.channel)
	return struct {
		Server string `json:"server"`
		Remote int64  `json:"remote_channel"`
		Mode   string `json:"mode"`
	}{k.Server, k.Remote, k.Mode}, err
}

// Value is one value of an opened envelope; Value is absent where the quality says that there is
// none.
type Value struct {
	Kind    string   `json:"kind"`
	Unit    string   `json:"unit"`
	Value   *float64 `json:"value,omitempty"`
	Quality string   `json:"quality"`
}

// Opened is one second out of an envelope.
type Opened struct {
	At     time.Time           `json:"at"`
	Values []Value             `json:"values,omitempty"`
	Fields map[string]*float64 `json:"fields,omitempty"` // of a free channel
}

// OpenAnswer has for each envelope of the request its seconds, or null for what is no envelope of
// the channel.
type OpenAnswer struct {
	Envelopes [][]Opened `json:"envelopes"`
}

func (f *face) open(ctx context.Context, a *asked) (any, error) {
	in, err := decode[struct {
		Envelopes []string `json:"envelopes"`
	}](a)
	if err != nil {
		return nil, err
	}
	if len(in.Envelopes) == 0 || len(in.Envelopes) > MaxOpen {
		return nil, invalid("envelopes", "must be 1 to %d", MaxOpen)
	}
	out := OpenAnswer{Envelopes: make([][]Opened, len(in.Envelopes))}
	for i, text := range in.Envelopes {
		records, err := f.Engine.open(ctx, a.grant, a.channel, text)
		switch {
		case errors.Is(err, ErrEnvelope):
			continue
		case err != nil:
			return nil, err
		}
		for _, r := range records {
			out.Envelopes[i] = append(out.Envelopes[i], r.opened())
		}
	}
	return out, nil
}

// open opens one envelope for the holder of a grant for access.ViewChannel.
func (e *Engine) open(ctx context.Context, g access.Grant, channel int64, text string) ([]Record, error) {
	id, raw, err := envelopeKeyID(text)
	if err != nil {
		return nil, err
	}
	key, err := e.c.Store.EnvelopeKey(ctx, g, channel, id)
	if errors.Is(err, access.ErrNotFound) || errors.Is(err, store.ErrNotFound) {
		return nil, ErrEnvelope
	}
	if err != nil {
		return nil, err
	}
	return openEnvelope(key, raw)
}

func (r Record) opened() Opened {
	o := Opened{At: r.At}
	for _, n := range r.Numerics {
		v := Value{Kind: n.Kind.String(), Unit: n.Kind.Unit(), Quality: n.Quality.String()}
		if n.Quality.HasValue() {
			v.Value = &n.Value
		}
		o.Values = append(o.Values, v)
	}
	for i, x := range r.Fields {
		if x != nil {
			if o.Fields == nil {
				o.Fields = map[string]*float64{}
			}
			o.Fields["field"+strconv.Itoa(i+1)] = x
		}
	}
	return o
}

// ImportEntry is one entry on its way into a free channel.
type ImportEntry struct {
	Created   time.Time  `json:"created_at"`
	Fields    [8]*string `json:"fields"`
	Status    string     `json:"status,omitempty"`
	Latitude  string     `json:"latitude,omitempty"`
	Longitude string     `json:"longitude,omitempty"`
	Elevation string     `json:"elevation,omitempty"`
}

// ImportAnswer is what became of a request's entries: all but the refused ones are in the channel,
// and so many were not before.
type ImportAnswer struct {
	Added   int             `json:"added"`
	Refused []ImportRefusal `json:"refused,omitempty"`
}

// ImportRefusal is an entry that was not taken.
type ImportRefusal struct {
	Number  int       `json:"number"` // in the request, from 1
	Created time.Time `json:"created_at"`
	Reason  string    `json:"reason"`
}

// MaxAhead is how far the time of an entry may be ahead of the hub's clock: as far as that of an
// update or a sensor. A later one would be the channel's last value until then.
const MaxAhead = 5 * time.Minute

func (f *face) take(ctx context.Context, a *asked) (any, error) {
	in, err := decode[struct {
		Entries []ImportEntry `json:"entries"`
	}](a)
	if err != nil {
		return nil, err
	}
	if len(in.Entries) == 0 || len(in.Entries) > MaxImport {
		return nil, invalid("entries", "must be 1 to %d", MaxImport)
	}
	before, err := f.store.Channel(ctx, a.channel)
	if err != nil {
		return nil, err
	}
	entries := make([]store.Entry, 0, len(in.Entries))
	var refused []ImportRefusal
	latest := f.Engine.c.Now().Add(MaxAhead)
	for i, e := range in.Entries {
		if e.Created.IsZero() {
			return nil, invalid("entries", "number %d has no created_at", i+1)
		}
		entry := store.Entry{Created: e.Created, Fields: e.Fields, Status: e.Status, Latitude: e.Latitude, Longitude: e.Longitude, Elevation: e.Elevation}
		if Empty(entry) {
			return nil, invalid("entries", "number %d: neither a field nor a status nor a place", i+1)
		}
		if e.Created.After(latest) {
			refused = append(refused, ImportRefusal{i + 1, e.Created, "created_at is in the future"})
			continue
		}
		entries = append(entries, entry)
	}
	var got []store.Entry
	if len(entries) > 0 {
		if got, err = f.store.AppendEntries(ctx, a.grant, a.channel, entries); err != nil {
			return nil, err
		}
	}
	added := map[int64]bool{}
	for _, e := range got {
		if e.ID > before.LastEntryID {
			added[e.ID] = true
		}
	}
	what := fmt.Sprintf("imported %d entries, %d of them new", len(got), len(added))
	if len(refused) > 0 {
		what += fmt.Sprintf("; %d of the future refused", len(refused))
	}
	return ImportAnswer{len(added), refused}, f.access.Record(ctx, a.grant, access.OnChannel(a.channel), what)
}

func (f *face) consent(ctx context.Context, a *asked) (any, error) {
	err := f.store.GiveConsent(ctx, a.grant, a.patient)
	if err == nil {
		err = f.access.Record(ctx, a.grant, access.OnPatient(a.patient), "agreed to values going to a cloud in plain text")
	}
	f.Engine.wake()
	return nil, err
}

func (f *face) withdraw(ctx context.Context, a *asked) (any, error) {
	err := f.store.WithdrawConsent(ctx, a.grant, a.patient)
	if err == nil {
		err = f.access.Record(ctx, a.grant, access.OnPatient(a.patient), "agrees no longer to values going to a cloud in plain text")
	}
	return nil, err
}

// badRequest is an error whose text the client gets. It never repeats what the client sent.
type badRequest struct{ text string }

func (b *badRequest) Error() string { return "sink: bad request: " + b.text }

func invalid(field, format string, args ...any) error {
	return &badRequest{fmt.Sprintf("field %q: ", field) + fmt.Sprintf(format, args...)}
}

// decode reads a body strictly: one JSON object, known fields, nothing after it.
func decode[T any](a *asked) (out T, err error) {
	if t, _, err := mime.ParseMediaType(a.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return out, &badRequest{"Content-Type must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(a.w, a.Body, maxBody))
	if big := new(http.MaxBytesError); errors.As(err, &big) {
		return out, err
	}
	if twice := form.Twice(body); err == nil && twice != "" {
		return out, &badRequest{twice}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err = d.Decode(&out); err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return out, nil
		}
	}
	return out, &badRequest{"the body must be one JSON object of the fields that doc/cloud.md names"}
}

// problem is the body of every error answer.
type problem struct {
	Error     string `json:"error"`
	StepUp    bool   `json:"step_up,omitempty"`
	SignedOut bool   `json:"signed_out,omitempty"`
}

// fail is the one place where an error becomes a status and a text.
func (f *face) fail(err error) (int, problem) {
	var bad *badRequest
	var big *http.MaxBytesError
	switch {
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, problem{Error: "not signed in", SignedOut: true}
	case errors.Is(err, access.ErrStepUp):
		return http.StatusForbidden, problem{Error: "a fresh proof of identity is needed", StepUp: true}
	case errors.Is(err, access.ErrApprover):
		return http.StatusForbidden, problem{Error: strings.TrimPrefix(err.Error(), access.ErrApprover.Error()+": ")}
	case errors.Is(err, store.ErrSamePerson):
		return http.StatusForbidden, problem{Error: "the approver must be another person than the one who asked"}
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotAllowed), errors.Is(err, store.ErrPatientChannel):
		return http.StatusForbidden, problem{Error: "not allowed"}
	case errors.Is(err, access.ErrNotFound), errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound, problem{Error: "not found: no such channel, or it is not forwarded"}
	case errors.Is(err, store.ErrTaken):
		return http.StatusConflict, problem{Error: "the channel has another entry of one of these times"}
	case errors.As(err, &big):
		return http.StatusRequestEntityTooLarge, problem{Error: "the body is larger than 512 KiB"}
	case errors.As(err, &bad):
		return http.StatusBadRequest, problem{Error: bad.text}
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, problem{Error: "a value is out of its range"}
	}
	if !errors.Is(err, context.Canceled) {
		f.Log.Error("cloud request failed", "err", err)
	}
	return http.StatusInternalServerError, problem{Error: "failed; the hub's log says why"}
}

func answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	b, err := json.Marshal(body)
	if err != nil { // a programmer's error
		status, b = http.StatusInternalServerError, []byte(`{"error":"failed; the hub's log says why"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
}
