// Package thingspeak is the face that ThingSpeak's clients know: channels of eight fields, read and written with API
// keys over plain REST; charts of them; and TalkBacks, queues of commands. A patient's monitor is a channel; other channels
// can be made for anything else.
//
// It hides that a patient's channel is no table of entries: its feed is derived from the patient's sealed numerics, one
// entry for each second in which a sensor said something, with that second (Unix time) as the entry id, so ids are
// stable and never reused. It guarantees that every read is a policy decision in the name of the key's owner and is
// audited, that a patient's channel cannot be written by any key, that absent and doubtful values are null rather than a
// number, that no patient's channel is ever public, that requests and answers are bounded, and that neither key nor address reaches a log. It is safe for
// concurrent use. Cookies mean nothing to it.
//
// It does not protect against a stolen key: a key is a bearer secret of 16 characters, as ThingSpeak has it, and a client that
// holds it and sits at an enrolled workstation may read that one channel, until the policies refuse its owner or the owner
// deletes it. What a person made public, every client at an enrolled workstation may read. It limits how often a channel is
// written only as far as Limits says; how often a workstation may ask, the hub limits for all faces together.
package thingspeak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/form"
	"vitalseal/internal/view/thingspeak/wire"
)

// MaxResults is the most entries in one answer, as ThingSpeak has it.
const MaxResults = wire.MaxResults

// Config is what the face needs. SubmitAll, Limits and Now may be left out.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	SignIn *signin.Service
	// Workstation is the SPIFFE id proven for the request's connection, or "".
	Workstation func(*http.Request) string
	// Submit takes in an entry of a free channel; it is ingest's, since a view never appends a measurement itself.
	Submit func(ctx context.Context, g access.Grant, channel int64, e channel.Entry) (channel.Entry, error)
	// SubmitAll takes in several, all or none, as store.AppendEntries says; without it there is no bulk update.
	SubmitAll func(ctx context.Context, g access.Grant, channel int64, entries []channel.Entry) ([]channel.Entry, error)
	Limits    Limits // Generous if zero
	Log       *slog.Logger
	Now       func() time.Time // time.Now if nil
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
	return []string{"/update", "/update.json", "/update.xml", "/channels.json", "/channels/", "/stream/channels/", "/users/", "/talkbacks.json", "/talkbacks/", MQTTPath}
}

// Face is the face over HTTP, and over MQTT at MQTTPath. Make it with New, and Run it beside.
type Face struct{ f *face }

// ServeHTTP answers a request to one of Paths.
func (x *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) { x.f.ServeHTTP(w, r) }

// Run looks after MQTT clients until ctx ends: it tells them what comes from patients' monitors, cuts off a client that loses a right, and
// at the end all of them.
func (x *Face) Run(ctx context.Context) { x.f.broker.run(ctx) }

type face struct {
	Config
	routes []route
	pace   *pace
	broker *broker
}

