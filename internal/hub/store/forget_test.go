package store_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/delivery"
)

// gone discharges and forgets a patient.
func gone(t *testing.T, s *store.Store, patient string, at time.Time) {
	t.Helper()
	must(t, s.Discharge(t.Context(), patient, at))
	must(t, s.Forget(t.Context(), patient))
}

// TestForgottenHidesNoEmergency: emergencies of others stay readable beside one of a patient who was forgotten, or no clinician could open
// or judge one any more.
func TestForgottenHidesNoEmergency(t *testing.T) {
	s, patients, now := filled(t, t.TempDir())
	ctx := t.Context()
	nurse, err := s.CreatePerson(ctx, access.Person{Login: "n", DisplayName: "N", Role: access.RoleNurse}, "hash")
	must(t, err)
	for i, p := range patients {
		must(t, s.SaveEmergency(ctx, access.EmergencyAccess{ID: []string{"bg-a", "bg-b"}[i], PersonID: nurse, PatientID: p, Workstation: "w", Session: "s",
			Reason: "fell out of bed", Opened: now, Expires: now.Add(time.Minute)}))
	}
	gone(t, s, patients[0], now.Add(5*time.Minute))
	reasons := map[string]string{}
	for _, f := range []func() ([]access.EmergencyAccess, error){
		func() ([]access.EmergencyAccess, error) { return s.Emergencies(ctx, now.Add(-time.Hour), "", "") },
		func() ([]access.EmergencyAccess, error) { return s.UnreviewedEmergencies(ctx) },
	} {
		all, err := f()
		must(t, err)
		for _, g := range all {
			reasons[g.PatientID] = g.Reason
		}
		if d := cmp.Diff(map[string]string{patients[0]: store.ForgottenName, patients[1]: "fell out of bed"}, reasons); d != "" {
			t.Error(d)
		}
	}
	if err := s.ReviewEmergency(ctx, "bg-a", "auditor", access.Justified, "a note about the patient", now); !errors.Is(err, store.ErrInvalid) {
		t.Error("a note without a key:", err)
	}
	must(t, s.ReviewEmergency(ctx, "bg-a", "auditor", access.Justified, "", now))
	if g, err := s.Emergency(ctx, "bg-a"); err != nil || g.Outcome != access.Justified || g.Note != "" {
		t.Errorf("%+v %v", g, err)
	}
}

// TestForgetReachesTheCloudAndTheSignIn: with a patient go the keys of the envelopes in the cloud, what was to go there, what was set
// aside, and what the patient signs in with; and a patient who was forgotten lies in no bed again.
func TestForgetReachesTheCloudAndTheSignIn(t *testing.T) {
	dir := t.TempDir()
	s, patients, now := filled(t, dir)
	ctx := t.Context()
	self, err := s.CreateLinkedPerson(ctx, access.Person{Login: "ada", DisplayName: "Ada", Role: access.RolePatient, Self: patients[0]}, "https://op", "ada@example")
	must(t, err)
	must(t, s.SaveFactor(ctx, access.Factor{ID: "f", PersonID: self, Kind: "totp", Name: "Ada's telephone", Created: now}))
	var ids []channel.KeyID
	for _, p := range patients {
		ids = append(ids, s.Forwarded(t, p))
	}
	for i := range patients { // set aside: of a sensor at the patient's bed, at another time than now
		a := arrival(sensorID([]string{"s0", "s1"}[i]), numerics(now.AddDate(0, -2, 0), heart(61)), epoch(5), 1)
		a.Received = now.Add(time.Minute)
		if o, _, err := s.Append(ctx, standing(t, s), a); o != delivery.Rejected {
			t.Fatal(o, err)
		}
	}
	doctor, err := s.CreatePerson(ctx, access.Person{Login: "d", DisplayName: "D", Role: access.RoleDoctor, Patients: patients}, "hash")
	must(t, err)
	gone(t, s, patients[0], now.Add(5*time.Minute))
	if p, err := s.Person(ctx, doctor); err != nil || len(p.Patients) != 1 || p.Patients[0] != patients[1] {
		t.Errorf("still treated: %+v %v", p, err)
	}
	g := standing(t, s)
	for i, p := range patients {
		c, err := s.ChannelOf(ctx, p)
		must(t, err)
		_, err = s.EnvelopeKey(ctx, g, c.ID, ids[i])
		_, err2 := s.Sink(ctx, c.ID)
		consented, err3 := s.Consented(ctx, p)
		if wanted := i == 0; errors.Is(err, store.ErrNotFound) != wanted || errors.Is(err2, store.ErrNotFound) != wanted || consented.IsZero() != wanted {
			t.Error(i, err, err2, consented, err3)
		}
	}
	if left, err := s.Quarantine(ctx, 10); err != nil || len(left) != 1 || left[0].Sensor != sensorID("s1") {
		t.Error(left, err)
	}
	if f, err := s.Factors(ctx, self); err != nil || len(f) != 0 {
		t.Error(f, err)
	}
	if _, err := s.LinkedPerson(ctx, "https://op", "ada@example"); !errors.Is(err, store.ErrNotFound) {
		t.Error("still linked:", err)
	}
	if err := s.Admit(ctx, patients[0], "a-0", now.Add(6*time.Minute)); !errors.Is(err, store.ErrNotFound) {
		t.Error("a forgotten patient in a bed:", err)
	}
}

