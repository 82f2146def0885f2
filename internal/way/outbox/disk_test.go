package outbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"vitalseal/internal/way/outbox"
)

// disk makes files that fail when told to.
type disk struct {
	failSync  atomic.Bool
	failWrite atomic.Bool
	mu        sync.Mutex
	files     []*diskFile
}

type diskFile struct {
	outbox.File
	disk *disk
	// Only the queue's writer touches these.
	writes, syncs, failures int
}

func (d *disk) create(path string) (outbox.File, error) {
	f, err := outbox.CreateFile(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = append(d.files, &diskFile{File: f, disk: d})
	return d.files[len(d.files)-1], nil
}

func (f *diskFile) Sync() error {
	f.syncs++
	if f.disk.failSync.CompareAndSwap(true, false) {
		f.failures++
		return syscall.EIO
	}
	return f.File.Sync()
}

// WriteAt of a full disk writes half.
func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	f.writes++
	if f.disk.failWrite.Load() && at > 0 {
		f.failures++
		n, err := f.File.WriteAt(b[:len(b)/2], at)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(b, at)
}

func countDropped(dropped map[outbox.Class]int) func([]outbox.Record) {
	return func(recs []outbox.Record) {
		for _, r := range recs {
			dropped[r.Class]++
		}
	}
}

func texts(recs []outbox.Record) string {
	var s []string
	for _, r := range recs {
		s = append(s, string(r.Data))
	}
	return strings.Join(s, " ")
}

func openOn(t *testing.T, d *disk, dir string) *outbox.Queue {
	t.Helper()
	q, err := outbox.OpenOn(dir, outbox.Options{}, d.create)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestFailedFsync: after a failed fsync the kernel may have thrown the bytes away and says yes to
// the next one. So the file gets no second chance, the caller gets the error, and the queue goes on
// elsewhere.
func TestFailedFsync(t *testing.T) {
	var d disk
	dir := t.TempDir()
	q := openOn(t, &d, dir)
	appendAll(t, q, record("a", outbox.Event, "one"))
	d.failSync.Store(true)
	if err := q.Append(t.Context(), record("a", outbox.Event, "two")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append with a failing fsync: %v", err)
	}
	if s := q.Stats(); s.Records != 1 || s.Appended != 1 {
		t.Errorf("stats = %+v; a record that is not durable was counted", s)
	}
	appendAll(t, q, record("a", outbox.Event, "two"))
	if got := texts(drain(t, q.Lane("a"))); got != "one two" {
		t.Errorf("holds %q", got)
	}
	if len(d.files) != 2 || d.files[0].syncs != 2 || d.files[0].writes != 3 {
		t.Errorf("%d files; the failed one was written %d times and synced %d times", len(d.files), d.files[0].writes, d.files[0].syncs)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	seen := map[string]bool{}
	for _, r := range drain(t, q.Lane("a")) {
		seen[string(r.Data)] = true
	}
	if !seen["one"] || !seen["two"] {
		t.Errorf("after a restart: %v", seen)
	}
}

func TestFullDisk(t *testing.T) {
	var d disk
	dir := t.TempDir()
	q := openOn(t, &d, dir)
	appendAll(t, q, record("a", outbox.Event, "one"))
	d.failWrite.Store(true)
	for range 5 {
		err := q.Append(t.Context(), record("a", outbox.Event, "two"), record("b", outbox.Waveform, "two"))
		if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "outbox: append: ") {
			t.Fatalf("Append on a full disk: %v", err)
		}
	}
	if got := texts(drain(t, q.Lane("a"))); got != "one" {
		t.Errorf("holds %q", got)
	}
	d.failWrite.Store(false)
	appendAll(t, q, record("a", outbox.Event, "three"))
	onDisk, files := diskUse(t, dir)
	if s := q.Stats(); s.Bytes != onDisk || s.Records != 2 || files != 2 {
		t.Errorf("%d bytes in %d files, stats %+v", onDisk, files, s)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	if got := texts(drain(t, q.Lane("a"))); got != "one three" || q.Stats().Corrupt != 0 {
		t.Errorf("after a restart: %q, %+v", got, q.Stats())
	}
}

func diskUse(t *testing.T, dir string) (size int64, files int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size, len(names)
}

// TestDroppedStaysDropped looks at the folder as a crash would leave it.
func TestDroppedStaysDropped(t *testing.T) {
	dir, crashed := t.TempDir(), t.TempDir()
	o := outbox.Options{MaxBytes: 64 << 10, SegmentBytes: 4 << 10}
	q := open(t, dir, o)
	for i := range 500 {
		appendAll(t, q, record("a", outbox.Waveform, fmt.Sprintf("%03d%s", i, strings.Repeat("x", 300))))
	}
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	want := drain(t, q.Lane("a"))
	after := open(t, crashed, o)
	got := drain(t, after.Lane("a"))
	if texts(got) != texts(want) || len(got) == 500 {
		t.Errorf("%d records came back, %d were there", len(got), len(want))
	}
	if s := after.Stats(); s.Bytes > o.MaxBytes {
		t.Errorf("stats = %+v", s)
	}
	before := got[len(got)-1].ID
	appendAll(t, after, record("a", outbox.Waveform, "new"))
	if got := drain(t, after.Lane("a")); got[len(got)-1].ID <= before {
		t.Errorf("id %d after %d", got[len(got)-1].ID, before)
	}
}

func TestSmallerBoundAppliesAtOpen(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{MaxBytes: 64 << 10, SegmentBytes: 4 << 10})
	appendAll(t, q, record("a", outbox.Control, "key"))
	for i := range 120 {
		appendAll(t, q, record("a", outbox.Waveform, fmt.Sprintf("w%03d%s", i, strings.Repeat("x", 200))),
			record("a", outbox.Numeric, fmt.Sprintf("n%03d", i)))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	dropped := map[outbox.Class]int{}
	o := outbox.Options{MaxBytes: 16 << 10, SegmentBytes: 1 << 10, OnDrop: countDropped(dropped)}
	q = open(t, dir, o)
	onDisk, _ := diskUse(t, dir)
	if onDisk > o.MaxBytes || q.Stats().Bytes != onDisk {
		t.Errorf("%d bytes on disk, stats %+v", onDisk, q.Stats())
	}
	kept := map[byte]int{}
	for _, r := range drain(t, q.Lane("a")) {
		kept[r.Data[0]]++
	}
	if kept['k'] != 1 || kept['n'] != 120 || dropped[outbox.Waveform] == 0 || kept['w']+dropped[outbox.Waveform] != 120 {
		t.Errorf("kept %v, dropped %v", kept, dropped)
	}
}

// TestLastWaveformsGoBeforeNumerics: also the file still appended to.
func TestLastWaveformsGoBeforeNumerics(t *testing.T) {
	dropped := map[outbox.Class]int{}
	q := open(t, t.TempDir(), outbox.Options{MaxBytes: 64 << 10, SegmentBytes: 4 << 10,
		OnDrop: countDropped(dropped)})
	appendAll(t, q, record("a", outbox.Waveform, strings.Repeat("w", 2000)))
	for dropped[outbox.Waveform] == 0 && dropped[outbox.Numeric] == 0 {
		appendAll(t, q, record("a", outbox.Numeric, strings.Repeat("n", 500)))
	}
	if dropped[outbox.Waveform] != 1 || dropped[outbox.Numeric] != 0 {
		t.Errorf("dropped %v", dropped)
	}
}

// TestDamagedIDs: a list of acknowledged ids that is out of date must not swallow new records.
func TestDamagedIDs(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	for range 10 {
		appendAll(t, q, record("a", outbox.Event, "old"))
	}
	for _, r := range drain(t, q.Lane("a"))[:9] {
		if err := q.Ack(r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil { // leaves nine ids in the list
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err := errors.Join(os.Remove(names[0]), os.WriteFile(filepath.Join(dir, "ids"), []byte("rotten"), 0o600)); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	if q.Stats().Corrupt != 1 {
		t.Errorf("stats = %+v", q.Stats())
	}
	for range 10 {
		appendAll(t, q, record("a", outbox.Event, "new"))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	if n := len(drain(t, q.Lane("a"))); n != 10 {
		t.Errorf("%d of 10 new records are there", n)
	}
}

// TestDamagedWhileOpen: the disk loses a record under a running queue; the others still come, and
// the file still goes.
func TestDamagedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, outbox.Options{})
	appendAll(t, q, record("a", outbox.Event, "one"), record("a", outbox.Numeric, "two"))
	names, _ := filepath.Glob(filepath.Join(dir, "*-3.seg"))
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := q.Lane("a").Next(t.Context())
	if err != nil || string(r.Data) != "two" {
		t.Fatalf("Next = %q, %v", r.Data, err)
	}
	if s := q.Stats(); s.Records != 1 || s.Corrupt != 1 {
		t.Errorf("stats = %+v", s)
	}
}

// TestBoundHoldsUnderLoad: whatever is appended by many at once is acknowledged, dropped and told,
// or still there.
func TestBoundHoldsUnderLoad(t *testing.T) {
	dir := t.TempDir()
	var dropped atomic.Int64
	o := outbox.Options{MaxBytes: 64 << 10, SegmentBytes: 4 << 10, OnDrop: func(recs []outbox.Record) { dropped.Add(int64(len(recs))) }}
	q := open(t, dir, o)
	const lanes, each = 6, 300
	var wg sync.WaitGroup
	for i := range lanes {
		name := fmt.Sprint("lane", i)
		wg.Go(func() {
			for j := range each {
				if err := q.Append(t.Context(), record(name, outbox.Waveform+outbox.Class(j%3), strings.Repeat("x", 200))); err != nil {
					t.Error(err)
				}
				if s := q.Stats(); s.Bytes > o.MaxBytes {
					t.Errorf("%d bytes", s.Bytes)
				}
				if j%5 != 0 {
					continue
				}
				if l := q.Lane(name); l.Pending() > 50 {
					if r, err := l.Next(t.Context()); err != nil || q.Ack(r.ID) != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	s := q.Stats()
	if int64(s.Acked)+dropped.Load()+s.Records != lanes*each || dropped.Load() == 0 || int64(s.Dropped) != dropped.Load() {
		t.Errorf("%d told as dropped, stats %+v, of %d", dropped.Load(), s, lanes*each)
	}
	if onDisk, _ := diskUse(t, dir); onDisk != s.Bytes {
		t.Errorf("%d bytes on disk, stats say %d", onDisk, s.Bytes)
	}
}
