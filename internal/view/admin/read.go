package admin

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
	"vitalseal/internal/way/delivery"
)

// maxAudit is how many audit entries one answer has at most.
const maxAudit = 1000

// maxAlso is how many earlier sizes of the audit log one answer proves.
const maxAlso = 8

type wardOut struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (h *handler) wards(ctx context.Context, _ *api.Request) (any, error) {
	wards, err := h.Store.Wards(ctx)
	out := make([]wardOut, 0, len(wards))
	for _, w := range wards {
		out = append(out, wardOut{w.ID, w.Name})
	}
	return out, err
}

type bedOut struct {
	ID   string `json:"id"`
	Ward string `json:"ward"`
	Name string `json:"name"`
}

func (h *handler) beds(ctx context.Context, _ *api.Request) (any, error) {
	beds, err := h.Store.Beds(ctx)
	out := make([]bedOut, 0, len(beds))
	for _, b := range beds {
		out = append(out, bedOut{b.ID, b.Ward, b.Name})
	}
	return out, err
}

type patientOut struct {
	ID      string  `json:"id"`
	Name    *string `json:"name"` // null: the store does not open it for a directory grant
	Ward    string  `json:"ward"` // empty: not admitted
	Bed     string  `json:"bed"`
	Channel int64   `json:"channel"`
}

