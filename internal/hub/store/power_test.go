package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// forgetful is a disk below SQLite that keeps for certain only the bytes that were synced. After the power is cut, the others are
// there or not, whole or torn, as chance has it. File names are taken to be durable.
type forgetful struct {
	vfs.VFS
	mu     sync.Mutex // guards the fields below
	chance *rand.Rand
	budget int
	off    bool
	files  map[string]*content
}

// content is one file's, for all that have it open.
type content struct {
	synced []byte
	loose  []change
}

// change is a write, or a truncation when it has no data.
type change struct {
	at   int64
	data []byte
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

// spend counts one operation; false when the power is gone. mu is held.
func (d *forgetful) spend() bool {
	d.budget--
	d.off = d.off || d.budget <= 0
	return !d.off
}

// of is a file's content; what was there before the test is durable. mu is held.
func (d *forgetful) of(path string) *content {
	if c := d.files[path]; c != nil {
		return c
	}
	b, err := os.ReadFile(path)
	if err != nil {
		b = nil
	}
	d.files[path] = &content{synced: b}
	return d.files[path]
}

// current is the registered VFS: it leads to the disk of this round.
type current struct{ to atomic.Pointer[forgetful] }

func (c *current) Open(string, vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return nil, 0, sqlite3.CANTOPEN // as the system's own: OpenFilename is used
}

func (c *current) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return c.to.Load().open(name, flags)
}

func (c *current) Delete(name string, syncDir bool) error {
	d := c.to.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.spend() {
		return sqlite3.IOERR_DELETE
	}
	delete(d.files, name)
	return d.VFS.Delete(name, syncDir)
}

func (c *current) Access(name string, flags vfs.AccessFlag) (bool, error) {
	return c.to.Load().VFS.Access(name, flags)
}

func (c *current) FullPathname(name string) (string, error) {
	return c.to.Load().VFS.FullPathname(name)
}

func (d *forgetful) open(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, out, err := d.VFS.(vfs.VFSFilename).OpenFilename(name, flags)
	if err != nil || name.String() == "" {
		return f, out, err
	}
	d.of(name.String())
	return &powered{f, d, name.String()}, out, nil
}

// powered is a file on a forgetful disk.
type powered struct {
	vfs.File
	d    *forgetful
	name string
}

// SharedMemory is the write-ahead log's index, which no power cut survives.
func (f *powered) SharedMemory() vfs.SharedMemory {
	if s, ok := f.File.(vfs.FileSharedMemory); ok {
		return s.SharedMemory()
	}
	return nil
}

func (f *powered) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	on := f.d.spend()
	c := f.d.of(f.name)
	c.loose = append(c.loose, change{at, slices.Clone(b)}) // it may get through even in the last moment
	if !on {
		return 0, sqlite3.IOERR_WRITE
	}
	return f.File.WriteAt(b, at)
}

func (f *powered) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.d.spend() {
		return sqlite3.IOERR_TRUNCATE
	}
	c := f.d.of(f.name)
	c.loose = append(c.loose, change{at: size})
	return f.File.Truncate(size)
}

func (f *powered) Sync(vfs.SyncFlag) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.d.spend() {
		return sqlite3.IOERR_FSYNC
	}
	c := f.d.of(f.name)
	for _, x := range c.loose {
		c.synced = x.apply(c.synced)
	}
	c.loose = nil
	return nil
}

// image writes what the disk holds after the power came back.
func (d *forgetful) image(t *testing.T, from, to string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	must(t, os.CopyFS(to, os.DirFS(from)))
	must(t, os.Chmod(filepath.Join(to, "root.key"), 0o600))
	for path, c := range d.files {
		rel, err := filepath.Rel(from, path)
		must(t, err)
		if strings.HasPrefix(rel, "..") {
			continue // the test's audit log
		}
		b := slices.Clone(c.synced)
		for _, x := range c.loose {
			switch d.chance.IntN(3) {
			case 0:
				b = x.apply(b)
			case 1:
				if x.data != nil { // torn, at a sector
					x.data = x.data[:min(len(x.data), 512*(1+d.chance.IntN(8)))]
				}
				b = x.apply(b)
			}
		}
		must(t, os.WriteFile(filepath.Join(to, rel), b, 0o600))
	}
	shm, err := filepath.Glob(filepath.Join(to, "store", "*-shm"))
	must(t, err)
	for _, f := range shm {
		must(t, os.Remove(f))
	}
}

