package days

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// A day's file is named PartitionPrefix, the day, PartitionSuffix.
const (
	PartitionPrefix = "chunks-"
	PartitionSuffix = ".db"
)

// PartitionOf names the partition of a start time: its UTC day, "2026-11-23".
func PartitionOf(start time.Time) string { return start.UTC().Format(time.DateOnly) }

// partitions are the days on disk, of which a bounded number is open.
type partitions struct {
	s   *Days
	dir string
	max int

	mu    sync.Mutex            // guards all below, and the refs and used of each partition
	files map[string]*partition // the open ones
	names []string              // all on disk, ascending
	gens  map[string]uint64     // how often each was written to
	loose map[string]bool       // those that may have recent chunks to compact
	clock uint64

	failed error // the last failure to close one
}

// partition is one open day.
type partition struct {
	name        string
	write, read *sql.DB
	refs        int
	used        uint64

	// Only the writer goroutine touches what follows.
	insertRecent *sql.Stmt
	streamIDs    map[attribution.StreamKey]int64
	subjects     map[string]int64
	next         int64 // id in recent
	checkpoints  sealdb.Checkpointer

	mu sync.RWMutex // guards what follows; held by the writer while blocks take the place of recent chunks
	// taken are the sequences that are there, by stream.
	taken map[int64]*StreamTaken
	// recent finds the chunks that are not in blocks yet.
	recent map[subjectSignal][]RecentRow
}

// StreamTaken is a stream and the sequence numbers of it that are there.
type StreamTaken struct {
	Key    attribution.StreamKey
	number int64
	Taken
}

type subjectSignal struct {
	subject int64
	signal  vitals.Signal
}

// RecentRow is where a recent chunk is.
type RecentRow struct {
	ID, Stream, Seq    int64
	Start, first, last int64
	added              int64 // Unix second
}

func (ps *partitions) init(s *Days) {
	ps.s, ps.dir, ps.max = s, s.db.Dir, s.maxOpen
	ps.files, ps.gens, ps.loose = map[string]*partition{}, map[string]uint64{}, map[string]bool{}
}

// list finds the partitions on disk.
func (ps *partitions) list() error {
	entries, err := os.ReadDir(ps.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), PartitionPrefix)
		name, ok2 := strings.CutSuffix(name, PartitionSuffix)
		if _, err := time.Parse(time.DateOnly, name); ok && ok2 && err == nil {
			ps.names = append(ps.names, name)
		}
	}
	slices.Sort(ps.names)
	for _, n := range ps.names[max(0, len(ps.names)-40):] { // those that a chunk may still be for, and then some
		ps.loose[n] = true
	}
	return nil
}

// Between implements database.
func (ps *partitions) Between(_ context.Context, from, to time.Time) ([]string, error) {
	low, high := PartitionOf(from.Add(-attribution.MaxSpan)), PartitionOf(to.Add(attribution.MaxSpan))
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var in []string
	for _, n := range ps.names {
		if n >= low && n <= high {
			in = append(in, n)
		}
	}
	return in, nil
}

// All implements database: with how often each was written to since Open.
func (ps *partitions) All(context.Context) (names []string, gens []uint64, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, n := range ps.names {
		names, gens = append(names, n), append(gens, ps.gens[n])
	}
	return names, gens, nil
}

// changed is told of a commit.
func (ps *partitions) changed(name string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.gens[name]++
	ps.loose[name] = true
}

func (ps *partitions) gen(name string) uint64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.gens[name]
}

// toCompact are the partitions that may have something to compact, oldest first.
func (ps *partitions) toCompact() []string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Sorted(maps.Keys(ps.loose))
}

// compacted is told that a partition has no recent chunk left, as of a number of writes.
func (ps *partitions) compacted(name string, gen uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.gens[name] == gen {
		delete(ps.loose, name)
	}
}

// acquire opens a partition, or shares it; release must follow.
func (ps *partitions) acquire(ctx context.Context, name string, create bool) (*partition, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.files[name]
	if p == nil {
		at, exists := slices.BinarySearch(ps.names, name)
		if !exists && !create {
			return nil, fmt.Errorf("partition %s: %w", name, sealdb.ErrNotFound)
		}
		var err error
		if p, err = openPartition(ctx, ps.dir, name); err != nil {
			return nil, err
		}
		ps.files[name] = p
		if !exists {
			ps.names = slices.Insert(ps.names, at, name)
		}
	}
	p.refs++
	ps.clock++
	p.used = ps.clock
	ps.evict()
	return p, nil
}

