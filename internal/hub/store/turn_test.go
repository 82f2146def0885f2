package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
)

// held is the most work that one transaction of the directory did since it was cleared, in steps of SQLite's machine.
var held heldMost

type heldMost struct {
	mu   sync.Mutex
	most int
}

func (h *heldMost) note(steps int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most = max(h.most, steps)
}

func (h *heldMost) take() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.most
	h.most = 0
	return n
}

// maxHeld is what one transaction of the directory may do. A step takes some ten nanoseconds, so this is far below 100 ms, also on a
// small machine; one walk through the channel of this test is twenty times as many.
const maxHeld = 20_000

// TestNoRequestHoldsTheDirectory: whatever a person has stored, none of what people may ask holds up the directory for longer than a
// bounded amount of work.
func TestNoRequestHoldsTheDirectory(t *testing.T) {
	filesOnly(t)
	ctx, s := t.Context(), open(t, t.TempDir())
	g := standing(t, s)
	owner := nurse(t, s, "nora")
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load", Owner: owner})
	must(t, err)
	q, err := s.CreateTalkBack(ctx, owner, "queue")
	must(t, err)
	e, nora := engine(t, s, access.WithGrantLife(time.Hour)), access.Subject{Person: access.Person{ID: owner}, Workstation: station} // however slow the disk
	use, err := e.Decide(ctx, nora, access.UseTalkBack, access.OnTalkBack(q.ID))
	must(t, err)
	manage, err := e.Decide(ctx, nora, access.ManageChannel, access.OnChannel(c.ID))
	must(t, err)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	bulk := func(from, n int) []channel.Entry {
		all := make([]channel.Entry, n)
		for i := range all {
			v := fmt.Sprint(from + i)
			all[i] = channel.Entry{Created: at.Add(time.Duration(from+i) * time.Second), Fields: [8]*string{&v}}
		}
		return all
	}
	for i := range 4 {
		_, err := s.AppendEntries(ctx, g, c.ID, bulk(i*10_000, 10_000))
		must(t, err)
	}
	for range 500 {
		_, err := s.AddCommand(ctx, use, q.ID, "on", 0)
		must(t, err)
	}
	for i := range 300 {
		must(t, s.SaveAPIKey(ctx, access.APIKey{Hash: [32]byte{1, byte(i), byte(i >> 8)}, PersonID: owner}))
	}
	held.take()
	for _, r := range []struct {
		name string
		do   func() error
	}{
		{"bulk update", func() error { _, err := s.AppendEntries(ctx, g, c.ID, bulk(40_000, channel.MaxBulk)); return err }},
		{"the same again", func() error { _, err := s.AppendEntries(ctx, g, c.ID, bulk(40_000, channel.MaxBulk)); return err }},
		{"one entry", func() error { _, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"}); return err }},
		{"settings", func() error {
			_, err := s.ChangeChannel(ctx, manage, channel.Channel{ID: c.ID, Name: "other"})
			return err
		}},
		{"a command in front", func() error { _, err := s.AddCommand(ctx, use, q.ID, "off", 1); return err }},
		{"the first command", func() error { _, err := s.ExecuteCommand(ctx, use, q.ID); return err }},
		{"no commands", func() error { return s.DeleteCommands(ctx, use, q.ID) }},
		{"no TalkBack", func() error { return s.DeleteTalkBack(ctx, use, q.ID) }},
		{"a key", func() error {
			return s.SaveAPIKey(ctx, access.APIKey{Hash: [32]byte{9}, PersonID: owner, Channel: c.ID})
		}},
		{"no entries", func() error { return s.ClearChannel(ctx, manage, c.ID) }},
		{"no channel", func() error { return s.DeleteChannel(ctx, manage, c.ID) }},
		{"no person", func() error { return s.SetPersonDisabled(ctx, owner, true) }},
	} {
		if err := r.do(); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if n := held.take(); n > maxHeld {
			t.Errorf("%s: %d steps while all others wait, at most %d", r.name, n, maxHeld)
		}
	}
	s.Swept(t)
	if n := held.take(); n > maxHeld {
		t.Errorf("the sweep: %d steps while all others wait, at most %d", n, maxHeld)
	}
}

func nurse(t testing.TB, s *store.Store, login string) string {
	t.Helper()
	id, err := s.CreatePerson(t.Context(), access.Person{Login: login, DisplayName: login, Role: access.RoleNurse}, "hash")
	must(t, err)
	return id
}

// TestRevocationDoesNotWait: while the directory cannot be written, who is locked out, signed out, excluded or loses a key is so
// at once; and when it can be written again, that is written.
func TestRevocationDoesNotWait(t *testing.T) {
	filesOnly(t)
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	now := time.Now().Truncate(time.Microsecond)
	patient := ward(t, s, now, 1)[0]
	person := nurse(t, s, "nora")
	must(t, s.SaveSession(ctx, access.Session{ID: "s1", PersonID: person, Workstation: station, Started: now, LastUsed: now, Expires: now.Add(time.Hour), Proven: now, Rotated: now}))
	must(t, s.SaveSession(ctx, access.Session{ID: "s2", PersonID: person, Workstation: station, Started: now, LastUsed: now, Expires: now.Add(time.Hour), Proven: now, Rotated: now}))
	must(t, s.SaveAPIKey(ctx, access.APIKey{Hash: [32]byte{5}, PersonID: person}))

	blocker, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "store", "directory.db")+"?_txlock=immediate")
	must(t, err)
	defer blocker.Close() //nolint:errcheck // nothing is pending
	tx, err := blocker.BeginTx(ctx, nil)
	must(t, err)
	var done sync.WaitGroup
	for _, f := range []func() error{
		func() error { return s.SetPersonDisabled(ctx, person, true) },
		func() error { return s.DeleteSession(ctx, "s1") },
		func() error { return s.DeleteSessionsOf(ctx, person, "") },
		func() error { return s.DeleteAPIKey(ctx, person, [32]byte{5}) },
		func() error { return s.Exclude(ctx, patient, person, true) },
		func() error { return s.SetDeviceState(ctx, sensorID("s0"), directory.DeviceDisabled) },
	} {
		done.Go(func() {
			if err := f(); err != nil && !errors.Is(err, store.ErrUnwritten) {
				t.Error(err)
			}
		})
	}
	check := func() error {
		p, err := s.Person(ctx, person)
		if err != nil || !p.Disabled {
			return fmt.Errorf("person: disabled %v, %w", p.Disabled, err)
		}
		for _, id := range []string{"s1", "s2"} {
			if _, err := s.Session(ctx, id); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("session %s: %w", id, err)
			}
		}
		if _, err := s.APIKey(ctx, [32]byte{5}); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("api key: %w", err)
		}
		if ref, err := s.Patient(ctx, patient); err != nil || len(ref.Excluded) != 1 {
			return fmt.Errorf("excluded: %v, %w", ref.Excluded, err)
		}
		if d, err := s.Device(ctx, sensorID("s0")); err != nil || d.State != directory.DeviceDisabled {
			return fmt.Errorf("device: %s, %w", d.State, err)
		}
		return nil
	}
	for err = check(); err != nil && t.Context().Err() == nil; err = check() { // until all six are under way, or the test's time is over
		time.Sleep(time.Millisecond)
	}
	must(t, err)
	must(t, tx.Rollback())
	done.Wait()
	must(t, s.Close()) // waits for what is not yet written
	s = open(t, dir)
	must(t, check())
}

// TestRevocationIsTriedAgain: an error that passes is no reason to leave someone in, nor is a caller who has gone.
func TestRevocationIsTriedAgain(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, passing := range []error{sqlite3.BUSY, sqlite3.FULL, sqlite3.IOERR} {
		tries := 0
		err := s.Urgently(ctx, func() error {
			if tries++; tries < 3 {
				return passing
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("%v: %d tries, %v", passing, tries, err)
		}
	}
	tries := 0
	if err := s.Urgently(ctx, func() error { tries++; return store.ErrNotFound }); !errors.Is(err, store.ErrNotFound) || tries != 1 {
		t.Errorf("what cannot be: %d tries, %v", tries, err)
	}
}
