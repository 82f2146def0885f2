// Package accesstest is an [access.Directory] and [access.Accounts] in memory, for the tests of packages
// access and signin. It guarantees what those interfaces promise, in one process. It is no store: it
// seals nothing, bounds nothing and forgets all at the end of the test. A [Directory] is safe for
// concurrent use; its fields may be set and read by a test that holds Mu, or before others use it.
package accesstest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
)

// Station and OtherStation are workstations of one deployment.
const (
	Station      = "spiffe://demo.vitalseal.internal/workstation/ward-1"
	OtherStation = "spiffe://demo.vitalseal.internal/workstation/ward-2"
)

var (
	_ access.Directory = (*Directory)(nil)
	_ access.Accounts  = (*Directory)(nil)
)

// Directory is an access.Directory in memory.
type Directory struct {
	Mu             sync.Mutex // guards what follows
	People         map[string]access.Person
	Hashes         map[string]string // by person
	AllPatients    map[string]access.PatientRef
	Channels       map[int64]access.ChannelRef
	Sessions       map[string]access.Session
	AllFactors     map[string]access.Factor
	AllEmergencies map[string]access.EmergencyAccess
	Linked         map[string]string // person id by issuer and subject
	Secrets        map[string][]byte
	Keys           map[[32]byte]access.APIKey
	Devices        map[string]access.MQTTDevice
	Counts         map[string]access.TryCount
	Known          map[string]bool                            // by person and workstation
	Failed         map[string]map[string]*access.FailedSignIn // by person and session, and by workstation
	Broken         error                                      // what every call fails with; nil: none does
	// Uncounted fails what counts emergencies, and only that.
	Uncounted error
	Writing   func()                       // what happens between a password's, factor's or session's read and its write
	Counted   func(access.EmergencyAccess) // what happens between count and write
	Touches   int
}

// New is a directory with a few patients and channels, and without people.
func New() *Directory {
	return &Directory{
		People: map[string]access.Person{}, Hashes: map[string]string{}, Sessions: map[string]access.Session{},
		AllFactors: map[string]access.Factor{}, AllEmergencies: map[string]access.EmergencyAccess{}, Linked: map[string]string{}, Secrets: map[string][]byte{},
		Counts: map[string]access.TryCount{}, Known: map[string]bool{}, Failed: map[string]map[string]*access.FailedSignIn{},
		Keys: map[[32]byte]access.APIKey{}, Devices: map[string]access.MQTTDevice{},
		AllPatients: map[string]access.PatientRef{
			"own": {ID: "own", Ward: "ward-1", Bed: "1"}, "same-ward": {ID: "same-ward", Ward: "ward-1", Bed: "2"},
			"other-ward": {ID: "other-ward", Ward: "ward-2", Bed: "3"}, "nobody": {ID: "nobody"},
		},
		Channels: map[int64]access.ChannelRef{
			1: {ID: 1, Patient: "own"}, 2: {ID: 2, Patient: "same-ward"}, 3: {ID: 3, Patient: "other-ward"},
			4: {ID: 4, Patient: "nobody"}, 5: {ID: 5}, 6: {ID: 6, Owner: "nurse", Public: true},
		},
	}
}

// WithEveryRole adds one person of each role, all on ward-1, treating and being "own".
func (d *Directory) WithEveryRole() *Directory {
	for _, r := range access.Roles() {
		d.People[string(r)] = Person(r)
	}
	return d
}

// Person is the person of a role that WithEveryRole adds.
func Person(r access.Role) access.Person {
	return access.Person{ID: string(r), Login: string(r), Role: r, Wards: []string{"ward-1"}, Patients: []string{"own"}, Self: "own"}
}

func find[K comparable, V any](d *Directory, m map[K]V, k K) (V, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	v, ok := m[k]
	if d.Broken != nil {
		return v, d.Broken
	}
	if !ok {
		return v, access.ErrNotFound
	}
	return v, nil
}

// PersonByLogin implements access.Accounts.
func (d *Directory) PersonByLogin(_ context.Context, login string) (access.Person, string, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	for _, p := range d.People {
		if p.Login == login {
			return p, d.Hashes[p.ID], d.Broken
		}
	}
	if d.Broken != nil {
		return access.Person{}, "", d.Broken
	}
	return access.Person{}, "", access.ErrNotFound
}

// Person implements access.Accounts.
func (d *Directory) Person(_ context.Context, id string) (access.Person, error) {
	return find(d, d.People, id)
}