// patients is the directory with names, which an administrator keeps right. It has no values.
func (h *handler) patients(ctx context.Context, rq *api.Request) (any, error) {
	refs, err := h.Store.Patients(ctx)
	if err != nil {
		return nil, err
	}
	channels, err := h.channels(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]patientOut, 0, len(refs))
	for _, r := range refs {
		o := patientOut{ID: r.ID, Ward: r.Ward, Bed: r.Bed, Channel: channels[r.ID]}
		switch name, err := h.Store.PatientName(ctx, rq.Grant, r.ID); {
		case err == nil:
			o.Name = &name
		case !errors.Is(err, store.ErrNotAllowed):
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

type personOut struct {
	ID          string      `json:"id"`
	Login       string      `json:"login"`
	DisplayName string      `json:"display_name"`
	Role        access.Role `json:"role"`
	Wards       []string    `json:"wards"`
	Patients    []string    `json:"patients"`
	Self        string      `json:"self"`
	Disabled    bool        `json:"disabled"`
	// MustChangePassword says that the person has not yet chosen a password of their own.
	MustChangePassword bool `json:"must_change_password"`
}

func describePerson(p access.Person) personOut {
	return personOut{p.ID, p.Login, p.DisplayName, p.Role, append([]string{}, p.Wards...), append([]string{}, p.Patients...),
		p.Self, p.Disabled, p.MustChangePassword}
}

func (h *handler) person(ctx context.Context, rq *api.Request) (any, error) {
	p, err := h.Store.Person(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return describePerson(p), nil
}

func (h *handler) persons(ctx context.Context, _ *api.Request) (any, error) {
	persons, err := h.Store.Persons(ctx)
	out := make([]personOut, 0, len(persons))
	for _, p := range persons {
		out = append(out, describePerson(p))
	}
	return out, err
}

// channels are the numbers of the patients' channels, by patient.
func (h *handler) channels(ctx context.Context) (map[string]int64, error) {
	all, err := h.Store.Channels(ctx)
	out := map[string]int64{}
	for _, c := range all {
		if c.Patient != "" {
			out[c.Patient] = c.ID
		}
	}
	return out, err
}

type deviceOut struct {
	ID         string     `json:"id"` // SPIFFE id
	Kind       string     `json:"kind"`
	Model      string     `json:"model"`
	Serial     string     `json:"serial"`
	Gateway    string     `json:"gateway"`
	State      string     `json:"state"`
	Bed        string     `json:"bed"`
	Mode       string     `json:"mode,omitempty"`  // "display", or absent
	Wards      []string   `json:"wards,omitempty"` // of a display
	EnrolledBy string     `json:"enrolled_by"`
	Enrolled   *time.Time `json:"enrolled"`  // null: never
	LastSeen   *time.Time `json:"last_seen"` // null: never
	Version    string     `json:"version"`   // of its software, as it last said; empty: it did not
	// The newest certificate that was issued for it; absent before it enrolled.
	Certificate *certificateOut `json:"certificate,omitempty"`
	NewKey      bool            `json:"new_key_demanded,omitempty"`
	// What is wrong with it, as it says itself; and what the hub last had to refuse of it.
	Trouble *noteOut `json:"trouble,omitempty"`
	Alert   *noteOut `json:"alert,omitempty"`
	// Of what is disabled or deleted: since when, by whom (person id), and that person's login. Absent: not known.
	KeptOutSince   *time.Time `json:"kept_out_since,omitempty"`
	KeptOutBy      string     `json:"kept_out_by,omitempty"`
	KeptOutByLogin string     `json:"kept_out_by_login,omitempty"`
	// The clock of a sensor's gateway, as the hub measured it; absent before that.
	Clock *clockOut `json:"clock,omitempty"`
}

type noteOut struct {
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

type clockOut struct {
	Known    bool       `json:"known"`
	Ahead    float64    `json:"ahead_seconds"` // of the hub's; below zero: behind
	Error    float64    `json:"error_seconds"`
	Measured *time.Time `json:"measured"`
	Problem  string     `json:"problem,omitempty"` // in words; absent when the clock is right
	Waiting  int64      `json:"waiting_chunks"`    // on no chart until the clock is settled
}

func describeClock(c archive.ClockState) *clockOut {
	o := &clockOut{Known: c.Known, Ahead: c.Offset.Seconds(), Error: c.Error.Seconds(), Waiting: c.Waiting}
	if !c.At.IsZero() && c.At.Unix() != 0 {
		o.Measured = &c.At
	}
	if now := (archive.Clock{Known: c.Known, Offset: c.Offset, Error: c.Error}); c.Known && !now.Sure() {
		o.Problem = delivery.ClockWords(c.Offset)
	}
	return o
}

type certificateOut struct {
	SHA256    string    `json:"sha256"`
	KeySHA256 string    `json:"public_key_sha256"` // of the key in use
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

func describe(d directory.Device) deviceOut {
	o := deviceOut{ID: d.ID, Kind: d.Kind, Model: d.Model, Serial: d.Serial, Gateway: d.Gateway, State: d.State,
		Bed: d.Bed, Mode: d.Mode, Wards: d.Wards, EnrolledBy: d.EnrolledBy, Version: d.Version, NewKey: d.Rotate}
	if !d.LastSeen.IsZero() {
		o.LastSeen = &d.LastSeen
	}
	if d.Trouble != "" {
		o.Trouble = &noteOut{d.Trouble, d.TroubledSince}
	}
	if d.Alert != "" {
		o.Alert = &noteOut{d.Alert, d.LastAlerted}
	}
	if !d.Enrolled.IsZero() {
		o.Enrolled = &d.Enrolled
	}
	if !d.KeptOut.Since.IsZero() {
		o.KeptOutSince, o.KeptOutBy = &d.KeptOut.Since, d.KeptOut.By
	}
	if c := d.Certificate; c.SHA256 != "" {
		o.Certificate = &certificateOut{c.SHA256, c.KeySHA256, c.NotBefore, c.NotAfter}
	}
	return o
}

// described is describe with the login of the person who keeps the component out.
func (h *handler) described(ctx context.Context, d directory.Device) deviceOut {
	o := describe(d)
	if o.KeptOutBy != "" {
		if p, err := h.Store.Person(ctx, o.KeptOutBy); err == nil { // else the id stands alone
			o.KeptOutByLogin = p.Login
		}
	}
	return o
}

func (h *handler) inventory(ctx context.Context, _ *api.Request) (any, error) {
	devices, err := h.Store.Devices(ctx)
	out := make([]deviceOut, 0, len(devices))
	if err != nil {
		return nil, err
	}
	clocks, err := h.Store.Clocks(ctx)
	for _, d := range devices {
		o := h.described(ctx, d)
		if c, ok := clocks[d.ID]; ok {
			o.Clock = describeClock(c)
		}
		out = append(out, o)
	}
	return out, err
}

type streamOut struct {
	Sensor  string `json:"sensor"`
	Signal  string `json:"signal"`
	Chunks  int64  `json:"chunks"`
	Doubled int64  `json:"doubled"`
	Missing int64  `json:"missing"`
	Gaps    int64  `json:"gaps"` // of missing: those that the gateway has said will never arrive
}

func (h *handler) delivery(ctx context.Context, _ *api.Request) (any, error) {
	d, err := h.Store.Delivery(ctx)
	if err != nil {
		return nil, err
	}
	out := struct {
		Streams    []streamOut `json:"streams"`
		LatencyP50 float64     `json:"stored_latency_p50_ms"` // oldest sample of a chunk, at the sensor, to durable
		LatencyP99 float64     `json:"stored_latency_p99_ms"`
		// Pairs, ascending: up to so many milliseconds (and more than the pair before), so many chunks since the hub's start.
		Latency [][2]float64 `json:"stored_latency_histogram"`
	}{[]streamOut{}, milliseconds(d.LatencyP50), milliseconds(d.LatencyP99), [][2]float64{}}
	for _, b := range d.Latency {
		out.Latency = append(out.Latency, [2]float64{milliseconds(b.UpTo), float64(b.Count)})
	}
	for _, s := range d.Streams {
		out.Streams = append(out.Streams, streamOut{s.Sensor, s.Signal, s.Chunks, s.Doubled, s.Missing, s.Gaps})
	}
	return out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// provenAudit answers with the newest n entries as they stand in the log, oldest first, and with the proof that they are its end. also are sizes, with
// commas between, that the page or the workstation has seen before: they are proven to be beginnings of it.
func (h *handler) provenAudit(ctx context.Context, rq *api.Request) (any, error) {
	n, err := howMany(rq)
	if err != nil {
		return nil, err
	}
	var also []int64
	if s := rq.URL.Query().Get("also"); s != "" {
		for _, one := range strings.Split(s, ",") {
			size, err := strconv.ParseInt(one, 10, 64)
			if err != nil || size < 1 || len(also) == maxAlso {
				return nil, api.Invalid("also", "at most %d numbers of entries, with commas between", maxAlso)
			}
			also = append(also, size)
		}
	}
	if h.Proven == nil {
		return nil, errors.New("admin: no audit log to prove")
	}
	return h.Proven(ctx, n, also)
}

// howMany is the number of audit entries that are asked for.
func howMany(rq *api.Request) (int, error) {
	s := rq.URL.Query().Get("n")
	if s == "" {
		return 100, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxAudit {
		return 0, api.Invalid("n", "1 to %d", maxAudit)
	}
	return n, nil
}

// audit answers with the newest n entries, newest first.
func (h *handler) audit(ctx context.Context, rq *api.Request) (any, error) {
	n, err := howMany(rq)
	if err != nil {
		return nil, err
	}
	entries, err := h.Audit.Recent(ctx, n)
	if entries == nil {
		entries = []access.AuditEntry{}
	}
	return entries, err
}
