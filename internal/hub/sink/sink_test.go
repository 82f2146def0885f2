package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	face "vitalseal/internal/view/cloud"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const station = "spiffe://test.vitalseal.internal/workstation/ws-1"

// world is a hub's inside with a patient, Ada, whose oximeter can be made to speak, a free channel,
// and people of whom one at a time is signed in.
type world struct {
	t       *testing.T
	dir     string
	us      atomic.Int64 // the clock
	store   *store.Store
	trail   *audit.Log
	access  *access.Engine
	engine  *sink.Engine
	cloud   *cloud
	face    http.Handler
	log     lockedBuffer
	grant   access.Grant
	ada     channel.Channel
	free    channel.Channel
	people  map[string]string
	who     string
	seq     uint64
	offline atomic.Bool
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) now() time.Time          { return time.UnixMicro(w.us.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.us.Add(d.Microseconds()) }

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), people: map[string]string{}, cloud: newCloud(t)}
	// Yesterday, so that neither the store's clock nor the engine's is in the future for the other
	// parts.
	w.us.Store(time.Now().Add(-26 * time.Hour).Truncate(time.Hour).UnixMicro())
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(w.dir, "key"))
	w.must(err)
	w.store, err = store.Open(t.Context(), filepath.Join(w.dir, "store"), keys, log, store.WithClock(w.now))
	w.must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	w.trail, err = audit.Open(filepath.Join(w.dir, "audit"), filepath.Join(w.dir, "audit.key"), log)
	w.must(err)
	t.Cleanup(func() { _ = w.trail.Close() })
	w.access, err = access.New(w.store, w.trail, nil, log)
	w.must(err)
	w.grant = w.access.Standing("ingest", access.AppendVitals)

	ctx, past := t.Context(), w.now().Add(-48*time.Hour)
	w.must(w.store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}))
	w.must(w.store.CreateBed(ctx, directory.Bed{ID: "bed", Ward: "ward", Name: "Bed"}))
	ada, err := w.store.CreatePatient(ctx, "Ada Brandt")
	w.must(err)
	w.must(w.store.Admit(ctx, ada, "bed", past))
	w.must(w.store.CreateDevice(ctx, directory.Device{ID: sensor, Kind: "sensor", State: directory.DeviceActive}))
	w.must(w.store.PlaceDevice(ctx, sensor, "bed", past))
	w.ada, err = w.store.ChannelOf(ctx, ada)
	w.must(err)
	w.free, err = w.store.CreateChannel(ctx, channel.Channel{Name: "Fridge", Fields: [8]string{"temperature", "note"}})
	w.must(err)
	for login, p := range map[string]access.Person{
		"admin": {Role: access.RoleAdmin}, "second": {Role: access.RoleAdmin}, "doctor": {Role: access.RoleDoctor, Patients: []string{ada}},
		"nurse": {Role: access.RoleNurse, Wards: []string{"ward"}}, "ada": {Role: access.RolePatient, Self: ada}, "other": {Role: access.RoleNurse},
	} {
		p.Login, p.DisplayName = login, login
		w.people[login], err = w.store.CreatePerson(ctx, p, "x")
		w.must(err)
	}
	w.advance(time.Microsecond) // who approves was there before the request
	w.restart()
	return w
}

const sensor = "spiffe://test.vitalseal.internal/sensor/oxi"

var errOffline = errors.New("no route")

