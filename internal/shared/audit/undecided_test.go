package audit_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/shared/audit"
)

// TestUndecidedIsNoRefusal: what was not decided is found and counted as that, in the words of this
// version and of earlier ones, and never as a refusal; its line has no member that earlier readers
// do not know.
func TestUndecidedIsNoRefusal(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	e := audit.Entry{Person: "p", Role: "nurse", Workstation: "w", Action: "patient:view", Resource: "patient:a", Patient: "a"}
	for i, x := range []struct {
		reason, answer string
	}{
		{audit.NotDecided + "the directory could not be asked", audit.Undecided},
		{"the directory could not be asked", audit.Undecided},
		{"the directory could not be asked; GET beds", audit.Undecided},
		{"a policy forbids it; the directory could not be asked", audit.Refused},
		{"a policy forbids it; not decided: x", audit.Refused},
		{"the directory could not be asked by this person", audit.Refused},
		{"", audit.Allowed},
	} {
		e.Reason, e.Allowed, e.Resource = x.reason, x.answer == audit.Allowed, fmt.Sprint("patient:", i)
		got, err := l.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range []string{audit.Allowed, audit.Refused, audit.Undecided} {
			f := audit.Filter{Answer: answer}
			if err := f.Check(); err != nil || f.Match(got) != (answer == x.answer) {
				t.Errorf("%q is %s: %v, %v", x.reason, answer, f.Match(got), err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := audit.Verify(h.dir, l.VerifierKey())
	if err != nil || s.Entries != 7 || s.Refused != 3 || s.Undecided != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestUndecidedIsJoined: of what is not decided again and again one entry a minute is written, and
// one that counts the others; refusals of the same person are counted apart.
func TestUndecidedIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		l, err := audit.OpenWith(h.dir, h.key, quiet, 8<<20, noSync)
		if err != nil {
			t.Fatal(err)
		}
		e := audit.Entry{Person: "p", Action: "patient:view", Resource: "patient:a", Reason: audit.NotDecided + "x"}
		refused := e
		refused.Reason = "no rule"
		for range 500 {
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Append(t.Context(), refused); err != nil {
			t.Fatal(err)
		}
		// So many kinds that they are not told apart: neither then.
		for i := range 3 * 4096 {
			e.Resource = fmt.Sprint(i, ":a")
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := audit.Verify(h.dir, l.VerifierKey())
		if err != nil || s.Refused != 1 || s.Undecided != 500+3*4096 || s.Entries > 8200 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
