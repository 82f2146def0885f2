package thingspeak_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const station = "spiffe://test.vitalseal.internal/workstation/ws-1"

// logBuffer is a log that may be written from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ward is a hub's inside: Ada on ward-a, Bela on ward-b, a free channel "Fridge" with two named fields; and a nurse of
// ward-a whose keys there are.
type ward struct {
	t       testing.TB
	store   *store.Store
	trail   *audit.Log
	handler http.Handler
	engine  *access.Engine
	signin  *signin.Service
	slog    *slog.Logger
	log     logBuffer
	later   atomic.Int64 // ns that the face's clock is ahead
	at      string       // the workstation that requests come from
	clock   func() time.Time

	ada, bela             channel.Channel
	fridge                int64
	nurse                 string
	readAda, readBela     string // the nurse's keys; Bela is not on her ward
	readFridge, writeFree string
	writeAda              string // a write key for a patient's channel, as none should exist
	patientKey            string // Ada's own
	account, adminAccount string // the nurse's account key, an administrator's
	grant                 access.Grant
	seq                   map[string]uint64
}

func sensorOf(name string) string { return "spiffe://test.vitalseal.internal/sensor/" + name }

func newWard(t testing.TB) *ward {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	w := &ward{t: t, at: station, seq: map[string]uint64{}}
	w.clock = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "key"))
	must(err)
	w.store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, log)
	must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	w.trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	must(err)
	t.Cleanup(func() { _ = w.trail.Close() })
	engine, err := access.New(w.store, w.trail, nil, log)
	must(err)
	w.signin, err = signin.New(engine, w.store, log)
	must(err)

	past := time.Now().Add(-50 * time.Hour)
	for i, p := range []struct {
		ward, name string
		channel    *channel.Channel
	}{{"ward-a", "Ada Brandt", &w.ada}, {"ward-b", "Bela Novak", &w.bela}} {
		bed := p.ward + "-bed"
		must(w.store.CreateWard(ctx, directory.Ward{ID: p.ward, Name: p.ward}))
		must(w.store.CreateBed(ctx, directory.Bed{ID: bed, Ward: p.ward, Name: bed}))
		id, err := w.store.CreatePatient(ctx, p.name)
		must(err)
		must(w.store.Admit(ctx, id, bed, past))
		for _, s := range []string{"oxi-", "cuff-"} {
			s = sensorOf(s + string(rune('a'+i)))
			must(w.store.CreateDevice(ctx, directory.Device{ID: s, Kind: "sensor", State: directory.DeviceActive}))
			must(w.store.PlaceDevice(ctx, s, bed, past))
		}
		*p.channel, err = w.store.ChannelOf(ctx, id)
		must(err)
	}
	free, err := w.store.CreateChannel(ctx, channel.Channel{Name: "Fridge", Description: "Blood <bank>", Fields: [8]string{"temperature", "door"}})
	must(err)
	w.fridge = free.ID
	w.nurse, err = w.store.CreatePerson(ctx, access.Person{Login: "nurse", DisplayName: "Nurse Ek", Role: access.RoleNurse, Wards: []string{"ward-a"}}, "x")
	must(err)
	self, err := w.store.CreatePerson(ctx, access.Person{Login: "ada", DisplayName: "Ada", Role: access.RolePatient, Self: w.ada.Patient}, "x")
	must(err)
	admin, err := w.store.CreatePerson(ctx, access.Person{Login: "root", DisplayName: "Root", Role: access.RoleAdmin}, "x")
	must(err)
	for _, k := range []struct {
		to      *string
		person  string
		channel int64
		write   bool
	}{{&w.readAda, w.nurse, w.ada.ID, false}, {&w.readBela, w.nurse, w.bela.ID, false}, {&w.readFridge, w.nurse, w.fridge, false},
		{&w.writeFree, w.nurse, w.fridge, true}, {&w.writeAda, w.nurse, w.ada.ID, true}, {&w.patientKey, self, w.ada.ID, false}, {&w.account, w.nurse, 0, false}, {&w.adminAccount, admin, 0, false}} {
		*k.to = rand.Text()[:16] // made behind the engine's back: some are keys that it makes for no person
		must(w.store.SaveAPIKey(ctx, access.APIKey{Hash: sha256.Sum256([]byte(*k.to)), PersonID: k.person, Channel: k.channel, Write: k.write}))
	}
	w.grant = engine.Standing("ingest", access.AppendVitals)
	w.engine, w.slog = engine, log
	w.limit(thingspeak.Limits{})
	return w
}

// limit makes the face again, with these limits.
func (w *ward) limit(l thingspeak.Limits) {
	w.t.Helper()
	var err error
	w.handler, err = thingspeak.New(thingspeak.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: w.slog, Submit: w.store.AppendEntry, SubmitAll: w.store.AppendEntries,
		Workstation: func(*http.Request) string { return w.at }, Limits: l, Now: func() time.Time { return w.clock() }})
	if err != nil {
		w.t.Fatal(err)
	}
}

// ok is the answer to a request with a form as its body, which must have this status.
func (w *ward) ok(status int, method, target, body string) string {
	w.t.Helper()
	rec := w.do(method, target, body, "Content-Type", "application/x-www-form-urlencoded")
	if rec.Code != status {
		w.t.Fatalf("%s %.60s: %d %s, want %d", method, target, rec.Code, rec.Body, status)
	}
	return rec.Body.String()
}

// append stores one bundle of a sensor.
func (w *ward) append(sensor string, at time.Time, n ...vitals.Numeric) {
	w.t.Helper()
	at, sensor = at.UTC().Truncate(time.Microsecond), sensorOf(sensor)
	a := archive.Arrival{Sensor: sensor, Received: time.Now(),
		Chunk: vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}},
		Header: seal.Header{Sensor: sensor, Signal: uint8(vitals.Numerics), Start: at, Seq: w.seq[sensor],
			Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}}}
	w.seq[sensor]++
	if outcome, reason, err := w.store.Append(context.Background(), w.grant, a); err != nil || outcome != delivery.Accepted {
		w.t.Fatalf("append: %v %s %v", outcome, reason, err)
	}
}

func good(k vitals.Kind, v float64) vitals.Numeric { return vitals.Checked(k, v, vitals.Good) }

// do sends a request; headers are name, value pairs.
func (w *ward) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// get is the answer to a GET with a key, which must have this status.
func (w *ward) get(status int, path, key string) string {
	w.t.Helper()
	rec := w.do("GET", path, "", "X-THINGSPEAKAPIKEY", key)
	if rec.Code != status {
		w.t.Errorf("%s: %d %s, want %d", path, rec.Code, rec.Body, status)
	}
	return rec.Body.String()
}

// refusals are the audited refusals of an action on a resource.
func (w *ward) refusals(a access.Action, r access.Resource) (n int) {
	w.t.Helper()
	all, err := w.trail.Recent(context.Background(), 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		if e.Action == string(a) && e.Resource == r.String() && !e.Allowed && e.Person == w.nurse {
			n++
		}
	}
	return n
}

// same compares an answer with golden JSON, names to be replaced in the latter, as "NAME", "value" pairs.
func same(t testing.TB, what, want, got string, names ...string) {
	t.Helper()
	var a, b any
	want = strings.NewReplacer(names...).Replace(want)
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatalf("%s: golden: %v in %s", what, err, want)
	}
	if err := json.Unmarshal([]byte(got), &b); err != nil {
		t.Errorf("%s: %v in %s", what, err, got)
		return
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
