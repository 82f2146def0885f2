package cloud_test

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
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/cloud"
	"vitalseal/internal/way/seal"
)

// world is the face with a patient, Ada, a free channel, and persons of whom one at a time is
// signed in. There is no way to a cloud; package sink's tests have one.
type world struct {
	t         *testing.T
	us        atomic.Int64 // the clock
	store     *store.Store
	engine    *access.Engine
	face      http.Handler
	ada, free channel.Channel
	people    map[string]string // ids by login
	who       string            // the login of the person who is signed in; empty: none
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) now() time.Time          { return time.UnixMicro(w.us.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.us.Add(d.Microseconds()) }

func newWorld(t *testing.T, options ...access.Option) *world {
	w := &world{t: t, people: map[string]string{}}
	w.us.Store(time.Now().Add(-26 * time.Hour).Truncate(time.Hour).UnixMicro())
	dir, ctx, log := t.TempDir(), t.Context(), slog.New(slog.DiscardHandler)
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "key"))
	w.must(err)
	w.store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, log, store.WithClock(w.now))
	w.must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	w.must(err)
	t.Cleanup(func() { _ = trail.Close() })
	engine, err := access.New(w.store, trail, nil, log, options...)
	w.must(err)
	w.engine = engine
	w.must(w.store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}))
	ada, err := w.store.CreatePatient(ctx, "Ada Brandt")
	w.must(err)
	w.ada, err = w.store.ChannelOf(ctx, ada)
	w.must(err)
	w.free, err = w.store.CreateChannel(ctx, channel.Channel{Name: "Fridge", Fields: [8]string{"temperature", "note"}})
	w.must(err)
	for login, p := range map[string]access.Person{
		"admin": {Role: access.RoleAdmin}, "nurse": {Role: access.RoleNurse, Wards: []string{"ward"}}, "ada": {Role: access.RolePatient, Self: ada},
	} {
		p.Login, p.DisplayName = login, login
		w.people[login], err = w.store.CreatePerson(ctx, p, "x")
		w.must(err)
	}
	forward, err := sink.New(sink.Config{Store: w.store, Access: engine, Now: w.now, Log: log,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("no way to a cloud") }})
	w.must(err)
	w.face = cloud.New(cloud.Config{Store: w.store, Access: engine, Engine: forward, Now: w.now, Log: log,
		Subject: func(r *http.Request) (access.Subject, error) {
			if w.who == "" {
				return access.Subject{}, access.ErrNoSession
			}
			p, err := w.store.Person(r.Context(), w.people[w.who])
			return access.Subject{Person: p, Workstation: "spiffe://test.vitalseal.internal/workstation/ws-1", Session: "s", SessionStarted: time.Now(), Proven: time.Now()}, err
		}})
	return w
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
	return cloud.Prefix + "channels/" + strings.TrimPrefix(access.OnChannel(c.ID).String(), "channel:") + tail
}

// TestForwardRefusals: what a request to forward must have, each with the status and the field that
// it names; one that has it all is taken, in sealed mode if it names none.
func TestForwardRefusals(t *testing.T) {
	w := newWorld(t)
	good := map[string]any{"server": "https://cloud.example", "remote_channel": 7, "write_key": "K"}
	with := func(name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range good {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		who    string
		body   map[string]any
		status int
		names  string
	}{
		"not signed in":     {"", good, 401, "not signed in"},
		"a nurse":           {"nurse", good, 403, "not allowed"},
		"another mode":      {"admin", with("mode", "open"), 400, "mode"},
		"no channel there":  {"admin", with("remote_channel", 0), 400, "remote_channel"},
		"no key":            {"admin", with("write_key", ""), 400, "write_key"},
		"not over TLS":      {"admin", with("server", "http://cloud.example"), 400, "server"},
		"an unknown field":  {"admin", with("more", 1), 400, "doc/cloud.md"},
		"a long write key":  {"admin", with("write_key", strings.Repeat("K", 65)), 400, "write_key"},
		"server with paths": {"admin", with("server", "https://cloud.example/update"), 400, "server"},
	} {
		t.Run(name, func(t *testing.T) {
			var got struct{ Error string }
			w.ask(c.who, "PUT", w.path(w.free, ""), c.body, &got, c.status)
			if !strings.Contains(got.Error, c.names) {
				t.Errorf("%q does not say %q", got.Error, c.names)
			}
		})
	}
	var got struct{ Mode, Server string }
	w.ask("admin", "PUT", w.path(w.free, ""), good, &got, 200)
	if got.Mode != channel.SinkSealed || got.Server != "https://cloud.example" {
		t.Errorf("%+v", got)
	}
	w.ask("admin", "DELETE", w.path(w.free, ""), nil, nil, 204)
	w.ask("admin", "DELETE", w.path(w.free, ""), nil, nil, 404)
}

// TestImportRefusesTheFuture: a row later than the hub's clock and what a sender's may be ahead is
// refused, counted and named; the rows beside it are taken, and one at the bound is.
func TestImportRefusesTheFuture(t *testing.T) {
	w := newWorld(t)
	v := "21.5"
	at := func(d time.Duration) sink.ImportEntry {
		return sink.ImportEntry{Created: w.now().Add(d), Fields: [8]*string{&v}}
	}
	late := sink.ImportEntry{Created: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), Fields: [8]*string{&v}}
	ask := func(added int, refused []int, entries ...sink.ImportEntry) {
		t.Helper()
		var out sink.ImportAnswer
		w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, &out, 200)
		var numbers []int
		for _, r := range out.Refused {
			numbers = append(numbers, r.Number)
			if !r.Created.Equal(entries[r.Number-1].Created) || !strings.Contains(r.Reason, "future") {
				t.Errorf("refused as %+v", r)
			}
		}
		if out.Added != added || !slices.Equal(numbers, refused) {
			t.Errorf("%d added, refused %v; want %d, %v", out.Added, numbers, added, refused)
		}
	}
	ask(2, []int{2, 4}, at(-time.Hour), late, at(sink.MaxAhead), at(sink.MaxAhead+time.Second))
	ask(0, []int{1}, late)
	w.advance(2 * time.Second)
	ask(1, nil, at(sink.MaxAhead-time.Second))
}

