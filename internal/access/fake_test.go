package access_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
)

const (
	station      = "spiffe://demo.vitalseal.internal/workstation/ward-1"
	otherStation = "spiffe://demo.vitalseal.internal/workstation/ward-2"
)

// directory is an access.Directory in memory.
type directory struct {
	mu       sync.Mutex
	people   map[string]access.Person
	hashes   map[string]string // by person
	patients map[string]access.PatientRef
	channels map[int64]access.ChannelRef
	sessions map[[32]byte]access.Session
	keys     map[[32]byte]access.APIKey
	broken   error
	touches  int
}

func newDirectory() *directory {
	return &directory{
		people: map[string]access.Person{}, hashes: map[string]string{}, sessions: map[[32]byte]access.Session{},
		keys: map[[32]byte]access.APIKey{},
		patients: map[string]access.PatientRef{
			"own": {ID: "own", Ward: "ward-1", Bed: "1"}, "same-ward": {ID: "same-ward", Ward: "ward-1", Bed: "2"},
			"other-ward": {ID: "other-ward", Ward: "ward-2", Bed: "3"}, "nobody": {ID: "nobody"},
		},
		channels: map[int64]access.ChannelRef{
			1: {ID: 1, Patient: "own"}, 2: {ID: 2, Patient: "same-ward"}, 3: {ID: 3, Patient: "other-ward"},
			4: {ID: 4, Patient: "nobody"}, 5: {ID: 5},
		},
	}
}

// with adds one person of each role, all on ward-1, treating and being "own".
func (d *directory) withEveryRole() *directory {
	for _, r := range access.Roles() {
		d.people[string(r)] = person(r)
	}
	return d
}

func person(r access.Role) access.Person {
	return access.Person{ID: string(r), Login: string(r), Role: r, Wards: []string{"ward-1"}, Patients: []string{"own"}, Self: "own"}
}

func find[K comparable, V any](d *directory, m map[K]V, k K) (V, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := m[k]
	if d.broken != nil {
		return v, d.broken
	}
	if !ok {
		return v, access.ErrNotFound
	}
	return v, nil
}

func (d *directory) PersonByLogin(_ context.Context, login string) (access.Person, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.people {
		if p.Login == login {
			return p, d.hashes[p.ID], d.broken
		}
	}
	if d.broken != nil {
		return access.Person{}, "", d.broken
	}
	return access.Person{}, "", access.ErrNotFound
}

func (d *directory) Person(_ context.Context, id string) (access.Person, error) {
	return find(d, d.people, id)
}

func (d *directory) Patient(_ context.Context, id string) (access.PatientRef, error) {
	return find(d, d.patients, id)
}

func (d *directory) Patients(context.Context) ([]access.PatientRef, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []access.PatientRef
	for _, p := range d.patients {
		out = append(out, p)
	}
	return out, d.broken
}

func (d *directory) ChannelRef(_ context.Context, id int64) (access.ChannelRef, error) {
	return find(d, d.channels, id)
}

func (d *directory) SaveSession(_ context.Context, s access.Session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s.Hash] = s
	return d.broken
}

func (d *directory) Session(_ context.Context, h [32]byte) (access.Session, error) {
	return find(d, d.sessions, h)
}

func (d *directory) TouchSession(_ context.Context, h [32]byte, at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sessions[h]
	if !ok {
		return access.ErrNotFound
	}
	s.LastUsed = at
	d.sessions[h] = s
	d.touches++
	return d.broken
}

func (d *directory) DeleteSession(_ context.Context, h [32]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, h)
	return d.broken
}

func (d *directory) DeleteSessionsOf(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for h, s := range d.sessions {
		if s.PersonID == id {
			delete(d.sessions, h)
		}
	}
	return d.broken
}

func (d *directory) APIKey(_ context.Context, h [32]byte) (access.APIKey, error) {
	return find(d, d.keys, h)
}

func (d *directory) set(p access.Person) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.people[p.ID] = p
}

var quiet = slog.New(slog.DiscardHandler)

// setup is an engine over d with a real audit log.
func setup(t testing.TB, d *directory, options ...access.Option) (*access.Engine, *audit.Log) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	e, err := access.New(d, log, nil, quiet, options...)
	if err != nil {
		t.Fatal(err)
	}
	return e, log
}

func subject(r access.Role) access.Subject {
	return access.Subject{Person: access.Person{ID: string(r)}, Workstation: station, SessionStarted: time.Now()}
}

func last(t testing.TB, log *audit.Log) audit.Entry {
	t.Helper()
	got, err := log.Recent(t.Context(), 1)
	if err != nil || len(got) == 0 {
		t.Fatalf("no audit entry (%v)", err)
	}
	return got[0]
}
