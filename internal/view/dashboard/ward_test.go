package dashboard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const (
	station   = "spiffe://test.vitalseal.internal/workstation/ws-1"
	elsewhere = "spiffe://test.vitalseal.internal/workstation/ws-2"
	password  = "correct horse battery staple"
	header    = api.RequestHeader
)

// plainKeys is a key store without keys: what it wraps is only labelled. What it has lost it unwraps no more.
type plainKeys struct{ lost *atomic.Pointer[string] }

func (plainKeys) Wrap(purpose string, secret []byte) ([]byte, error) {
	return append([]byte(purpose+"\x00"), secret...), nil
}

func (k plainKeys) Unwrap(purpose string, wrapped []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(wrapped, []byte(purpose+"\x00"))
	if !ok {
		return nil, errors.New("wrong purpose")
	}
	if lost := k.lost.Load(); lost != nil && strings.HasSuffix(purpose, *lost) {
		return nil, errors.New("lost")
	}
	return rest, nil
}

// ward is a hub's inside: two wards, Ada (a-1) and Emil (a-2) on ward-a, Bela (b-1) on ward-b, a free bed a-10.
type ward struct {
	t       testing.TB
	store   *store.Store
	engine  *access.Engine
	signin  *signin.Service
	trail   *audit.Log
	handler *dashboard.Handler
	server  *httptest.Server
	grant   access.Grant
	station atomic.Pointer[string] // the workstation that requests come from
	ada     string
	emil    string
	bela    string
	nurse   string // person id
	log     *bytes.Buffer
	seq     map[string]uint64
	lost    atomic.Pointer[string] // the end of the name of a key that opens no more
}

func sensorOf(bed string) string { return "spiffe://test.vitalseal.internal/sensor/oxi-" + bed }

func newWard(t testing.TB, options ...store.Option) *ward {
	t.Helper()
	ctx := t.Context()
	w := &ward{t: t, log: &bytes.Buffer{}, seq: map[string]uint64{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	var err error
	w.store, err = store.Open(ctx, filepath.Join(dir, "store"), plainKeys{&w.lost}, log, options...)
	must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	w.trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	must(err)
	t.Cleanup(func() { _ = w.trail.Close() })
	w.engine, err = access.New(w.store, w.trail, nil, log)
	must(err)
	w.signin, err = signin.New(w.engine, w.store, log)
	must(err)

	past := time.Now().Add(-2 * time.Hour)
	must(w.store.CreateWard(ctx, directory.Ward{ID: "ward-a", Name: "Cardiology"}))
	must(w.store.CreateWard(ctx, directory.Ward{ID: "ward-b", Name: "Surgery"}))
	for _, b := range []struct{ id, ward string }{{"a-1", "ward-a"}, {"a-10", "ward-a"}, {"a-2", "ward-a"}, {"b-1", "ward-b"}} {
		must(w.store.CreateBed(ctx, directory.Bed{ID: b.id, Ward: b.ward, Name: "Bed " + b.id}))
	}
	for _, p := range []struct {
		name, bed string
		id        *string
	}{{"Ada Brandt", "a-1", &w.ada}, {"Emil Sørensen", "a-2", &w.emil}, {"Bela Novak", "b-1", &w.bela}} {
		*p.id, err = w.store.CreatePatient(ctx, p.name)
		must(err)
		must(w.store.Admit(ctx, *p.id, p.bed, past))
		must(w.store.CreateDevice(ctx, directory.Device{ID: sensorOf(p.bed), Kind: "sensor", State: directory.DeviceActive}))
		must(w.store.PlaceDevice(ctx, sensorOf(p.bed), p.bed, past))
	}
	hash, err := signin.HashPassword(password)
	must(err)
	for _, p := range []access.Person{
		{Login: "nurse", DisplayName: "Nurse Tomas Ek", Role: access.RoleNurse, Wards: []string{"ward-a"}},
		{Login: "doctor", DisplayName: "Dr. Mira Lang", Role: access.RoleDoctor, Patients: []string{w.ada, w.bela}},
		{Login: "patient", DisplayName: "Ada Brandt", Role: access.RolePatient, Self: w.ada},
		{Login: "staff", DisplayName: "Sam Stone", Role: access.RoleStaff},
		{Login: "auditor", DisplayName: "Ana Audit", Role: access.RoleAuditor},
		{Login: "admin", DisplayName: "Adi Admin", Role: access.RoleAdmin},
	} {
		id, err := w.store.CreatePerson(ctx, p, hash)
		must(err)
		if p.Login == "nurse" {
			w.nurse = id
		}
	}
	w.grant = w.engine.Standing("ingest", access.AppendVitals)
	w.at(station)
	gate := api.Config{SignIn: w.signin, Workstation: func(*http.Request) string { return *w.station.Load() }}
	if _, benchmark := t.(*testing.B); benchmark {
		gate.Rate = 1e6
	}
	w.handler, err = dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: log, Gate: gateOf(t, gate)})
	must(err)
	w.server = httptest.NewServer(w.handler)
	t.Cleanup(w.server.Close)
	return w
}

