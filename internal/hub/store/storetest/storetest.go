// Package storetest is the conformance suite of internal/hub/store: what must hold whichever database lies below.
//
// It hides the making of wards, sensors and chunks. It guarantees nothing about speed and does not test what only one database
// has, such as files or several hubs.
package storetest

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// Grant is access.Grant.
type Grant = access.Grant

// HeartRate is vitals.HeartRate.
const HeartRate = vitals.HeartRate

// Run runs the suite; open gives an empty store that the test closes at its end.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	for name, f := range map[string]func(*testing.T, *bench){
		"once": once, "attribution": attribution, "order": order, "trends": trends, "trends of two sensors": trendsOfTwo, "trends of two cuffs": trendsOfCuffs, "beside": beside, "kept out": keptOut, "trends of moved readings": trendsOfMoved, "attempts": attempts, "departures": departures, "waves of two sensors": wavesOfTwo, "watch": watch, "occupancy": occupancy,
		"persons": persons, "sessions": sessions, "channels": channels, "tickets": tickets, "devices": devices,
		"announcements": announcements, "quarantine": quarantine, "secrets": secrets, "midnight": midnight, "emergencies": emergencies, "emergencies at once": emergenciesCount, "factors": factors, "passwords": passwords, "split": split, "encoded": encoded, "slow": slow, "clocks": clocks,
		"starts": starts, "jumps": jumps, "content": content, "troubles": troubles, "security events": securityEvents,
		"approvals": approvals,
		"tries":     tries, "failed sign-ins": failedSignIns,
		"moves": moves, "moves of nobody": movesOfNobody, "moves within a ward": movesWithinWard, "corrected stays": correctedStays,
		"silences": silences, "silences filled": silencesFilled, "silences refused": silencesRefused, "silences elsewhere": silencesElsewhere,
		"silences of moved readings": silencesOfMoved, "silences entered late": silencesEnteredLate, "silences moved away": silencesMovedAway,
	} {
		t.Run(name, func(t *testing.T) { f(t, newBench(t, open(t))) })
	}
}

// bench is a store with a ward "a", one bed "a-0", a patient in it and a sensor at it, for two days.
type bench struct {
	*store.Store
	now             time.Time
	patient, sensor string
	g               access.Grant
	e               *access.Engine
}

func newBench(t *testing.T, s *store.Store) *bench {
	t.Helper()
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	log, err := audit.Open(dir+"/log", dir+"/key", quiet)
	must(t, err)
	t.Cleanup(func() { _ = log.Close() })
	e, err := access.New(s, log, nil, quiet)
	must(t, err)
	b := &bench{Store: s, now: time.Now().UTC().Truncate(time.Microsecond), sensor: "spiffe://test/sensor/s0", g: e.Standing("test", access.Actions()...), e: e}
	since := b.now.Add(-48 * time.Hour)
	must(t, s.CreateWard(t.Context(), directory.Ward{ID: "a", Name: "Ward A"}))
	must(t, s.CreateBed(t.Context(), directory.Bed{ID: "a-0", Ward: "a", Name: "Bed"}))
	b.patient, err = s.CreatePatient(t.Context(), "Ada Lovelace")
	must(t, err)
	must(t, s.Admit(t.Context(), b.patient, "a-0", since))
	must(t, s.CreateDevice(t.Context(), directory.Device{ID: b.sensor, Kind: "sensor", State: directory.DeviceActive}))
	must(t, s.PlaceDevice(t.Context(), b.sensor, "a-0", since))
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func epoch(n uint64) seal.Epoch { return seal.Epoch{ID: seal.EpochID{byte(n % 251), 7}, Number: n} }

// beat is a chunk of one heart rate.
func (b *bench) beat(at time.Time, rate float64, e, seq uint64) archive.Arrival {
	at = at.UTC().Truncate(time.Microsecond)
	c := vitals.Chunk{Signal: vitals.Numerics, Start: at,
		Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, rate, vitals.Good)}}}}
	return archive.Arrival{Sensor: b.sensor, Chunk: c, Received: b.now,
		Header: seal.Header{Sensor: b.sensor, Signal: uint8(c.Signal), Epoch: epoch(e), Seq: seq, Start: at}}
}

