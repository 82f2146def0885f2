package access_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
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
	sessions map[string]access.Session
	factors  map[string]access.Factor
	glasses  map[string]access.Glass
	linked   map[string]string // person id by issuer and subject
	secrets  map[string][]byte
	keys     map[[32]byte]access.APIKey
	devices  map[string]access.MQTTDevice
	counts   map[string]access.TryCount
	known    map[string]bool                            // by person and workstation
	failed   map[string]map[string]*access.FailedSignIn // by person and session, and by workstation
	broken   error
	// uncounted fails what counts emergencies, and only that.
	uncounted error
	writing   func()             // what happens between a password's, factor's or session's read and its write
	counted   func(access.Glass) // what happens between count and write
	touches   int
}

func newDirectory() *directory {
	return &directory{
		people: map[string]access.Person{}, hashes: map[string]string{}, sessions: map[string]access.Session{},
		factors: map[string]access.Factor{}, glasses: map[string]access.Glass{}, linked: map[string]string{}, secrets: map[string][]byte{},
		counts: map[string]access.TryCount{}, known: map[string]bool{}, failed: map[string]map[string]*access.FailedSignIn{},
		keys: map[[32]byte]access.APIKey{}, devices: map[string]access.MQTTDevice{},
		patients: map[string]access.PatientRef{
			"own": {ID: "own", Ward: "ward-1", Bed: "1"}, "same-ward": {ID: "same-ward", Ward: "ward-1", Bed: "2"},
			"other-ward": {ID: "other-ward", Ward: "ward-2", Bed: "3"}, "nobody": {ID: "nobody"},
		},
		channels: map[int64]access.ChannelRef{
			1: {ID: 1, Patient: "own"}, 2: {ID: 2, Patient: "same-ward"}, 3: {ID: 3, Patient: "other-ward"},
			4: {ID: 4, Patient: "nobody"}, 5: {ID: 5}, 6: {ID: 6, Owner: "nurse", Public: true},
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

func (d *directory) TalkBackOwner(_ context.Context, id int64) (string, error) {
	if id != 1 {
		return "", access.ErrNotFound
	}
	return "nurse", nil
}

// change runs f alone, unless the directory is broken.
func (d *directory) change(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	return f()
}

// put and drop are what most changes are.
func put[K comparable, V any](d *directory, m map[K]V, k K, v V) error {
	return d.change(func() error { m[k] = v; return nil })
}

func drop[K comparable, V any](d *directory, m map[K]V, k K) error {
	return d.change(func() error { delete(m, k); return nil })
}

func filter[K comparable, V any](d *directory, m map[K]V, keep func(V) bool) ([]V, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []V
	for _, v := range m {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out, d.broken
}

func (d *directory) session(id string, f func(*access.Session) error) error {
	return d.change(func() error {
		s, ok := d.sessions[id]
		if !ok {
			return access.ErrNotFound
		}
		err := f(&s)
		d.sessions[id] = s
		return err
	})
}

func (d *directory) SaveSession(_ context.Context, s access.Session) error {
	d.beforeWrite()
	return d.change(func() error {
		d.sessions[s.ID], d.known[s.PersonID+" "+s.Workstation] = s, true
		d.failed[s.PersonID+" "+s.ID] = d.failed[s.PersonID+" "]
		delete(d.failed, s.PersonID+" ")
		return nil
	})
}

func (d *directory) TryCount(_ context.Context, name string) (access.TryCount, error) {
	c, err := find(d, d.counts, name)
	if errors.Is(err, access.ErrNotFound) {
		err = nil
	}
	return c, err
}

func (d *directory) SwapTryCount(_ context.Context, name string, was, now access.TryCount) error {
	return d.change(func() error {
		if d.counts[name] != was {
			return access.ErrConflict
		}
		d.counts[name] = now
		if now.Failures == 0 {
			delete(d.counts, name)
		}
		return nil
	})
}

func (d *directory) KnownWorkstation(_ context.Context, person, workstation string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[person+" "+workstation], d.broken
}

func (d *directory) NoteFailedSignIn(_ context.Context, person, workstation string, at time.Time) error {
	return d.change(func() error {
		of := d.failed[person+" "]
		if of == nil {
			of = map[string]*access.FailedSignIn{}
			d.failed[person+" "] = of
		}
		if of[workstation] == nil {
			of[workstation] = &access.FailedSignIn{Workstation: workstation, First: at}
		}
		of[workstation].Count, of[workstation].Last = of[workstation].Count+1, at
		return nil
	})
}

func (d *directory) FailedSignIns(_ context.Context, person, session string) (all []access.FailedSignIn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.failed[person+" "+session] {
		all = append(all, *f)
	}
	return all, d.broken
}

func (d *directory) Session(_ context.Context, id string) (access.Session, error) {
	return find(d, d.sessions, id)
}

func (d *directory) SessionsOf(_ context.Context, person string) ([]access.Session, error) {
	return filter(d, d.sessions, func(s access.Session) bool { return s.PersonID == person })
}

func (d *directory) TouchSession(_ context.Context, id string, at time.Time) error {
	return d.session(id, func(s *access.Session) error { s.LastUsed = at; d.touches++; return nil })
}

func (d *directory) ProveSession(_ context.Context, id string, at time.Time, second bool) error {
	return d.session(id, func(s *access.Session) error {
		s.Proven, s.SecondFactor = at, s.SecondFactor || second
		return nil
	})
}

func (d *directory) RotateSession(_ context.Context, id string, from int64, at time.Time) error {
	return d.session(id, func(s *access.Session) error {
		if s.Generation != from {
			return access.ErrConflict
		}
		s.Generation, s.Rotated = from+1, at
		return nil
	})
}

func (d *directory) DeleteSession(_ context.Context, id string) error { return drop(d, d.sessions, id) }

func (d *directory) DeleteSessionsOf(_ context.Context, person, except string) error {
	return d.change(func() error {
		for id, s := range d.sessions {
			if s.PersonID == person && id != except {
				delete(d.sessions, id)
			}
		}
		return nil
	})
}

func (d *directory) SetPassword(_ context.Context, person, hash string, oneTime bool) error {
	return d.change(func() error {
		p, ok := d.people[person]
		if !ok {
			return access.ErrNotFound
		}
		p.MustChangePassword = oneTime
		d.people[person], d.hashes[person] = p, hash
		return nil
	})
}

func (d *directory) SwapPassword(_ context.Context, person, was, hash string) error {
	d.beforeWrite()
	return d.change(func() error {
		p, ok := d.people[person]
		if !ok || p.Disabled || d.hashes[person] != was {
			return access.ErrConflict
		}
		p.MustChangePassword = false
		d.people[person], d.hashes[person] = p, hash
		return nil
	})
}

func (d *directory) DeleteFactor(_ context.Context, person, id string) error {
	return d.change(func() error {
		if d.factors[id].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.factors, id)
		return nil
	})
}

func (d *directory) LinkedPerson(ctx context.Context, issuer, subject string) (access.Person, error) {
	id, err := find(d, d.linked, issuer+" "+subject)
	if err != nil {
		return access.Person{}, err
	}
	return d.Person(ctx, id)
}

func (d *directory) CreateLinkedPerson(_ context.Context, p access.Person, issuer, subject string) (string, error) {
	p.ID = "linked-" + p.Login
	return p.ID, d.change(func() error {
		for _, o := range d.people {
			if o.Login == p.Login {
				return access.ErrConflict
			}
		}
		d.people[p.ID], d.linked[issuer+" "+subject] = p, p.ID
		return nil
	})
}

func (d *directory) SetRole(_ context.Context, person string, role access.Role) error {
	return d.change(func() error {
		p := d.people[person]
		p.Role = role
		d.people[person] = p
		return nil
	})
}

func (d *directory) SaveAPIKey(_ context.Context, k access.APIKey) error {
	return put(d, d.keys, k.Hash, k)
}

func (d *directory) SaveMQTTDevice(_ context.Context, m access.MQTTDevice) error {
	return put(d, d.devices, m.ClientID, m)
}

func (d *directory) MQTTDevice(_ context.Context, client string) (access.MQTTDevice, error) {
	return find(d, d.devices, client)
}

func (d *directory) MQTTDevicesOf(_ context.Context, person string) ([]access.MQTTDevice, error) {
	return filter(d, d.devices, func(m access.MQTTDevice) bool { return m.PersonID == person })
}

func (d *directory) DeleteMQTTDevice(_ context.Context, person, client string) error {
	return d.change(func() error {
		if d.devices[client].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.devices, client)
		return nil
	})
}

func (d *directory) APIKeysOf(_ context.Context, person string) ([]access.APIKey, error) {
	return filter(d, d.keys, func(k access.APIKey) bool { return k.PersonID == person })
}

func (d *directory) DeleteAPIKey(_ context.Context, person string, h [32]byte) error {
	return d.change(func() error {
		if d.keys[h].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.keys, h)
		return nil
	})
}

func (d *directory) Secret(_ context.Context, name string) ([]byte, error) {
	return find(d, d.secrets, name)
}

func (d *directory) UpdateSecret(_ context.Context, name string, change func([]byte) ([]byte, error)) ([]byte, error) {
	old, err := find(d, d.secrets, name)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		return nil, err
	}
	b, err := change(old)
	if err != nil || b == nil {
		return old, err
	}
	return b, put(d, d.secrets, name, b)
}

