package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/overlay"
)

// TestRestoredAfterTheHubRestarted: a gateway is put back from an old backup while the hub, too, was started anew and remembers
// nothing in memory. The copy is turned away at the door, keeps all that it measures, is told after two minutes which number to
// exceed, because it is the only gateway there is, and then nothing of it is lost.
func TestRestoredAfterTheHubRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		backup := filepath.Join(t.TempDir(), "backup")
		must(t, os.CopyFS(backup, os.DirFS(b.data)))
		var produced uint64
		for range 3 {
			stop := b.run()
			time.Sleep(20 * time.Second)
			stop()
			st, err := readStatus(b.data)
			must(t, err)
			produced += producedIn(st)
		}
		b.check(t, produced)

		must(t, os.RemoveAll(b.data))
		must(t, os.CopyFS(b.data, os.DirFS(backup)))
		identities, err := filepath.Glob(filepath.Join(b.data, "*.identity.json"))
		must(t, err)
		for _, f := range identities {
			must(t, os.Chmod(f, 0o600))
		}
		b.stopHub()
		b.restart(t)
		hub, err := b.net.Endpoint(spiffe(overlay.KindHub, "hub"))
		must(t, err)
		b.serve(t, hub)

		stop := b.run()
		time.Sleep(time.Minute)
		st, err := readStatus(b.data)
		must(t, err)
		for _, s := range st.Sensors {
			if s.Connected || s.Refused == "" {
				t.Errorf("%s is not turned away at the door: %+v", s.Sensor, s)
			}
		}
		for _, s := range st.Streams {
			if s.Rejected != 0 || s.Acked != 0 {
				t.Errorf("within a minute: %+v", s)
			}
		}
		time.Sleep(3 * time.Minute)
		stop()
		if st, err = readStatus(b.data); err != nil || st.OutboxRecords != 0 {
			t.Errorf("%d records are left, %v", st.OutboxRecords, err)
		}
		for _, s := range st.Streams {
			if s.Rejected != 0 || s.Lost != 0 || s.Dropped != 0 {
				t.Errorf("lost: %+v", s)
			}
		}
		b.check(t, produced+producedIn(st))
		if boot, err := os.ReadFile(filepath.Join(b.data, "boot")); err != nil || string(boot) != "4\n" {
			t.Errorf("the boot counter is %q, %v; the last start was 3", boot, err)
		}
		told := false
		for _, c := range b.store.arrivals(oximeter, vitals.Events) {
			for _, e := range c.Events {
				told = told || e.Code == "restored"
			}
		}
		if !told || !strings.Contains(b.logs.String(), "RESTORED FROM A BACKUP") {
			t.Errorf("event on the chart: %v; log:\n%.2000s", told, b.logs.String())
		}
		// The next start counts on from there, and is let in at once.
		stop = b.run()
		time.Sleep(20 * time.Second)
		stop()
		next, err := readStatus(b.data)
		must(t, err)
		if next.Boot != 5 {
			t.Errorf("start %d, want 5", next.Boot)
		}
		b.check(t, produced+producedIn(st)+producedIn(next))
	})
}