func (b *bench) append(t testing.TB, a archive.Arrival, want delivery.Outcome) {
	t.Helper()
	got, why, err := b.Append(t.Context(), b.g, a)
	if err != nil || got != want {
		t.Fatalf("append: %v %q, %v; want %v", got, why, err, want)
	}
}

func once(t *testing.T, b *bench) {
	for seq := range uint64(5) {
		b.append(t, b.beat(b.now, 60, 1, seq), delivery.Accepted)
		b.append(t, b.beat(b.now, 60, 1, seq), delivery.Duplicate)
	}
	d, err := b.Delivery(t.Context())
	must(t, err)
	if len(d.Streams) != 1 || d.Streams[0].Chunks != 5 || d.Streams[0].Doubled != 0 || d.Streams[0].Missing != 0 {
		t.Errorf("delivery: %+v", d.Streams)
	}
	b.append(t, b.beat(b.now, 60, 1, 7), delivery.Accepted)
	if d, err = b.Delivery(t.Context()); err != nil || d.Streams[0].Missing != 2 {
		t.Errorf("delivery with a hole: %+v, %v", d.Streams, err)
	}
}

func attribution(t *testing.T, b *bench) {
	b.append(t, b.beat(b.now.Add(-2*time.Minute), 60, 1, 0), delivery.Accepted)
	second, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	must(t, b.Discharge(t.Context(), b.patient, b.now.Add(-time.Minute)))
	must(t, b.Admit(t.Context(), second, "a-0", b.now.Add(-time.Minute)))
	b.append(t, b.beat(b.now, 70, 1, 1), delivery.Accepted)
	b.append(t, b.beat(b.now.Add(-90*time.Second), 61, 1, 2), delivery.Accepted) // late, still the first one's
	for patient, want := range map[string]int{b.patient: 2, second: 1} {
		got, err := b.Numerics(t.Context(), b.g, patient, b.now.Add(-time.Hour), b.now.Add(time.Hour), 0)
		if err != nil || len(got) != want {
			t.Errorf("%d bundles, %v; want %d", len(got), err, want)
		}
	}
}

func order(t *testing.T, b *bench) {
	for _, seq := range []uint64{3, 0, 2, 1} {
		after := time.Duration(seq) * time.Second // #nosec G115 -- below 4
		b.append(t, b.beat(b.now.Add(after), float64(60+seq), 1, seq), delivery.Accepted)
	}
	got, err := b.Numerics(t.Context(), b.g, b.patient, b.now.Add(-time.Hour), b.now.Add(time.Hour), 3)
	must(t, err)
	if len(got) != 3 || !got[0].At.Before(got[1].At) || got[2].Numerics[0].Value != 63 {
		t.Errorf("newest three: %+v", got)
	}
	if _, err := b.Numerics(t.Context(), access.Grant{}, b.patient, b.now, b.now, 0); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("without a grant: %v", err)
	}
	chunks, err := b.Waveform(t.Context(), b.g, b.patient, vitals.Numerics, b.now.Add(-time.Hour), b.now.Add(time.Hour))
	must(t, err)
	for i, c := range chunks {
		if c.Bundles[0].Numerics[0].Value != float64(60+i) {
			t.Errorf("chunk %d holds %v", i, c.Bundles[0].Numerics)
		}
	}
}

func trends(t *testing.T, b *bench) {
	at := b.now.Add(-time.Hour).Truncate(time.Hour)
	for i, rate := range []float64{50, 70, 90} {
		b.append(t, b.beat(at.Add(time.Duration(i)*time.Second), rate, 1, uint64(i)), delivery.Accepted)
		b.append(t, b.beat(at.Add(time.Duration(i)*time.Second), rate, 1, uint64(i)), delivery.Duplicate)
	}
	got, err := b.Trends(t.Context(), b.g, b.patient, vitals.HeartRate, at, at.Add(time.Hour), time.Minute)
	must(t, err)
	if len(got) != 1 || got[0].Count != 3 || got[0].Min != 50 || got[0].Mean != 70 || got[0].Max != 90 {
		t.Errorf("trend %+v", got)
	}
}

