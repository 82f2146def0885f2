package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/weaken"
)

const partitionPrefix, partitionSuffix = "chunks-", ".db"

// partitionOf names the partition of a start time: its UTC day, "2026-11-23".
func partitionOf(start time.Time) string { return start.UTC().Format(time.DateOnly) }

// partitions are the days on disk, of which a bounded number is open.
type partitions struct {
	dir string
	max int

	mu    sync.Mutex // guards all below, and the refs and used of each partition
	open  map[string]*partition
	names []string // all on disk, ascending
	gens  map[string]uint64
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
	insertChunk, selectTrend, upsertTrend *sql.Stmt
	streams                               map[streamKey]int64
	subjects                              map[string]int64
	cells                                 map[cellKey]*cell
}

type streamKey struct {
	sensor string
	signal uint8
	epoch  [16]byte
}

func (ps *partitions) init(dir string, most int) {
	ps.dir, ps.max = dir, most
	ps.open, ps.gens = map[string]*partition{}, map[string]uint64{}
}

// list finds the partitions on disk.
func (ps *partitions) list() error {
	entries, err := os.ReadDir(ps.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), partitionPrefix)
		name, ok2 := strings.CutSuffix(name, partitionSuffix)
		if _, err := time.Parse(time.DateOnly, name); ok && ok2 && err == nil {
			ps.names = append(ps.names, name)
		}
	}
	slices.Sort(ps.names)
	return nil
}

// between are the partitions that may hold samples of [from, to], ascending.
func (ps *partitions) between(from, to time.Time) []string {
	low, high := partitionOf(from.Add(-maxSpan)), partitionOf(to.Add(maxSpan))
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var in []string
	for _, n := range ps.names {
		if n >= low && n <= high {
			in = append(in, n)
		}
	}
	return in
}

// all are all partitions with the number of times each has changed since Open.
func (ps *partitions) all() (names []string, gens []uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, n := range ps.names {
		names, gens = append(names, n), append(gens, ps.gens[n])
	}
	return names, gens
}

func (ps *partitions) changed(name string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.gens[name]++
}

// acquire opens a partition, or shares it; release must follow.
func (ps *partitions) acquire(ctx context.Context, name string, create bool) (*partition, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.open[name]
	if p == nil {
		at, exists := slices.BinarySearch(ps.names, name)
		if !exists && !create {
			return nil, fmt.Errorf("partition %s: %w", name, ErrNotFound)
		}
		var err error
		if p, err = openPartition(ctx, ps.dir, name); err != nil {
			return nil, err
		}
		ps.open[name] = p
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
	for len(ps.open) > ps.max {
		var oldest *partition
		for _, p := range ps.open {
			if p.refs == 0 && (oldest == nil || p.used < oldest.used) {
				oldest = p
			}
		}
		if oldest == nil {
			break
		}
		delete(ps.open, oldest.name)
		if err := oldest.close(); err != nil {
			ps.failed = err // what committed is safe; Close tells
		}
	}
}

func (ps *partitions) close() error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	err := ps.failed
	for _, p := range ps.open {
		err = errors.Join(err, p.close())
	}
	clear(ps.open)
	return err
}

func openPartition(ctx context.Context, dir, name string) (*partition, error) {
	path := filepath.Join(dir, partitionPrefix+name+partitionSuffix)
	p := &partition{name: name}
	p.forget()
	var err error
	if p.write, err = openFile(ctx, path, partitionSteps, 1, ""); err != nil {
		return nil, err
	}
	if p.read, err = openFile(ctx, path, nil, 2, "&_pragma=query_only(ON)"); err == nil {
		p.read.SetConnMaxIdleTime(time.Minute)
		err = p.prepare(ctx)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("partition %s: %w", name, err), p.close())
	}
	return p, nil
}

func (p *partition) prepare(ctx context.Context) error {
	for _, st := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&p.insertChunk, `INSERT INTO chunks (stream, seq, subject, signal, start, first, last, received, sealed)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`},
		{&p.selectTrend, "SELECT sealed FROM trends WHERE subject = ? AND minute = ?"},
		{&p.upsertTrend, `INSERT INTO trends (subject, minute, sealed) VALUES (?, ?, ?)
			ON CONFLICT (subject, minute) DO UPDATE SET sealed = excluded.sealed`},
	} {
		var err error
		if *st.to, err = p.write.PrepareContext(ctx, st.sql); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) close() error {
	var err error
	if p.read != nil {
		err = p.read.Close()
	}
	if p.write != nil {
		err = errors.Join(err, p.write.Close())
	}
	return err
}

// maxCached bounds each of a partition's caches.
const maxCached = 1 << 13

// forget drops the caches; they fill again from the file.
func (p *partition) forget() {
	p.streams, p.subjects, p.cells = map[streamKey]int64{}, map[string]int64{}, map[cellKey]*cell{}
}

// insertion is one transaction of the writer.
type insertion struct {
	tx     *sql.Tx
	part   *partition
	log    *slog.Logger
	deltas map[cellKey]*delta
}

// chunk inserts p, or finds it there.
func (in *insertion) chunk(ctx context.Context, p *pending) error {
	subject, err := in.subject(ctx, p.subject)
	if err != nil {
		return err
	}
	stream, err := in.stream(ctx, p)
	if err != nil {
		return err
	}
	r, err := in.tx.StmtContext(ctx, in.part.insertChunk).ExecContext(ctx, stream, int64(p.seq), subject, uint8(p.signal), // #nosec G115 -- prepare checked
		p.start, p.first, p.last, p.received, p.sealed)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 && !weaken.Skip(weaken.Dedupe) {
		p.outcome = Duplicate
		return nil
	}
	p.outcome = Accepted
	in.collect(p, subject)
	return nil
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
	if len(in.part.subjects) >= maxCached {
		clear(in.part.subjects)
	}
	in.part.subjects[name] = id
	return id, nil
}

func (in *insertion) stream(ctx context.Context, p *pending) (int64, error) {
	k := streamKey{p.sensor, uint8(p.signal), p.epoch.ID}
	if id, ok := in.part.streams[k]; ok {
		return id, nil
	}
	if _, err := in.tx.ExecContext(ctx, "INSERT INTO streams (sensor, signal, epoch, number) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		k.sensor, k.signal, k.epoch[:], int64(p.epoch.Number)); err != nil { // #nosec G115 -- prepare checked
		return 0, err
	}
	var id int64
	if err := in.tx.QueryRowContext(ctx, "SELECT id FROM streams WHERE sensor = ? AND signal = ? AND epoch = ?",
		k.sensor, k.signal, k.epoch[:]).Scan(&id); err != nil {
		return 0, err
	}
	if len(in.part.streams) >= maxCached {
		clear(in.part.streams)
	}
	in.part.streams[k] = id
	return id, nil
}
