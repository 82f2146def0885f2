package outbox_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/way/outbox"
)

// forgetful is a disk that keeps for certain only what was synced: bytes by their file's Sync,
// names by SyncDir. After the power is cut, what was not synced is there or not, whole or torn, as
// chance has it.
type forgetful struct {
	outbox.OSDisk
	mu      sync.Mutex // guards all below, and all inodes
	chance  *rand.Rand
	budget  int // operations until the power goes
	off     bool
	current map[string]*inode
	durable map[string]*inode
}

// inode is a file's content without its name.
type inode struct {
	outbox.File
	d      *forgetful
	synced []byte
	loose  []change
}

// change is a write that was not synced, or a truncation when it has no data.
type change struct {
	at   int64
	data []byte
}

var errPower = errors.New("the power is gone")

// plug puts a disk under what is in a folder.
func plug(t *testing.T, dir string, chance *rand.Rand, budget int) *forgetful {
	t.Helper()
	d := &forgetful{chance: chance, budget: budget, current: map[string]*inode{}}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		d.current[p] = &inode{d: d, synced: b}
	}
	d.durable = maps.Clone(d.current)
	return d
}

// spend counts one operation; false when the power is gone. mu is held.
func (d *forgetful) spend() bool {
	d.budget--
	d.off = d.off || d.budget <= 0
	return !d.off
}

func (d *forgetful) Create(path string) (outbox.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spend() {
		return nil, errPower
	}
	f, err := d.OSDisk.Create(path)
	if err != nil {
		return nil, err
	}
	n := &inode{File: f, d: d}
	d.current[path] = n
	return n, nil
}

func (d *forgetful) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spend() {
		return errPower
	}
	delete(d.current, path)
	return d.OSDisk.Remove(path)
}

func (d *forgetful) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spend() {
		return errPower
	}
	d.current[to] = d.current[from]
	delete(d.current, from)
	return d.OSDisk.Rename(from, to)
}

func (d *forgetful) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spend() {
		return errPower
	}
	d.durable = maps.Clone(d.current)
	return nil
}

func (n *inode) WriteAt(b []byte, at int64) (int, error) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if !n.d.spend() {
		n.loose = append(n.loose, change{at, slices.Clone(b)}) // it may have got through all the same
		return 0, errPower
	}
	n.loose = append(n.loose, change{at, slices.Clone(b)})
	return n.File.WriteAt(b, at)
}

func (n *inode) Truncate(size int64) error {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if !n.d.spend() {
		return errPower
	}
	n.loose = append(n.loose, change{at: size})
	return n.File.Truncate(size)
}

func (n *inode) Sync() error {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if !n.d.spend() {
		return errPower
	}
	for _, c := range n.loose {
		n.synced = c.apply(n.synced)
	}
	n.loose = nil
	return nil
}

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return b[:min(c.at, int64(len(b)))]
	}
	if grow := c.at + int64(len(c.data)) - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[c.at:], c.data)
	return b
}

