package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

func TestWardErrors(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir())
	ctx := t.Context()
	p := ward(t, s, now, 2)
	newPatient := func(name string) error { _, err := s.CreatePatient(ctx, name); return err }
	person := func(p access.Person) error { _, err := s.CreatePerson(ctx, p, "x"); return err }
	must(t, person(access.Person{ID: "n", Login: "nora", Role: access.RoleNurse, Wards: []string{"a"}}))
	for name, tc := range map[string]struct{ got, want error }{
		"ward twice":         {s.CreateWard(ctx, directory.Ward{ID: "a", Name: "A"}), store.ErrExists},
		"bed twice":          {s.CreateBed(ctx, directory.Bed{ID: "a-0", Ward: "a", Name: "B"}), store.ErrExists},
		"bed in no ward":     {s.CreateBed(ctx, directory.Bed{ID: "z", Ward: "zz", Name: "B"}), store.ErrNotFound},
		"ward id":            {s.CreateWard(ctx, directory.Ward{ID: "a b", Name: "A"}), store.ErrInvalid},
		"ward without name":  {s.CreateWard(ctx, directory.Ward{ID: "b"}), store.ErrInvalid},
		"long name":          {newPatient(strings.Repeat("é", 101)), store.ErrInvalid},
		"control character":  {newPatient("a\x1b[2J"), store.ErrInvalid},
		"not UTF-8":          {newPatient("a\xff"), store.ErrInvalid},
		"occupied":           {s.Admit(ctx, p[0], "a-1", now), store.ErrOccupied},
		"no such bed":        {s.Admit(ctx, p[0], "zz", now), store.ErrNotFound},
		"no such patient":    {s.Admit(ctx, "p-zz", "a-0", now), store.ErrNotFound},
		"into the past":      {s.Admit(ctx, p[0], "a-0", now.Add(-2*time.Hour)), store.ErrConflict},
		"into the future":    {s.Admit(ctx, p[0], "a-0", now.Add(time.Hour)), store.ErrInvalid},
		"not admitted":       {s.Discharge(ctx, "p-zz", now), store.ErrNotFound},
		"before it began":    {s.Discharge(ctx, p[0], now.Add(-2*time.Hour)), store.ErrConflict},
		"device twice":       {s.CreateDevice(ctx, directory.Device{ID: sensorID("s0"), Kind: "sensor"}), store.ErrExists},
		"place nothing":      {s.PlaceDevice(ctx, sensorID("zz"), "a-0", now), store.ErrNotFound},
		"place nowhere":      {s.PlaceDevice(ctx, sensorID("s0"), "zz", now), store.ErrNotFound},
		"place before":       {s.PlaceDevice(ctx, sensorID("s0"), "a-1", now.Add(-2*time.Hour)), store.ErrConflict},
		"device state":       {s.SetDeviceState(ctx, sensorID("s0"), "gone"), store.ErrInvalid},
		"no device":          {s.SetDeviceState(ctx, sensorID("zz"), directory.DeviceActive), store.ErrNotFound},
		"login twice":        {person(access.Person{Login: "nora", Role: access.RoleNurse}), store.ErrExists},
		"no role":            {person(access.Person{Login: "x"}), store.ErrInvalid},
		"person's ward":      {person(access.Person{Login: "x", Role: access.RoleNurse, Wards: []string{"zz"}}), store.ErrNotFound},
		"person's self":      {person(access.Person{Login: "x", Role: access.RolePatient, Self: "p-zz"}), store.ErrNotFound},
		"wards of nobody":    {s.SetWards(ctx, "zz", nil), store.ErrNotFound},
		"key of nobody":      {s.SaveAPIKey(ctx, access.APIKey{PersonID: "zz", Channel: 1}), store.ErrNotFound},
		"key of no channel":  {s.SaveAPIKey(ctx, access.APIKey{PersonID: "n", Channel: 99}), store.ErrNotFound},
		"session of nobody":  {s.SaveSession(ctx, access.Session{ID: "s", PersonID: "zz", Workstation: station, Expires: now.Add(time.Hour)}), store.ErrNotFound},
		"touch no session":   {s.TouchSession(ctx, "s9", now), store.ErrNotFound},
		"prove no session":   {s.ProveSession(ctx, "s9", now, true), store.ErrNotFound},
		"rotate no session":  {s.RotateSession(ctx, "s9", 1, now), store.ErrNotFound},
		"role that is none":  {s.SetRole(ctx, "n", "boss"), store.ErrInvalid},
		"role of nobody":     {s.SetRole(ctx, "zz", access.RoleNurse), store.ErrNotFound},
		"password of nobody": {s.SetPassword(ctx, "zz", "hash", true), store.ErrNotFound},
		"factor of nobody":   {s.SaveFactor(ctx, access.Factor{ID: "f", PersonID: "zz", Kind: "totp", Created: now}), store.ErrNotFound},
		"huge factor":        {s.SaveFactor(ctx, access.Factor{ID: "f", PersonID: "n", Kind: "totp", Data: make([]byte, 17<<10), Created: now}), store.ErrInvalid},
		"no such factor":     {s.DeleteFactor(ctx, "n", "f"), store.ErrNotFound},
		"no such key":        {s.DeleteAPIKey(ctx, "n", [32]byte{9}), store.ErrNotFound},
		"exclude nobody":     {s.Exclude(ctx, p[0], "zz", true), store.ErrNotFound},
		"nobody excludes":    {s.Exclude(ctx, "p-zz", "n", true), store.ErrNotFound},
		"review nothing":     {s.ReviewEmergency(ctx, "zz", "n", "justified", "", now), store.ErrNotFound},
		"delete no session":  {s.DeleteSession(ctx, "s9"), nil},
		"where it stands":    {s.PlaceDevice(ctx, sensorID("s0"), "a-0", now), nil},
		"ticket for nothing": {s.CreateTicket(ctx, [32]byte{}, nil, now), store.ErrInvalid},
	} {
		if !errors.Is(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
	err := s.CreateBed(ctx, directory.Bed{ID: "z", Ward: "zz", Name: "B"})
	if err == nil || err.Error() != `store: create bed z: ward "zz": access: not found` {
		t.Errorf("the text: %v", err)
	}
}

func TestDirectoryRoundTrip(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	p := ward(t, s, now, 2)
	must(t, s.Admit(ctx, p[0], "a-0", now.Add(-time.Minute))) // again into the same bed: a new stay
	must(t, s.Discharge(ctx, p[1], now))
	in := access.Person{ID: "u1", Login: "dora", DisplayName: "Dora Ö", Role: access.RoleDoctor, Patients: p}
	_, err := s.CreatePerson(ctx, in, "hash")
	must(t, err)
	session := access.Session{ID: "s1", PersonID: "u1", Workstation: station, Started: now, LastUsed: now, Expires: now.Add(time.Hour),
		Proven: now, Methods: "pwd otp", Generation: 1, Rotated: now, Key: [32]byte{7}}
	must(t, s.SaveSession(ctx, session))
	session.LastUsed = now.Add(time.Minute)
	must(t, s.TouchSession(ctx, session.ID, session.LastUsed))
	key := access.APIKey{Hash: [32]byte{2}, PersonID: "u1", Channel: 1, Write: true}
	must(t, s.SaveAPIKey(ctx, key))
	must(t, s.TouchDevice(ctx, sensorID("s0")))
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, epoch(1), 1, []byte("sealed")))
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, epoch(1), 1, []byte("sealed")))
	if err := s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, epoch(1), 1, []byte("other")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an epoch announced twice: %v", err)
	}
	must(t, s.Close())
	s = open(t, dir)

	got, hash, err := s.PersonByLogin(ctx, "dora")
	if age := time.Since(got.Created); age < 0 || age > time.Hour {
		t.Errorf("made %v ago", age)
	}
	in.Created = got.Created
	if diff := cmp.Diff(in, got); err != nil || hash != "hash" || diff != "" {
		t.Error(err, hash, diff)
	}
	if got, err := s.Session(ctx, session.ID); err != nil || got != session {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := s.APIKey(ctx, key.Hash); err != nil || got != key {
		t.Errorf("%+v %v", got, err)
	}
	refs, err := s.Patients(ctx)
	must(t, err)
	for _, r := range refs {
		if want := map[string]access.PatientRef{p[0]: {ID: p[0], Ward: "a", Bed: "a-0"}, p[1]: {ID: p[1]}}[r.ID]; !cmp.Equal(r, want) {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	if d, err := s.Device(ctx, sensorID("s0")); err != nil || d.Bed != "a-0" || d.LastSeen.Before(now) {
		t.Errorf("%+v %v", d, err)
	}
	if b, err := s.Announcement(ctx, sensorID("s0"), epoch(1).ID); err != nil || string(b) != "sealed" {
		t.Errorf("%q %v", b, err)
	}
	must(t, s.DeleteSessionsOf(ctx, "u1", ""))
	if _, err := s.Session(ctx, session.ID); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("session after sign-out: %v", err)
	}
	c, err := s.ChannelOf(ctx, p[0])
	if err != nil || c.ID < 1 || c.Patient != p[0] {
		t.Errorf("%+v %v", c, err)
	}
}

func TestTicketIsSingleUse(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir())
	ctx := t.Context()
	ids := []string{sensorID("s1"), sensorID("s2")}
	must(t, s.CreateTicket(ctx, [32]byte{1}, ids, now.Add(time.Hour)))
	for _, tc := range []struct {
		hash byte
		ids  []string
		now  time.Time
		want error
	}{
		{9, ids, now, store.ErrNotFound}, {1, ids[:1], now, directory.ErrTicketMismatch}, {1, ids, now.Add(time.Hour), directory.ErrTicketExpired},
		{1, []string{ids[1], ids[0]}, now, nil}, {1, ids, now, directory.ErrTicketUsed},
	} {
		got, err := s.RedeemTicket(ctx, [32]byte{tc.hash}, tc.ids, tc.now)
		if !errors.Is(err, tc.want) || (err == nil) != (len(got) == 2) {
			t.Errorf("%+v: %v %v", tc, got, err)
		}
	}
}