// Patient implements access.Directory.
func (d *Directory) Patient(_ context.Context, id string) (access.PatientRef, error) {
	return find(d, d.AllPatients, id)
}

// Patients implements access.Directory.
func (d *Directory) Patients(context.Context) ([]access.PatientRef, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	var out []access.PatientRef
	for _, p := range d.AllPatients {
		out = append(out, p)
	}
	return out, d.Broken
}

// ChannelRef implements access.Directory.
func (d *Directory) ChannelRef(_ context.Context, id int64) (access.ChannelRef, error) {
	return find(d, d.Channels, id)
}

// TalkBackOwner implements access.Directory.
func (d *Directory) TalkBackOwner(_ context.Context, id int64) (string, error) {
	if id != 1 {
		return "", access.ErrNotFound
	}
	return "nurse", nil
}

// change runs f alone, unless the directory is broken.
func (d *Directory) change(f func() error) error {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	if d.Broken != nil {
		return d.Broken
	}
	return f()
}

// put and drop are what most changes are.
func put[K comparable, V any](d *Directory, m map[K]V, k K, v V) error {
	return d.change(func() error { m[k] = v; return nil })
}

func drop[K comparable, V any](d *Directory, m map[K]V, k K) error {
	return d.change(func() error { delete(m, k); return nil })
}

func filter[K comparable, V any](d *Directory, m map[K]V, keep func(V) bool) ([]V, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	var out []V
	for _, v := range m {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out, d.Broken
}

func (d *Directory) session(id string, f func(*access.Session) error) error {
	return d.change(func() error {
		s, ok := d.Sessions[id]
		if !ok {
			return access.ErrNotFound
		}
		err := f(&s)
		d.Sessions[id] = s
		return err
	})
}

// SaveSession implements access.Sessions.
func (d *Directory) SaveSession(_ context.Context, s access.Session) error {
	d.beforeWrite()
	return d.change(func() error {
		d.Sessions[s.ID], d.Known[s.PersonID+" "+s.Workstation] = s, true
		d.Failed[s.PersonID+" "+s.ID] = d.Failed[s.PersonID+" "]
		delete(d.Failed, s.PersonID+" ")
		return nil
	})
}

// TryCount implements access.Counts.
func (d *Directory) TryCount(_ context.Context, name string) (access.TryCount, error) {
	c, err := find(d, d.Counts, name)
	if errors.Is(err, access.ErrNotFound) {
		err = nil
	}
	return c, err
}

// SwapTryCount implements access.Counts.
func (d *Directory) SwapTryCount(_ context.Context, name string, was, now access.TryCount) error {
	return d.change(func() error {
		if d.Counts[name] != was {
			return access.ErrConflict
		}
		d.Counts[name] = now
		if now.Failures == 0 {
			delete(d.Counts, name)
		}
		return nil
	})
}

// KnownWorkstation implements access.Counts.
func (d *Directory) KnownWorkstation(_ context.Context, person, workstation string) (bool, error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	return d.Known[person+" "+workstation], d.Broken
}

// NoteFailedSignIn implements access.Counts.
func (d *Directory) NoteFailedSignIn(_ context.Context, person, workstation string, at time.Time) error {
	return d.change(func() error {
		of := d.Failed[person+" "]
		if of == nil {
			of = map[string]*access.FailedSignIn{}
			d.Failed[person+" "] = of
		}
		if of[workstation] == nil {
			of[workstation] = &access.FailedSignIn{Workstation: workstation, First: at}
		}
		of[workstation].Count, of[workstation].Last = of[workstation].Count+1, at
		return nil
	})
}

// FailedSignIns implements access.Counts.
func (d *Directory) FailedSignIns(_ context.Context, person, session string) (all []access.FailedSignIn, err error) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	for _, f := range d.Failed[person+" "+session] {
		all = append(all, *f)
	}
	return all, d.Broken
}

// Session implements access.Sessions.
func (d *Directory) Session(_ context.Context, id string) (access.Session, error) {
	return find(d, d.Sessions, id)
}

// SessionsOf implements access.Sessions.
func (d *Directory) SessionsOf(_ context.Context, person string) ([]access.Session, error) {
	return filter(d, d.Sessions, func(s access.Session) bool { return s.PersonID == person })
}

// TouchSession implements access.Sessions.
func (d *Directory) TouchSession(_ context.Context, id string, at time.Time) error {
	return d.session(id, func(s *access.Session) error { s.LastUsed = at; d.Touches++; return nil })
}