func midnight(t *testing.T, b *bench) {
	day := b.now.Truncate(24 * time.Hour)
	b.append(t, b.beat(day.Add(-time.Second), 50, 1, 0), delivery.Accepted)
	b.append(t, b.beat(day, 70, 1, 1), delivery.Accepted)
	got, err := b.Trends(t.Context(), b.g, b.patient, vitals.HeartRate, day.Add(-time.Hour), day.Add(time.Hour), time.Minute)
	if err != nil || len(got) != 2 {
		t.Errorf("trend over midnight: %+v, %v", got, err)
	}
	d, err := b.Delivery(t.Context())
	if err != nil || len(d.Streams) != 1 || d.Streams[0].Chunks != 2 || d.Streams[0].Missing != 0 {
		t.Errorf("delivery over midnight: %+v, %v", d.Streams, err)
	}
}

func watch(t *testing.T, b *bench) {
	sub, err := b.Watch(t.Context(), []access.Grant{b.g})
	must(t, err)
	defer sub.Close()
	for seq := range uint64(3) {
		b.append(t, b.beat(b.now, 60, 1, seq), delivery.Accepted)
		b.append(t, b.beat(b.now, 60, 1, seq), delivery.Duplicate)
	}
	for seq := range uint64(3) {
		u, err := sub.Next(t.Context())
		if err != nil || u.Header.Seq != seq || u.Patient != b.patient {
			t.Fatalf("update %d: %+v, %v", seq, u.Header, err)
		}
	}
}

func occupancy(t *testing.T, b *bench) {
	ctx := t.Context()
	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	is(t, b.Admit(ctx, other, "a-0", b.now), store.ErrOccupied)
	is(t, b.Admit(ctx, other, "a-9", b.now), store.ErrNotFound)
	is(t, b.Discharge(ctx, b.patient, b.now.Add(-72*time.Hour)), store.ErrConflict)
	is(t, b.CreateWard(ctx, directory.Ward{ID: "a", Name: "again"}), store.ErrExists)
	is(t, b.CreateBed(ctx, directory.Bed{ID: "x", Ward: "none", Name: "Bed"}), store.ErrNotFound)
	name, err := b.PatientName(ctx, b.g, b.patient)
	if err != nil || name != "Ada Lovelace" {
		t.Errorf("name: %q, %v", name, err)
	}
	if refs, err := b.Patients(ctx); err != nil || len(refs) != 2 {
		t.Errorf("patients: %+v, %v", refs, err)
	}
}

func (b *bench) person(t testing.TB, login string) string {
	t.Helper()
	id, err := b.CreatePerson(t.Context(), access.Person{Login: login, DisplayName: "Dr. " + login, Role: access.Roles()[0], Wards: []string{"a"}}, "hash")
	must(t, err)
	return id
}

func persons(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "grace")
	_, err := b.CreatePerson(ctx, access.Person{Login: "grace", Role: access.Roles()[0]}, "hash")
	is(t, err, store.ErrExists)
	is(t, b.SetPersonDisabled(ctx, "nobody", true), store.ErrNotFound)
	must(t, b.SetPersonDisabled(ctx, id, true))
	must(t, b.SetPassword(ctx, id, "other", true))
	p, hash, err := b.PersonByLogin(ctx, "grace")
	if err != nil || p.ID != id || hash != "other" || !p.Disabled || !p.MustChangePassword || p.DisplayName != "Dr. grace" || len(p.Wards) != 1 {
		t.Errorf("person %+v, %v", p, err)
	}
	must(t, b.Exclude(ctx, b.patient, id, true))
	must(t, b.Exclude(ctx, b.patient, id, true))
	must(t, b.Exclude(ctx, b.patient, b.person(t, "alan"), true))
	if ref, err := b.Patient(ctx, b.patient); err != nil || len(ref.Excluded) != 2 || ref.Bed != "a-0" {
		t.Errorf("patient %+v, %v", ref, err)
	}
	var f access.Factor
	f.ID, f.PersonID, f.Kind, f.Data, f.Created = "f1", id, "totp", []byte("seed"), b.now
	must(t, b.SaveFactor(ctx, f))
	must(t, b.SaveFactor(ctx, f))
	if got, err := b.Factors(ctx, id); err != nil || len(got) != 1 || string(got[0].Data) != "seed" {
		t.Errorf("factors: %d, %v", len(got), err)
	}
	linked, err := b.CreateLinkedPerson(ctx, access.Person{Login: "linked", Role: access.Roles()[0]}, "https://issuer", "sub")
	must(t, err)
	if p, err := b.LinkedPerson(ctx, "https://issuer", "sub"); err != nil || p.ID != linked {
		t.Errorf("linked: %v, %v", p.ID, err)
	}
}