func TestEntries(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, g := t.Context(), standing(t, s)
	p := ward(t, s, time.Now(), 1)[0]
	of, err := s.ChannelOf(ctx, p)
	must(t, err)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "Fridge", Fields: [8]string{"temperature"}})
	must(t, err)
	at := noon
	var want []channel.Entry
	for i := range 5 {
		v := strings.Repeat("9", i)
		e, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Created: at.Add(time.Duration(i) * time.Second), Fields: [8]*string{&v}, Status: "ok"})
		must(t, err)
		if e.ID != int64(i+1) {
			t.Errorf("entry %d has id %d", i, e.ID)
		}
		want = append(want, e)
	}
	got, err := s.Entries(ctx, g, c.ID, at, at.Add(4*time.Second), 2)
	if diff := cmp.Diff(want[2:4], got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if c, err = s.Channel(ctx, c.ID); err != nil || c.LastEntryID != 5 || c.Name != "Fridge" || c.Fields[0] != "temperature" {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := s.AppendEntry(ctx, g, of.ID, channel.Entry{}); !errors.Is(err, channel.ErrPatientChannel) {
		t.Errorf("writing a patient's channel: %v", err)
	}
	if _, err := s.Entries(ctx, g, of.ID, at, at, 1); !errors.Is(err, channel.ErrPatientChannel) {
		t.Errorf("reading a patient's channel: %v", err)
	}
	long := strings.Repeat("9", 256)
	if _, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Fields: [8]*string{&long}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("long field: %v", err)
	}
	if _, err := s.AppendEntry(ctx, g, 99, channel.Entry{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no channel: %v", err)
	}
	if ref, err := s.ChannelRef(ctx, of.ID); err != nil || ref.Patient != p {
		t.Errorf("%+v %v", ref, err)
	}
}

// TestEpochNumbersNeverGoBack is the fence against a restored backup and a clone.
func TestEpochNumbersNeverGoBack(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	numbered := func(id byte, number uint64) seal.Epoch { return seal.Epoch{ID: seal.EpochID{id}, Number: number} }
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, numbered(1, 7), 1, []byte("a")))
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, numbered(2, 9), 1, []byte("b")))
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, numbered(1, 7), 1, []byte("a")))  // known: its backlog
	must(t, s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, numbered(3, 10), 2, []byte("c"))) // another stream
	must(t, s.SaveAnnouncement(ctx, sensorID("s1"), delivery.Start{}, numbered(4, 1), 1, []byte("d")))  // another sensor
	if err := s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, numbered(8, 10), 1, []byte("e")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("epoch number 10 of one stream after 10 of another: %v", err)
	}
	for _, e := range []seal.Epoch{numbered(5, 8), numbered(6, 9), numbered(7, 7)} {
		if err := s.SaveAnnouncement(ctx, sensorID("s0"), delivery.Start{}, e, 1, []byte("e")); !errors.Is(err, store.ErrConflict) {
			t.Errorf("epoch number %d after 9: %v", e.Number, err)
		}
		if _, err := s.Announcement(ctx, sensorID("s0"), e.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a refused announcement was kept: %v", err)
		}
	}
}

