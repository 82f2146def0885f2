package overlay_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
)

// machine is a network as one machine sees it: with its clock off by skew, and something that
// happens while it enrols.
type machine struct {
	*overlay.Loopback
	skew     time.Duration // of this machine: positive is ahead
	enrolled func()
}

func (m *machine) Time(context.Context, string) (time.Time, error) {
	return time.Now().Add(-m.skew).Truncate(time.Second), nil
}

func (m *machine) Enrol(ctx context.Context, token string) ([]byte, error) {
	if m.enrolled != nil {
		m.enrolled()
	}
	return m.Loopback.Enrol(ctx, token)
}

// TestEnrolChecksBeforeItUsesUp: whatever is wrong with this machine is found while the ticket is
// still good: with the same ticket, the same folder put right works.
func TestEnrolChecksBeforeItUsesUp(t *testing.T) {
	other := func(t *testing.T, d *desk, dir string, ids ...overlay.ID) {
		t.Helper()
		_, err := overlay.Enrol(t.Context(), d.net, d.ticket(ids...), dir, quiet)
		must(t, err)
	}
	gateway, sensor := id("gateway", "gw-a"), id("sensor", "oxi-1")
	for name, c := range map[string]struct {
		want  error
		says  string
		skew  time.Duration
		spoil func(t *testing.T, d *desk, dir string) (mend func())
	}{
		"clock 10 min behind": {want: overlay.ErrClock, says: "10m0s behind", skew: -10 * time.Minute},
		"clock an hour ahead": {want: overlay.ErrClock, says: "1h0m0s ahead", skew: time.Hour},
		"folder of another gateway": {want: overlay.ErrFolder, says: "holds gateway-gw-b and the ticket is for gateway-gw-a", spoil: func(t *testing.T, d *desk, dir string) func() {
			other(t, d, dir, id("gateway", "gw-b"), id("sensor", "oxi-2"))
			return func() { must(t, os.RemoveAll(dir)) }
		}},
		"folder of a workstation": {want: overlay.ErrFolder, says: "holds workstation-desk", spoil: func(t *testing.T, d *desk, dir string) func() {
			other(t, d, dir, id("workstation", "desk"))
			return func() { must(t, os.RemoveAll(dir)) }
		}},
		"no room": {want: overlay.ErrNoRoom, says: "cannot be written", spoil: func(t *testing.T, _ *desk, dir string) func() {
			must(t, os.MkdirAll(filepath.Join(dir, ".enrol.reserve", "x"), 0o700)) // where the room would be taken
			return func() { must(t, os.RemoveAll(dir)) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := newDesk(t, time.Hour), filepath.Join(t.TempDir(), "identities")
			mend := func() {}
			if c.spoil != nil {
				mend = c.spoil(t, d, dir)
			}
			before := files(t, dir)
			ticket := d.ticket(gateway, sensor)
			m := &machine{Loopback: d.net, skew: c.skew}
			_, err := overlay.Enrol(t.Context(), m, ticket, dir, quiet)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "not used") || overlay.Hint(err) == "" {
				t.Errorf("%v, want %v that says %q and that the ticket is good", err, c.want, c.says)
			}
			if after := files(t, dir); after != before {
				t.Errorf("the folder held %s and holds %s", before, after)
			}
			mend()
			m.skew = 0
			ids, err := overlay.Enrol(t.Context(), m, ticket, dir, quiet)
			if err != nil || len(ids) != 2 {
				t.Errorf("with the same ticket, put right: %v", err)
			}
		})
	}
}

// TestEnrolIntoItsOwnFolder: a component that gets a new ticket, and a sensor that is added to a
// gateway, go into the folder that is there.
func TestEnrolIntoItsOwnFolder(t *testing.T) {
	d, dir := newDesk(t, time.Hour), t.TempDir()
	gateway := id("gateway", "gw-a")
	for _, ids := range [][]overlay.ID{{gateway, id("sensor", "oxi-1")}, {gateway, id("sensor", "oxi-1")}, {id("sensor", "oxi-2")}} {
		_, err := overlay.Enrol(t.Context(), d.net, d.ticket(ids...), dir, quiet)
		must(t, err)
	}
	if got := files(t, dir); strings.Count(got, ".identity.json") != 3 {
		t.Errorf("the folder holds %s", got)
	}
}

// TestSpentTicketSaysSo: what fails once the hub has redeemed the ticket says that a new one is
// needed, and how to get it.
func TestSpentTicketSaysSo(t *testing.T) {
	d, dir := newDesk(t, time.Hour), t.TempDir()
	who := id("workstation", "desk")
	ticket := d.ticket(who)
	m := &machine{Loopback: d.net, enrolled: func() { must(t, os.MkdirAll(overlay.IdentityPath(dir, who), 0o700)) }}
	_, err := overlay.Enrol(t.Context(), m, ticket, dir, quiet)
	if !errors.Is(err, overlay.ErrTicketSpent) || !strings.Contains(overlay.Hint(err), "vitalseal identity ticket") {
		t.Errorf("%v (hint: %s), want ErrTicketSpent", err, overlay.Hint(err))
	}
}

// TestCheckMachine: a router and a hub, which enrol with a token alone, find the same.
func TestCheckMachine(t *testing.T) {
	d := newDesk(t, time.Hour)
	spoilt := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(spoilt, ".enrol.reserve", "x"), 0o700))
	for _, c := range []struct {
		dir  string
		skew time.Duration
		want error
	}{{t.TempDir(), 0, nil}, {t.TempDir(), -10 * time.Minute, overlay.ErrClock}, {spoilt, 0, overlay.ErrNoRoom}} {
		if err := overlay.CheckMachine(t.Context(), &machine{Loopback: d.net, skew: c.skew}, c.dir, "token", quiet); !errors.Is(err, c.want) {
			t.Errorf("clock off by %v: %v, want %v", c.skew, err, c.want)
		}
		if c.want == nil && files(t, c.dir) != "" {
			t.Errorf("left behind: %s", files(t, c.dir))
		}
	}
}

// TestHubComparesClocks: the hub refuses a client whose clock is wrong before it redeems the
// ticket; one of an older version does not say, and is taken as before.
func TestHubComparesClocks(t *testing.T) {
	for skew, good := range map[time.Duration]bool{0: true, -3 * time.Minute: true, -10 * time.Minute: false, time.Hour: false} {
		now := time.Now().Add(skew)
		redeemed, err := overlay.DecideClock(t.Context(), &now)
		if redeemed != good || errors.Is(err, overlay.ErrClock) == good {
			t.Errorf("clock off by %v: redeemed %t, %v", skew, redeemed, err)
		}
	}
	if redeemed, err := overlay.DecideClock(t.Context(), nil); !redeemed || err != nil {
		t.Errorf("a client that does not say: redeemed %t, %v", redeemed, err)
	}
}

// files are the names in a folder, in one line.
func files(t *testing.T, dir string) string {
	t.Helper()
	in, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range in {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
