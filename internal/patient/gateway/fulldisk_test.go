package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
)

// TestFullDisk: the disk below the data folder is full to the last byte for a minute. Everything that is measured reaches the hub from
// memory, at once; each sensor says so; and when there is room again the outbox is used again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system of a given size needs root")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("no file system of a given size: ", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	synctest.Test(t, func(t *testing.T) {
		gateway.SmallOutbox(t, 16<<10)
		b := newBubble(t)
		b.cfg.OutboxMiB = 64 // of 16 KiB
		data := filepath.Join(disk, "gateway")
		must(t, os.CopyFS(data, os.DirFS(b.data)))
		identities, err := filepath.Glob(filepath.Join(data, "*.identity.json"))
		must(t, err)
		for _, f := range identities {
			must(t, os.Chmod(f, 0o600))
		}
		b.data, b.cfg.Data = data, data
		stop := b.run()
		time.Sleep(20 * time.Second)
		ballast := filepath.Join(disk, "ballast")
		fill(t, ballast)
		before := len(b.store.arrivals(oximeter, vitals.Numerics))
		for range 12 { // whatever an acknowledgement frees is taken again
			time.Sleep(5 * time.Second)
			fill(t, ballast)
		}
		if got := len(b.store.arrivals(oximeter, vitals.Numerics)) - before; got < 50 {
			t.Errorf("%d bundles of numbers reached the hub in a minute with a full disk, want 60", got)
		}
		if text := b.logs.String(); !strings.Contains(text, "THE DISK DOES NOT TAKE READINGS") || !strings.Contains(text, data) || !strings.Contains(text, "full") {
			t.Errorf("the log does not name the disk:\n%.3000s", text)
		}
		if n := strings.Count(b.logs.String(), "THE DISK DOES NOT TAKE READINGS"); n > 8 {
			t.Errorf("it is said %d times in a minute", n)
		}
		must(t, os.Remove(ballast))
		time.Sleep(30 * time.Second)
		stop()
		st, err := readStatus(data)
		must(t, err)
		if st.Storage.Failing || st.Storage.HeldRecords == 0 || st.Storage.HeldBytes != 0 || st.OutboxRecords != 0 {
			t.Errorf("afterwards: %+v, %d records", st.Storage, st.OutboxRecords)
		}
		for _, s := range st.Streams {
			if s.Lost != 0 || s.Rejected != 0 {
				t.Errorf("lost: %+v", s)
			}
		}
		b.check(t, producedIn(st))
		codes := map[string]int{}
		for _, sensor := range []string{oximeter, adc, cuff} {
			for _, c := range b.store.arrivals(sensor, vitals.Events) {
				for _, e := range c.Events {
					codes[sensor+" "+e.Code]++
				}
			}
		}
		if codes[oximeter+" storage_failed"] != codes[oximeter+" storage_works"] || codes[oximeter+" storage_failed"] == 0 {
			t.Errorf("events: %v", codes)
		}
	})
}

// fill takes all room that is left below a file.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			must(t, err)
		}
	}
	must(t, f.Close())
}
