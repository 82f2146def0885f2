package gateway

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/seal"
)

// TestClockWatch sets the wall clock while the monotonic one goes on: a time.Time cannot be made so by hand, so the two are given
// apart.
func TestClockWatch(t *testing.T) {
	base := time.Now() // with a monotonic reading
	w := clockWatch{}
	at := func(mono, wall time.Duration) time.Duration {
		return w.compare(base.Add(mono), base.Round(0).Add(wall))
	}
	for _, tc := range []struct{ mono, wall, step time.Duration }{
		{0, 0, 0},
		{time.Second, time.Second, 0},
		{2 * time.Second, 2*time.Second + 50*time.Millisecond, 0}, // slewed
		{3 * time.Second, 3*time.Second + 150*time.Millisecond, 0},
		{4 * time.Second, time.Hour + 4*time.Second + 150*time.Millisecond, time.Hour},
		{5 * time.Second, time.Hour + 5*time.Second + 150*time.Millisecond, 0},
		{6 * time.Second, 6 * time.Second, -time.Hour - 150*time.Millisecond},
		{7 * time.Second, 6*time.Second + 600*time.Millisecond, -400 * time.Millisecond},
		{90 * time.Second, 89*time.Second + 600*time.Millisecond, 0}, // the clock was not read for a while: no step
	} {
		if got := at(tc.mono, tc.wall); got != tc.step {
			t.Errorf("at %v the clock says %v: step %v, want %v", tc.mono, tc.wall, got, tc.step)
		}
	}
	if got := stepDetail(-90 * time.Second); got != "back 90.000 s" {
		t.Error(got)
	}
	off := systemClock{}.Error()
	if off < 0 || off > maxKnownError {
		t.Errorf("the clock's error is %v", off)
	}
}