func (d *directory) SaveGlass(_ context.Context, g access.Glass) error {
	return put(d, d.glasses, g.ID, g)
}

func (d *directory) Glass(_ context.Context, id string) (access.Glass, error) {
	return find(d, d.glasses, id)
}

func (d *directory) Glasses(_ context.Context, since time.Time, person, patient string) ([]access.Glass, error) {
	return filter(d, d.glasses, func(g access.Glass) bool {
		return !g.Opened.Before(since) && (person == "" || person == g.PersonID) && (patient == "" || patient == g.PatientID)
	})
}

func (d *directory) UnreviewedGlasses(context.Context) ([]access.Glass, error) {
	return filter(d, d.glasses, func(g access.Glass) bool { return g.ReviewedBy == "" })
}

func (d *directory) ReviewGlass(_ context.Context, id, reviewer, outcome, note string, at time.Time) error {
	return d.change(func() error {
		g, ok := d.glasses[id]
		if !ok || g.ReviewedBy != "" {
			return access.ErrNotFound
		}
		g.ReviewedBy, g.Outcome, g.Note, g.Reviewed = reviewer, outcome, note, at
		d.glasses[id] = g
		return nil
	})
}

func (d *directory) Exclude(_ context.Context, patient, person string, excluded bool) error {
	return d.change(func() error {
		p := d.patients[patient]
		p.Excluded = slices.DeleteFunc(slices.Clone(p.Excluded), func(x string) bool { return x == person })
		if excluded {
			p.Excluded = append(p.Excluded, person)
		}
		d.patients[patient] = p
		return nil
	})
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
	e.SetUnknownPassword(cheapHash())
	return e, log
}