func sessions(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "grace")
	n := access.Session{ID: "s1", PersonID: id, Workstation: "w", Started: b.now, LastUsed: b.now, Expires: b.now.Add(time.Hour), Proven: b.now, Rotated: b.now}
	n.Key[0] = 9
	must(t, b.SaveSession(ctx, n))
	is(t, b.SaveSession(ctx, n), store.ErrExists)
	must(t, b.ProveSession(ctx, "s1", b.now, true))
	must(t, b.ProveSession(ctx, "s1", b.now, false)) // a second factor once shown stays shown
	must(t, b.RotateSession(ctx, "s1", 0, b.now))
	is(t, b.RotateSession(ctx, "s1", 0, b.now), access.ErrConflict)
	got, err := b.Session(ctx, "s1")
	if err != nil || !got.SecondFactor || got.Generation != 1 || got.Key != n.Key || !got.Expires.Equal(n.Expires) {
		t.Errorf("session: second %v, generation %d, %v", got.SecondFactor, got.Generation, err)
	}
	must(t, b.DeleteSessionsOf(ctx, id, ""))
	_, err = b.Session(ctx, "s1")
	is(t, err, store.ErrNotFound)
	is(t, b.TouchSession(ctx, "s1", b.now), store.ErrNotFound)
}

func channels(t *testing.T, b *bench) {
	ctx := t.Context()
	c, err := b.CreateChannel(ctx, channel.Channel{Name: "free", Fields: [8]string{"one"}})
	must(t, err)
	value := "36.6"
	for want := int64(1); want <= 3; want++ {
		e, err := b.AppendEntry(ctx, b.g, c.ID, channel.Entry{Fields: [8]*string{&value}})
		if err != nil || e.ID != want {
			t.Fatalf("entry %d: %v", e.ID, err)
		}
	}
	got, err := b.Entries(ctx, b.g, c.ID, b.now.Add(-time.Hour), b.now.Add(time.Hour), 2)
	if err != nil || len(got) != 2 || got[1].ID != 3 || *got[0].Fields[0] != value {
		t.Errorf("entries: %d, %v", len(got), err)
	}
	mine, err := b.ChannelOf(ctx, b.patient)
	must(t, err)
	_, err = b.AppendEntry(ctx, b.g, mine.ID, channel.Entry{})
	is(t, err, channel.ErrPatientChannel)
	if all, err := b.Channels(ctx); err != nil || len(all) != 2 {
		t.Errorf("channels: %d, %v", len(all), err)
	}
	k := access.APIKey{Hash: [32]byte{1}, PersonID: b.person(t, "grace"), Channel: c.ID, Write: true}
	must(t, b.SaveAPIKey(ctx, k))
	if got, err := b.APIKey(ctx, k.Hash); err != nil || got != k {
		t.Errorf("api key: %v", err)
	}
	k.Hash, k.Channel = [32]byte{2}, 999
	is(t, b.SaveAPIKey(ctx, k), store.ErrNotFound)
}

func tickets(t *testing.T, b *bench) {
	ctx, ids := t.Context(), []string{"spiffe://test/a", "spiffe://test/ab"}
	must(t, b.CreateTicket(ctx, [32]byte{1}, ids, b.now.Add(time.Hour)))
	_, err := b.RedeemTicket(ctx, [32]byte{1}, ids[:1], b.now)
	is(t, err, directory.ErrTicketMismatch)
	_, err = b.RedeemTicket(ctx, [32]byte{1}, ids, b.now.Add(2*time.Hour))
	is(t, err, directory.ErrTicketExpired)
	_, err = b.RedeemTicket(ctx, [32]byte{1}, []string{ids[1], ids[0]}, b.now)
	must(t, err)
	_, err = b.RedeemTicket(ctx, [32]byte{1}, ids, b.now)
	is(t, err, directory.ErrTicketUsed)
	must(t, b.CreateDevice(ctx, directory.Device{ID: ids[0], Kind: "sensor"}))
	must(t, b.CreateTicket(ctx, [32]byte{2}, ids[1:], b.now.Add(time.Hour)))
	must(t, b.ForgetDevice(ctx, ids[0]))
	_, err = b.RedeemTicket(ctx, [32]byte{1}, ids, b.now)
	is(t, err, store.ErrNotFound) // it named the device
	_, err = b.RedeemTicket(ctx, [32]byte{2}, ids[1:], b.now)
	must(t, err) // its id only begins the same
}