// ProveSession implements access.Sessions.
func (d *Directory) ProveSession(_ context.Context, id string, at time.Time, second bool) error {
	return d.session(id, func(s *access.Session) error {
		s.Proven, s.SecondFactor = at, s.SecondFactor || second
		return nil
	})
}

// RotateSession implements access.Sessions.
func (d *Directory) RotateSession(_ context.Context, id string, from int64, at time.Time) error {
	return d.session(id, func(s *access.Session) error {
		if s.Generation != from {
			return access.ErrConflict
		}
		s.Generation, s.Rotated = from+1, at
		return nil
	})
}

// DeleteSession implements access.Sessions.
func (d *Directory) DeleteSession(_ context.Context, id string) error { return drop(d, d.Sessions, id) }

// DeleteSessionsOf implements access.Sessions.
func (d *Directory) DeleteSessionsOf(_ context.Context, person, except string) error {
	return d.change(func() error {
		for id, s := range d.Sessions {
			if s.PersonID == person && id != except {
				delete(d.Sessions, id)
			}
		}
		return nil
	})
}

// SetPassword implements access.Credentials.
func (d *Directory) SetPassword(_ context.Context, person, hash string, oneTime bool) error {
	return d.change(func() error {
		p, ok := d.People[person]
		if !ok {
			return access.ErrNotFound
		}
		p.MustChangePassword = oneTime
		d.People[person], d.Hashes[person] = p, hash
		return nil
	})
}

// SwapPassword implements access.Credentials.
func (d *Directory) SwapPassword(_ context.Context, person, was, hash string) error {
	d.beforeWrite()
	return d.change(func() error {
		p, ok := d.People[person]
		if !ok || p.Disabled || d.Hashes[person] != was {
			return access.ErrConflict
		}
		p.MustChangePassword = false
		d.People[person], d.Hashes[person] = p, hash
		return nil
	})
}

// DeleteFactor implements access.Credentials.
func (d *Directory) DeleteFactor(_ context.Context, person, id string) error {
	return d.change(func() error {
		if d.AllFactors[id].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.AllFactors, id)
		return nil
	})
}

// LinkedPerson implements access.Credentials.
func (d *Directory) LinkedPerson(ctx context.Context, issuer, subject string) (access.Person, error) {
	id, err := find(d, d.Linked, issuer+" "+subject)
	if err != nil {
		return access.Person{}, err
	}
	return d.Person(ctx, id)
}

// CreateLinkedPerson implements access.Credentials.
func (d *Directory) CreateLinkedPerson(_ context.Context, p access.Person, issuer, subject string) (string, error) {
	p.ID = "linked-" + p.Login
	return p.ID, d.change(func() error {
		for _, o := range d.People {
			if o.Login == p.Login {
				return access.ErrConflict
			}
		}
		d.People[p.ID], d.Linked[issuer+" "+subject] = p, p.ID
		return nil
	})
}

// SetRole implements access.Credentials.
func (d *Directory) SetRole(_ context.Context, person string, role access.Role) error {
	return d.change(func() error {
		p := d.People[person]
		p.Role = role
		d.People[person] = p
		return nil
	})
}

// SaveAPIKey implements access.Credentials.
func (d *Directory) SaveAPIKey(_ context.Context, k access.APIKey) error {
	return put(d, d.Keys, k.Hash, k)
}

// SaveMQTTDevice implements access.Credentials.
func (d *Directory) SaveMQTTDevice(_ context.Context, m access.MQTTDevice) error {
	return put(d, d.Devices, m.ClientID, m)
}

// MQTTDevice implements access.Credentials.
func (d *Directory) MQTTDevice(_ context.Context, client string) (access.MQTTDevice, error) {
	return find(d, d.Devices, client)
}

// MQTTDevicesOf implements access.Credentials.
func (d *Directory) MQTTDevicesOf(_ context.Context, person string) ([]access.MQTTDevice, error) {
	return filter(d, d.Devices, func(m access.MQTTDevice) bool { return m.PersonID == person })
}

// DeleteMQTTDevice implements access.Credentials.
func (d *Directory) DeleteMQTTDevice(_ context.Context, person, client string) error {
	return d.change(func() error {
		if d.Devices[client].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.Devices, client)
		return nil
	})
}

