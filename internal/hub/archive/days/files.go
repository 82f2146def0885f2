package days

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// What makes *partitions an archive: a file of SQLite a day.

// blocksByTime is the table of blocks, by way of its index over time.
const blocksByTime = "blocks INDEXED BY blocks_by_time"

// fileDay is a partition that is being read or compacted.
type fileDay struct {
	*partition
	ps *partitions
}

func (d fileDay) label() string            { return d.name }
func (d fileDay) Table(name string) string { return name }
func (d fileDay) reader() *sql.DB          { return d.read }
func (d fileDay) writer() *sql.DB          { return d.write }
func (d fileDay) Release()                 { d.ps.release(d.partition) }

// Open implements database.
func (ps *partitions) Open(ctx context.Context, name string) (Day, error) {
	p, err := ps.acquire(ctx, name, false)
	if err != nil {
		return nil, err
	}
	return fileDay{p, ps}, nil
}

// holds implements day.
func (d fileDay) holds(_ context.Context, k attribution.StreamKey, seq int64) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, t := range d.taken {
		if t.Key == k {
			return t.has(seq), nil
		}
	}
	return false, nil
}

// Alone implements database: one process has the files.
func (ps *partitions) Alone(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// Write implements database: one transaction.
func (ps *partitions) Write(ctx context.Context, name string, group []*Pending) error {
	part, err := ps.acquire(ctx, name, true)
	if err != nil {
		return err
	}
	defer ps.release(part)
	tx, err := part.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	in := insertion{tx: tx, part: part, in: map[[2]int64]bool{}, known: map[int64]*StreamTaken{}}
	now := ps.s.db.Now().Unix()
	for _, p := range group {
		if err = in.chunk(ctx, p, now); err != nil {
			break
		}
	}
	if err == nil {
		err = tx.Commit()
	} else {
		err = errors.Join(err, sealdb.Rollback(tx))
	}
	if err != nil {
		part.forget() // ids from a transaction that never was
		return err
	}
	in.committed()
	ps.changed(name)
	part.checkpoint(ctx, ps.s.db.Log)
	return nil
}

// Compact implements database.
func (ps *partitions) Compact(ctx context.Context, before time.Time) error {
	var failed error // a day that is damaged does not hold up the others
	for _, name := range ps.toCompact() {
		gen := ps.gen(name)
		left, err := ps.compactDay(ctx, name, before.Unix())
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("partition %s: %w", name, err))
		case left == 0:
			ps.compacted(name, gen)
		}
	}
	return failed
}

func (ps *partitions) compactDay(ctx context.Context, name string, before int64) (left int, err error) {
	part, err := ps.acquire(ctx, name, false)
	if err != nil {
		return 0, err
	}
	defer ps.release(part)
	spans := part.ripe(before)
	names := map[int64]string{}
	for len(spans) > 0 {
		some := few(spans)
		blocks, err := ps.s.makeBlocks(ctx, fileDay{part, ps}, some, names)
		if err != nil {
			return 0, err
		}
		spans = spans[len(some):]
		for some := range slices.Chunk(blocks, maxSwap) {
			if err := ps.s.exclusively(ctx, func(ctx context.Context) error { return part.swap(ctx, fileDay{part, ps}, some) }); err != nil {
				return 0, err
			}
		}
	}
	// Asked between two batches, all rows below the next id are known to the index.
	var oldest int64
	if err := ps.s.exclusively(ctx, func(context.Context) error { oldest = part.next; return nil }); err != nil {
		return 0, err
	}
	oldest = part.oldestRecent(oldest)
	for {
		var purged int64
		err := ps.s.exclusively(ctx, func(ctx context.Context) (err error) {
			purged, err = part.purge(ctx, oldest)
			part.checkpoint(ctx, ps.s.db.Log)
			return err
		})
		if err != nil {
			return 0, err
		}
		if purged < maxPurge {
			break
		}
	}
	return part.recentCount(), nil
}

// ripe are the spans whose newest chunk came before. The list is copied subject by subject, so that the writer waits for none.
func (p *partition) ripe(before int64) (spans []blockSpan) {
	p.mu.RLock()
	all := slices.Collect(maps.Keys(p.recent))
	p.mu.RUnlock()
	for _, ss := range all {
		p.mu.RLock()
		rows := slices.Clone(p.recent[ss])
		p.mu.RUnlock()
		spans = append(spans, ripeOf(ss, rows, before)...)
	}
	// In the order of the file, so that reading walks through it.
	slices.SortFunc(spans, func(a, b blockSpan) int { return cmp.Compare(a.rows[0].ID, b.rows[0].ID) })
	return spans
}

// sealed implements day, in one walk through the file.
func (p *partition) sealed(ctx context.Context, spans []blockSpan) ([][][]byte, error) {
	type place struct{ span, row int }
	places := map[int64]place{}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	sealed := make([][][]byte, len(spans))
	for i, sp := range spans {
		sealed[i] = make([][]byte, len(sp.rows))
		for k, r := range sp.rows {
			places[r.ID] = place{i, k}
			low, high = min(low, r.ID), max(high, r.ID)
		}
	}
	return sealed, sealdb.Each(ctx, p.read, "SELECT id, sealed FROM recent WHERE id >= ? AND id <= ?", func(rows *sql.Rows) error {
		var id int64
		var b sql.RawBytes
		if err := rows.Scan(&id, &b); err != nil {
			return err
		}
		if at, ok := places[id]; ok {
			sealed[at.span][at.row] = slices.Clone(b)
		}
		return nil
	}, low, high)
}