// TestSessionsChange: proofs, rotation of refresh tokens, and ending all but one.
func TestSessionsChange(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	s := open(t, t.TempDir())
	ctx := t.Context()
	_, err := s.CreatePerson(ctx, access.Person{ID: "u1", Login: "dora", Role: access.RoleDoctor}, "hash")
	must(t, err)
	for _, id := range []string{"s1", "s2", "s3"} {
		must(t, s.SaveSession(ctx, access.Session{ID: id, PersonID: "u1", Workstation: station, Started: now, LastUsed: now, Expires: now.Add(time.Hour),
			Proven: now, Generation: 1, Rotated: now}))
	}
	must(t, s.ProveSession(ctx, "s1", now.Add(time.Minute), true))
	must(t, s.ProveSession(ctx, "s1", now.Add(2*time.Minute), false))
	must(t, s.RotateSession(ctx, "s1", 1, now.Add(3*time.Minute)))
	if err := s.RotateSession(ctx, "s1", 1, now); !errors.Is(err, access.ErrConflict) {
		t.Errorf("rotated twice from the same: %v", err)
	}
	got, err := s.Session(ctx, "s1")
	if err != nil || !got.SecondFactor || !got.Proven.Equal(now.Add(2*time.Minute)) || got.Generation != 2 || !got.Rotated.Equal(now.Add(3*time.Minute)) {
		t.Errorf("%+v %v", got, err)
	}
	must(t, s.DeleteSessionsOf(ctx, "u1", "s2"))
	if all, err := s.SessionsOf(ctx, "u1"); err != nil || len(all) != 1 || all[0].ID != "s2" {
		t.Errorf("%+v %v", all, err)
	}
}