// restart makes a new engine over the same store, as a restart of the hub does.
func (w *world) restart() {
	var err error
	w.engine, err = sink.New(sink.Config{Store: w.store, Access: w.access, RootsPEM: w.cloud.rootsPEM(), Now: w.now, Rescan: 6 * time.Hour,
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Dial: func(ctx context.Context, target string) (net.Conn, error) {
			if w.offline.Load() {
				return nil, errOffline
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", target)
		}})
	w.must(err)
	w.face = face.New(face.Config{Store: w.store, Access: w.access, Engine: w.engine, Now: w.now, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Subject: func(*http.Request) (access.Subject, error) {
			if w.who == "" {
				return access.Subject{}, access.ErrNoSession
			}
			p, err := w.store.Person(context.Background(), w.people[w.who])
			return access.Subject{Person: p, Workstation: station, Session: "s", SessionStarted: time.Now(), Proven: time.Now()}, err
		}})
}

// ask sends a request as a person; out may be nil.
func (w *world) ask(who, method, path string, in, out any, status int) {
	w.t.Helper()
	body, err := json.Marshal(in)
	w.must(err)
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("X-Vitalseal-Request", "1")
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.who = who
	w.face.ServeHTTP(rec, r)
	if rec.Code != status {
		w.t.Fatalf("%s %s as %s: %d %s, want %d", method, path, who, rec.Code, rec.Body, status)
	}
	if out != nil {
		w.must(json.Unmarshal(rec.Body.Bytes(), out))
	}
}

func (w *world) path(c channel.Channel, tail string) string {
	return "/api/cloud/channels/" + strings.TrimPrefix(access.OnChannel(c.ID).String(), "channel:") + tail
}

func (w *world) forward(c channel.Channel, mode string) (requested time.Time) {
	w.t.Helper()
	var out struct{ Requested time.Time }
	w.ask("admin", "PUT", w.path(c, ""), map[string]any{"server": w.cloud.URL, "remote_channel": 77, "write_key": cloudKey, "mode": mode}, &out, 200)
	w.advance(time.Second)
	return out.Requested
}

// speak has the oximeter say a heart rate once a second for n seconds, and time goes on with it.
func (w *world) speak(n int, rate float64) {
	w.t.Helper()
	for range n {
		w.say(w.now(), vitals.Checked(vitals.HeartRate, rate, vitals.Good), vitals.Checked(vitals.SpO2, 93.7, vitals.Good),
			vitals.Checked(vitals.RespiratoryRate, 17.3, vitals.Questionable))
		w.advance(time.Second)
	}
}

func (w *world) say(at time.Time, n ...vitals.Numeric) {
	w.t.Helper()
	a := archive.Arrival{Sensor: sensor, Received: w.now(),
		Chunk:  vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}},
		Header: seal.Header{Sensor: sensor, Signal: uint8(vitals.Numerics), Start: at, Seq: w.seq, Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}}}
	w.seq++
	if outcome, reason, err := w.store.Append(context.Background(), w.grant, a); err != nil || outcome != delivery.Accepted {
		w.t.Fatalf("append: %v %s %v", outcome, reason, err)
	}
}

// passes lets the engine work for d, at the times it asks for.
func (w *world) passes(d time.Duration) {
	for end := w.now().Add(d); w.now().Before(end); {
		next := w.engine.Pass(w.t.Context())
		if !next.After(w.now()) {
			next = w.now().Add(time.Second)
		}
		w.us.Store(min(next.UnixMicro()+1, end.UnixMicro())) // a clock of whole microseconds: not just before
	}
}

// opened asks the hub to open everything that the cloud has, as a person.
func (w *world) opened(who string, c channel.Channel) (seconds []sink.Opened) {
	w.t.Helper()
	var in struct {
		Envelopes []string `json:"envelopes"`
	}
	for _, e := range w.cloud.all() {
		in.Envelopes = append(in.Envelopes, e["field1"])
	}
	for len(in.Envelopes) > 0 {
		part := in
		part.Envelopes = in.Envelopes[:min(len(in.Envelopes), sink.MaxOpen)]
		in.Envelopes = in.Envelopes[len(part.Envelopes):]
		var out sink.OpenAnswer
		w.ask(who, "POST", w.path(c, "/open"), part, &out, 200)
		for i, e := range out.Envelopes {
			if len(e) == 0 {
				w.t.Errorf("envelope %d does not open", i)
			}
			seconds = append(seconds, e...)
		}
	}
	return seconds
}

// TestSealedShowsNothing: of what a patient's sensors said, nothing can be read on the wire, and
// everything by a person who may see the channel.
func TestSealedShowsNothing(t *testing.T) {
	w := newWorld(t)
	w.speak(30, 55.5) // before it was asked for: stays here
	w.forward(w.ada, "sealed")
	w.speak(60, 61.4)
	w.passes(time.Minute)
	wire := w.cloud.bytes()
	for _, secret := range []string{"55.5", "61.4", "61", "93.7", "17.3", "Ada", "Brandt", "heart", w.ada.Patient} {
		if !benign(w, wire, secret) {
			t.Errorf("%q is on the wire", secret)
		}
	}
	for _, e := range w.cloud.all() {
		if len(e) != 2 || len(e["field1"]) != sink.EnvelopeChars {
			t.Fatalf("an entry is not one envelope and its time: %v", e)
		}
	}
	got := w.opened("doctor", w.ada)
	if len(got) < 59 || len(got) > 60 {
		t.Fatalf("%d seconds opened, want the 60 since somebody asked (the first may be the asking's own)", len(got))
	}
	for _, o := range got {
		if len(o.Values) != 3 || *o.Values[0].Value != 61.4 || o.Values[2].Quality != "questionable" {
			t.Fatalf("opened %+v", o)
		}
	}
	if log := w.log.String(); strings.Contains(log, cloudKey) || strings.Contains(log, "61.4") {
		t.Error("a log has the write key or a reading")
	}
}

