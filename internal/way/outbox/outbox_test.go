package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/way/outbox"
)

func open(t testing.TB, dir string, o outbox.Options) *outbox.Queue {
	t.Helper()
	q, err := outbox.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func record(lane string, c outbox.Class, data string) outbox.Record {
	return outbox.Record{Lane: lane, Class: c, Data: []byte(data)}
}

func appendAll(t testing.TB, q *outbox.Queue, recs ...outbox.Record) {
	t.Helper()
	if err := q.Append(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
}

// drain hands out what a lane holds now.
func drain(t testing.TB, l *outbox.Lane) (recs []outbox.Record) {
	t.Helper()
	l.Rewind()
	for range l.Pending() {
		r, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r)
	}
	return recs
}

func TestLanesKeepTheirOrderAcrossClassesAndRestarts(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	for i := range 50 {
		class := outbox.Waveform + outbox.Class(i%4)
		appendAll(t, q, record("a", class, fmt.Sprint("a", i)), record("b", class, fmt.Sprint("b", i)))
	}
	check := func(q *outbox.Queue, lane string, from int) {
		t.Helper()
		var lastID uint64
		got := drain(t, q.Lane(lane))
		if len(got) != 50-from {
			t.Fatalf("lane %s: %d records, want %d", lane, len(got), 50-from)
		}
		for i, r := range got {
			if want := fmt.Sprint(lane, i+from); string(r.Data) != want || r.Lane != lane || r.ID <= lastID || r.Class != outbox.Waveform+outbox.Class((i+from)%4) {
				t.Fatalf("lane %s: record %d is %+v, want %s", lane, i, r, want)
			}
			lastID = r.ID
		}
	}
	check(q, "a", 0)
	for _, r := range drain(t, q.Lane("a"))[:20] {
		if err := q.Ack(r.ID); err != nil {
			t.Fatal(err)
		}
	}
	check(q, "a", 20)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	check(q, "a", 20) // a clean restart keeps the acknowledgements
	check(q, "b", 0)
	if s := q.Stats(); s.Records != 80 || s.Corrupt != 0 {
		t.Errorf("stats = %+v", s)
	}
}

func TestNextWaitsForAppend(t *testing.T) {
	q := open(t, t.TempDir(), outbox.Options{})
	got := make(chan outbox.Record)
	go func() {
		r, err := q.Lane("a").Next(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- r
	}()
	appendAll(t, q, record("other", outbox.Event, "no"), record("a", outbox.Event, "yes"))
	if r := <-got; string(r.Data) != "yes" {
		t.Errorf("got %q", r.Data)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Lane("a").Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next after cancel: %v", err)
	}
}

func TestRewindHandsOutOnlyWhatIsUnacknowledged(t *testing.T) {
	q := open(t, t.TempDir(), outbox.Options{})
	for i := range 300 {
		appendAll(t, q, record("a", outbox.Numeric, fmt.Sprint(i)))
	}
	l := q.Lane("a")
	for i := range 200 {
		r, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 || i < 150 {
			if err := q.Ack(r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r, err := l.Next(t.Context()); err != nil || string(r.Data) != "200" {
		t.Fatalf("went on with %q, %v; want 200", r.Data, err)
	}
	got := drain(t, l)
	if len(got) != 125 || string(got[0].Data) != "151" || string(got[24].Data) != "199" || string(got[25].Data) != "200" {
		t.Fatalf("after Rewind: %d records, first %q", len(got), got[0].Data)
	}
}

func TestFullDropsTheLeastImportantOldestFirstAndSaysSo(t *testing.T) {
	dropped := map[outbox.Class]int{}
	dir := t.TempDir()
	o := outbox.Options{MaxBytes: 16 << 12, SegmentBytes: 1 << 12, OnDrop: func(recs []outbox.Record) {
		for _, r := range recs {
			if r.Lane != "a" || len(r.Data) < 500 {
				t.Errorf("dropped %+v", r)
			}
			dropped[r.Class]++
		}
	}}
	q := open(t, dir, o)
	data := strings.Repeat("x", 500)
	appendAll(t, q, record("a", outbox.Control, "key"+data))
	for range 40 {
		appendAll(t, q, record("a", outbox.Numeric, "n"+data))
	}
	for i := range 200 {
		appendAll(t, q, record("a", outbox.Waveform, fmt.Sprintf("w%03d", i)+data))
	}
	if dropped[outbox.Waveform] == 0 || dropped[outbox.Numeric] != 0 {
		t.Fatalf("dropped %v; only waveforms may go for waveforms", dropped)
	}
	counts := map[byte]int{}
	newest := ""
	for _, r := range drain(t, q.Lane("a")) {
		counts[r.Data[0]]++
		if r.Data[0] == 'w' {
			newest = string(r.Data[:4])
		}
	}
	if counts['k'] != 1 || counts['n'] != 40 || counts['w']+dropped[outbox.Waveform] != 200 || newest != "w199" {
		t.Errorf("kept %v, dropped %v, newest waveform %s", counts, dropped, newest)
	}
	for range 400 { // events push out waveforms first, then numerics, never the key
		appendAll(t, q, record("a", outbox.Event, "e"+data))
	}
	counts = map[byte]int{}
	for _, r := range drain(t, q.Lane("a")) {
		counts[r.Data[0]]++
	}
	if counts['k'] != 1 || dropped[outbox.Numeric] == 0 || counts['e']+dropped[outbox.Event] != 400 {
		t.Errorf("kept %v, dropped %v", counts, dropped)
	}
	if s := q.Stats(); s.Bytes > o.MaxBytes || int(s.Dropped) != dropped[outbox.Waveform]+dropped[outbox.Numeric]+dropped[outbox.Event] {
		t.Errorf("stats = %+v, dropped %v", s, dropped)
	}
	var onDisk int64
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if onDisk > o.MaxBytes || onDisk != q.Stats().Bytes {
		t.Errorf("%d bytes on disk, stats say %d, bound %d", onDisk, q.Stats().Bytes, o.MaxBytes)
	}
	for err := error(nil); err == nil; { // control alone fills it, and is refused rather than dropped
		err = q.Append(t.Context(), record("a", outbox.Control, data))
		if err != nil && !errors.Is(err, outbox.ErrFull) {
			t.Fatal(err)
		}
	}
}

func TestAcknowledgedSegmentsLeaveTheDisk(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 12})
	for range 100 {
		appendAll(t, q, record("a", outbox.Numeric, strings.Repeat("x", 1000)))
	}
	before := q.Stats().Bytes
	for _, r := range drain(t, q.Lane("a")) {
		if err := q.Ack(r.ID, r.ID, 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	if s := q.Stats(); s.Records != 0 || s.Acked != 100 || s.Bytes > 1<<12 || before < 100_000 {
		t.Errorf("before %d bytes, after %+v", before, s)
	}
}

func TestTruncatedAnywhereKeepsWhatIsWhole(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	const n = 5
	for i := range n {
		appendAll(t, q, record("a", outbox.Numeric, fmt.Sprint("record ", i)))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(files) != 1 {
		t.Fatalf("%d segments", len(files))
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		sub := filepath.Join(t.TempDir(), "q")
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, filepath.Base(files[0])), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := outbox.Open(sub, outbox.Options{})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		got := drain(t, q.Lane("a"))
		want := 0 // records that end before the cut
		for end := bytes.Index(whole, []byte("record 0")) + 8; want < n && end <= cut; want++ {
			end += (len(whole) - 6) / n
		}
		if len(got) != want {
			t.Fatalf("cut at %d of %d: %d records, want %d", cut, len(whole), len(got), want)
		}
		for i, r := range got {
			if string(r.Data) != fmt.Sprint("record ", i) {
				t.Fatalf("cut at %d: record %d is %q", cut, i, r.Data)
			}
		}
		appendAll(t, q, record("a", outbox.Numeric, "after")) // still usable
		if got := drain(t, q.Lane("a")); len(got) != want+1 || string(got[want].Data) != "after" {
			t.Fatalf("cut at %d: append after recovery gave %d records", cut, len(got))
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageInTheMiddleLosesOnlyThatRecord(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	for i := range 5 {
		appendAll(t, q, record("a", outbox.Numeric, fmt.Sprint("record ", i)))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("record 2"))] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	var got []string
	for _, r := range drain(t, q.Lane("a")) {
		got = append(got, string(r.Data))
	}
	if s := strings.Join(got, ","); s != "record 0,record 1,record 3,record 4" || q.Stats().Corrupt != 1 {
		t.Errorf("got %s, stats %+v", s, q.Stats())
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, outbox.Options{})
	if _, err := outbox.Open(dir, outbox.Options{}); !errors.Is(err, outbox.ErrInUse) {
		t.Errorf("second Open: %v", err)
	}
}

func TestRefusesWhatIsNoRecord(t *testing.T) {
	q := open(t, t.TempDir(), outbox.Options{})
	for name, r := range map[string]outbox.Record{
		"no lane":   {Class: outbox.Event},
		"long lane": {Lane: strings.Repeat("l", 256), Class: outbox.Event},
		"no class":  {Lane: "a"},
		"class 5":   {Lane: "a", Class: 5},
		"too long":  {Lane: "a", Class: outbox.Event, Data: make([]byte, outbox.MaxDataBytes+1)},
	} {
		if err := q.Append(t.Context(), record("a", outbox.Event, "fine"), r); !errors.Is(err, outbox.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := q.Lane("a").Pending(); n != 0 {
		t.Errorf("%d records of refused batches were kept", n)
	}
}

func TestConcurrentAppendsAndAcks(t *testing.T) {
	q := open(t, t.TempDir(), outbox.Options{MaxBytes: 64 << 20, SegmentBytes: 64 << 10})
	const lanes, each = 8, 200
	var wg sync.WaitGroup
	for l := range lanes {
		name := fmt.Sprint("lane", l)
		wg.Go(func() {
			for i := range each {
				if err := q.Append(t.Context(), record(name, outbox.Waveform, fmt.Sprint(i)), record(name, outbox.Control, "c")); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range 2 * each {
				r, err := q.Lane(name).Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 && string(r.Data) != fmt.Sprint(i/2) {
					t.Errorf("%s: record %d is %q", name, i, r.Data)
				}
				if err := q.Ack(r.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s := q.Stats(); s.Records != 0 || s.Appended != lanes*each*2 || s.Acked != s.Appended || s.Dropped != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// TestKill9 runs itself as a child that appends and prints what was acknowledged, and kills it in
// the middle.
func TestKill9(t *testing.T) {
	if dir := os.Getenv("OUTBOX_CHILD"); dir != "" {
		child(dir)
		return
	}
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), "OUTBOX_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var told []string
		for len(told) < 200 {
			var s string
			if _, err := fmt.Fscanln(out, &s); err != nil {
				t.Fatal(err)
			}
			told = append(told, s)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // what it said before it died counts, too
			var s string
			if _, err := fmt.Fscanln(out, &s); err != nil {
				break
			}
			told = append(told, s)
		}
		_ = cmd.Wait()

		q, err := outbox.Open(dir, outbox.Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 12})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]int{}
		for _, r := range drain(t, q.Lane("a")) {
			have[string(r.Data)]++
		}
		for _, s := range told {
			if strings.HasPrefix(s, fmt.Sprintf("%d-", os.Getpid())) {
				t.Fatal("the child is not a child")
			}
			if have[s] != 1 {
				t.Fatalf("round %d: %q was acknowledged and is there %d times", round, s, have[s])
			}
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func child(dir string) {
	q, err := outbox.Open(dir, outbox.Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 12})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; i < 5000; i++ {
		s := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := q.Append(context.Background(), record("a", outbox.Event, s)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s)
	}
	time.Sleep(time.Minute) // to be killed
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	q, err := outbox.Open(dir, outbox.Options{})
	if err != nil {
		f.Fatal(err)
	}
	appendAll(f, q, record("a", outbox.Numeric, "one"), record("b", outbox.Numeric, "two"))
	if err := q.Close(); err != nil {
		f.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	seed, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte("VSOB\x01\x02VSFR\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000000000001-2.seg"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := outbox.Open(dir, outbox.Options{})
		if err != nil {
			t.Fatal(err) // foreign bytes are never a reason to stand still
		}
		defer q.Close()
		appendAll(t, q, record("new", outbox.Numeric, "x"))
		if got := drain(t, q.Lane("new")); len(got) == 0 || string(got[len(got)-1].Data) != "x" {
			t.Fatalf("append after recovery: %v", got)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	q := open(b, b.TempDir(), outbox.Options{MaxBytes: 1 << 30})
	data := make([]byte, 300)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := q.Append(b.Context(), outbox.Record{Lane: "a", Class: outbox.Waveform, Data: data}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
