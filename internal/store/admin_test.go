package store_test

import (
	"errors"
	"testing"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

// TestTheLastAdministratorStays: neither disabling nor another role takes out the only administrator who may sign in.
func TestTheLastAdministratorStays(t *testing.T) {
	s := open(t, t.TempDir())
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
