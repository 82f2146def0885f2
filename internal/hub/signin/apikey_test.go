package signin_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/shared/audit"
)

func TestAPIKeys(t *testing.T) {
	d := newDirectory().WithEveryRole()
	e, log := setup(t, d)
	seen := map[string]bool{}
	for _, c := range []struct {
		person  access.Role
		channel int64
		write   bool
		allowed string // what of all there is
	}{
		{access.RoleNurse, 1, false, "channel:read own-channel, patient:view own"},
		{access.RoleNurse, 3, false, ""}, // not her ward: a key gives nothing its person lacks
		{access.RoleNurse, 5, false, "channel:read free-channel"},
		{access.RoleNurse, 5, true, "channel:write free-channel"},
		{access.RoleNurse, 1, true, ""}, // a patient's channel is never writable
		{access.RoleDoctor, 2, false, ""},
		{access.RoleAdmin, 5, true, "channel:write free-channel"}, // and nothing of an admin's
		{access.RoleAuditor, 5, false, ""},
	} {
		stored := access.APIKey{PersonID: string(c.person), Channel: c.channel, Write: c.write}
		key := fmt.Sprintf("KEY%013d", len(seen)) // NewKey would refuse some of these
		stored.Hash = sha256.Sum256([]byte(key))
		seen[key] = true
		d.Keys[stored.Hash] = stored
		s, k, err := e.AuthenticateKey(t.Context(), key, station)
		if err != nil || k != stored || s.Person.ID != string(c.person) {
			t.Fatalf("%v %v", s, err)
		}
		var got []string
		for _, a := range access.Actions() {
			for thing, r := range accesstest.Things() {
				if _, err := e.Decide(t.Context(), s, a, r); err == nil {
					got = append(got, fmt.Sprintf("%s %s", a, thing))
					if last(t, log).Reason != "by API key" {
						t.Errorf("audited as %+v", last(t, log))
					}
				}
			}
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != c.allowed {
			t.Errorf("%s's key (write %v) for channel %d allows %q, want %q", c.person, c.write, c.channel, got, c.allowed)
		}
		if _, _, err := e.AuthenticateKey(t.Context(), key, ""); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("key from no workstation: %v", err)
		}
		p := person(c.person)
		p.Disabled = true
		d.Set(p)
		if _, _, err := e.AuthenticateKey(t.Context(), key, station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("key of a disabled person: %v", err)
		}
		d.Set(person(c.person))
	}
	for _, key := range []string{"", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaaa", strings.Repeat("A", 1<<16)} {
		if _, _, err := e.AuthenticateKey(t.Context(), key, station); !errors.Is(err, access.ErrNoSession) {
			t.Errorf("key %.20q: %v", key, err)
		}
	}
}

// TestSignInTakesAnAuditLog: a sign-in that cannot be audited fails.
func TestSignInTakesAnAuditLog(t *testing.T) {
	e, log := setup(t, newDirectory().WithEveryRole())
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.SignIn(t.Context(), "doctor", "whatever it is", station); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("sign-in without an audit log: %v", err)
	}
}