// benign reports whether a text is nowhere but in times, envelopes or lengths, where chance puts a
// short one.
func benign(w *world, wire, secret string) bool {
	for _, e := range w.cloud.all() {
		wire = strings.ReplaceAll(strings.ReplaceAll(wire, e["field1"], ""), e["created_at"], "")
	}
	var kept []string
	for _, line := range strings.Split(wire, "\n") {
		if !strings.HasPrefix(line, "Content-Length:") {
			kept = append(kept, line)
		}
	}
	return !strings.Contains(strings.Join(kept, "\n"), secret)
}

func TestWhoMayOpen(t *testing.T) {
	w := newWorld(t)
	w.forward(w.ada, "sealed")
	w.speak(30, 61.4)
	w.passes(time.Minute)
	envelope := w.cloud.all()[0]["field1"]
	in := map[string]any{"envelopes": []string{envelope}}
	for who, status := range map[string]int{"nurse": 200, "doctor": 200, "ada": 200, "other": 403, "admin": 403, "": 401} {
		w.ask(who, "POST", w.path(w.ada, "/open"), in, nil, status)
	}
	// Another channel's reader gets nothing of it, whatever channel is named.
	var out sink.OpenAnswer
	w.ask("other", "POST", w.path(w.free, "/open"), in, &out, 200)
	if len(out.Envelopes) != 1 || out.Envelopes[0] != nil {
		t.Errorf("an envelope opened as another channel's: %v", out)
	}
	w.ask("doctor", "POST", w.path(w.ada, "/open"), map[string]any{"envelopes": []string{}}, nil, 400)
	w.ask("doctor", "POST", w.path(w.ada, "/open"), map[string]any{"envelopes": make([]string, sink.MaxOpen+1)}, nil, 400)
	// What is in the cloud stays openable after forwarding ended.
	w.ask("admin", "DELETE", w.path(w.ada, ""), nil, nil, 204)
	if len(w.opened("nurse", w.ada)) == 0 {
		t.Error("nothing opens after the end of forwarding")
	}
	audited := 0
	all, err := w.trail.Recent(t.Context(), 1000)
	w.must(err)
	for _, e := range all {
		if e.Action == string(access.ViewChannel) && e.Patient == w.ada.Patient && strings.Contains(e.Reason, "/open") {
			audited++
		}
	}
	if audited < 6 {
		t.Errorf("%d openings in the audit log, want all, refusals too", audited)
	}
}

// TestPlainNeedsTwoPersonsAndConsent, and stops the moment one of them is missing.
func TestPlainNeedsTwoPersonsAndConsent(t *testing.T) {
	w := newWorld(t)
	requested := w.forward(w.ada, "plain")
	minute := func(rate float64) {
		w.speak(30, rate)
		w.passes(30 * time.Second)
	}
	nothing := func(why, problem string) {
		t.Helper()
		if n := w.cloud.posts(); n != 0 {
			t.Fatalf("%s: %d requests reached the cloud", why, n)
		}
		k, err := w.store.Sink(t.Context(), w.ada.ID)
		w.must(err)
		if k.Problem != problem {
			t.Errorf("%s: problem %q, want %q", why, k.Problem, problem)
		}
	}
	minute(41.1)
	nothing("nobody approved", sink.ProblemApproval)
	var err error
	w.people["late"], err = w.store.CreatePerson(t.Context(), access.Person{Login: "late", DisplayName: "L", Role: access.RoleDoctor, Patients: []string{w.ada.Patient}}, "x")
	w.must(err)
	w.ask("late", "POST", w.path(w.ada, "/approve"), map[string]any{"requested": requested}, nil, 403)  // was made for the purpose
	w.ask("admin", "POST", w.path(w.ada, "/approve"), map[string]any{"requested": requested}, nil, 403) // asked himself
	w.ask("nurse", "POST", w.path(w.ada, "/approve"), map[string]any{"requested": requested}, nil, 403)
	w.ask("doctor", "POST", w.path(w.ada, "/approve"), map[string]any{"requested": requested.Add(-time.Second)}, nil, 404) // another request
	w.ask("doctor", "POST", w.path(w.ada, "/approve"), map[string]any{"requested": requested}, nil, 200)
	minute(42.2)
	nothing("no consent", sink.ProblemConsent)
	consent := "/api/cloud/patients/" + w.ada.Patient + "/consent"
	for who, status := range map[string]int{"admin": 403, "doctor": 403, "nurse": 403, "": 401} {
		w.ask(who, "PUT", consent, nil, nil, status)
	}
	w.ask("ada", "PUT", consent, nil, nil, 204)
	w.advance(time.Second)
	minute(43.3)
	w.passes(time.Minute)
	plain := w.cloud.bytes()
	if !strings.Contains(plain, `"43.3"`) || strings.Contains(plain, "41.1") || strings.Contains(plain, "42.2") {
		t.Error("plain: want what was measured since the consent, and nothing before")
	}
	if strings.Contains(plain, "17.3") {
		t.Error("a questionable value went out as a number")
	}
	w.ask("ada", "DELETE", consent, nil, nil, 204)
	before := w.cloud.posts()
	minute(44.4)
	w.passes(5 * time.Minute)
	if w.cloud.posts() != before {
		t.Error("something went out after the consent was withdrawn")
	}
	w.ask("ada", "PUT", consent, nil, nil, 204)
	w.advance(time.Second)
	minute(45.5)
	w.passes(15 * time.Minute) // long enough for everything to be looked at again
	if plain := w.cloud.bytes(); !strings.Contains(plain, `"45.5"`) || strings.Contains(plain, "44.4") {
		t.Error("after consent was given again: want what was measured since, and nothing from the time without")
	}
	// A new request needs a new approval.
	w.forward(w.ada, "plain")
	before = w.cloud.posts()
	minute(46.6)
	if w.cloud.posts() != before {
		t.Error("a changed request went out under the old approval")
	}
}