// TestOlderBackupWithNewerKeys: a patient forgotten after a backup was taken is forgotten when it is restored with newer keys; keys
// of another store, and older ones, are refused.
func TestOlderBackupWithNewerKeys(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	s, patients, now := filled(t, dir)
	ctx := t.Context()
	backup := func(name string) (to, keyFolder string) {
		to, keyFolder = filepath.Join(dir, name), filepath.Join(dir, name+" keys")
		_, err := store.Backup(ctx, filepath.Join(dir, "store"), to, keyFolder, quietly)
		must(t, err)
		return to, keyFolder
	}
	older, olderKeys := backup("older")
	gone(t, s, patients[0], now.Add(5*time.Minute))
	late, err := s.CreatePatient(ctx, "after the backup")
	must(t, err)
	newer, newerKeys := backup("newer")

	r, err := restored(t, dir, older, newerKeys, "a")
	must(t, err)
	if name, err := r.PatientName(ctx, standing(t, r), patients[0]); err != nil || name != store.ForgottenName {
		t.Error(name, err)
	}
	if ids, err := r.ForgottenPatients(ctx); err != nil || !slices.Equal(ids, patients[:1]) {
		t.Errorf("forgotten: %v, %v", ids, err)
	}
	if b, err := r.Numerics(ctx, standing(t, r), patients[1], now.Add(-time.Hour), now.Add(time.Hour), 0); err != nil || len(b) != 40 {
		t.Error("the other patient:", len(b), err)
	}
	if _, err := r.Patient(ctx, late); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.CreatePatient(ctx, "the next one"); err != nil { // its channel's key is not there already
		t.Error(err)
	}
	if c, err := r.Check(ctx, quietly); err != nil || len(c.Problems) > 0 || c.Sealed == 0 {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := restored(t, dir, newer, olderKeys, "b"); !errors.Is(err, store.ErrBackup) {
		t.Error("older keys:", err)
	}
	elsewhere := t.TempDir()
	filled(t, elsewhere)
	_, err = store.Backup(ctx, filepath.Join(elsewhere, "store"), filepath.Join(elsewhere, "to"), filepath.Join(elsewhere, "keys"), quietly)
	must(t, err)
	if _, err := restored(t, dir, older, filepath.Join(elsewhere, "keys"), "c"); !errors.Is(err, store.ErrBackup) {
		t.Error("keys of another store:", err)
	}
}

func restored(t *testing.T, dir, from, keyFolder, name string) (*store.Store, error) {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	if _, err := store.Restore(context.Background(), from, keyFolder, to, quietly); err != nil {
		return nil, err
	}
	s, err := store.Open(t.Context(), to, keys(t, dir), slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s, nil
}

// TestKeysApart: a backup does not go where its keys are.
func TestKeysApart(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	for name, f := range map[string][2]string{"the same": {"b", "b"}, "inside": {"b", "b/keys"}, "around": {"k/b", "k"}, "winding": {"b", "x/../b/keys"}} {
		if _, err := store.Backup(t.Context(), filepath.Join(dir, "store"), filepath.Join(dir, f[0]), filepath.Join(dir, f[1]), quietly); err == nil {
			t.Error(name)
		}
	}
}

// TestSealedBackup: a list that was rewritten, lost its seal or came from another deployment is refused.
func TestSealedBackup(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	filled(t, dir)
	to, keyFolder := filepath.Join(dir, "to"), filepath.Join(dir, "keys")
	_, err := store.Backup(t.Context(), filepath.Join(dir, "store"), to, keyFolder, quietly)
	must(t, err)
	root := keys(t, dir)
	if err := store.CheckSeal(root, to, keyFolder); !errors.Is(err, store.ErrUnsealed) {
		t.Error("no seal:", err)
	}
	must(t, store.SealBackup(root, to, keyFolder))
	must(t, store.CheckSeal(root, to, keyFolder))
	if err := store.CheckSeal(keys(t, t.TempDir()), to, keyFolder); !errors.Is(err, store.ErrUnsealed) {
		t.Error("another root key:", err)
	}
	for _, path := range []string{filepath.Join(to, "backup.json"), filepath.Join(keyFolder, "keys.json")} {
		honest, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, append(honest, ' '), 0o600))
		if err := store.CheckSeal(root, to, keyFolder); !errors.Is(err, store.ErrUnsealed) {
			t.Error(path, err)
		}
		must(t, os.WriteFile(path, honest, 0o600))
	}
	// The seal of one list is none of the other.
	b, err := os.ReadFile(filepath.Join(keyFolder, "keys.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, "backup.json"), b, 0o600))
	b, err = os.ReadFile(filepath.Join(keyFolder, "keys.json.seal"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, "backup.json.seal"), b, 0o600))
	if err := store.CheckSeal(root, to, keyFolder); !errors.Is(err, store.ErrUnsealed) {
		t.Error("a list of keys as that of a backup:", err)
	}
}

// TestCrashLeavesNoLog: what a crash left in the directory's write-ahead log, perhaps a key that was destroyed just then, is not there any
// more once the store is open again.
func TestCrashLeavesNoLog(t *testing.T) {
	filesOnly(t)
	dir, crashed := t.TempDir(), t.TempDir()
	filled(t, dir)
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	log := filepath.Join(crashed, "store", "directory.db-wal")
	if before, err := os.Stat(log); err != nil || before.Size() == 0 {
		t.Fatal("the copy has no log:", err)
	}
	must(t, os.Chmod(filepath.Join(crashed, "root.key"), 0o600))
	open(t, crashed)
	if after, err := os.Stat(log); err == nil && after.Size() != 0 {
		t.Errorf("%d bytes", after.Size())
	}
}
