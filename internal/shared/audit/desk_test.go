package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/shared/audit"
)

func deskLog(t *testing.T, dir, origin string) *audit.Log {
	t.Helper()
	l, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.SetOrigin(origin)
	return l
}

func appendOne(t *testing.T, l *audit.Log, action string) {
	t.Helper()
	if _, err := l.Append(t.Context(), audit.Entry{Person: "p", Action: action, Allowed: true}); err != nil {
		t.Fatal(err)
	}
}

func stated(t *testing.T, c audit.Consistency) []byte {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTailIsWitnessed: what was shown to a waiting witness before an act was answered cannot be cut
// off afterwards, even by the holder of disk and key and before the next poll.
func TestTailIsWitnessed(t *testing.T) {
	dir := t.TempDir()
	l := deskLog(t, dir, "spiffe://x/hub/hub")
	appendOne(t, l, "patient:view")
	desk := audit.NewDesk(l)
	if err := desk.Push(t.Context()); !errors.Is(err, audit.ErrNoWitness) {
		t.Errorf("without a witness: %v", err)
	}
	w, err := audit.OpenWitness(filepath.Join(dir, "witness.note"), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told, ended := make(chan int64, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := desk.Wait(ctx, "spiffe://x/workstation/w", w.Size())
			if err != nil {
				return
			}
			if err := w.Update(stated(t, c)); err != nil {
				t.Error(err)
				return
			}
			told <- w.Size()
		}
	}()
	if got := <-told; got < 1 {
		t.Errorf("a witness that knew nothing was told of %d entries", got)
	}
	before := copyDir(t, filepath.Join(dir, "log"))
	appendOne(t, l, "patient:break-glass")
	if err := desk.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Size() != 2 {
		t.Fatalf("the act is answered, and the witness has %d entries", w.Size())
	}
	stop()
	<-ended
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The attacker puts the log of before the emergency back, and goes on with it.
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "log"), os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	l = deskLog(t, dir, "spiffe://x/hub/hub")
	defer func() { _ = l.Close() }()
	appendOne(t, l, "patient:view")
	appendOne(t, l, "patient:view")
	if _, err := l.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := l.Consistency(w.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Update(stated(t, c)); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("a log without its tail: %v", err)
	}
}

// TestDeskOfAnEmptyLog: while there is nothing to know, a witness waits, and the first act is shown
// to it.
func TestDeskOfAnEmptyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := deskLog(t, t.TempDir(), "spiffe://x/hub/hub")
		defer func() { _ = l.Close() }()
		desk := audit.NewDesk(l)
		told := make(chan audit.Consistency, 1)
		go func() {
			c, err := desk.Wait(t.Context(), "spiffe://x/workstation/w", 0)
			if err != nil {
				t.Error(err)
			}
			told <- c
		}()
		synctest.Wait()
		select {
		case c := <-told:
			t.Fatalf("told of nothing: %+v", c)
		default:
		}
		appendOne(t, l, "patient:break-glass")
		if err := desk.Push(t.Context()); !errors.Is(err, audit.ErrNoWitness) {
			t.Errorf("a witness that has not come back: %v", err)
		}
		at, err := audit.ParseCheckpoint((<-told).Checkpoint, l.VerifierKey())
		if err != nil || at.Size != 1 {
			t.Errorf("told of %d entries, %v", at.Size, err)
		}
	})
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestOrigin: a log is shown by the hub that it is of. Another hub's name, an origin of another
// checkpoint, and a log that does not say any more whose it is are refused; a hub of before this is
// taken.
func TestOrigin(t *testing.T) {
	dir := t.TempDir()
	l := deskLog(t, dir, "spiffe://x/hub/hub-2")
	defer func() { _ = l.Close() }()
	state := func() audit.Consistency {
		t.Helper()
		appendOne(t, l, "patient:view")
		if _, err := l.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := l.Consistency(0)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := state(), state()
	all, err := audit.OpenWitnesses(filepath.Join(dir, "witness.note"), "")
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) *audit.Witness {
		t.Helper()
		w, err := all.Of(name)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if err := of("hub-3").Update(stated(t, first)); !errors.Is(err, audit.ErrInconsistent) || !strings.Contains(err.Error(), "hub-2") {
		t.Errorf("another hub's log: %v", err)
	}
	if got := all.State().Alarm; got == "" {
		t.Error("another hub's log is no alarm")
	}
	old := first
	old.Origin = ""
	if err := of("hub-2").Update(stated(t, old)); err != nil {
		t.Errorf("a hub that names nobody: %v", err)
	}
	mixed := second
	mixed.Origin = first.Origin
	mixed.From = 1
	if err := of("hub-2").Update(stated(t, mixed)); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("the origin of another checkpoint: %v", err)
	}
	c, err := l.Consistency(1)
	if err != nil {
		t.Fatal(err)
	}
	w := of("hub-2")
	if err := w.Update(stated(t, c)); err != nil {
		t.Errorf("its own: %v", err)
	}
	c.Origin = ""
	if err := w.Update(stated(t, c)); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("not named any more: %v", err)
	}
}

