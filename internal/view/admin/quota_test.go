package admin_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
)

// TestQuotas: an administrator sees the use and the limits of each person and workstation, and changes one; it holds at once, and the
// audit log says the old and the new one.
func TestQuotas(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	nurse := w.sign(access.RoleNurse, "")
	const desk = "spiffe://demo.vitalseal.internal/workstation/desk"
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: desk, Kind: "workstation", State: directory.DeviceActive}))
	c, err := w.store.CreateChannel(t.Context(), channel.Channel{Name: "own", Owner: nurse})
	w.must(err)
	g := w.engine.Standing("test", access.WriteChannel)
	add := func() error {
		_, err := w.store.AppendEntry(t.Context(), g, c.ID, channel.Entry{Status: "x"})
		return err
	}
	w.must(add())
	type line struct {
		ID                                        string
		Entries, Bytes, LiveViews, Sessions, Keys struct {
			Used, Limit int64
			Set         bool
		}
		Refused int64
	}
	look := func() (persons, stations []line) {
		var out struct{ Persons, Workstations []line }
		w.get(access.RoleAdmin, "GET", "quotas", "", 200, &out)
		return out.Persons, out.Workstations
	}
	of := func(all []line, id string) line {
		t.Helper()
		i := slices.IndexFunc(all, func(l line) bool { return l.ID == id })
		if i < 0 {
			t.Fatalf("%s is not in %+v", id, all)
		}
		return all[i]
	}
	persons, stations := look()
	if l := of(persons, nurse); l.Entries.Used != 1 || l.Entries.Limit != channel.DefaultQuota().PersonEntries || l.Entries.Set || l.Bytes.Used < 1 || l.Sessions.Used != 1 || l.Sessions.Limit != signin.MaxSessions || l.Keys.Limit != signin.MaxKeys {
		t.Errorf("%+v", l)
	}
	of(stations, desk)
	set := func(kind, id, name string, limit int64) string {
		return fmt.Sprintf(`{"kind":%q,"id":%q,"name":%q,"limit":%d}`, kind, id, name, limit)
	}
	w.get(access.RoleAdmin, "PUT", "quotas", set("person", nurse, "entries", 2), http.StatusNoContent, nil)
	if e := w.last(); e.Resource != "quota:person:"+nurse || e.Reason != "entries: the configuration's -> 2" || !e.Allowed {
		t.Errorf("%+v", e)
	}
	w.must(add())
	if err := add(); err == nil || !strings.Contains(err.Error(), "2 entries") {
		t.Errorf("a third of two: %v", err)
	}
	w.get(access.RoleAdmin, "PUT", "quotas", set("person", nurse, "entries", 3), http.StatusNoContent, nil)
	if e := w.last(); e.Reason != "entries: 2 -> 3" {
		t.Errorf("%+v", e)
	}
	w.must(add())
	persons, _ = look()
	if l := of(persons, nurse); l.Entries.Used != 3 || l.Entries.Limit != 3 || !l.Entries.Set {
		t.Errorf("%+v", l)
	}
	w.get(access.RoleAdmin, "PUT", "quotas", set("person", nurse, "entries", 0), http.StatusNoContent, nil)
	w.must(add())
	w.get(access.RoleAdmin, "PUT", "quotas", set("station", desk, "live_views", 7), http.StatusNoContent, nil)
	if _, stations = look(); of(stations, desk).ID != desk {
		t.Error(stations)
	}
	w.get(access.RoleAdmin, "PUT", "quotas", set("hospital", "", "bytes", 1<<30), http.StatusNoContent, nil)
	for body, want := range map[string]string{
		set("person", "no-such", "entries", 1):                                                  "no person",
		set("station", "spiffe://demo.vitalseal.internal/workstation/no-such", "live_views", 1): "no workstation",
		set("person", nurse, "colour", 1):                                                       "one of",
		set("station", desk, "bytes", 1):                                                        "one of",
		set("ward", "a", "bytes", 1):                                                            "person, station or hospital",
		set("hospital", "x", "bytes", 1):                                                        "names no one",
		set("person", nurse, "entries", -1):                                                     "1 to",
		`{"kind":"person","id":"` + nurse + `","name":"entries"}`:                               "limit",
		`{"kind":"person","id":"` + nurse + `","name":"entries","limit":"1"}`:                   "limit",
	} {
		if status, text := w.do(access.RoleAdmin, "PUT", "quotas", body); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %q", body, status, text, want)
		}
	}
	if status, _ := w.do(access.RoleNurse, "PUT", "quotas", set("person", nurse, "entries", 9)); status != http.StatusForbidden {
		t.Errorf("a nurse: %d", status)
	}
}
