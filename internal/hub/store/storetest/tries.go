package storetest

import (
	"fmt"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
)

// tries: one count at a time, replaced only by who has read it.
func tries(t *testing.T, b *bench) {
	ctx := t.Context()
	none := access.TryCount{}
	one := access.TryCount{Failures: 1, At: b.now, Person: "u1"}
	two := access.TryCount{Failures: 2, At: b.now.Add(time.Second), Until: b.now.Add(time.Minute), Told: true, Person: "u1"}
	want := func(c access.TryCount) {
		t.Helper()
		if got, err := b.TryCount(ctx, "n"); err != nil || got != c {
			t.Errorf("counted %+v, %v; want %+v", got, err, c)
		}
	}
	want(none)
	must(t, b.SwapTryCount(ctx, "n", none, none))
	is(t, b.SwapTryCount(ctx, "n", one, two), access.ErrConflict)
	must(t, b.SwapTryCount(ctx, "n", none, one))
	want(one)
	is(t, b.SwapTryCount(ctx, "n", none, two), access.ErrConflict)
	must(t, b.SwapTryCount(ctx, "n", one, two))
	want(two)
	is(t, b.SwapTryCount(ctx, "n", one, two), access.ErrConflict)
	is(t, b.SwapTryCount(ctx, "n", one, none), access.ErrConflict)
	must(t, b.SwapTryCount(ctx, "n", two, none))
	want(none)
	// Many at once: as many succeed as there are counts.
	got := make(chan error)
	for i := range 8 {
		go func() {
			got <- b.SwapTryCount(ctx, "side by side", none, access.TryCount{Failures: 1, At: b.now.Add(time.Duration(i) * time.Second)})
		}()
	}
	taken := 0
	for range 8 {
		if err := <-got; err == nil {
			taken++
		} else {
			is(t, err, access.ErrConflict)
		}
	}
	if taken != 1 {
		t.Errorf("%d of eight tries side by side counted", taken)
	}
	// What is over goes, sooner or later, by itself.
	old := access.TryCount{Failures: 1, At: b.now.Add(-2 * time.Hour), Person: "u1"}
	must(t, b.SwapTryCount(ctx, "old", none, old))
	for i := range 64 {
		must(t, b.SwapTryCount(ctx, fmt.Sprint("other", i), none, one))
	}
	if c, err := b.TryCount(ctx, "old"); err != nil || c != none {
		t.Errorf("still there: %+v, %v", c, err)
	}
}

// failedSignIns: where a person is known, and what the next session tells.
func failedSignIns(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "grace")
	session := func(name, at string, started time.Time) {
		t.Helper()
		must(t, b.SaveSession(ctx, access.Session{ID: name, PersonID: id, Workstation: at, Started: started, LastUsed: started,
			Expires: b.now.Add(time.Hour), Proven: started, Rotated: started}))
	}
	known := func(at string, want bool) {
		t.Helper()
		if got, err := b.KnownWorkstation(ctx, id, at); err != nil || got != want {
			t.Errorf("known at %s: %v, %v", at, got, err)
		}
	}
	known("w1", false)
	if got, err := b.KnownWorkstation(ctx, "", "w1"); err != nil || got {
		t.Errorf("no person is known: %v, %v", got, err)
	}
	session("s1", "w1", b.now)
	session("s2", "long ago", b.now.AddDate(0, 0, -91))
	known("w1", true)
	known("w2", false)
	known("long ago", false)
	must(t, b.DeleteSessionsOf(ctx, id, "")) // being known outlives the session
	known("w1", true)

	for i := range 3 {
		must(t, b.NoteFailedSignIn(ctx, id, "w9", b.now.Add(time.Duration(i)*time.Second)))
	}
	for i := range 20 {
		must(t, b.NoteFailedSignIn(ctx, id, fmt.Sprint("x", i), b.now.Add(-time.Minute)))
	}
	if got, err := b.FailedSignIns(ctx, id, "s3"); err != nil || len(got) != 0 {
		t.Errorf("a session that has not begun tells %+v, %v", got, err)
	}
	session("s3", "w1", b.now)
	got, err := b.FailedSignIns(ctx, id, "s3")
	must(t, err)
	total, others := 0, 0
	for _, f := range got {
		total += f.Count
		if f.Workstation == "" {
			others = f.Count
		}
	}
	if len(got) != 17 || total != 23 || others != 5 || got[0].Workstation != "w9" || got[0].Count != 3 || !got[0].First.Equal(b.now) || !got[0].Last.Equal(b.now.Add(2*time.Second)) {
		t.Errorf("%d workstations, %d failures, %d at others; the newest %+v", len(got), total, others, got[0])
	}
	session("s4", "w1", b.now)
	for _, s := range []string{"s3", "s4"} {
		if got, err := b.FailedSignIns(ctx, id, s); err != nil || len(got) != 0 {
			t.Errorf("%s tells %+v, %v", s, got, err)
		}
	}
	for i := range 40 { // of many workstations the newest are known
		session(fmt.Sprint("many", i), fmt.Sprint("many", i), b.now.Add(time.Duration(i+1)*time.Second))
	}
	known("many39", true)
	known("many7", false)
	known("w1", false)
}
