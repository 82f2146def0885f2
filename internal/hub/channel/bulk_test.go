package channel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store/storetest"
)

// bulkOf are entries a second apart, with one value each.
func bulkOf(from, n int, value string) []channel.Entry {
	all := make([]channel.Entry, n)
	for i := range all {
		v := value
		all[i] = channel.Entry{Created: time1(int64(from + i)), Fields: [8]*string{&v}}
	}
	return all
}

// TestBulkIsOneOrNone: many entries are stored in pieces, but are read all at once or not at all; others write between the pieces.
func TestBulkIsOneOrNone(t *testing.T) {
	ctx, s := t.Context(), storetest.Open(t, t.TempDir())
	g := storetest.Standing(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load"})
	must(t, err)
	other, err := s.CreateChannel(ctx, channel.Channel{Name: "other"})
	must(t, err)
	const n = 8 * channel.BulkRows
	pieces := 0
	s.BetweenTurns(func() {
		pieces++
		if got, err := s.Entries(ctx, g, c.ID, time1(0), time1(1<<20), 0); err != nil || len(got) != 0 {
			t.Errorf("after piece %d: %d entries are read, %v", pieces, len(got), err)
		}
		if got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false); err != nil || len(got) != 0 {
			t.Errorf("after piece %d: %d entries are read by id, %v", pieces, len(got), err)
		}
		if now, err := s.Channel(ctx, c.ID); err != nil || now.LastEntryID != 0 {
			t.Errorf("after piece %d: the last entry is %d, %v", pieces, now.LastEntryID, err)
		}
		if _, err := s.AppendEntry(ctx, g, other.ID, channel.Entry{Status: "x"}); err != nil {
			t.Errorf("after piece %d: another channel: %v", pieces, err)
		}
	})
	out, err := s.AppendEntries(ctx, g, c.ID, bulkOf(0, n, "1"))
	must(t, err)
	if pieces < 1 || len(out) != n || out[0].ID != 1 || out[n-1].ID != n {
		t.Errorf("%d pieces, %d entries, %d to %d", pieces, len(out), out[0].ID, out[n-1].ID)
	}
	s.BetweenTurns(nil)
	again := append(bulkOf(0, n, "1"), bulkOf(n, n, "2")...)
	out, err = s.AppendEntries(ctx, g, c.ID, again)
	if err != nil || out[0].ID != 1 || out[2*n-1].ID != 2*n {
		t.Fatalf("sent again, with more: %v", err)
	}
	if _, err := s.AppendEntries(ctx, g, c.ID, append(bulkOf(2*n, n, "3"), bulkOf(0, 1, "other")...)); !errors.Is(err, channel.ErrTaken) {
		t.Errorf("one time is taken: %v", err)
	}
	if got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false); err != nil || len(got) != 2*n {
		t.Errorf("%d entries, %v", len(got), err)
	}
	next, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"})
	if err != nil || next.ID != 2*n+1 {
		t.Errorf("the next entry is %d, %v", next.ID, err)
	}
}