// TestUnproven: a log that is not proven for 30 minutes is an alarm, whether its hub is away or
// does not answer; a statement ends it.
func TestUnproven(t *testing.T) {
	dir := t.TempDir()
	l := deskLog(t, dir, "spiffe://x/hub/hub")
	appendOne(t, l, "patient:view")
	if _, err := l.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := l.Consistency(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		open := func() *audit.Witnesses {
			t.Helper()
			all, err := audit.OpenWitnesses(filepath.Join(dir, "witness.note"), "")
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		all := open()
		w, err := all.Of("hub")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := all.State().Alarm; got != "" {
			t.Errorf("a log that was never seen: %s", got)
		}
		if err := w.Update(stated(t, c)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(audit.UnprovenAfter)
		if got := all.State().Alarm; got != "" {
			t.Errorf("after 30 minutes: %s", got)
		}
		time.Sleep(time.Second)
		if got := all.State().Alarm; !strings.Contains(got, "not proven for 30 minutes") {
			t.Errorf("later: %q", got)
		}
		if got := open().State().Alarm; got != "" { // has had no time to ask
			t.Errorf("just started: %s", got)
		}
		if err := w.Update(stated(t, c)); err != nil {
			t.Fatal(err)
		}
		if got := all.State().Alarm; got != "" {
			t.Errorf("proven again: %s", got)
		}
	})
}

// TestStatementsCross: a workstation asks in two ways at once, so that an older statement may come
// after many newer ones. That is no rolled-back log; the same statement in answer to a later
// question is.
func TestStatementsCross(t *testing.T) {
	dir := t.TempDir()
	l := deskLog(t, dir, "spiffe://x/hub/hub")
	defer func() { _ = l.Close() }()
	state := func(from int64) []byte {
		t.Helper()
		appendOne(t, l, "patient:view")
		if _, err := l.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := l.Consistency(from)
		if err != nil {
			t.Fatal(err)
		}
		return stated(t, c)
	}
	path := filepath.Join(dir, "witness.note")
	w, err := audit.OpenWitness(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Update(state(w.Ask().From)); err != nil {
		t.Fatal(err)
	}
	older := state(w.Ask().From) // the answer to the poll is slow
	const acts = 40
	for range acts { // and each act in between is shown
		if err := w.Update(state(w.Ask().From)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := w.Size(), int64(2+acts); got != want {
		t.Fatalf("%d entries, want %d", got, want)
	}
	if err := w.Update(older); err != nil || w.State().Alarm != "" {
		t.Errorf("a statement that was overtaken: %v, alarm %q", err, w.State().Alarm)
	}
	if _, err := os.Stat(path + ".conflict"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("evidence of nothing: %v", err)
	}
	w.Ask()
	if err := w.Update(older); !errors.Is(err, audit.ErrInconsistent) || w.State().Alarm == "" {
		t.Errorf("a log that is rolled back: %v, alarm %q", err, w.State().Alarm)
	}
}