func devices(t *testing.T, b *bench) {
	ctx := t.Context()
	c := directory.Certificate{SHA256: fmt.Sprintf("%064d", 1), KeySHA256: fmt.Sprintf("%064d", 2), NotBefore: b.now, NotAfter: b.now.Add(time.Hour)}
	must(t, b.MarkEnrolled(ctx, b.sensor, b.now))
	must(t, b.NoteCertificate(ctx, b.sensor, c))
	must(t, b.DemandNewKey(ctx, b.sensor))
	c.KeySHA256 = fmt.Sprintf("%064d", 3)
	must(t, b.NoteCertificate(ctx, b.sensor, c))
	if d, err := b.Device(ctx, b.sensor); err != nil || !d.Rotate || d.NextKey != c.KeySHA256 || d.Bed != "a-0" {
		t.Errorf("device %+v, %v", d, err)
	}
	must(t, b.UseKey(ctx, b.sensor, c.KeySHA256))
	is(t, b.UseKey(ctx, b.sensor, c.KeySHA256), store.ErrConflict)
	must(t, b.NoteVersion(ctx, b.sensor, "1.2"))
	must(t, b.TouchDevice(ctx, b.sensor))
	if all, err := b.Devices(ctx); err != nil || len(all) != 1 || all[0].Rotate || all[0].Version != "1.2" || all[0].Certificate.KeySHA256 != c.KeySHA256 {
		t.Errorf("devices %+v, %v", all, err)
	}
	must(t, b.SetDeviceState(ctx, b.sensor, directory.DeviceDisabled))
	b.append(t, b.beat(b.now, 60, 1, 0), delivery.Retry)
	must(t, b.SetDeviceState(ctx, b.sensor, directory.DeviceDeleted))
	b.append(t, b.beat(b.now, 60, 1, 0), delivery.Rejected)
}

// keptOut: a component that is disabled or deleted says since when and by whom, the first who did it
// counts, and letting it in again forgets both.
func keptOut(t *testing.T, b *bench) {
	ctx := t.Context()
	since := func(want bool, by string) time.Time {
		t.Helper()
		d, err := b.Device(ctx, b.sensor)
		must(t, err)
		if d.KeptOut.By != by || d.KeptOut.Since.IsZero() == want {
			t.Errorf("%s: kept out %+v, want %v by %q", d.State, d.KeptOut, want, by)
		}
		return d.KeptOut.Since
	}
	since(false, "")
	must(t, b.SetDeviceStateBy(ctx, b.sensor, directory.DeviceDisabled, "root"))
	first := since(true, "root")
	must(t, b.SetDeviceStateBy(ctx, b.sensor, directory.DeviceDisabled, "other"))
	if again := since(true, "root"); !again.Equal(first) {
		t.Errorf("disabled again: since %v, not %v", again, first)
	}
	must(t, b.SetDeviceState(ctx, b.sensor, directory.DeviceActive))
	since(false, "")
	must(t, b.SetDeviceState(ctx, b.sensor, directory.DeviceDisabled))
	since(true, "")
	must(t, b.SetDeviceStateBy(ctx, b.sensor, directory.DeviceDeleted, "root"))
	since(true, "root")
}

func announcements(t *testing.T, b *bench) {
	ctx := t.Context()
	must(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, epoch(5), 1, []byte("five")))
	must(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, epoch(5), 1, []byte("five")))
	is(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, epoch(5), 1, []byte("other")), store.ErrConflict)
	is(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, epoch(4), 1, []byte("four")), store.ErrConflict)
	must(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, epoch(6), 1, []byte("six")))
	if got, err := b.Announcement(ctx, b.sensor, epoch(5).ID); err != nil || string(got) != "five" {
		t.Errorf("announcement %q, %v", got, err)
	}
}

func quarantine(t *testing.T, b *bench) {
	old := b.beat(b.now.Add(-400*24*time.Hour), 60, 1, 0)
	b.append(t, old, delivery.Rejected)
	b.append(t, old, delivery.Rejected)
	if q, err := b.Quarantine(t.Context(), 10); err != nil || len(q) != 1 || q[0].Reason != archive.ReasonTime {
		t.Errorf("quarantine %+v, %v", q, err)
	}
}