// TestCredentials: second factors and keys come back as they went in, and lie sealed.
func TestCredentials(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	_, err := s.CreatePerson(ctx, access.Person{ID: "u1", Login: "dora", Role: access.RoleDoctor}, "hash")
	must(t, err)
	must(t, s.SetPassword(ctx, "u1", "one-time hash", true))
	if p, hash, err := s.PersonByLogin(ctx, "dora"); err != nil || !p.MustChangePassword || hash != "one-time hash" {
		t.Errorf("%+v %v", p, err)
	}
	f := access.Factor{ID: "f1", PersonID: "u1", Kind: access.FactorTOTP, Name: "App", Data: []byte("the shared secret of the app"), Created: now}
	must(t, s.SaveFactor(ctx, f))
	f.LastUsed = now.Add(time.Minute)
	must(t, s.SaveFactor(ctx, f))
	if got, err := s.Factors(ctx, "u1"); err != nil || !cmp.Equal(got, []access.Factor{f}) {
		t.Errorf("%+v %v", got, err)
	}
	if err := s.DeleteFactor(ctx, "somebody", "f1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	id, err := s.CreateLinkedPerson(ctx, access.Person{Login: "linked", DisplayName: "L", Role: access.RoleNurse}, "https://idp", "sub-1")
	must(t, err)
	if p, err := s.LinkedPerson(ctx, "https://idp", "sub-1"); err != nil || p.ID != id {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := s.LinkedPerson(ctx, "", ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("everybody without a provider is linked: %v", err)
	}
	if _, err := s.CreateLinkedPerson(ctx, access.Person{Login: "dora", Role: access.RoleNurse}, "https://idp", "sub-2"); !errors.Is(err, access.ErrConflict) {
		t.Errorf("a login twice: %v", err)
	}
	must(t, s.Close())
	for _, secret := range []string{"the shared secret of the app"} {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		must(t, err)
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), secret) {
				t.Errorf("%s holds a secret in clear", filepath.Base(name))
			}
		}
	}
}

