package outbox_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/way/outbox"
)

// TestAcksAreDurableSoon: a process that dies without a word brings back what it acknowledged in
// its last seconds at most.
func TestAcksAreDurableSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := open(t, dir, outbox.Options{})
		for i := range 20 {
			appendAll(t, q, record("a", outbox.Waveform+outbox.Class(i%4), fmt.Sprint(i)))
		}
		recs := drain(t, q.Lane("a"))
		for _, r := range recs[:10] {
			if err := q.Ack(r.ID); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(outbox.AckDelay + time.Second)
		synctest.Wait()
		if err := q.Ack(recs[10].ID); err != nil {
			t.Fatal(err)
		}
		after := killed(t, dir)
		got := drain(t, after.Lane("a"))
		if texts(got) != "10 11 12 13 14 15 16 17 18 19" {
			t.Errorf("after a kill: %q", texts(got))
		}
		// What was acknowledged stays so over the next kill, too.
		again := killed(t, after.dir)
		if got := drain(t, again.Lane("a")); texts(got) != "10 11 12 13 14 15 16 17 18 19" {
			t.Errorf("after another: %q", texts(got))
		}
	})
}

// killed opens what a dead process would have left of a folder that is open.
func killed(t *testing.T, dir string) copied {
	t.Helper()
	to := filepath.Join(t.TempDir(), "outbox")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied{open(t, to, outbox.Options{}), to}
}

// copied is an outbox in a folder of its own.
type copied struct {
	*outbox.Queue
	dir string
}

// TestAckLogIsBounded: acknowledgements of a file that stays for the sake of one record do not grow
// for ever.
func TestAckLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := open(t, dir, outbox.Options{})
		appendAll(t, q, record("stays", outbox.Event, "x"))
		l := q.Lane("a")
		largest := int64(0)
		for range 30 {
			var batch []outbox.Record
			for range 3000 {
				batch = append(batch, record("a", outbox.Event, ""))
			}
			appendAll(t, q, batch...)
			for range batch {
				r, err := l.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := q.Ack(r.ID); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(outbox.AckDelay + time.Second)
			synctest.Wait()
			if info, err := os.Stat(filepath.Join(dir, "acks.log")); err == nil {
				largest = max(largest, info.Size())
			}
		}
		if largest == 0 || largest > 600<<10 {
			t.Errorf("the log grew to %d bytes", largest)
		}
		after := killed(t, dir)
		if n := after.Stats().Records; n != 1 {
			t.Errorf("%d records after a kill, want the one that was not acknowledged", n)
		}
	})
}

// TestTornAckLog: whatever bytes are there, the queue opens, and what was not acknowledged is in
// it.
func TestTornAckLog(t *testing.T) {
	for _, junk := range []string{"", "x", strings.Repeat("\xff", 100), strings.Repeat("\x00", 100)} {
		dir := t.TempDir()
		q := open(t, dir, outbox.Options{})
		appendAll(t, q, record("a", outbox.Event, "one"))
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "acks.log"), []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		q = open(t, dir, outbox.Options{})
		if got := texts(drain(t, q.Lane("a"))); got != "one" {
			t.Errorf("with %q: %q", junk, got)
		}
	}
}

// TestParts: after a Rewind, what was there is the backlog; what comes is live; control records are
// apart, and Next still gives all in one order.
func TestParts(t *testing.T) {
	q := open(t, t.TempDir(), outbox.Options{})
	appendAll(t, q, record("a", outbox.Control, "k1"), record("a", outbox.Waveform, "w1"), record("a", outbox.Numeric, "n1"))
	l := q.Lane("a")
	l.Rewind()
	appendAll(t, q, record("a", outbox.Control, "k2"), record("a", outbox.Waveform, "w2"), record("a", outbox.Event, "e2"))
	take := func(p outbox.Part) (s []string) {
		t.Helper()
		for {
			r, ok, err := l.Take(p)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return s
			}
			s = append(s, string(r.Data))
		}
	}
	for _, tc := range []struct {
		part outbox.Part
		want string
	}{{outbox.Live, "[w2 e2]"}, {outbox.Controls, "[k1 k2]"}, {outbox.Backlog, "[w1 n1]"}} {
		if n := l.PendingOf(tc.part); n != 2 {
			t.Errorf("part %d: %d pending", tc.part, n)
		}
		if got := fmt.Sprint(take(tc.part)); got != tc.want {
			t.Errorf("part %d: %s, want %s", tc.part, got, tc.want)
		}
	}
	if r, ok := l.Oldest(); !ok || string(r.Data) != "w1" {
		t.Errorf("oldest is %q, %v", r.Data, ok)
	}
	if got := texts(drain(t, l)); got != "k1 w1 n1 k2 w2 e2" {
		t.Errorf("in one order: %q", got)
	}
	if got := fmt.Sprint(take(outbox.Backlog)); got != "[]" {
		t.Errorf("drained, but the backlog gives %s", got)
	}
	l.Rewind()
	if got := fmt.Sprint(take(outbox.Live), take(outbox.Backlog)); got != "[] [w1 n1 w2 e2]" {
		t.Errorf("after the next Rewind: %s", got)
	}
	appendAll(t, q, record("a", outbox.Waveform, "w3"), record("a", outbox.Waveform, "w4"), record("a", outbox.Waveform, "w5"))
	w3, _, err := l.Take(outbox.Live)
	if err != nil || string(w3.Data) != "w3" {
		t.Fatal(w3, err)
	}
	l.RewindBut(func(id uint64) bool { return id == w3.ID })
	if got := fmt.Sprint(take(outbox.Live), take(outbox.Backlog)); got != "[w3] [w1 n1 w2 e2 w4 w5]" {
		t.Errorf("when w3 was not heard: %s", got)
	}
	l.Rewind()
	if got := fmt.Sprint(take(outbox.Live), take(outbox.Backlog)); got != "[] [w1 n1 w2 e2 w4 w5 w3]" {
		t.Errorf("after an outage: %s", got)
	}
}

// TestDamageIsTold: a page in the middle of a file goes bad; what is whole around it is told, so
// that the gap can be.
func TestDamageIsTold(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	for i := range 10 {
		appendAll(t, q, record("a", outbox.Waveform, fmt.Sprint("record", i)))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	segs, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segs) != 1 {
		t.Fatal(segs, err)
	}
	b, err := os.ReadFile(segs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("record4"))] ^= 0x40
	b[bytes.Index(b, []byte("record5"))] ^= 0x40
	if err := os.WriteFile(segs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	var told []string
	o := outbox.Options{OnDamage: func(whole []outbox.Record) { told = append(told, texts(whole)) }}
	q = open(t, dir, o)
	const rest = "record0 record1 record2 record3 record6 record7 record8 record9"
	if fmt.Sprint(told) != "["+rest+"]" || texts(drain(t, q.Lane("a"))) != rest {
		t.Errorf("told %q", told)
	}
	// One that goes bad while the queue is open is told when it is read.
	told = nil
	b[bytes.Index(b, []byte("record8"))] ^= 0x40
	if err := os.WriteFile(segs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	l := q.Lane("a")
	l.Rewind()
	for range 7 {
		if _, err := l.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(told) != "["+strings.Replace(rest, " record8", "", 1)+"]" {
		t.Errorf("told %q", told)
	}
}

func FuzzAckLog(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		if ids, rest := outbox.ParseAckLog(b); rest < 0 || rest+8*ids > len(b) {
			t.Errorf("%d ids and %d bytes of rest in %d", ids, rest, len(b))
		}
	})
}