// TestOutages: what could not be sent waits, outlives a restart, comes once and in order, and the
// cloud is not hammered.
func TestOutages(t *testing.T) {
	w := newWorld(t)
	w.forward(w.ada, "sealed")
	stages := []struct {
		name    string
		answer  func(int) (int, http.Header)
		offline bool
		problem string
	}{
		{"slow down", always(429, 120), false, sink.ProblemLimited}, {"failing", always(503, 0), false, sink.ProblemFailing},
		{"away", nil, true, sink.ProblemAway}, {"refusing", always(400, 0), false, sink.ProblemRefused},
	}
	total := 0
	for _, s := range stages {
		w.cloud.set(s.answer)
		w.offline.Store(s.offline)
		before := w.cloud.posts()
		w.speak(20, 61.4)
		total += 20
		w.passes(10 * time.Minute)
		k, err := w.store.Sink(t.Context(), w.ada.ID)
		w.must(err)
		if k.Problem != s.problem {
			t.Errorf("%s: problem %q", s.name, k.Problem)
		}
		if n := w.cloud.posts() - before; n > 6 {
			t.Errorf("%s: %d requests in ten minutes", s.name, n)
		}
		w.restart()
	}
	w.cloud.set(nil)
	w.offline.Store(false)
	w.passes(30 * time.Minute)
	w.restart()
	w.passes(15 * time.Minute)
	got := w.opened("doctor", w.ada)
	seen := map[time.Time]bool{}
	for _, o := range got {
		if seen[o.At] {
			t.Errorf("%v came twice", o.At)
		}
		seen[o.At] = true
	}
	if len(got) < total-1 || len(got) > total {
		t.Errorf("%d seconds arrived, want %d", len(got), total)
	}
	k, err := w.store.Sink(t.Context(), w.ada.ID)
	w.must(err)
	if k.Problem != "" {
		t.Errorf("problem %q after it went away", k.Problem)
	}
}

// TestLostAnswer: the cloud took a batch and its answer was lost. The same batch is sent again,
// byte for byte, and the cloud's refusal of times that it has already is the answer that was lost.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t)
	w.forward(w.ada, "sealed")
	w.cloud.mu.Lock()
	w.cloud.lose = true
	w.cloud.mu.Unlock()
	w.speak(30, 61.4)
	w.passes(time.Second)
	w.restart()
	w.passes(5 * time.Minute)
	if got := len(w.opened("doctor", w.ada)); got < 29 {
		t.Errorf("%d seconds, want 30", got)
	}
	k, err := w.store.Sink(t.Context(), w.ada.ID)
	w.must(err)
	if k.Problem != "" || k.Attempts != 0 {
		t.Errorf("problem %q, %d attempts", k.Problem, k.Attempts)
	}
	w.speak(30, 62)
	w.passes(time.Minute)
	if got := len(w.opened("doctor", w.ada)); got < 59 {
		t.Errorf("%d seconds, want 60", got)
	}
}