// TestEmergencies: what was typed about a patient lies sealed; a verdict is given once; consent shows in the patient.
func TestEmergencies(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	p := ward(t, s, now, 2)
	_, err := s.CreatePerson(ctx, access.Person{ID: "u1", Login: "dora", Role: access.RoleDoctor}, "hash")
	must(t, err)
	g := access.EmergencyAccess{ID: "bg-1", PersonID: "u1", PatientID: p[0], Workstation: station, Session: "s1", Reason: "collapsed in the corridor",
		Opened: now, Expires: now.Add(15 * time.Minute)}
	must(t, s.SaveEmergency(ctx, g))
	old := g
	old.ID, old.Opened = "bg-0", now.Add(-time.Hour)
	must(t, s.SaveEmergency(ctx, old))
	if got, err := s.Emergencies(ctx, now.Add(-time.Minute), "u1", p[0]); err != nil || !cmp.Equal(got, []access.EmergencyAccess{g}) {
		t.Errorf("%+v %v", got, err)
	}
	for _, other := range [][2]string{{"u2", ""}, {"", p[1]}} {
		if got, err := s.Emergencies(ctx, now.Add(-2*time.Hour), other[0], other[1]); err != nil || len(got) != 0 {
			t.Errorf("%v: %+v %v", other, got, err)
		}
	}
	if got, err := s.UnreviewedEmergencies(ctx); err != nil || len(got) != 2 || got[0].ID != "bg-0" {
		t.Errorf("%+v %v", got, err)
	}
	must(t, s.ReviewEmergency(ctx, "bg-1", "u1", access.Unjustified, "no emergency that day", now))
	if err := s.ReviewEmergency(ctx, "bg-1", "u1", access.Justified, "", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("judged twice: %v", err)
	}
	if got, err := s.Emergency(ctx, "bg-1"); err != nil || got.Outcome != access.Unjustified || got.Note != "no emergency that day" || got.ReviewedBy != "u1" {
		t.Errorf("%+v %v", got, err)
	}
	must(t, s.Exclude(ctx, p[0], "u1", true))
	must(t, s.Exclude(ctx, p[0], "u1", true))
	if got, err := s.Patient(ctx, p[0]); err != nil || !cmp.Equal(got.Excluded, []string{"u1"}) {
		t.Errorf("%+v %v", got, err)
	}
	must(t, s.Exclude(ctx, p[0], "u1", false))
	if got, err := s.Patient(ctx, p[0]); err != nil || len(got.Excluded) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	must(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err == nil && (strings.Contains(string(b), "corridor") || strings.Contains(string(b), "no emergency that day")) {
			t.Errorf("%s holds what was typed about a patient in clear", filepath.Base(name))
		}
	}
}