// release ends the use of a partition, which stays open until others need its place.
func (ps *partitions) release(p *partition) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.refs--
}

// evict closes the least recently used partitions beyond the bound. Those in use stay, so that the bound is exceeded by
// no more than what runs at the moment. ps.mu is held.
func (ps *partitions) evict() {
	for len(ps.files) > ps.max {
		var oldest *partition
		for _, p := range ps.files {
			if p.refs == 0 && (oldest == nil || p.used < oldest.used) {
				oldest = p
			}
		}
		if oldest == nil {
			break
		}
		delete(ps.files, oldest.name)
		if err := oldest.close(); err != nil {
			ps.failed = err // what committed is safe; Close tells
		}
	}
}

func (ps *partitions) Close() error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	err := ps.failed
	for _, p := range ps.files {
		err = errors.Join(err, p.close())
	}
	clear(ps.files)
	return err
}

func openPartition(ctx context.Context, dir, name string) (*partition, error) {
	path := filepath.Join(dir, PartitionPrefix+name+PartitionSuffix)
	p := &partition{name: name, checkpoints: sealdb.Checkpointer{Log: path + "-wal"}, taken: map[int64]*StreamTaken{}, recent: map[subjectSignal][]RecentRow{}}
	p.forget()
	var err error
	if p.write, err = sealdb.OpenFile(ctx, path, PartitionSteps, 1, "&_pragma=wal_autocheckpoint(0)"); err != nil {
		return nil, err
	}
	if p.read, err = sealdb.OpenFile(ctx, path, nil, 2, "&_pragma=query_only(ON)"); err == nil {
		p.read.SetConnMaxIdleTime(time.Minute)
		p.insertRecent, err = p.write.PrepareContext(ctx, `INSERT INTO recent (id, stream, seq, subject, start, first, last, received, sealed)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	}
	if err == nil {
		err = p.load(ctx)
	}
	if err == nil {
		err = sealdb.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("partition %s: %w", name, err), p.close())
	}
	return p, nil
}

// load reads which sequences are there, and where the recent chunks are.
func (p *partition) load(ctx context.Context) error {
	signals := map[int64]vitals.Signal{}
	err := sealdb.Each(ctx, p.read, "SELECT id, sensor, signal, epoch, number FROM streams", func(rows *sql.Rows) error {
		var id int64
		var epoch []byte
		t := &StreamTaken{}
		if err := rows.Scan(&id, &t.Key.Sensor, &t.Key.Signal, &epoch, &t.number); err != nil {
			return err
		}
		copy(t.Key.Epoch[:], epoch)
		p.taken[id], signals[id] = t, vitals.Signal(t.Key.Signal)
		return nil
	})
	if err == nil {
		err = sealdb.Each(ctx, p.read, "SELECT stream, low, high FROM taken ORDER BY stream, low", func(rows *sql.Rows) error {
			var stream int64
			var x Stretch
			if err := rows.Scan(&stream, &x.Low, &x.High); err != nil {
				return err
			}
			if t := p.taken[stream]; t != nil {
				t.Taken = t.Add(x)
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	return sealdb.Each(ctx, p.read, "SELECT id, stream, seq, subject, start, first, last, received FROM recent ORDER BY id", func(rows *sql.Rows) error {
		var r RecentRow
		var subject, received int64
		if err := rows.Scan(&r.ID, &r.Stream, &r.Seq, &subject, &r.Start, &r.first, &r.last, &received); err != nil {
			return err
		}
		p.next = r.ID + 1
		t := p.taken[r.Stream]
		if t == nil || t.has(r.Seq) { // in a block already
			return nil
		}
		r.added = received / 1e6
		p.found(t, subjectSignal{subject, signals[r.Stream]}, r)
		return nil
	})
}

// found notes a chunk that is in recent; p.mu is held, or no other goroutine has the partition yet.
func (p *partition) found(t *StreamTaken, s subjectSignal, r RecentRow) {
	t.Taken = t.Add(Stretch{r.Seq, r.Seq})
	p.recent[s] = append(p.recent[s], r)
}

func (p *partition) close() error {
	p.checkpoints.Wait()
	var err error
	if p.read != nil {
		err = p.read.Close()
	}
	if p.write != nil {
		err = errors.Join(err, p.write.Close())
	}
	return err
}

// forget drops the caches; they fill again from the file.
func (p *partition) forget() {
	p.streamIDs, p.subjects = map[attribution.StreamKey]int64{}, map[string]int64{}
}

// insertion is one transaction of the writer.
type insertion struct {
	tx    *sql.Tx
	part  *partition
	added []added
	in    map[[2]int64]bool // stream and sequence of those
	known map[int64]*StreamTaken
}

// added is a chunk of this transaction.
type added struct {
	subjectSignal
	RecentRow
}

// chunk inserts p, or finds it there.
func (in *insertion) chunk(ctx context.Context, p *Pending, now int64) error {
	subject, err := in.subject(ctx, p.Subject)
	if err != nil {
		return err
	}
	stream, err := in.stream(ctx, p)
	if err != nil {
		return err
	}
	seq := int64(p.Seq) // #nosec G115 -- prepare checked
	//defence:dedupe a chunk is stored once
	if in.in[[2]int64{stream, seq}] || in.part.has(stream, seq) {
		p.Outcome = delivery.Duplicate
		return nil
	}
	r := RecentRow{ID: in.part.next, Stream: stream, Seq: seq, Start: p.Start, first: p.First, last: p.Last, added: now}
	in.part.next++
	if _, err := in.tx.StmtContext(ctx, in.part.insertRecent).ExecContext(ctx, r.ID, stream, seq, subject, p.Start, p.First, p.Last, p.Received, p.Sealed); err != nil {
		return err
	}
	p.Outcome = delivery.Accepted
	in.in[[2]int64{stream, seq}] = true
	in.added = append(in.added, added{subjectSignal{subject, p.Signal}, r})
	for _, part := range p.Parts { // with the first one, in one transaction
		if err := in.chunk(ctx, part, now); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a stream's sequence number is there. Only the writer adds, so it need not ask again before it does.
func (p *partition) has(stream, seq int64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	t := p.taken[stream]
	return t != nil && t.has(seq)
}

// committed makes what the transaction added known.
func (in *insertion) committed() {
	p := in.part
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range in.known {
		if p.taken[id] == nil {
			p.taken[id] = t
		}
	}
	for _, a := range in.added {
		p.found(p.taken[a.Stream], a.subjectSignal, a.RecentRow)
	}
}

func (in *insertion) subject(ctx context.Context, name string) (int64, error) {
	if id, ok := in.part.subjects[name]; ok {
		return id, nil
	}
	if _, err := in.tx.ExecContext(ctx, "INSERT INTO subjects (name) VALUES (?) ON CONFLICT DO NOTHING", name); err != nil {
		return 0, err
	}
	var id int64
	if err := in.tx.QueryRowContext(ctx, "SELECT id FROM subjects WHERE name = ?", name).Scan(&id); err != nil {
		return 0, err
	}
	if len(in.part.subjects) >= sealdb.MaxCached {
		clear(in.part.subjects)
	}
	in.part.subjects[name] = id
	return id, nil
}

func (in *insertion) stream(ctx context.Context, p *Pending) (int64, error) {
	k := attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}
	if id, ok := in.part.streamIDs[k]; ok {
		return id, nil
	}
	number := int64(p.Epoch.Number) // #nosec G115 -- prepare checked
	if _, err := in.tx.ExecContext(ctx, "INSERT INTO streams (sensor, signal, epoch, number) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		k.Sensor, k.Signal, k.Epoch[:], number); err != nil {
		return 0, err
	}
	var id int64
	if err := in.tx.QueryRowContext(ctx, "SELECT id FROM streams WHERE sensor = ? AND signal = ? AND epoch = ?",
		k.Sensor, k.Signal, k.Epoch[:]).Scan(&id); err != nil {
		return 0, err
	}
	if len(in.part.streamIDs) >= sealdb.MaxCached {
		clear(in.part.streamIDs)
	}
	in.part.streamIDs[k] = id
	in.known[id] = &StreamTaken{Key: k, number: number}
	return id, nil
}

func (p *partition) checkpoint(ctx context.Context, log *slog.Logger) {
	p.checkpoints.Committed(ctx, p.write, p.read, log, p.name)
}
