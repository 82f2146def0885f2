package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
)

// TestSmallWritesTakeTurns: what a gateway's clock or a failed sign-in writes waits for its turn, as all else that is written to the
// directory does: past the turns, a stream of it holds up who wants to take something from someone.
func TestSmallWritesTakeTurns(t *testing.T) {
	filesOnly(t)
	ctx, s := t.Context(), open(t, t.TempDir())
	person := nurse(t, s, "nora")
	now := time.Now()
	for name, do := range map[string]func() error{
		"clock": func() error {
			return s.NoteClock(ctx, sensorID("s0"), archive.Clock{Judged: true, Known: true, Offset: time.Hour})
		},
		"count": func() error {
			return s.SwapTryCount(ctx, "n", access.TryCount{}, access.TryCount{Failures: 1, At: now, Person: person})
		},
		"notice": func() error { return s.NoteFailedSignIn(ctx, person, station, now) },
		"sweep":  func() error { return s.SweepTries(ctx, 0) },
	} {
		give := s.TakeTurn(t)
		done := make(chan error, 1)
		go func() { done <- do() }()
		for s.TurnsWaiting() == 0 {
			select {
			case err := <-done:
				t.Fatalf("%s: written past the turns (%v)", name, err)
			case <-time.After(time.Millisecond):
			}
		}
		give()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExpiredSessionsGoInPieces: a sign-in ends a bounded number of those that are over, and more than it adds.
func TestExpiredSessionsGoInPieces(t *testing.T) {
	ctx, c := t.Context(), newClock(time.Now())
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	person := nurse(t, s, "nora")
	sign := func(id string) {
		t.Helper()
		now := c.Now()
		must(t, s.SaveSession(ctx, access.Session{ID: id, PersonID: person, Workstation: station, Started: now, LastUsed: now,
			Expires: now.Add(time.Hour), Proven: now, Rotated: now}))
	}
	left := func() int {
		all, err := s.SessionsOf(ctx, person)
		must(t, err)
		return len(all)
	}
	for i := range 150 {
		sign(fmt.Sprint("old", i))
	}
	c.Advance(2 * time.Hour)
	sign("new1")
	if n := left(); n != 150-100+1 {
		t.Errorf("%d sessions after one sign-in", n)
	}
	sign("new2")
	if n := left(); n != 2 {
		t.Errorf("%d sessions after two", n)
	}
}

// TestTalkBacksKeysAreApart: a backup without its keys opens no command; with them, all are there; with those of a newer backup, what
// was deleted since is gone, and stops nothing.
func TestTalkBacksKeysAreApart(t *testing.T) {
	filesOnly(t)
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	e, nora := engineOn(t, s)
	q, err := s.CreateTalkBack(ctx, nora.Person.ID, "queue")
	must(t, err)
	gone, err := s.CreateTalkBack(ctx, nora.Person.ID, "gone")
	must(t, err)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "gone", Owner: nora.Person.ID})
	must(t, err)
	use, err := e.Decide(ctx, nora, access.UseTalkBack, access.OnTalkBack(q.ID))
	must(t, err)
	_, err = s.AddCommand(ctx, use, q.ID, "on", 0)
	must(t, err)
	old, oldKeys, newer, newKeys := filepath.Join(dir, "b1"), filepath.Join(dir, "k1"), filepath.Join(dir, "b2"), filepath.Join(dir, "k2")
	_, err = store.Backup(ctx, filepath.Join(dir, "store"), old, oldKeys, quietly)
	must(t, err)
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(old, "directory.db")+"?mode=ro")
	must(t, err)
	var n int
	err = db.QueryRow("SELECT count(*) FROM keys WHERE name LIKE 'talkback/%'").Scan(&n)
	if must(t, errors.Join(err, db.Close())); n != 0 {
		t.Errorf("the backup itself holds %d keys of TalkBacks", n)
	}
	useGone, err := e.Decide(ctx, nora, access.UseTalkBack, access.OnTalkBack(gone.ID))
	must(t, err)
	must(t, s.DeleteTalkBack(ctx, useGone, gone.ID))
	manage, err := e.Decide(ctx, nora, access.ManageChannel, access.OnChannel(c.ID))
	must(t, err)
	must(t, s.DeleteChannel(ctx, manage, c.ID))
	_, err = store.Backup(ctx, filepath.Join(dir, "store"), newer, newKeys, quietly)
	must(t, err)
	must(t, s.Close())
	for _, r := range []struct {
		keys     string
		there    bool
		channels int
	}{{oldKeys, true, 1}, {newKeys, false, 0}} {
		to := t.TempDir()
		key, err := os.ReadFile(filepath.Join(dir, "root.key"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, "root.key"), key, 0o600))
		_, err = store.Restore(ctx, old, r.keys, filepath.Join(to, "store"), quietly)
		must(t, err)
		s := open(t, to)
		if _, err := s.TalkBackOwner(ctx, gone.ID); err == nil != r.there || err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: the other TalkBack: %v", filepath.Base(r.keys), err)
		}
		if got, err := s.Commands(ctx, use, q.ID); err != nil || len(got) != 1 || got[0].Text != "on" {
			t.Errorf("%s: %d commands, %v", filepath.Base(r.keys), len(got), err)
		}
		if got, err := s.Channels(ctx); err != nil || len(got) != r.channels {
			t.Errorf("%s: %d channels, %v", filepath.Base(r.keys), len(got), err)
		}
		must(t, s.Close())
	}
}