// TestLateAndBacklog: a gateway was away; what it delivers later goes out later, and never a second
// time.
func TestLateAndBacklog(t *testing.T) {
	w := newWorld(t)
	w.forward(w.ada, "sealed")
	begin := w.now()
	w.advance(time.Hour)
	w.speak(30, 70)
	w.passes(time.Minute)
	for i := range 600 { // of the hour before
		w.say(begin.Add(time.Duration(i)*time.Second), vitals.Checked(vitals.HeartRate, 80, vitals.Good))
	}
	w.passes(25 * time.Minute)
	late := 0
	got := w.opened("doctor", w.ada)
	for _, o := range got {
		if *o.Values[0].Value == 80 {
			late++
		}
	}
	if late < 599 || len(got)-late < 29 {
		t.Errorf("%d late and %d other seconds, want 600 and 30", late, len(got)-late)
	}
	n := len(w.cloud.all())
	w.passes(25 * time.Minute)
	if len(w.cloud.all()) != n {
		t.Error("something was sent again")
	}
}

// TestTooLarge: a cloud that takes less than ThingSpeak gets less.
func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	w.forward(w.free, "sealed")
	w.cloud.set(func(n int) (int, http.Header) {
		if n > 3 {
			return http.StatusRequestEntityTooLarge, nil
		}
		return 0, nil
	})
	for i := range 100 {
		w.entry(w.now().Add(time.Duration(i)*time.Second), "21.5", "3")
	}
	w.advance(100 * time.Second)
	w.passes(10 * time.Minute)
	if got := w.opened("nurse", w.free); len(got) < 99 || *got[0].Fields["field1"] != 21.5 {
		t.Errorf("%d seconds, want 100", len(got))
	}
}

func (w *world) entry(at time.Time, fields ...string) {
	w.t.Helper()
	e := channel.Entry{Created: at, Status: "door open"}
	for i, f := range fields {
		e.Fields[i] = &f
	}
	_, err := w.store.AppendEntry(context.Background(), w.access.Standing("test", access.WriteChannel), w.free.ID, e)
	w.must(err)
}

// TestFreeChannel: sealed takes numbers only; plain, once approved, everything. No patient has to
// agree.
func TestFreeChannel(t *testing.T) {
	w := newWorld(t)
	w.forward(w.free, "sealed")
	w.entry(w.now(), "-4.25", "a text of somebody")
	w.advance(time.Minute)
	w.passes(time.Minute)
	if wire := w.cloud.bytes(); strings.Contains(wire, "somebody") || strings.Contains(wire, "4.25") || strings.Contains(wire, "door") {
		t.Error("sealed shows texts or numbers")
	}
	if got := w.opened("nurse", w.free); len(got) != 1 || *got[0].Fields["field1"] != -4.25 || got[0].Fields["field2"] != nil {
		t.Errorf("opened %+v", got)
	}
	requested := w.forward(w.free, "plain")
	w.ask("second", "POST", w.path(w.free, "/approve"), map[string]any{"requested": requested}, nil, 200)
	w.advance(time.Second)
	w.entry(w.now(), "-4.5", "another text")
	w.advance(time.Minute)
	w.passes(time.Minute)
	if wire := w.cloud.bytes(); !strings.Contains(wire, "another text") || !strings.Contains(wire, "-4.5") || !strings.Contains(wire, "door open") {
		t.Error("plain does not show what it should")
	}
}

// TestFarEndIsTheCloud: a server with another authority's certificate gets no byte, nor does one of
// another name.
func TestFarEndIsTheCloud(t *testing.T) {
	w := newWorld(t)
	w.forward(w.ada, "sealed")
	right := w.cloud
	w.cloud = newCloud(t)
	var err error
	w.engine, err = sink.New(sink.Config{Store: w.store, Access: w.access, Now: w.now, Log: slog.New(slog.DiscardHandler), // the system's authorities only
		Dial: func(ctx context.Context, target string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", target)
		}})
	w.must(err)
	w.speak(30, 61.4)
	w.passes(time.Minute)
	if right.bytes() != "" {
		t.Error("a server that proved nothing got something")
	}
	k, err := w.store.Sink(t.Context(), w.ada.ID)
	w.must(err)
	if k.Problem != sink.ProblemAway {
		t.Errorf("problem %q", k.Problem)
	}
}