// New makes the face.
func New(c Config) (*Face, error) {
	if c.Store == nil || c.Access == nil || c.SignIn == nil || c.Workstation == nil || c.Submit == nil || c.Log == nil {
		return nil, errors.New("thingspeak: configuration incomplete")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Limits == (Limits{}) {
		c.Limits = Generous()
	}
	f := &face{Config: c, pace: newPace()}
	f.routes = compile(f.endpoints())
	var err error
	if f.broker, err = newBroker(f); err != nil {
		return nil, fmt.Errorf("thingspeak: mqtt: %w", err)
	}
	return &Face{f}, nil
}

// endpoints are all that the face answers to. The singular of feeds and fields means the same. {ext} is the format: ".json",
// ".xml", ".csv", ".txt" or nothing, as far as the answer knows it.
func (f *face) endpoints() []endpoint {
	return []endpoint{
		{"GET /update{ext}", f.update, tellWrite},
		{"POST /update{ext}", f.update, tellWrite},
		{"POST /channels/{id}/bulk_update{ext}", f.bulk, tellObject},

		{"GET /channels/{id}/feeds{ext}", f.feeds, tellRead},
		{"GET /channels/{id}/fields/{field}{ext}", f.feeds, tellRead},
		{"GET /channels/{id}/status{ext}", f.statuses, tellRead},
		{"GET /channels/{id}/feeds/last{ext}", f.last, tellRead},
		{"GET /channels/{id}/fields/{field}/last{ext}", f.last, tellRead},
		{"GET /channels/{id}/status/last{ext}", f.lastStatus, tellRead},
		{"GET /channels/{id}/feeds/last_data_age{ext}", f.age, tellRead},
		{"GET /channels/{id}/fields/{field}/last_data_age{ext}", f.age, tellRead},
		{"GET /channels/{id}/feeds/last_average{ext}", f.lastOf("average"), tellRead},
		{"GET /channels/{id}/feeds/last_median{ext}", f.lastOf("median"), tellRead},
		{"GET /channels/{id}/feeds/last_sum{ext}", f.lastOf("sum"), tellRead},
		{"GET /channels/{id}/fields/{field}/last_average{ext}", f.lastOf("average"), tellRead},
		{"GET /channels/{id}/fields/{field}/last_median{ext}", f.lastOf("median"), tellRead},
		{"GET /channels/{id}/fields/{field}/last_sum{ext}", f.lastOf("sum"), tellRead},
		{"GET /channels/{id}/feeds/entry/{entry}{ext}", f.entry, tellRead},
		{"GET /channels/{id}/feeds/{entry}{ext}", f.entry, tellRead},
		{"GET /stream/channels/{id}/feeds{ext}", f.stream, tellRead},
		{"GET /channels/{id}/charts/{field}", f.chart, tellRead},

		{"GET /channels.json", f.ownChannels, tellObject},
		{"POST /channels.json", f.createChannel, tellObject},
		{"GET /channels/public.json", f.publicChannels, tellObject},
		{"GET /users/{name}/channels{ext}", f.publicChannels, tellObject},
		{"GET /channels/{id}.json", f.viewChannel, tellObject},
		{"PUT /channels/{id}.json", f.changeChannel, tellObject},
		{"DELETE /channels/{id}.json", f.deleteChannel, tellObject},
		{"DELETE /channels/{id}/feeds.json", f.clearChannel, tellObject},
		{"POST /channels/{id}/api_keys.json", f.createKey, tellObject},

		{"POST /talkbacks.json", f.createTalkBack, tellObject},
		{"DELETE /talkbacks/{id}.json", f.deleteTalkBack, tellObject},
		{"GET /talkbacks/{id}/commands{ext}", f.commands, tellObject},
		{"POST /talkbacks/{id}/commands{ext}", f.addCommand, tellObject},
		{"DELETE /talkbacks/{id}/commands{ext}", f.deleteCommands, tellObject},
		{"GET /talkbacks/{id}/commands/execute{ext}", f.execute, tellObject},
		{"POST /talkbacks/{id}/commands/execute{ext}", f.execute, tellObject},
		{"GET /talkbacks/{id}/commands/last{ext}", f.lastCommand, tellObject},
		{"GET /talkbacks/{id}/commands/{command}{ext}", f.command, tellObject},
		{"PUT /talkbacks/{id}/commands/{command}{ext}", f.changeCommand, tellObject},
		{"DELETE /talkbacks/{id}/commands/{command}{ext}", f.deleteCommand, tellObject},
	}
}

// ServeHTTP routes by hand: a ServeMux would redirect an unclean path, and repeat the key in the answer. Pages of other sites
// may use free channels, as ThingSpeak has it; what comes of a patient's channel no other site's page may read (shared). No
// cookie counts here.
func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == MQTTPath {
		f.broker.serve(w, r)
		return
	}
	h := w.Header()
	path := form.Path(r.URL.Path)
	if r.Method == http.MethodOptions || !strings.HasPrefix(path, "/channels/") && !strings.HasPrefix(path, "/stream/") {
		shared(h)
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, THINGSPEAKAPIKEY, X-THINGSPEAKAPIKEY")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address may hold a key
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	q := &request{w: w, r: r}
	to, allow := f.find(q)
	switch {
	case to == nil && allow == "":
		f.fail(q, errNotFound, tellObject)
	case to == nil:
		h.Set("Allow", allow+", OPTIONS")
		f.fail(q, errMethod, tellObject)
	default:
		if err := to.answer(q); err != nil {
			f.fail(q, err, to.tell)
		}
	}
}

// shared lets pages of other sites read the answer.
func shared(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") }
