package hub

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/hub/directory"
)

// TestHubsOwnDisk: a disk that fills is told of, then the reserve is given up and readings are held; with room again all of it is undone. A
// start on a full disk holds readings before anything is written.
func TestHubsOwnDisk(t *testing.T) {
	guard, st := testGuard(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.CreateDevice(t.Context(), directory.Device{ID: guard.self.String(), Kind: "hub", State: directory.DeviceActive}))
	dir := t.TempDir()
	var said strings.Builder
	const size = int64(200 << 20) // so the reserve is 10 MiB, and below 20 people are told
	used := int64(0)
	held := false
	make := func() *spaceGuard {
		g := newSpaceGuard(dir, DiskConfig{}, slog.New(slog.NewTextHandler(&said, nil)))
		g.free = func() (int64, int64, bool) {
			free := size - used
			if info, err := os.Stat(filepath.Join(dir, reserveFile)); err == nil {
				free -= info.Size()
			}
			return max(free, 0), size, true
		}
		g.hold = func(on bool) { held = on }
		g.note = func(ctx context.Context, text string) error {
			return st.NoteTrouble(ctx, guard.self.String(), text, guard.now())
		}
		return g
	}
	g := make()
	g.begin()
	for _, x := range []struct {
		used    int64 // MiB
		held    bool
		reserve bool
		kinds   string
		log     string
	}{
		{100, false, true, "", ""},
		{171, false, true, directory.SecurityHubDisk + " hub", "NEARLY FULL"},
		{186, true, false, directory.SecurityHubDisk + " hub", "THE HUB'S DISK IS FULL"},
		{180, true, false, directory.SecurityHubDisk + " hub", ""}, // too little for a reserve
		{174, false, true, directory.SecurityHubDisk + " hub", "readings are stored"},
		{100, false, true, "", "enough room again"},
	} {
		used = x.used << 20
		said.Reset()
		g.check()
		g.tell(t.Context())
		_, err := os.Stat(filepath.Join(dir, reserveFile))
		if got := kindsOf(t, st); held != x.held || (err == nil) != x.reserve || got != x.kinds || !strings.Contains(said.String(), x.log) || x.log == "" && said.Len() > 0 {
			t.Errorf("with %d MiB used: held %v, reserve %v, events %q, log %q; want %+v", x.used, held, err == nil, got, said.String(), x)
		}
	}
	used = size - 3<<20
	g = make() // with the reserve that is there
	g.begin()
	if _, err := os.Stat(filepath.Join(dir, reserveFile)); !held || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a start on a full disk: held %v, reserve %v", held, err)
	}
}

func TestDiskConfig(t *testing.T) {
	for c, good := range map[DiskConfig]bool{{}: true, {WarnBelowMiB: 10, ReserveMiB: 10}: true, {WarnBelowMiB: -1}: false, {ReserveMiB: 4000}: false, {WarnBelowMiB: 2 << 20}: false} {
		if err := c.validate(); (err == nil) != good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