func TestImportIsIdempotent(t *testing.T) {
	w := newWorld(t)
	at := w.now().Add(-time.Hour)
	v := "21.5"
	entries := []sink.ImportEntry{{Created: at, Fields: [8]*string{&v}}, {Created: at.Add(time.Second), Status: "x"}}
	for i, want := range []int{2, 0} {
		var out sink.ImportAnswer
		w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, &out, 200)
		if out.Added != want {
			t.Errorf("import %d: %d added, want %d", i+1, out.Added, want)
		}
	}
	other := "22"
	entries[0].Fields[0] = &other
	w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, nil, 409)
	w.ask("nurse", "POST", w.path(w.ada, "/import"), map[string]any{"entries": entries}, nil, 403)
	w.ask("ada", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, nil, 403)
	w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": []sink.ImportEntry{{Created: at}}}, nil, 400)
}

// TestImportWithinQuotas: an import spends what a person may write, and is refused with 429 beyond;
// beyond what a hospital's channels may hold it is refused with 507. Both are counted, and nothing
// of what is refused is kept.
func TestImportWithinQuotas(t *testing.T) {
	v := "1"
	for name, c := range map[string]struct {
		most   int64 // entries of the hospital; 0: no limit
		status int
		says   string
		quota  string
	}{
		"too fast": {0, http.StatusTooManyRequests, "wait", "channel entries of a person"},
		"too many": {1, http.StatusInsufficientStorage, "delete entries", "entries and bytes stored by a person"},
	} {
		t.Run(name, func(t *testing.T) {
			rate := 100.0
			if c.most == 0 {
				rate = 0.1 // 40 seconds' worth at once: four entries
			}
			w := newWorld(t, access.WithAuditQuota(access.AuditQuota{PersonWrites: rate, StationWrites: 100}))
			if c.most != 0 {
				_, err := w.store.SetLimit(t.Context(), channel.Limit{Kind: channel.LimitHospital, Name: channel.LimitEntries, Value: c.most})
				w.must(err)
			}
			take := func(n, status int, out any) {
				t.Helper()
				var entries []sink.ImportEntry
				for i := range n {
					entries = append(entries, sink.ImportEntry{Created: w.now().Add(time.Duration(i-3600) * time.Second), Fields: [8]*string{&v}})
				}
				w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, out, status)
			}
			var refused struct{ Error string }
			take(5, c.status, &refused)
			if !strings.Contains(refused.Error, c.says) {
				t.Errorf("%q does not say %q", refused.Error, c.says)
			}
			var counted int64
			for _, r := range w.engine.QuotaRefusals() {
				if r.Quota == c.quota {
					counted += r.Count
				}
			}
			if counted != 1 {
				t.Errorf("%d refusals are counted: %+v", counted, w.engine.QuotaRefusals())
			}
			var got sink.ImportAnswer
			if take(1, http.StatusOK, &got); got.Added != 1 {
				t.Errorf("%d added, want 1: of what was refused nothing is kept", got.Added)
			}
		})
	}
}
