package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/shared/disk"
)

// DiskConfig says when the hub warns of its own disk, and what it keeps for what must work on a full one.
type DiskConfig struct {
	// WarnBelowMiB of free space the hub says so, in the log and as a security event; 2048 if zero. On a disk so small that this is more
	// than a tenth of it, a tenth counts.
	WarnBelowMiB int64 `yaml:"warn_below_mib"`
	// ReserveMiB are kept in a file of their own, which is removed when all else is used up: sign-in, emergency access and the audit log
	// go on with it, readings are not stored then; 64 if zero. On a small disk at most a twentieth of it.
	ReserveMiB int64 `yaml:"reserve_mib"`
}

const (
	// spaceEvery is how often the hub looks at its disk. A second of readings is far less than the reserve.
	spaceEvery = time.Second
	// reserveFile lies in the hub's folder.
	reserveFile = "reserve"

	defaultWarnMiB    = 2048
	defaultReserveMiB = 64
	maxDiskMiB        = 1 << 20
)

func (c DiskConfig) validate() error {
	switch c = c.orDefault(); {
	case c.WarnBelowMiB < 1 || c.WarnBelowMiB > maxDiskMiB:
		return fmt.Errorf("hub: configuration: disk: warn_below_mib: %d is not within 0 (the default) to %d", c.WarnBelowMiB, maxDiskMiB)
	case c.ReserveMiB < 1 || c.ReserveMiB > c.WarnBelowMiB:
		return fmt.Errorf("hub: configuration: disk: reserve_mib: %d is not within 0 (the default) to warn_below_mib (%d)", c.ReserveMiB, c.WarnBelowMiB)
	}
	return nil
}

func (c DiskConfig) orDefault() DiskConfig {
	if c.WarnBelowMiB == 0 {
		c.WarnBelowMiB = defaultWarnMiB
	}
	if c.ReserveMiB == 0 {
		c.ReserveMiB = defaultReserveMiB
	}
	return c
}

// spaceLevel is how much room the hub's disk has.
type spaceLevel uint8

const (
	spaceEnough spaceLevel = iota
	spaceLow               // people are told
	spaceFull              // the reserve is in use, and readings are not stored
)

// spaceGuard watches the disk below the hub's folder, and keeps the reserve. check and run are called from one goroutine at a time.
type spaceGuard struct {
	dir     string
	warn    int64 // bytes
	reserve int64
	log     *slog.Logger
	free    func() (free, size int64, ok bool)
	hold    func(bool)                                // nil: readings are stored elsewhere
	note    func(ctx context.Context, t string) error // shows t to people until it is empty

	has   bool // the reserve is there
	level spaceLevel
	noted string
	told  bool // noted is what people see
}

func newSpaceGuard(dir string, c DiskConfig, log *slog.Logger) *spaceGuard {
	c = c.orDefault()
	return &spaceGuard{dir: dir, warn: c.WarnBelowMiB << 20, reserve: c.ReserveMiB << 20, log: log, free: func() (int64, int64, bool) {
		free, known := disk.Free(dir)
		size, sized := disk.Size(dir)
		return free, size, known && sized
	}}
}

// begin takes up the reserve that an earlier start left, and looks at the disk before anything is opened on it.
func (g *spaceGuard) begin() {
	info, err := os.Stat(filepath.Join(g.dir, reserveFile))
	if err == nil && info.Mode().IsRegular() {
		g.has = true
		if _, keep, ok := g.limits(); ok && info.Size() != keep {
			g.giveUp() // it was configured anew
		}
	}
	g.check()
}

// limits are below how much free space people are told, and how large the reserve is.
func (g *spaceGuard) limits() (warn, keep int64, ok bool) {
	_, size, ok := g.free()
	return min(g.warn, size/10), min(g.reserve, size/20), ok
}

// check looks at the disk and does what follows from it.
func (g *spaceGuard) check() {
	warn, keep, ok := g.limits()
	free, _, known := g.free()
	if !ok || !known {
		return
	}
	was := g.level
	switch {
	case g.has && free < keep/2:
		g.giveUp()
		g.level = spaceFull
	case !g.has && free >= keep+keep+keep/2: // so much that making it again does not use it up at once
		if err := disk.Reserve(filepath.Join(g.dir, reserveFile), keep); err != nil {
			if g.level != spaceFull {
				g.log.Error("the reserve on the hub's disk was not made; the hub tries again", "err", err)
			}
			return
		}
		g.has = true
		if free -= keep; g.level == spaceFull {
			g.level = spaceLow
		}
	case !g.has:
		g.level = spaceFull
	}
	switch {
	case g.level == spaceEnough && free < warn:
		g.level = spaceLow
	case g.level == spaceLow && free >= warn+warn/10:
		g.level = spaceEnough
	}
	if g.level != was {
		g.say(was, free, warn)
	}
	if g.hold != nil {
		g.hold(g.level == spaceFull)
	}
}

func (g *spaceGuard) giveUp() {
	if err := os.Remove(filepath.Join(g.dir, reserveFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Error("the reserve on the hub's disk was not given up", "err", err)
	}
	g.has = false
}

func (g *spaceGuard) say(was spaceLevel, free, warn int64) {
	mib := []any{"folder", g.dir, "free_mib", free >> 20, "warn_below_mib", warn >> 20}
	switch g.level {
	case spaceFull:
		g.log.Error("THE HUB'S DISK IS FULL: readings are shown live but not stored, gateways keep them; the reserve serves sign-in, emergency access and the audit log. Make room now", mib...)
	case spaceLow:
		if was == spaceFull {
			g.log.Warn("the hub's disk has some room again; readings are stored", mib...)
			return
		}
		g.log.Error("THE HUB'S DISK IS NEARLY FULL; make room, or give it a larger disk", mib...)
	case spaceEnough:
		g.log.Warn("the hub's disk has enough room again", mib...)
	}
}

// words are what people are told; empty: nothing.
func (g *spaceGuard) words() string {
	switch {
	case g.level == spaceFull && g.hold != nil:
		return "full: readings are shown live, not stored; gateways keep them"
	case g.level == spaceFull:
		return "full: the audit log lives on the reserve"
	case g.level == spaceLow:
		return "nearly full"
	}
	return ""
}

// tell shows people what has changed; what cannot be written is tried again at the next look.
func (g *spaceGuard) tell(ctx context.Context) {
	if t := g.words(); !g.told || t != g.noted {
		err := g.note(ctx, t)
		g.noted, g.told = t, err == nil
	}
}

// run looks at the disk until ctx ends.
func (g *spaceGuard) run(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		g.check()
		g.tell(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
