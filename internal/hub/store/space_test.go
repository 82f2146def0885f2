package store_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// lines is a log that several goroutines write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// TestFullDiskIsShownLive: what the disk does not take is shown live on the right bed, once, however often it is sent; stored later, it is
// not shown again to those who saw it, and once to those who did not. A backlog is not shown before it is stored. The log stays short.
func TestFullDiskIsShownLive(t *testing.T) {
	var full atomic.Bool
	dir, said := t.TempDir(), &lines{}
	o := append([]store.Option{store.WithFailingWrites(func() error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})}, elsewhere(t, dir)...)
	s, err := store.Open(t.Context(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.NewTextHandler(said, nil)), o...)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	now := time.Now()
	e := engine(t, s)
	g := e.Standing("test", access.AppendVitals)
	p := ward(t, s, now, 2)
	watch := func() *archive.Subscription {
		sub, err := s.Watch(t.Context(), []access.Grant{e.Standing("screen", access.ViewPatient)}, vitals.Numerics)
		must(t, err)
		return sub
	}
	sees := func(who string, sub *archive.Subscription, patient string, value float64) {
		t.Helper()
		if u, err := next(t, sub); err != nil || u.Patient != patient || u.Chunk.Bundles[0].Numerics[0].Value != value {
			t.Fatalf("%s sees %+v, %v; want %v of %s", who, u, err, value, patient)
		}
	}
	putOff := func(a archive.Arrival) {
		t.Helper()
		if o, _, err := s.Append(t.Context(), g, a); o != delivery.Retry || !store.Full(err) {
			t.Fatalf("with a full disk: %v, %v", o, err)
		}
	}
	first := watch()
	full.Store(true)
	a := arrival(sensorID("s0"), numerics(now, heart(71)), epoch(1), 0)
	b := arrival(sensorID("s1"), numerics(now, heart(82)), epoch(1), 0)
	putOff(arrival(sensorID("s0"), numerics(now.Add(-10*time.Minute), heart(55)), epoch(9), 0)) // of a backlog
	putOff(a)
	putOff(b)
	sees("a screen", first, p[0], 71)
	sees("a screen", first, p[1], 82)
	second := watch()
	for range 300 {
		putOff(a)
	}
	c := arrival(sensorID("s0"), numerics(now.Add(time.Second), heart(73)), epoch(1), 1)
	putOff(c)
	sees("a screen", first, p[0], 73)
	sees("a later screen", second, p[0], 73)
	if n := said.count("chunks were not stored"); n < 1 || n > 3 {
		t.Errorf("the log says %d times that chunks are not stored, want a few", n)
	}

	full.Store(false)
	for _, x := range []archive.Arrival{a, b, c} {
		appendAs(t, s, g, x, delivery.Accepted, "")
		appendAs(t, s, g, x, delivery.Duplicate, "")
	}
	appendAs(t, s, g, arrival(sensorID("s1"), numerics(now.Add(2*time.Second), heart(84)), epoch(1), 1), delivery.Accepted, "")
	sees("a screen that saw it all", first, p[1], 84)
	sees("a later screen", second, p[0], 71)
	sees("a later screen", second, p[1], 82)
	sees("a later screen", second, p[1], 84)
}

// TestHeldReadings: while readings are held they are put off and shown, entries of channels are refused, and the directory is written.
func TestHeldReadings(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	e := engine(t, s)
	p := ward(t, s, now, 1)
	sub, err := s.Watch(t.Context(), []access.Grant{e.Standing("screen", access.ViewPatient)})
	must(t, err)
	s.HoldReadings(true)
	a := arrival(sensorID("s0"), numerics(now, heart(64)), epoch(1), 0)
	if o, _, err := s.Append(t.Context(), e.Standing("test", access.AppendVitals), a); o != delivery.Retry || !store.Full(err) {
		t.Fatalf("held: %v, %v", o, err)
	}
	if u, err := next(t, sub); err != nil || u.Patient != p[0] {
		t.Fatalf("held: a screen sees %+v, %v", u, err)
	}
	if _, err := s.AppendEntries(t.Context(), standing(t, s), 1, []channel.Entry{{}}); !store.Full(err) {
		t.Errorf("held: an entry: %v", err)
	}
	if _, err := s.CreatePatient(t.Context(), "Ada"); err != nil {
		t.Errorf("held: the directory: %v", err)
	}
	s.HoldReadings(false)
	appendAs(t, s, e.Standing("test", access.AppendVitals), a, delivery.Accepted, "")
	if store.Full(errors.New("else")) || store.Full(nil) {
		t.Error("another error is taken for a full disk")
	}
}