// image is what a disk holds after the power came back, in a new folder.
func (d *forgetful) image(t *testing.T, dir string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	names := map[string]*inode{}
	for path, n := range d.durable {
		if d.current[path] == n || d.chance.IntN(2) == 0 {
			names[path] = n
		}
	}
	for path, n := range d.current {
		if d.durable[path] != n && d.chance.IntN(2) == 0 {
			names[path] = n
		} else if names[path] == nil && d.durable[path] != nil {
			names[path] = d.durable[path] // a rename replaces a name, it never leaves none
		}
	}
	for path, n := range names {
		b := slices.Clone(n.synced)
		for _, c := range n.loose {
			switch d.chance.IntN(3) {
			case 0:
				b = c.apply(b)
			case 1: // torn
				if c.data != nil {
					c.data = c.data[:d.chance.IntN(len(c.data))+1]
				}
				b = c.apply(b)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// soak is how long a test with faults goes on: a few rounds, or as long as VITALSEAL_SOAK says.
func soak(t *testing.T, rounds int) func() bool {
	t.Helper()
	n := 0
	v := os.Getenv("VITALSEAL_SOAK")
	if v == "" {
		return func() bool { n++; return n <= rounds }
	}
	lasting, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("VITALSEAL_SOAK: %v", err)
	}
	end := time.Now().Add(lasting)
	return func() bool { n++; return n <= rounds || time.Now().Before(end) }
}

// TestPowerLoss cuts the power at every kind of instant, many times over the life of one outbox:
// what Append returned for and was not acknowledged is there afterwards, once, and no id is ever
// given out twice.
func TestPowerLoss(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	base := t.TempDir()
	dir := filepath.Join(base, "0")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	promised := map[string]bool{} // by content: durable and not acknowledged
	owner := map[uint64]string{}  // by id
	var cuts, durable, back int
	for more := soak(t, 40); more(); {
		d := plug(t, dir, chance, 20+chance.IntN(250))
		q, err := outbox.OpenOnDisk(dir, outbox.Options{SegmentBytes: 4 << 10, MaxBytes: 64 << 20, AckDelay: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, d)
		if err == nil {
			back += check(t, q, promised, owner)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for lane := range 3 {
				wg.Go(func() { life(t, q, fmt.Sprintf("%d.%d", cuts, lane), lane, &mu, promised) })
			}
			wg.Wait()
			_ = q.Close() // the power is gone
		}
		cuts++
		next := filepath.Join(base, fmt.Sprint(cuts))
		d.image(t, next)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		dir = next
	}
	q := open(t, dir, outbox.Options{SegmentBytes: 4 << 10, MaxBytes: 64 << 20})
	back += check(t, q, promised, owner)
	if durable = len(owner); t.Failed() {
		return
	}
	t.Logf("ACCOUNT of %d power cuts: %d records seen after one; %d promised and not acknowledged are there; lost 0; %d acknowledged ones came back (recognised as duplicates)", cuts, durable, len(promised), back)
	if durable == 0 {
		t.Error("nothing was ever durable: the test tests nothing")
	}
}

// life appends and acknowledges until the power is gone.
func life(t *testing.T, q *outbox.Queue, name string, lane int, mu *sync.Mutex, promised map[string]bool) {
	l := q.Lane(fmt.Sprint(lane))
	for i := 0; ; i++ {
		text := fmt.Sprintf("%s.%d ", name, i) + strings.Repeat("x", 100+i%400)
		err := q.Append(t.Context(), record(l.Name(), outbox.Waveform+outbox.Class(i%4), text))
		if err != nil {
			return
		}
		mu.Lock()
		promised[text] = true
		mu.Unlock()
		if i%3 == 0 {
			continue
		}
		r, ok, err := l.Take(outbox.Live)
		if err != nil {
			return
		}
		if ok {
			mu.Lock()
			delete(promised, string(r.Data)) // from here on it may be gone
			mu.Unlock()
			if q.Ack(r.ID) != nil {
				return
			}
		}
	}
}

// check looks for all that was promised, and returns how many records came back though they were
// acknowledged.
func check(t *testing.T, q *outbox.Queue, promised map[string]bool, owner map[uint64]string) (back int) {
	t.Helper()
	found := map[string]bool{}
	for lane := range 3 {
		for _, r := range drain(t, q.Lane(fmt.Sprint(lane))) {
			text := string(r.Data)
			if was, used := owner[r.ID]; used && was != text {
				t.Fatalf("id %d was given out twice: %.20q and %.20q", r.ID, was, text)
			}
			owner[r.ID] = text
			found[text] = true
			if !promised[text] {
				back++
			}
		}
	}
	for text := range promised {
		if !found[text] {
			t.Errorf("lost: %.20q", text)
		}
	}
	return back
}

// TestReadOnlyDisk: a disk that turns read-only takes nothing more, says so, gives what it has, and
// lets go of it.
func TestReadOnlyDisk(t *testing.T) {
	d := plug(t, t.TempDir(), rand.New(rand.NewPCG(1, 1)), 1<<30)
	dir := t.TempDir()
	q, err := outbox.OpenOnDisk(dir, outbox.Options{}, readOnly{d})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, q, record("a", outbox.Event, "one"), record("a", outbox.Event, "two"))
	d.mu.Lock()
	d.budget = 0
	d.mu.Unlock()
	for range 3 {
		if err := q.Append(t.Context(), record("a", outbox.Event, "three")); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("append: %v", err)
		}
	}
	recs := drain(t, q.Lane("a"))
	if texts(recs) != "one two" {
		t.Errorf("holds %q", texts(recs))
	}
	if err := q.Ack(recs[0].ID, recs[1].ID); err != nil {
		t.Error(err)
	}
	if s := q.Stats(); s.Records != 0 || s.Acked != 2 {
		t.Errorf("stats %+v", s)
	}
	_ = q.Close() // it says that it could not write, too
}

// readOnly gives the error of a disk that was remounted.
type readOnly struct{ *forgetful }

func (d readOnly) Create(path string) (outbox.File, error) {
	f, err := d.forgetful.Create(path)
	if err != nil {
		return nil, syscall.EROFS
	}
	return readOnlyFile{f}, nil
}

type readOnlyFile struct{ outbox.File }

func (f readOnlyFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	if err != nil {
		return n, syscall.EROFS
	}
	return n, nil
}

// TestSmallDisk is a real file system that is too small for the share it was promised; it needs
// root.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no small file system here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	q := open(t, filepath.Join(dir, "outbox"), outbox.Options{MaxBytes: 64 << 20, SegmentBytes: 64 << 10})
	var kept []string
	full := false
	for i := 0; i < 4000; i++ {
		text := fmt.Sprintf("%d ", i) + strings.Repeat("x", 1000)
		if err := q.Append(t.Context(), record("a", outbox.Waveform, text)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			full = true
			break
		}
		kept = append(kept, text)
	}
	if !full {
		t.Fatal("the disk was never full")
	}
	recs := drain(t, q.Lane("a"))
	if len(recs) != len(kept) {
		t.Fatalf("%d records, %d were promised", len(recs), len(kept))
	}
	// Delivery makes room again.
	for _, r := range recs[:len(recs)/2] {
		if err := q.Ack(r.ID); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, q, record("a", outbox.Waveform, "after"))
	recs = drain(t, q.Lane("a"))
	if got := string(recs[len(recs)-1].Data); got != "after" {
		t.Errorf("the newest is %.20q", got)
	}
}
