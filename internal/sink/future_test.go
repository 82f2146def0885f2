package sink_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/sink"
)

// TestImportRefusesTheFuture: a row later than the hub's clock and what a sender's may be ahead is
// refused, counted and named; the rows beside it are taken, and one at the bound is.
func TestImportRefusesTheFuture(t *testing.T) {
	w := newWorld(t)
	v := "21.5"
	at := func(d time.Duration) sink.ImportEntry {
		return sink.ImportEntry{Created: w.now().Add(d), Fields: [8]*string{&v}}
	}
	late := sink.ImportEntry{Created: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), Fields: [8]*string{&v}}
	ask := func(added int, refused []int, entries ...sink.ImportEntry) {
		t.Helper()
		var out sink.ImportAnswer
		w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, &out, 200)
		var numbers []int
		for _, r := range out.Refused {
			numbers = append(numbers, r.Number)
			if !r.Created.Equal(entries[r.Number-1].Created) || !strings.Contains(r.Reason, "future") {
				t.Errorf("refused as %+v", r)
			}
		}
		if out.Added != added || !slices.Equal(numbers, refused) {
			t.Errorf("%d added, refused %v; want %d, %v", out.Added, numbers, added, refused)
		}
	}
	ask(2, []int{2, 4}, at(-time.Hour), late, at(sink.MaxAhead), at(sink.MaxAhead+time.Second))
	ask(0, []int{1}, late)
	w.advance(2 * time.Second)
	ask(1, nil, at(sink.MaxAhead-time.Second))
}

func TestImportIsIdempotent(t *testing.T) {
	w := newWorld(t)
	at := w.now().Add(-time.Hour)
	v := "21.5"
	entries := []sink.ImportEntry{{Created: at, Fields: [8]*string{&v}}, {Created: at.Add(time.Second), Status: "x"}}
	for i, want := range []int{2, 0} {
		var out sink.ImportAnswer
		w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, &out, 200)
		if out.Added != want {
			t.Errorf("import %d: %d added, want %d", i+1, out.Added, want)
		}
	}
	other := "22"
	entries[0].Fields[0] = &other
	w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, nil, 409)
	w.ask("nurse", "POST", w.path(w.ada, "/import"), map[string]any{"entries": entries}, nil, 403)
	w.ask("ada", "POST", w.path(w.free, "/import"), map[string]any{"entries": entries}, nil, 403)
	w.ask("nurse", "POST", w.path(w.free, "/import"), map[string]any{"entries": []sink.ImportEntry{{Created: at}}}, nil, 400)
}
