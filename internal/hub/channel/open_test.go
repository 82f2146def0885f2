package channel_test

import (
	"context"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest"
)

const station = "spiffe://test/workstation/w1"

// engineOn decides over a store in which a nurse has a key for her own channels.
func engineOn(t *testing.T, s *store.Store) (*access.Engine, access.Subject) {
	t.Helper()
	id, err := s.CreatePerson(context.Background(), access.Person{Login: "nora", Role: access.RoleNurse, DisplayName: "N"}, "x")
	must(t, err)
	k := access.APIKey{Hash: [32]byte{1}, PersonID: id}
	must(t, s.SaveAPIKey(context.Background(), k))
	return storetest.Engine(t, s), access.Subject{Person: access.Person{ID: id}, Workstation: station, Key: &k}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func time1(second int64) time.Time { return time.Unix(1_700_000_000+second, 0).UTC() }
