package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"vitalseal/internal/shared/audit"
)

// searchLog is a log of n entries over several segments: entry i is by person i%7, about patient
// i%5, refused if i%11 is 0, a second apart.
func searchLog(t *testing.T, n int) (l *audit.Log, first time.Time) {
	t.Helper()
	dir := t.TempDir()
	l, err := audit.OpenWith(filepath.Join(dir, "audit"), filepath.Join(dir, "key"), slog.New(slog.DiscardHandler), 40_000, func(*os.File) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	first = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for i := range n {
		e := audit.Entry{Time: first.Add(time.Duration(i) * time.Second), Person: fmt.Sprint("u-", i%7), Action: "patient:view", Patient: fmt.Sprint("p-", i%5), Allowed: i%11 != 0,
			Resource: fmt.Sprint("patient:p-", i%5), Reason: fmt.Sprint("entry ", i)}
		switch i {
		case 40:
			e.Person = "u-rare"
		case 300:
			e.Patient, e.Patients = "", []string{"p-x", "p-rare"}
		case 301:
			e.Action = "patient:break-glass"
		case 302: // as versions wrote what was done to a patient, who stands in the resource alone
			e.Patient, e.Resource = "", "patient:p-old"
		}
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, first
}

// all goes through every page of a search, and proves each entry.
func all(t *testing.T, l *audit.Log, n int, f audit.Filter) (seqs []int64, calls int) {
	t.Helper()
	tail, err := l.Tail(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := audit.ParseCheckpoint(tail.Checkpoint, l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	for before := c.Size; ; calls++ {
		p, err := l.Search(t.Context(), c.Size, before, n, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Entries) > n || p.Next >= before && before > 0 {
			t.Fatalf("a page of %d, from %d back to %d", len(p.Entries), before, p.Next)
		}
		for _, e := range p.Entries {
			if err := tlog.CheckRecord(e.Proof, c.Size, c.Root, e.Seq, tlog.RecordHash([]byte(e.Line))); err != nil {
				t.Fatalf("entry %d is not proven: %v", e.Seq, err)
			}
			var x audit.Entry
			if err := json.Unmarshal([]byte(e.Line), &x); err != nil || !f.Match(x) || x.Seq != e.Seq {
				t.Fatalf("%d is not what was asked for: %+v", e.Seq, x)
			}
			seqs = append(seqs, e.Seq)
		}
		if before = p.Next; before == 0 {
			return seqs, calls + 1
		}
	}
}

// TestSearch: every filter finds what a walk through all entries finds, newest first, page by page
// back to the first entry, each entry proven; the second time as the first, when what was read is
// remembered.
func TestSearch(t *testing.T) {
	const size = 1300
	l, first := searchLog(t, size)
	at := func(i int) time.Time { return first.Add(time.Duration(i) * time.Second) }
	var every []audit.Entry
	for i := range size {
		p, err := l.Inclusion(int64(i))
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := p.Verify(l.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		every = append(every, e)
	}
	for name, f := range map[string]audit.Filter{
		"all": {}, "a person": {Person: "u-3"}, "a rare person": {Person: "u-rare"}, "nobody": {Person: "u-none"}, "a patient": {Patient: "p-2"}, "one of several patients": {Patient: "p-rare"},
		"an action": {Action: "patient:break-glass"}, "refused": {Answer: audit.Refused}, "allowed": {Answer: audit.Allowed, Person: "u-1"},
		"a span": {From: at(250), To: at(520)}, "the end": {From: at(1290)}, "the beginning": {To: at(3)}, "one second": {From: at(256), To: at(257)}, "before all": {To: first}, "after all": {From: at(size)},
		"all of it": {Person: "u-5", Patient: "p-0", Answer: audit.Allowed, Action: "patient:view", From: at(100), To: at(1200)},
	} {
		var want []int64
		for _, e := range slices.Backward(every) {
			if f.Match(e) {
				want = append(want, e.Seq)
			}
		}
		for range 2 {
			for _, n := range []int{30, 100} {
				if got, _ := all(t, l, n, f); !slices.Equal(got, want) {
					t.Errorf("%s, %d a page: %d found, want %d", name, n, len(got), len(want))
				}
			}
		}
	}
	for range 2 {
		if got, _ := all(t, l, 30, audit.Filter{Patient: "p-old"}); !slices.Equal(got, []int64{302}) {
			t.Errorf("a patient who stands in the resource alone: %v", got)
		}
	}
	if _, err := l.Search(t.Context(), size+1, size+1, 10, audit.Filter{}); !errors.Is(err, audit.ErrNoEntry) {
		t.Errorf("a size that the log does not have: %v", err)
	}
	// Of an older size, as a page that was proven before asks: nothing newer, and proven for it.
	p, err := l.Search(t.Context(), 700, 700, 3, audit.Filter{})
	if err != nil || len(p.Entries) != 3 || p.Entries[0].Seq != 699 || p.Next != 697 {
		t.Errorf("of the first 700: %+v, %v", p, err)
	}
}

// TestSearchReadsOnce: what holds no such entry is not read again: files that are gone since are
// not missed. (The log itself goes on.)
func TestSearchReadsOnce(t *testing.T) {
	l, first := searchLog(t, 1300)
	rare := audit.Filter{Person: "u-rare"}
	if got, _ := all(t, l, 100, rare); !slices.Equal(got, []int64{40}) {
		t.Fatalf("the rare person: %v", got)
	}
	dir := l.Dir()
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(names) < 5 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	for _, name := range names[2 : len(names)-2] { // the middle of the log
		if err := os.Rename(name, name+".away"); err != nil {
			t.Fatal(err)
		}
	}
	p, err := l.Search(t.Context(), -1, 1024, 100, rare)
	if err != nil || len(p.Entries) != 1 || p.Entries[0].Seq != 40 || p.Next != 0 {
		t.Errorf("what was read before is read again, or the one that is there is not found: %+v, %v", p, err)
	}
	if _, err := l.Search(t.Context(), -1, 1024, 100, audit.Filter{Person: "u-3"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a person who is there is looked for on disk: %v", err)
	}
	if p, err := l.Search(t.Context(), -1, 1024, 100, audit.Filter{To: first.Add(-time.Hour)}); err != nil || p.Next != 0 || len(p.Entries) != 0 {
		t.Errorf("times are known without reading: %+v, %v", p, err)
	}
}

// TestSearchIsBounded: one call reads so much and no more, says where it stands, and goes on from
// there.
func TestSearchIsBounded(t *testing.T) {
	l, _ := searchLog(t, 1300)
	l.ReadAtMost(2)
	p, err := l.Search(t.Context(), -1, 1300, 100, audit.Filter{Person: "u-rare"})
	if err != nil || len(p.Entries) != 0 || p.Next != 1024 || p.Looked.IsZero() {
		t.Errorf("after two tiles: %+v, %v", p, err)
	}
	if got, calls := all(t, l, 100, audit.Filter{Person: "u-rare"}); !slices.Equal(got, []int64{40}) || calls < 2 {
		t.Errorf("in the end: %v in %d calls", got, calls)
	}
}
