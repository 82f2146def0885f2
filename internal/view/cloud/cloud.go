// Package cloud is the face at which channels are forwarded to a cloud: people have a channel
// forwarded, approve that, agree to plain values, open envelopes and import what a cloud exported.
//
// It hides who may do which of it, and in what order a request is decided, audited and done. It
// guarantees that plain values of a patient need a second person, that the approval is of the
// request that the approver saw, that an imported entry is not of the future, and that requests are
// bounded. What is sent and when is package sink's; so are the envelopes. It is safe for concurrent
// use, and it does not protect against two persons who act together.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// Prefix is where the handler expects to be mounted.
const Prefix = "/api/cloud/"

const maxBody = 512 << 10

// Config is what the face works with. Now may be left out, nothing else.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	Engine *sink.Engine
	// Subject is who sends the request: access.ErrNoSession, or the person at the workstation that
	// the connection proves.
	Subject func(r *http.Request) (access.Subject, error)
	Log     *slog.Logger
	Now     func() time.Time // time.Now if nil
}

type face struct{ Config }

// New makes the handler by which people have channels forwarded, approve, agree, open envelopes
// and import. It is JSON; every request is a signed-in person's, decided and audited before
// anything is done, and none can come from a page of another site.
func New(c Config) http.Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &face{c}
	shared := &api.Face{Prefix: Prefix, Access: f.Access, Subject: c.Subject, MaxBody: maxBody, Routes: f.routes(), On: on, Fail: f.fail,
		Detail: func(rt api.Route, _ *http.Request) string { return "cloud: " + rt.Method + " " + Prefix + rt.Path }}
	return shared.Handler()
}

func (f *face) routes() []api.Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	at := api.At
	return []api.Route{
		at(get, "channels", access.ViewDelivery, f.list),
		at(put, "channels/{channel}", access.ForwardChannel, f.forward),
		at(del, "channels/{channel}", access.ForwardChannel, f.stop),
		at(post, "channels/{channel}/approve", access.ForwardChannel, f.approve),
		at(get, "channels/{channel}", access.ViewChannel, f.source),
		at(post, "channels/{channel}/open", access.ViewChannel, f.open),
		at(post, "channels/{channel}/import", access.WriteChannel, f.take),
		at(put, "patients/{patient}/consent", access.ManageConsent, f.consent),
		at(del, "patients/{patient}/consent", access.ManageConsent, f.withdraw),
	}
}

// on is the channel or the patient that the path names, else the system.
func on(r *http.Request) (access.Resource, error) {
	switch id := r.PathValue("channel"); {
	case id != "":
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 1 {
			return access.Resource{}, access.ErrNotFound
		}
		return access.OnChannel(n), nil
	case r.PathValue("patient") != "":
		return access.OnPatient(r.PathValue("patient")), nil
	}
	return access.OnSystem(), nil
}

