package gateway

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/way/delivery"
)

// setClock is a host's clock that can be set: what it says stands for its monotonic reading too, so steps are told to the book by hand.
type setClock struct {
	off time.Duration
	run string
	up  time.Duration
}

func (c *setClock) Now() time.Time       { return time.Now().Add(c.off) }
func (c *setClock) Error() time.Duration { return 0 }
func (c *setClock) Uptime() (string, time.Duration, bool) {
	return c.run, c.up + time.Since(started), c.run != ""
}

var started = time.Now()

// set sets the clock of a book's host.
func (c *setClock) set(b *clockBook, by time.Duration) {
	c.off += by
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watch = clockWatch{clock: c}
	b.watch.look()
	b.steppedBy(by)
}

func openBook(t *testing.T, dir string, boot uint64, c *setClock) *clockBook {
	t.Helper()
	b, err := openClockBook(dir, boot, c, []string{"oxi"}, func(time.Duration) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClockBook: what is measured before and after a step is told apart, also what comes late, across starts and across reboots.
func TestClockBook(t *testing.T) {
	const slow = -45 * time.Minute
	dir := t.TempDir()
	host := &setClock{off: slow, run: "first"}
	b := openBook(t, dir, 3, host)
	before := b.generation(b.Now())
	if err := b.begin("oxi", 3<<epochBits|1, before); err != nil {
		t.Fatal(err)
	}
	host.set(b, -slow)
	if got := b.generation(b.Now().Add(-100 * time.Millisecond)); got != before+1 {
		t.Errorf("a chunk by the new clock is of generation %d, want %d", got, before+1)
	}
	if got := b.generation(b.Now().Add(slow - 100*time.Millisecond)); got != before {
		t.Errorf("a chunk that was measured just before the step is of generation %d, want %d", got, before)
	}
	version := b.Record("oxi").Version
	if err := b.begin("oxi", 3<<epochBits|2, before+1); err != nil {
		t.Fatal(err)
	}
	r := b.Record("oxi")
	want := []delivery.ClockSpan{{From: 3 << epochBits, Kind: delivery.ClockSet, Value: -slow}, {From: 3<<epochBits | 2, Kind: delivery.ClockSet}}
	if r.Version == version || r.Generation != before+1 || r.Stepped != -slow || len(r.Spans) != 2 || r.Spans[0] != want[0] || r.Spans[1] != want[1] {
		t.Errorf("record %+v, want %+v", r, want)
	}

	// A start later on the same run of the machine: the uptime says that the clock was set meanwhile, and by how much.
	host.off += time.Hour
	b = openBook(t, dir, 4, host)
	r = b.Record("oxi")
	hour := r.Spans[1].Value
	if len(r.Spans) != 3 || (hour-time.Hour).Abs() > time.Second || (r.Spans[0].Value-hour+slow).Abs() > time.Second || r.Spans[2].Value != 0 {
		t.Errorf("after a start: %+v", r.Spans)
	}
	b.Measured(r.Generation, 2*time.Second, 30*time.Millisecond)
	b.Measured(before, time.Hour, time.Millisecond) // of another clock: no matter
	var st ClockStatus
	if b.tellStatus(&st); st.AheadSeconds == nil || *st.AheadSeconds != 2 || st.Problem != "" {
		t.Errorf("status %+v", st)
	}

	// A reboot: what was measured of the last clock is known, the others are not.
	host.run, host.off = "second", -400*24*time.Hour
	b = openBook(t, dir, 5, host)
	r = b.Record("oxi")
	kinds := []delivery.ClockKind{delivery.ClockNotKnown, delivery.ClockNotKnown, delivery.ClockMeasured, delivery.ClockSet}
	for i, s := range r.Spans {
		if len(r.Spans) != len(kinds) || s.Kind != kinds[i] || s.Kind == delivery.ClockMeasured && (s.Value != 2*time.Second || s.Error != 30*time.Millisecond) {
			t.Errorf("after a reboot: %+v", r.Spans)
			break
		}
	}
	b.Measured(r.Generation, time.Hour, time.Millisecond)
	if b.tellStatus(&st); st.Problem != "the gateway's clock is 3,600 s ahead of the hub's" {
		t.Errorf("status %+v", st)
	}
}

// TestClockBookDamaged: a record that cannot be read does not stop the gateway.
func TestClockBookDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, clockFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openBook(t, dir, 9, &setClock{})
	if r := b.Record("oxi"); len(r.Spans) != 1 || r.Spans[0].From != 9<<epochBits {
		t.Errorf("record %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, clockFile+".bad")); err != nil {
		t.Errorf("what was there is not kept: %v", err)
	}
}

func FuzzClockRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"generations":[{"id":3145728,"run":"x","switched_on_us":1,"known":true,"offset_us":-5,"error_us":6}],"lanes":{"oxi":[{"from":3145728,"generation":3145728}]}}`))
	f.Add([]byte(`{"version":1,"lanes":{"oxi":[{"from":2,"generation":1},{"from":1,"generation":1}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseClockRecord(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseClockRecord(again); err != nil {
			t.Errorf("%s is a record, written again it is none: %v", raw, err)
		}
	})
}