// TestPowerLoss cuts the power under a store at any instant, again and again: every chunk that was called accepted is there, once;
// so are announcements and gaps.
func TestPowerLoss(t *testing.T) {
	filesOnly(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	var under current
	vfs.Register("forgetful", &under)
	store.OnDisk("forgetful")
	t.Cleanup(store.OnRealDisk)
	base := t.TempDir()
	dir := filepath.Join(base, "0")
	must(t, os.Mkdir(dir, 0o700))
	under.to.Store(&forgetful{VFS: vfs.Find(""), chance: chance, budget: 1 << 40, files: map[string]*content{}})
	s := open(t, dir)
	ward(t, s, time.Now(), 4)
	must(t, s.Close())

	type key struct {
		sensor string
		epoch  uint64
		seq    uint64
	}
	accepted := map[key]archive.Arrival{}
	rounds := 0
	lasting, _ := time.ParseDuration(os.Getenv("VITALSEAL_SOAK"))
	for end := time.Now().Add(lasting); rounds < 6 || time.Now().Before(end); rounds++ {
		d := &forgetful{VFS: vfs.Find(""), chance: chance, budget: 100 + chance.IntN(2500), files: map[string]*content{}}
		under.to.Store(d)
		s, err := store.Open(t.Context(), filepath.Join(dir, "store"), keys(t, dir), slog.New(slog.DiscardHandler))
		if err == nil {
			g := standing(t, s)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					id, e := sensorID(fmt.Sprintf("s%d", i)), epoch(uint64(rounds+1))
					for seq := uint64(0); seq < 5000; seq++ {
						a := arrival(id, numerics(time.Now(), heart(70)), e, seq)
						o, _, err := s.Append(context.Background(), g, a)
						if err != nil {
							return
						}
						if o != delivery.Accepted {
							t.Errorf("%s: %v", id, o)
							return
						}
						mu.Lock()
						accepted[key{id, e.Number, seq}] = a
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			_ = s.Close() // the power is gone
		}
		next := filepath.Join(base, fmt.Sprint(rounds+1))
		d.image(t, dir, next)
		must(t, os.RemoveAll(dir))
		dir = next
	}
	under.to.Store(&forgetful{VFS: vfs.Find(""), chance: chance, budget: 1 << 40, files: map[string]*content{}})
	s = open(t, dir)
	g := standing(t, s)
	d, err := s.Delivery(t.Context())
	must(t, err)
	var rows, doubled, missing int64
	for _, st := range d.Streams {
		if st.Signal != vitals.Numerics.String() {
			t.Errorf("stream %+v", st)
		}
		rows, doubled, missing = rows+st.Chunks, doubled+st.Doubled, missing+st.Missing
	}
	t.Logf("ACCOUNT of %d power cuts: accepted %d, stored %d; doubled %d, missing %d", rounds, len(accepted), rows, doubled, missing)
	if doubled != 0 || missing != 0 || rows < int64(len(accepted)) || rows > int64(len(accepted)+4*rounds) || len(accepted) < 50 {
		t.Errorf("of %d accepted %d are stored, %d doubled, %d missing", len(accepted), rows, doubled, missing)
	}
	for k, a := range accepted {
		if o, _, err := s.Append(t.Context(), g, a); o != delivery.Duplicate {
			t.Fatalf("%+v was accepted, and is gone: now %v, %v", k, o, err)
		}
	}
}