func secrets(t *testing.T, b *bench) {
	must(t, b.SaveSecret(t.Context(), "authority", []byte("one")))
	must(t, b.SaveSecret(t.Context(), "authority", []byte("two")))
	if got, err := b.Secret(t.Context(), "authority"); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := b.Secret(t.Context(), "none")
	is(t, err, store.ErrNotFound)
}

func emergencies(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "grace")
	g := access.EmergencyAccess{ID: "g1", PersonID: id, PatientID: b.patient, Workstation: "w", Session: "s", Reason: "collapsed in the hall", Opened: b.now, Expires: b.now.Add(time.Hour)}
	must(t, b.SaveEmergency(ctx, g))
	if all, err := b.UnreviewedEmergencies(ctx); err != nil || len(all) != 1 || all[0].Reason != g.Reason {
		t.Errorf("unreviewed: %d, %v", len(all), err)
	}
	must(t, b.ReviewEmergency(ctx, "g1", id, "justified", "fine", b.now))
	is(t, b.ReviewEmergency(ctx, "g1", id, "justified", "fine", b.now), store.ErrNotFound)
	if all, err := b.Emergencies(ctx, b.now.Add(-time.Hour), id, b.patient); err != nil || len(all) != 1 || all[0].Note != "fine" {
		t.Errorf("glasses: %d, %v", len(all), err)
	}
}

// emergenciesCount: the limit is of different patients and over all who open at once; who has a patient open renews that.
func emergenciesCount(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "hopper")
	since := b.now.Add(-time.Hour)
	patients := []string{b.patient}
	for range 5 {
		p, err := b.CreatePatient(ctx, "P")
		must(t, err)
		patients = append(patients, p)
	}
	make := func(name, patient string, at time.Time) access.EmergencyAccess {
		return access.EmergencyAccess{ID: name, PersonID: id, PatientID: patient, Workstation: "w", Session: "s", Reason: "collapsed in the hall", Opened: at, Expires: at.Add(access.EmergencyLife)}
	}
	var wg sync.WaitGroup
	results := [12]error{}
	for i := range results { // six patients, each pressed twice, all at once
		wg.Go(func() {
			_, results[i] = b.OpenEmergency(ctx, make(fmt.Sprint("at-once-", i), patients[i%6], b.now), since, 3)
		})
	}
	wg.Wait()
	all, err := b.Emergencies(ctx, since, id, "")
	must(t, err)
	if len(all) != 3 {
		t.Errorf("%d emergencies of a limit of 3 patients: %v", len(all), results)
	}
	opened := map[string]string{}
	for _, g := range all {
		opened[g.PatientID] = g.ID
	}
	for i, err := range results {
		if open := opened[patients[i%6]] != ""; open && err != nil || !open && !errors.Is(err, access.ErrEmergencyRate) {
			t.Errorf("%s: %v", patients[i%6], err)
		}
	}
	g := all[0]
	later := b.now.Add(10 * time.Minute)
	c, err := b.CountEmergencies(ctx, make("again", g.PatientID, later), later.Add(-time.Hour))
	must(t, err)
	if want := (access.EmergencyCount{Same: true, Others: 2, Open: g.ID, All: 3}); c != want {
		t.Errorf("%+v, not %+v", c, want)
	}
	renewed, err := b.OpenEmergency(ctx, make("again", g.PatientID, later), later.Add(-time.Hour), 3)
	must(t, err)
	if renewed.ID != g.ID || !renewed.Expires.Equal(later.Add(access.EmergencyLife)) || !renewed.Opened.Equal(g.Opened) || renewed.Reason != g.Reason {
		t.Errorf("renewed: %+v", renewed)
	}
	other := make("another-session", g.PatientID, later)
	other.Session = "s2"
	if got, err := b.OpenEmergency(ctx, other, later.Add(-time.Hour), 3); err != nil || got.ID != other.ID {
		t.Errorf("in another session: %+v, %v", got, err)
	}
	// An hour later the others count no more; what was renewed does.
	later = b.now.Add(time.Hour + time.Minute)
	if c, err := b.CountEmergencies(ctx, make("later", patients[0], later), later.Add(-time.Hour)); err != nil || c.Others+map[bool]int{true: 1}[c.Same] != 1 {
		t.Errorf("an hour later: %+v, %v", c, err)
	}
}