// channelOf is the channel that the path names; on has let it through.
func channelOf(r *api.Request) int64 {
	n, _ := strconv.ParseInt(r.PathValue("channel"), 10, 64)
	return n
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

func tell(k channel.Sink) forwarding {
	f := forwarding{Channel: k.Channel, Server: k.Server, Remote: k.Remote, Mode: k.Mode, RequestedBy: k.RequestedBy, Requested: k.Requested,
		ApprovedBy: k.ApprovedBy, Forwarded: k.Cursor, Messages: k.Sent, Problem: k.Problem}
	if !k.Approved.IsZero() {
		f.Approved = &k.Approved
	}
	if !k.LastSent.IsZero() {
		f.LastSent = &k.LastSent
	}
	if f.Problem == "" && k.Mode == channel.SinkPlain && k.ApprovedBy == "" {
		f.Problem = sink.ProblemApproval
	}
	return f
}

func (f *face) list(ctx context.Context, _ *api.Request) (any, error) {
	all, err := f.Store.Sinks(ctx)
	out := make([]forwarding, 0, len(all))
	for _, k := range all {
		out = append(out, tell(k))
	}
	return out, err
}

func (f *face) forward(ctx context.Context, a *api.Request) (any, error) {
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
		in.Mode = channel.SinkSealed
	}
	switch {
	case in.Mode != channel.SinkSealed && in.Mode != channel.SinkPlain:
		return nil, api.Invalid("mode", "must be sealed or plain")
	case in.Remote < 1:
		return nil, api.Invalid("remote_channel", "must be a number from 1")
	case len(in.WriteKey) < 1 || len(in.WriteKey) > 64:
		return nil, api.Invalid("write_key", "must have 1 to 64 characters")
	}
	if in.Server, err = sink.ParseServer(in.Server); err != nil {
		return nil, api.Invalid("server", "must be an https address without a path, such as https://api.thingspeak.com")
	}
	before := "none"
	switch old, err := f.Store.Sink(ctx, channelOf(a)); {
	case err == nil:
		before = old.Mode + " to " + old.Server
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	err = f.Store.SaveSink(ctx, a.Grant, channel.Sink{Channel: channelOf(a), Server: in.Server, Remote: in.Remote, Mode: in.Mode,
		RequestedBy: a.Grant.Holder()}, in.WriteKey)
	if err == nil {
		err = f.Access.Record(ctx, a.Grant, access.OnChannel(channelOf(a)), "asked for "+in.Mode+" forwarding to "+in.Server+"; forwarding: "+before+" -> "+in.Mode+" to "+in.Server)
	}
	return f.now(ctx, a, err)
}

func (f *face) approve(ctx context.Context, a *api.Request) (any, error) {
	in, err := decode[struct {
		Requested time.Time `json:"requested"` // of the request that is approved, as the list has it
	}](a)
	if err != nil {
		return nil, err
	}
	if in.Requested.IsZero() {
		return nil, api.Invalid("requested", "must be the time of the request that you approve, as the list shows it")
	}
	k, err := f.Store.Sink(ctx, channelOf(a))
	if err != nil {
		return nil, err
	}
	if k.Requested.Equal(in.Requested) {
		duty, err := f.duty(ctx, k)
		if err != nil {
			return nil, err
		}
		if err := f.Access.SecondPerson(ctx, k.RequestedBy, duty, a.Grant.Holder(), k.Requested); err != nil {
			return nil, err
		}
	}
	if err := f.Store.ApproveSink(ctx, a.Grant, channelOf(a), in.Requested); err != nil {
		return nil, err
	}
	return f.now(ctx, a, f.Access.Record(ctx, a.Grant, access.OnChannel(channelOf(a)), "approved plain forwarding to "+k.Server+", asked for by "+k.RequestedBy))
}

// duty is the requester's, where the approver's must be another: for a patient's channel, once acts
// take two persons. Only administrators forward a free channel, which holds no patient's values.
func (f *face) duty(ctx context.Context, k channel.Sink) (access.Role, error) {
	ref, err := f.Store.ChannelRef(ctx, k.Channel)
	if err != nil || ref.Patient == "" {
		return "", err
	}
	two, err := f.Access.NeedsTwo(ctx)
	if err != nil || !two {
		return "", err
	}
	p, err := f.Store.Person(ctx, k.RequestedBy)
	return p.Role, err
}

func (f *face) stop(ctx context.Context, a *api.Request) (any, error) {
	err := f.Store.RemoveSink(ctx, a.Grant, channelOf(a))
	if err == nil {
		err = f.Access.Record(ctx, a.Grant, access.OnChannel(channelOf(a)), "ended forwarding")
	}
	return nil, err
}

// now is the state after a change.
func (f *face) now(ctx context.Context, a *api.Request, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	f.Engine.Wake()
	k, err := f.Store.Sink(ctx, channelOf(a))
	return tell(k), err
}

// source is where a channel's envelopes are, for users who may see the channel.
func (f *face) source(ctx context.Context, a *api.Request) (any, error) {
	k, err := f.Store.Sink(ctx, channelOf(a))
	return struct {
		Server string `json:"server"`
		Remote int64  `json:"remote_channel"`
		Mode   string `json:"mode"`
	}{k.Server, k.Remote, k.Mode}, err
}

func (f *face) open(ctx context.Context, a *api.Request) (any, error) {
	in, err := decode[struct {
		Envelopes []string `json:"envelopes"`
	}](a)
	if err != nil {
		return nil, err
	}
	if len(in.Envelopes) == 0 || len(in.Envelopes) > sink.MaxOpen {
		return nil, api.Invalid("envelopes", "must be 1 to %d", sink.MaxOpen)
	}
	out := sink.OpenAnswer{Envelopes: make([][]sink.Opened, len(in.Envelopes))}
	for i, text := range in.Envelopes {
		switch out.Envelopes[i], err = f.Engine.Open(ctx, a.Grant, channelOf(a), text); {
		case errors.Is(err, sink.ErrEnvelope):
			continue
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

func (f *face) take(ctx context.Context, a *api.Request) (any, error) {
	in, err := decode[struct {
		Entries []sink.ImportEntry `json:"entries"`
	}](a)
	if err != nil {
		return nil, err
	}
	if len(in.Entries) == 0 || len(in.Entries) > sink.MaxImport {
		return nil, api.Invalid("entries", "must be 1 to %d", sink.MaxImport)
	}
	before, err := f.Store.Channel(ctx, channelOf(a))
	if err != nil {
		return nil, err
	}
	entries := make([]channel.Entry, 0, len(in.Entries))
	var refused []sink.ImportRefusal
	latest := f.Now().Add(sink.MaxAhead)
	for i, e := range in.Entries {
		if e.Created.IsZero() {
			return nil, api.Invalid("entries", "number %d has no created_at", i+1)
		}
		entry := channel.Entry{Created: e.Created, Fields: e.Fields, Status: e.Status, Latitude: e.Latitude, Longitude: e.Longitude, Elevation: e.Elevation}
		if sink.Empty(entry) {
			return nil, api.Invalid("entries", "number %d: neither a field nor a status nor a place", i+1)
		}
		if e.Created.After(latest) {
			refused = append(refused, sink.ImportRefusal{Number: i + 1, Created: e.Created, Reason: "created_at is in the future"})
			continue
		}
		entries = append(entries, entry)
	}
	var got []channel.Entry
	if len(entries) > 0 {
		if err := f.Access.SpendWrites(a.Grant, len(entries)); err != nil {
			return nil, err
		}
		if got, err = f.Store.AppendEntries(ctx, a.Grant, channelOf(a), entries); err != nil {
			if errors.Is(err, channel.ErrQuota) {
				f.Access.NoteRefused("entries and bytes stored by a person", a.Grant.Holder())
			}
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
	return sink.ImportAnswer{Added: len(added), Refused: refused}, f.Access.Record(ctx, a.Grant, access.OnChannel(channelOf(a)), what)
}

func (f *face) consent(ctx context.Context, a *api.Request) (any, error) {
	err := f.Store.GiveConsent(ctx, a.Grant, a.PathValue("patient"))
	if err == nil {
		err = f.Access.Record(ctx, a.Grant, access.OnPatient(a.PathValue("patient")), "agreed to values going to a cloud in plain text")
	}
	f.Engine.Wake()
	return nil, err
}

func (f *face) withdraw(ctx context.Context, a *api.Request) (any, error) {
	err := f.Store.WithdrawConsent(ctx, a.Grant, a.PathValue("patient"))
	if err == nil {
		err = f.Access.Record(ctx, a.Grant, access.OnPatient(a.PathValue("patient")), "agrees no longer to values going to a cloud in plain text")
	}
	return nil, err
}

// decode reads a body; what is wrong with one is mostly one text.
func decode[T any](a *api.Request) (T, error) {
	in, err := api.Decode[T](a)
	if bad := (*api.BadRequest)(nil); errors.As(err, &bad) && bad.Fault != api.FaultNotJSON && bad.Fault != api.FaultTwice {
		err = &api.BadRequest{Fault: bad.Fault, Text: "the body must be one JSON object of the fields that doc/cloud.md names"}
	}
	return in, err
}

// fail is the one place where an error becomes a status and a text.
func (f *face) fail(_ *http.Request, err error) (int, api.Problem) {
	var bad *api.BadRequest
	var big *http.MaxBytesError
	switch {
	case errors.Is(err, access.ErrNoSession):
		return http.StatusUnauthorized, api.Problem{Error: "not signed in", SignedOut: true}
	case errors.Is(err, access.ErrStepUp):
		return http.StatusForbidden, api.Problem{Error: "a fresh proof of identity is needed", StepUp: true}
	case errors.Is(err, access.ErrApprover):
		return http.StatusForbidden, api.Problem{Error: strings.TrimPrefix(err.Error(), access.ErrApprover.Error()+": ")}
	case errors.Is(err, channel.ErrSamePerson):
		return http.StatusForbidden, api.Problem{Error: "the approver must be another person than the one who asked"}
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotAllowed), errors.Is(err, channel.ErrPatientChannel):
		return http.StatusForbidden, api.Problem{Error: "not allowed"}
	case errors.Is(err, access.ErrNotFound), errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound, api.Problem{Error: "not found: no such channel, or it is not forwarded"}
	case errors.Is(err, channel.ErrTaken):
		return http.StatusConflict, api.Problem{Error: "the channel has another entry of one of these times"}
	case errors.Is(err, access.ErrQuota):
		return http.StatusTooManyRequests, api.Problem{Error: "too many entries in too short a time: wait, or import fewer at once", RetryAfter: api.RetryAfter}
	case errors.Is(err, channel.ErrQuota):
		return http.StatusInsufficientStorage, api.Problem{Error: "your channels hold as much as they may: delete entries, or ask an administrator"}
	case store.Full(err):
		return http.StatusInsufficientStorage, api.Problem{Error: "the hub's disk is full; try again when those who run it have made room"}
	case errors.As(err, &big):
		return http.StatusRequestEntityTooLarge, api.Problem{Error: "the body is larger than 512 KiB"}
	case errors.As(err, &bad):
		return http.StatusBadRequest, api.Problem{Error: bad.Text}
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, api.Problem{Error: "a value is out of its range"}
	}
	if !errors.Is(err, context.Canceled) {
		f.Log.Error("cloud request failed", "err", err)
	}
	if errors.Is(err, access.ErrUndecided) {
		return http.StatusServiceUnavailable, api.Problem{Error: api.Undecided, RetryAfter: api.RetryAfter}
	}
	return http.StatusInternalServerError, api.Problem{Error: "failed; the hub's log says why"}
}