// TestBulkThatFails: what fails in the middle, or is killed there, leaves nothing that is read, and nothing that counts.
func TestBulkThatFails(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := storetest.Open(t, dir)
	g := storetest.Standing(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load"})
	must(t, err)
	first, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "first"})
	must(t, err)
	before, err := s.Usages(ctx, 1)
	must(t, err)
	whole := func(when string) {
		t.Helper()
		if u, err := s.Usages(ctx, 1); err != nil || u[0] != before[0] {
			t.Errorf("%s: usage %+v, was %+v, %v", when, u, before, err)
		}
		if n := s.StoredEntries(t, c.ID); n != 1 {
			t.Errorf("%s: %d entries on disk", when, n)
		}
		got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false)
		if err != nil || len(got) != 1 || got[0].ID != first.ID {
			t.Errorf("%s: %d entries, %v", when, len(got), err)
		}
	}
	const n = 40 * channel.BulkRows
	broken := errors.New("broken")
	s.FailTurn(3, broken)
	if _, err := s.AppendEntries(ctx, g, c.ID, bulkOf(0, n, "1")); !errors.Is(err, broken) {
		t.Fatalf("a piece that fails: %v", err)
	}
	whole("after an error")
	s.LeaveBulk(t, g, c.ID, bulkOf(0, n, "1")) // as a kill does
	if n := s.StoredEntries(t, c.ID); n == 1 {
		t.Fatal("nothing was left")
	}
	must(t, s.Close())
	s = storetest.Open(t, dir)
	if got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false); err != nil || len(got) != 1 {
		t.Errorf("after a kill: %d entries are read, %v", len(got), err)
	}
	s.HalfBulks(t)
	whole("after a kill")
	s.LeaveBulk(t, g, c.ID, bulkOf(0, n, "1"))
	s.EndLeases(t)
	second, err := s.AppendEntries(ctx, g, c.ID, bulkOf(0, n, "2"))
	if err != nil || second[0].ID != 2 {
		t.Errorf("the next bulk update: %v", err)
	}
	if got, err := s.EntriesByID(ctx, g, c.ID, 2, 1<<40, 0, false); err != nil || len(got) != n || *got[0].Fields[0] != "2" {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// TestBulkIsTakenOver: a hub that comes back after another has taken its bulk update away stores nothing more of it.
func TestBulkIsTakenOver(t *testing.T) {
	ctx, s := t.Context(), storetest.Open(t, t.TempDir())
	g := storetest.Standing(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load"})
	must(t, err)
	turns := 0
	s.BetweenTurns(func() {
		if turns++; turns == 2 {
			s.TakeOver(t, c.ID)
		}
	})
	_, err = s.AppendEntries(ctx, g, c.ID, bulkOf(0, 40*channel.BulkRows, "1"))
	if err == nil || !strings.Contains(err.Error(), "send it again") {
		t.Errorf("%v", err)
	}
	s.BetweenTurns(nil)
	if got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false); err != nil || len(got) != 0 || s.StoredEntries(t, c.ID) != 0 {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// TestBulkAndClear: what is cleared while a bulk update that names it again is stored, is stored again.
func TestBulkAndClear(t *testing.T) {
	ctx, s := t.Context(), storetest.Open(t, t.TempDir())
	g := storetest.Standing(t, s)
	e, nora := engineOn(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load", Owner: nora.Person.ID})
	must(t, err)
	manage, err := e.Decide(ctx, nora, access.ManageChannel, access.OnChannel(c.ID))
	must(t, err)
	const n = 20 * channel.BulkRows
	_, err = s.AppendEntries(ctx, g, c.ID, bulkOf(0, n, "1"))
	must(t, err)
	cleared := false
	s.BetweenTurns(func() {
		if !cleared {
			cleared = true
			must(t, s.ClearChannel(ctx, manage, c.ID))
		}
	})
	_, err = s.AppendEntries(ctx, g, c.ID, bulkOf(0, 2*n, "1"))
	must(t, err)
	if got, err := s.Entries(ctx, g, c.ID, time1(0), time1(1<<20), 0); err != nil || len(got) != 2*n {
		t.Errorf("%d entries, want %d, %v", len(got), 2*n, err)
	}
}

// TestBulksTogether: many bulk updates and entries of one channel at once: each is there whole and once, in ids of its own.
func TestBulksTogether(t *testing.T) {
	ctx, s := t.Context(), storetest.Open(t, t.TempDir())
	g := storetest.Standing(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "load"})
	must(t, err)
	const writers, n = 4, 3 * channel.BulkRows
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			if _, err := s.AppendEntries(ctx, g, c.ID, bulkOf(w%2*n, n, fmt.Sprint(w%2))); err != nil { // two of each
				t.Error(err)
			}
			if _, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "single", Created: time1(1 << 18)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := s.EntriesByID(ctx, g, c.ID, 0, 1<<40, 0, false)
	if err != nil || len(got) != 2*n+writers || got[len(got)-1].ID != int64(len(got)) {
		t.Errorf("%d entries, want %d, %v", len(got), 2*n+writers, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.AppendEntries(cancelled, g, c.ID, bulkOf(9*n, n, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("a client who has gone: %v", err)
	}
}
