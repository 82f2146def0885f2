package store_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
)

// TestTheLastAdministratorStays: neither disabling nor another role takes out the only administrator who may sign in.
func TestTheLastAdministratorStays(t *testing.T) {
	t.Run("files", func(t *testing.T) { lastAdministrator(t, open(t, t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { lastAdministrator(t, hubOn(t, pgserver.Database(t), keys(t, t.TempDir()))) })
}

func lastAdministrator(t *testing.T, s *store.Store) {
	ctx := t.Context()
	add := func(login string, role access.Role) string {
		id, err := s.CreatePerson(ctx, access.Person{Login: login, Role: role}, "hash")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	one, nurse := add("one", access.RoleAdmin), add("nurse", access.RoleNurse)
	conflict := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", what, err)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	conflict("disabled", s.SetPersonDisabled(ctx, one, true))
	conflict("another role", s.SetRole(ctx, one, access.RoleStaff))
	ok(s.SetPersonDisabled(ctx, nurse, true))
	ok(s.SetRole(ctx, nurse, access.RoleAdmin))
	conflict("beside an administrator who is disabled", s.SetPersonDisabled(ctx, one, true))
	ok(s.SetPersonDisabled(ctx, nurse, false))
	ok(s.SetPersonDisabled(ctx, one, true))
	conflict("the other, now the last", s.SetRole(ctx, nurse, access.RoleNurse))
	ok(s.SetPersonDisabled(ctx, one, false))
	ok(s.SetRole(ctx, nurse, access.RoleNurse))
}

// TestReinvite: a component that waits for another ticket keeps its place; its keys and its unused tickets are gone. One of a
// group that may not have one keeps the whole group as it was.
func TestReinvite(t *testing.T) {
	t.Run("files", func(t *testing.T) { reinvite(t, open(t, t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { reinvite(t, hubOn(t, pgserver.Database(t), keys(t, t.TempDir()))) })
}

func reinvite(t *testing.T, s *store.Store) {
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const one, two = "spiffe://x.example/sensor/one", "spiffe://x.example/sensor/two"
	for _, id := range []string{one, two} {
		ok(s.CreateDevice(ctx, directory.Device{ID: id, Kind: "sensor", ZitiID: "z"}))
	}
	first, enrolled := sha256.Sum256([]byte("first")), time.Now().UTC().Truncate(time.Second)
	ok(s.CreateTicket(ctx, first, []string{one}, time.Now().Add(time.Hour)))
	ok(s.MarkEnrolled(ctx, one, enrolled))
	ok(s.NoteCertificate(ctx, one, directory.Certificate{SHA256: strings.Repeat("a", 64), KeySHA256: strings.Repeat("b", 64), NotBefore: enrolled, NotAfter: enrolled.Add(time.Hour)}))
	ok(s.AdmitDevice(ctx, one))
	ok(s.SetDeviceState(ctx, two, directory.DeviceDisabled))
	if err := s.ReinviteDevices(ctx, []string{one, two}, "p"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("with one that is disabled: %v, want a conflict", err)
	}
	if d, err := s.Device(ctx, one); err != nil || d.State != directory.DeviceActive || d.Certificate.SHA256 == "" {
		t.Errorf("the other one of the group changed: %+v, %v", d, err)
	}
	ok(s.ReinviteDevices(ctx, []string{one}, "p"))
	d, err := s.Device(ctx, one)
	ok(err)
	if d.State != directory.DeviceInvited || d.Certificate != (directory.Certificate{}) || d.NextKey != "" || d.EnrolledBy != "p" || !d.Enrolled.Equal(enrolled) {
		t.Errorf("%+v, want invited by p, without keys, enrolled first as before", d)
	}
	if _, err := s.RedeemTicket(ctx, first, []string{one}, time.Now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the ticket of before: %v, want none", err)
	}
	if err := s.ReinviteDevices(ctx, []string{"spiffe://x.example/sensor/none"}, "p"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

// TestHoldsSecrets: a database in which a hub's store is says so, before a root key is made beside it.
func TestHoldsSecrets(t *testing.T) {
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	for _, want := range []bool{false, true} {
		if got, err := store.HoldsSecrets(t.Context(), dsn); err != nil || got != want {
			t.Errorf("%t, %v, want %t", got, err, want)
		}
		hubOn(t, dsn, ks)
	}
}