func (w *ward) at(workstation string) { w.station.Store(&workstation) }

// append stores a chunk of the oximeter at bed.
func (w *ward) append(bed string, c vitals.Chunk) {
	w.t.Helper()
	sensor := sensorOf(bed)
	key := sensor + c.Signal.String()
	a := archive.Arrival{Sensor: sensor, Chunk: c, Received: time.Now(), Header: seal.Header{
		Sensor: sensor, Signal: uint8(c.Signal), Start: c.Start, Seq: w.seq[key], Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}}}
	w.seq[key]++
	outcome, reason, err := w.store.Append(context.Background(), w.grant, a)
	if err != nil || outcome != delivery.Accepted {
		w.t.Fatalf("append: %v %s %v", outcome, reason, err)
	}
}

func numerics(at time.Time, n ...vitals.Numeric) vitals.Chunk {
	at = at.UTC().Truncate(time.Microsecond)
	return vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}}
}

func good(k vitals.Kind, v float64) vitals.Numeric { return vitals.Checked(k, v, vitals.Good) }

func ppg(at time.Time, infrared ...uint16) vitals.Chunk {
	return vitals.Chunk{Signal: vitals.PPG, Start: at.UTC().Truncate(time.Microsecond), Rate: 100, Infrared: infrared}
}

// browser is one browser at the ward's workstation.
type browser struct {
	w      *ward
	client *http.Client
}

func (w *ward) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w, &http.Client{Jar: jar}}
}

// signedIn is a browser in which login has signed in.
func (w *ward) signedIn(login string) *browser {
	w.t.Helper()
	b := w.browser()
	if status, body := b.do("POST", "/api/session", map[string]string{"login": login, "password": password}, nil); status != http.StatusOK {
		w.t.Fatalf("sign in as %s: %d %s", login, status, body)
	}
	return b
}

// do sends a request as the dashboard's own page would; edit may change it.
func (b *browser) do(method, path string, body any, edit func(*http.Request)) (int, string) {
	b.w.t.Helper()
	var in io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			b.w.t.Fatal(err)
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, b.w.server.URL+path, in)
	if err != nil {
		b.w.t.Fatal(err)
	}
	req.Header.Set(header, "1")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(req)
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

// get is the JSON answer to a GET that must succeed.
func (b *browser) get(path string, out any) {
	b.w.t.Helper()
	status, body := b.do("GET", path, nil, nil)
	if status != http.StatusOK {
		b.w.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), out); err != nil {
		b.w.t.Fatalf("GET %s: %v in %s", path, err, body)
	}
}

// refusals are the audited refusals of an action.
func (w *ward) refusals(action access.Action) []audit.Entry {
	w.t.Helper()
	all, err := w.trail.Recent(w.t.Context(), 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []audit.Entry
	for _, e := range all {
		if e.Action == string(action) && !e.Allowed {
			out = append(out, e)
		}
	}
	return out
}

func gateOf(t testing.TB, c api.Config) *api.Gate {
	t.Helper()
	g, err := api.NewGate(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