// loneWriter is a writer with an outbox and nothing else.
func loneWriter(t *testing.T, o outbox.Options) (*writer, *gapBook, *seal.RecipientKey) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	led := newLedger("gw")
	led.boot = 3
	dir := t.TempDir()
	book, err := openGapBook(filepath.Join(dir, "gaps.json"), led, log)
	if err != nil {
		t.Fatal(err)
	}
	o.OnDrop, o.OnDamage = book.dropped, book.damaged
	q, err := outbox.Open(filepath.Join(dir, "outbox"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	key, err := seal.GenerateRecipientKey()
	if err != nil {
		t.Fatal(err)
	}
	return newWriter("oxi", "spiffe://x/sensor/oxi", key.Recipient(), numberedFrom(3), time.Hour, q, led, book, log), book, key
}

func wave(start time.Time) vitals.Chunk {
	return vitals.Chunk{Signal: vitals.PPG, Start: start.UTC().Truncate(time.Microsecond), Rate: 100, Infrared: make([]uint16, 25), Red: make([]uint16, 25)}
}

// opened is every chunk in a lane, opened with the hub's key, with the number of its epoch.
func opened(t *testing.T, w *writer, key *seal.RecipientKey) (numbers []uint64, chunks []vitals.Chunk) {
	t.Helper()
	openers := map[seal.EpochID]*seal.Opener{}
	l := w.q.Lane(w.id)
	l.Rewind()
	for range l.Pending() {
		r, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := delivery.ParseMessage(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		if m.Announcement {
			if openers[m.Epoch.ID], err = seal.OpenAnnouncement(key, r.Data[1:], w.sensor, m.Signal); err != nil {
				t.Fatal(err)
			}
			continue
		}
		h, plain, err := openers[m.Epoch.ID].Open(r.Data[1:])
		if err != nil {
			t.Fatal(err)
		}
		c, err := vitals.Decode(plain)
		if err != nil {
			t.Fatal(err)
		}
		numbers, chunks = append(numbers, h.Epoch.Number&(1<<epochBits-1)), append(chunks, c)
	}
	return numbers, chunks
}

// TestTimesNeverGoBackWithinAnEpoch: whatever the clock does, each epoch's samples are in the order of their times.
func TestTimesNeverGoBackWithinAnEpoch(t *testing.T) {
	w, _, key := loneWriter(t, outbox.Options{})
	w.led.clockError(20 * time.Millisecond)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	w.append(t.Context(), []taken{
		{Chunk: wave(at)}, {Chunk: wave(at.Add(250 * time.Millisecond))},
		{Chunk: wave(at.Add(485 * time.Millisecond))}, // a little early: moved to where the last one ended
		{Chunk: wave(at.Add(-time.Minute))},           // set back
		{Chunk: wave(at.Add(-time.Minute + 250*time.Millisecond))},
		{Chunk: wave(at.Add(time.Hour))}, // set forward: nothing goes back
	})
	w.clockStepped(t.Context(), time.Hour)
	w.append(t.Context(), []taken{{Chunk: wave(at.Add(time.Hour + 250*time.Millisecond))}})
	numbers, chunks := opened(t, w, key)
	var epochs []uint64
	last := map[uint64]time.Time{}
	steps := 0
	for i, c := range chunks {
		if c.ClockError != 20*time.Millisecond {
			t.Errorf("chunk %d says that the clock is off by %v", i, c.ClockError)
		}
		if c.Signal == vitals.Events {
			if c.Events[0].Code != "clock_step" || c.Events[0].Detail != "forward 3600.000 s" {
				t.Errorf("event %+v", c.Events[0])
			}
			steps++
			continue
		}
		epochs = append(epochs, numbers[i])
		if c.Start.Before(last[numbers[i]]) {
			t.Errorf("chunk %d of epoch %d begins at %v, after a sample of %v", i, numbers[i], c.Start, last[numbers[i]])
		}
		last[numbers[i]] = c.Start.Add(240 * time.Millisecond)
	}
	if want := []uint64{1, 1, 1, 2, 2, 2, 4}; len(epochs) != len(want) || steps != 1 { // 3 is the events'
		t.Errorf("epochs %v, want %v; %d steps told", epochs, want, steps)
	} else {
		for i := range want {
			if epochs[i] != want[i] {
				t.Errorf("epochs %v, want %v", epochs, want)
				break
			}
		}
	}
}

// TestGapsAreToldExactly: a small outbox without a hub. What is in it and what its gap records name is all that was produced.
func TestGapsAreToldExactly(t *testing.T) {
	w, book, key := loneWriter(t, outbox.Options{MaxBytes: 128 << 10, SegmentBytes: 4 << 10})
	done := make(chan error, 1)
	go func() { done <- w.run(t.Context()) }()
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	const n = 1500
	for i := range n {
		w.in <- taken{Chunk: wave(at.Add(time.Duration(i) * 250 * time.Millisecond))}
	}
	w.close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, chunks := opened(t, w, key)
	there := map[time.Time]bool{}
	told := 0
	for _, c := range chunks {
		if c.Signal == vitals.PPG {
			there[c.Start] = true
			continue
		}
		g, ok := delivery.ParseGap(c.Events[0])
		if !ok || !c.Start.Equal(at.Add(time.Duration(g.First)*250*time.Millisecond)) {
			t.Fatalf("%+v: want a gap, at its place", c)
		}
		for seq := g.First; seq <= g.Last; seq++ {
			if there[at.Add(time.Duration(seq)*250*time.Millisecond)] {
				t.Errorf("chunk %d is said to be lost, and is there", seq)
			}
			told++
		}
	}
	if len(there)+told != n || told == 0 {
		t.Errorf("%d there and %d told of %d", len(there), told, n)
	}
	if book.pending() != 0 {
		t.Errorf("%d gaps are not told", book.pending())
	}
	st := w.led.status(w.q)
	if got := st.Gaps; got.Dropped != uint64(told) || got.Told == 0 {
		t.Errorf("status %+v, %d told", got, told)
	}
	// The telling may itself have been what a chunk had to make room for; told twice is not.
	again, err := openGapBook(book.path, newLedger("gw"), w.log)
	if err != nil || again.pending() != 0 {
		t.Errorf("after a restart: %v, %v", again, err)
	}
}

// TestGapsOutliveAKill: between the drop and the record of it, the book on disk knows.
func TestGapsOutliveAKill(t *testing.T) {
	w, book, _ := loneWriter(t, outbox.Options{MaxBytes: 64 << 10, SegmentBytes: 4 << 10})
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for i := range 100 {
		var batch []taken
		for j := range 10 {
			batch = append(batch, taken{Chunk: wave(at.Add(time.Duration(10*i+j) * 250 * time.Millisecond))})
		}
		w.append(t.Context(), batch)
	}
	want := book.take("oxi")
	if len(want) != 1 || want[0].First != 0 || want[0].Count() < 50 {
		t.Fatalf("gaps %+v, want one from the beginning", want)
	}
	again, err := openGapBook(book.path, newLedger("gw"), w.log)
	if err != nil {
		t.Fatal(err)
	}
	got := again.take("oxi")
	if len(got) != 1 || got[0].First != want[0].First || got[0].Last != want[0].Last || got[0].Epoch != want[0].Epoch || !got[0].From.Equal(want[0].From) {
		t.Errorf("after a kill: %+v, want %+v", got, want)
	}
	select {
	case <-again.lane("oxi"):
	default:
		t.Error("nobody would tell it")
	}
	// What is dropped while a gap is told is another gap.
	before := again.take("oxi")
	again.mu.Lock()
	more := before[0]
	more.First, more.Last = before[0].Last+1, before[0].Last+5
	again.add("oxi", more)
	again.mu.Unlock()
	again.told("oxi")
	if rest := again.take("oxi"); len(rest) != 1 || rest[0].Count() != 5 {
		t.Errorf("what is left to tell: %+v", rest)
	}
}

func FuzzGapBook(f *testing.F) {
	f.Add([]byte("[]"))
	f.Add([]byte(`[{"lane":"a","event":{"At":"2026-11-23T10:00:00Z","Code":"gap","Detail":"outbox_full ppg epoch=01000000000000000000000000000000 seq=1-2 count=2 from=2026-11-23T10:00:00Z to=2026-11-23T10:00:00Z"}}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseGapBook(b)
		if err != nil {
			return
		}
		for _, x := range all {
			if g, ok := delivery.ParseGap(x.Event); !ok || g.Count() == 0 {
				t.Errorf("%+v is no gap", x)
			}
		}
	})
}

func numberedFrom(boot uint64) *numbering {
	n := &numbering{}
	n.now.Store(boot)
	return n
}
