package audit_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestTail: the end of a log is proven as it is, over several sizes and tiles, and whatever is
// changed, left out, added or moved in it is found.
func TestTail(t *testing.T) {
	l := deskLog(t, t.TempDir(), "spiffe://x/hub/hub")
	defer func() { _ = l.Close() }()
	total := 0
	for _, more := range []int{0, 1, 6, 250, 13} {
		for range more {
			appendOne(t, l, "patient:view")
		}
		total += more
		if _, err := l.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 3, 100, 1000} {
			tail, err := l.Tail(n, 0, 1, int64(total))
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(tail)
			if err != nil {
				t.Fatal(err)
			}
			got, err := audit.ParseTail(b)
			if err != nil {
				t.Fatal(err)
			}
			entries, at, err := got.Verify(l.VerifierKey())
			if err != nil || at.Size != int64(total) || len(entries) != min(n, total) || len(got.Also) != 2 {
				t.Fatalf("the newest %d of %d: %d entries of %d, %v", n, total, len(entries), at.Size, err)
			}
		}
	}
	for what, change := range map[string]func(*audit.Tail){
		"a changed entry":    func(x *audit.Tail) { x.Entries[3] = strings.Replace(x.Entries[3], "patient:view", "patient:seen", 1) },
		"a cut tail":         func(x *audit.Tail) { x.Entries = x.Entries[:len(x.Entries)-1] },
		"a hole":             func(x *audit.Tail) { x.Entries = append(x.Entries[:3:3], x.Entries[4:]...) },
		"a cut beginning":    func(x *audit.Tail) { x.Entries, x.First = x.Entries[1:], x.First+1 },
		"another beginning":  func(x *audit.Tail) { x.Left[0][0] ^= 1 },
		"no beginning":       func(x *audit.Tail) { x.Left = nil },
		"two exchanged":      func(x *audit.Tail) { x.Entries[2], x.Entries[3] = x.Entries[3], x.Entries[2] },
		"another checkpoint": func(x *audit.Tail) { x.Checkpoint = strings.Replace(x.Checkpoint, "\n270\n", "\n269\n", 1) },
		"a negative number":  func(x *audit.Tail) { x.First = -1 },
	} {
		tail, err := l.Tail(100, 0)
		if err != nil {
			t.Fatal(err)
		}
		change(&tail)
		if _, _, err := tail.Verify(l.VerifierKey()); !errors.Is(err, audit.ErrInconsistent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestShown: what a person is shown is held against what the workstation remembers.
func TestShown(t *testing.T) {
	oneDir, otherDir := fork(t, 5)
	a, b := newHubOf(t, "hub", oneDir, t.TempDir()), newHubOf(t, "hub", otherDir, t.TempDir())
	a.add(t, "patient:view", "patient:break-glass")
	b.add(t, "patient:view", "session:sign-in")
	w := witnessesIn(t, t.TempDir())
	shown := func(h *hubOf) audit.Tail {
		tail, err := h.log.Tail(3, 0)
		if err != nil {
			t.Fatal(err)
		}
		return tail
	}
	if err := w.Shown(shown(a)); !errors.Is(err, audit.ErrNoEntry) {
		t.Errorf("before anything is remembered: %v", err)
	}
	if err := a.asks(t, "hub", w, "w"); err != nil {
		t.Fatal(err)
	}
	if err := w.Shown(shown(a)); err != nil {
		t.Errorf("its own: %v", err)
	}
	changed := shown(a)
	changed.Entries[2] = strings.Replace(changed.Entries[2], "break-glass", "view", 1)
	if err := w.Shown(changed); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("a changed entry: %v", err)
	}
	if err := w.Shown(shown(b)); !errors.Is(err, audit.ErrSplit) || w.State().Alarm == "" {
		t.Errorf("another log of the same key: %v", err)
	}
}

// FuzzParseTail: what verifies is the end of the log that was signed, however it is written.
func FuzzParseTail(f *testing.F) {
	dir := f.TempDir()
	l, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	for range 5 {
		if _, err := l.Append(f.Context(), audit.Entry{Person: "p"}); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := l.Sign(f.Context()); err != nil {
		f.Fatal(err)
	}
	tail, err := l.Tail(2, 0, 3)
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(tail)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := audit.ParseTail(b)
		if err != nil {
			return
		}
		if entries, at, err := x.Verify(l.VerifierKey()); err == nil && (at.Size != 5 || entries[len(entries)-1].Seq != 4) {
			t.Fatalf("%s verifies", b)
		}
	})
}