// oldestRecent is the id, up to a given one, below which no chunk is needed any more.
func (p *partition) oldestRecent(oldest int64) int64 {
	p.mu.RLock()
	all := slices.Collect(maps.Keys(p.recent))
	p.mu.RUnlock()
	for _, ss := range all {
		p.mu.RLock()
		for _, r := range p.recent[ss] {
			oldest = min(oldest, r.ID)
		}
		p.mu.RUnlock()
	}
	return oldest
}

func (p *partition) recentCount() (n int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, rows := range p.recent {
		n += len(rows)
	}
	return n
}

// swap puts blocks in the place of their chunks, and what they say into the sums, in one transaction. The chunks' rows stay until
// the purge; taken says that they do not count any more.
func (p *partition) swap(ctx context.Context, d Day, blocks []*block) error {
	tx, err := p.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	gone := map[int64]bool{}
	for _, b := range blocks {
		if err = b.insert(ctx, tx, d); err != nil {
			break
		}
		for _, r := range append(slices.Clone(b.rows), b.damaged...) {
			gone[r.ID] = true
		}
	}
	if err != nil {
		return errors.Join(err, sealdb.Rollback(tx))
	}
	// A reader sees the chunks in one of the two places.
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, b := range blocks {
		rows := slices.DeleteFunc(p.recent[b.subjectSignal], func(r RecentRow) bool { return gone[r.ID] })
		if len(rows) == 0 {
			delete(p.recent, b.subjectSignal)
			continue
		}
		p.recent[b.subjectSignal] = rows
	}
	return nil
}

// purge takes the oldest chunks out, of those below an id.
func (p *partition) purge(ctx context.Context, below int64) (int64, error) {
	r, err := p.write.ExecContext(ctx, "DELETE FROM recent WHERE id IN (SELECT id FROM recent WHERE id < ? ORDER BY id LIMIT ?)", below, maxPurge)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Stream implements day.
func (p *partition) Stream(_ context.Context, id int64) (*StreamTaken, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.taken[id], nil
}

// snapshot implements day.
func (p *partition) snapshot(ctx context.Context, patient string, signal uint8) (*snapshot, error) {
	sn := &snapshot{day: fileDay{partition: p}, signal: vitals.Signal(signal), known: map[int64]*StreamTaken{}}
	// The list and the transaction must be of the same moment: no block takes a chunk's place in between.
	p.mu.RLock()
	defer p.mu.RUnlock()
	var err error
	if sn.tx, err = p.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return nil, err
	}
	err = sn.tx.QueryRowContext(ctx, "SELECT id FROM subjects WHERE name = ?", patient).Scan(&sn.subject)
	if errors.Is(err, sql.ErrNoRows) {
		sn.subject, err = -1, nil
	}
	if err != nil {
		return nil, errors.Join(err, sn.close())
	}
	sn.recent = slices.Clone(p.recent[subjectSignal{sn.subject, sn.signal}])
	for _, r := range sn.recent {
		sn.known[r.Stream] = p.taken[r.Stream]
	}
	return sn, nil
}

// streams implements day.
func (p *partition) streams(context.Context) (all []StreamTaken, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, t := range p.taken {
		all = append(all, StreamTaken{t.Key, t.number, slices.Clone(t.Taken)})
	}
	return all, nil
}

// shrink implements day.
func (p *partition) shrink(ctx context.Context) error {
	_, err := p.write.ExecContext(ctx, "VACUUM")
	return err
}

// Drop implements database; a day in use stays for the next time.
func (ps *partitions) Drop(_ context.Context, name string) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.files[name]; p != nil {
		if p.refs > 0 {
			return nil
		}
		delete(ps.files, name)
		if err := p.close(); err != nil {
			return err
		}
	}
	path := filepath.Join(ps.dir, PartitionPrefix+name+PartitionSuffix)
	for _, f := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	ps.names = slices.DeleteFunc(ps.names, func(n string) bool { return n == name })
	delete(ps.loose, name)
	return sealdb.SyncDir(ps.dir)
}

// Check implements database.
func (ps *partitions) Check(ctx context.Context, c *Checked, progress func(string)) error {
	names, _, err := ps.All(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ps.checkFile(ctx, c, name); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Wrong("partition %s: %v", name, err)
		}
	}
	return nil
}

func (ps *partitions) checkFile(ctx context.Context, c *Checked, name string) error {
	p, err := ps.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer ps.release(p)
	return c.Integrity(ctx, name, p.read)
}

// size implements database: the pages of all files, tables, indexes and bookkeeping included; write-ahead logs are not.
func (ps *partitions) size(ctx context.Context) (total Size, err error) {
	names, _, err := ps.All(ctx)
	for _, name := range names {
		err = errors.Join(err, ps.sizeOf(ctx, name, &total))
	}
	return total, err
}

func (ps *partitions) sizeOf(ctx context.Context, name string, total *Size) error {
	p, err := ps.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer ps.release(p)
	var page, pages, free int64
	err = errors.Join(p.read.QueryRowContext(ctx, "PRAGMA page_size").Scan(&page),
		p.read.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages),
		p.read.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free))
	total.Used += (pages - free) * page
	total.Free += free * page
	return err
}

// FilesOpen is how many days' files are open.
func (s *Days) FilesOpen() int {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	return len(s.parts.files)
}

// Recent is how many of a day's chunks are in no block yet. With PostgreSQL it is ErrNotFound.
func (s *Days) Recent(ctx context.Context, day string) (int, error) {
	part, err := s.parts.acquire(ctx, day, false)
	if err != nil {
		return 0, err
	}
	defer s.parts.release(part)
	return part.recentCount(), nil
}