// APIKeysOf implements access.Credentials.
func (d *Directory) APIKeysOf(_ context.Context, person string) ([]access.APIKey, error) {
	return filter(d, d.Keys, func(k access.APIKey) bool { return k.PersonID == person })
}

// DeleteAPIKey implements access.Credentials.
func (d *Directory) DeleteAPIKey(_ context.Context, person string, h [32]byte) error {
	return d.change(func() error {
		if d.Keys[h].PersonID != person {
			return access.ErrNotFound
		}
		delete(d.Keys, h)
		return nil
	})
}

// Secret implements access.Secrets.
func (d *Directory) Secret(_ context.Context, name string) ([]byte, error) {
	return find(d, d.Secrets, name)
}

// UpdateSecret implements access.Secrets.
func (d *Directory) UpdateSecret(_ context.Context, name string, change func([]byte) ([]byte, error)) ([]byte, error) {
	old, err := find(d, d.Secrets, name)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		return nil, err
	}
	b, err := change(old)
	if err != nil || b == nil {
		return old, err
	}
	return b, put(d, d.Secrets, name, b)
}

// SaveEmergency implements access.Emergencies.
func (d *Directory) SaveEmergency(_ context.Context, g access.EmergencyAccess) error {
	return put(d, d.AllEmergencies, g.ID, g)
}

// Emergency implements access.Emergencies.
func (d *Directory) Emergency(_ context.Context, id string) (access.EmergencyAccess, error) {
	return find(d, d.AllEmergencies, id)
}

// Emergencies implements access.Emergencies.
func (d *Directory) Emergencies(_ context.Context, since time.Time, person, patient string) ([]access.EmergencyAccess, error) {
	return filter(d, d.AllEmergencies, func(g access.EmergencyAccess) bool {
		return !g.Opened.Before(since) && (person == "" || person == g.PersonID) && (patient == "" || patient == g.PatientID)
	})
}

// UnreviewedEmergencies implements access.Emergencies.
func (d *Directory) UnreviewedEmergencies(context.Context) ([]access.EmergencyAccess, error) {
	return filter(d, d.AllEmergencies, func(g access.EmergencyAccess) bool { return g.ReviewedBy == "" })
}

// ReviewEmergency implements access.Emergencies.
func (d *Directory) ReviewEmergency(_ context.Context, id, reviewer, outcome, note string, at time.Time) error {
	return d.change(func() error {
		g, ok := d.AllEmergencies[id]
		if !ok || g.ReviewedBy != "" {
			return access.ErrNotFound
		}
		g.ReviewedBy, g.Outcome, g.Note, g.Reviewed = reviewer, outcome, note, at
		d.AllEmergencies[id] = g
		return nil
	})
}

// Exclude implements access.Emergencies.
func (d *Directory) Exclude(_ context.Context, patient, person string, excluded bool) error {
	return d.change(func() error {
		p := d.AllPatients[patient]
		p.Excluded = slices.DeleteFunc(slices.Clone(p.Excluded), func(x string) bool { return x == person })
		if excluded {
			p.Excluded = append(p.Excluded, person)
		}
		d.AllPatients[patient] = p
		return nil
	})
}

// APIKey implements access.Credentials.
func (d *Directory) APIKey(_ context.Context, h [32]byte) (access.APIKey, error) {
	return find(d, d.Keys, h)
}

// Set replaces a person.
func (d *Directory) Set(p access.Person) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.People[p.ID] = p
}

// Subject is a question of the person of a role, signed in just now at Station.
func Subject(r access.Role) access.Subject {
	now := time.Now()
	return access.Subject{Person: access.Person{ID: string(r)}, Workstation: Station, Session: "s-" + string(r), SessionStarted: now, Proven: now}
}

// Things are resources of each kind by name: those of a new Directory, and what belongs to none.
func Things() map[string]access.Resource {
	return map[string]access.Resource{
		"own": access.OnPatient("own"), "same-ward": access.OnPatient("same-ward"), "other-ward": access.OnPatient("other-ward"),
		"nobody": access.OnPatient("nobody"), "ward-1": access.OnWard("ward-1"), "ward-2": access.OnWard("ward-2"),
		"own-channel": access.OnChannel(1), "same-ward-channel": access.OnChannel(2), "other-ward-channel": access.OnChannel(3),
		"nobody-channel": access.OnChannel(4), "free-channel": access.OnChannel(5), "system": access.OnSystem(),
		"talkback": access.OnTalkBack(1), "nurse-channel": access.OnChannel(6),
	}
}