func subject(r access.Role) access.Subject {
	now := time.Now()
	return access.Subject{Person: access.Person{ID: string(r)}, Workstation: station, Session: "s-" + string(r), SessionStarted: now, Proven: now}
}

func last(t testing.TB, log *audit.Log) audit.Entry {
	t.Helper()
	got, err := log.Recent(t.Context(), 1)
	if err != nil || len(got) == 0 {
		t.Fatalf("no audit entry (%v)", err)
	}
	return got[0]
}

// browser is somebody's tokens, refreshed when they must be, as a page does.
type browser struct {
	t       testing.TB
	e       *access.Engine
	station string
	tokens  access.Tokens
}

func signIn(t testing.TB, e *access.Engine, login string) *browser {
	t.Helper()
	in, err := e.SignIn(t.Context(), login, password, station)
	if err != nil || in.Pending != nil {
		t.Fatalf("%s: %v, pending %v", login, err, in.Pending)
	}
	return &browser{t, e, station, in.Tokens}
}

// refresh changes the tokens for new ones.
func (b *browser) refresh() error {
	tokens, err := b.e.Refresh(b.t.Context(), b.tokens.Refresh, b.station)
	if err == nil {
		b.tokens = tokens
	}
	return err
}

// as is who the browser speaks for, with a fresh access token.
func (b *browser) as() (access.Subject, error) {
	if !time.Now().Before(b.tokens.AccessExpires) {
		if err := b.refresh(); err != nil {
			return access.Subject{}, err
		}
	}
	return b.e.Authenticate(b.t.Context(), b.tokens.Access, b.station)
}

func (b *browser) check() (access.Subject, error) {
	if !time.Now().Before(b.tokens.AccessExpires) {
		if err := b.refresh(); err != nil {
			return access.Subject{}, err
		}
	}
	return b.e.Check(b.t.Context(), b.tokens.Access, b.station)
}

func (b *browser) subject() access.Subject {
	b.t.Helper()
	s, err := b.as()
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}
