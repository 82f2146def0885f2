package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

const (
	// blockLasting is how much of a stream is one block.
	blockLasting = 30 * time.Second
	// settled is how long nothing more must have come for a block before it is made. What comes later gets a block of its own.
	settled = 20 * time.Second
	// maxSwap bounds how many blocks are put in at once, so that arrivals wait for milliseconds only; maxPurge the rows taken out.
	maxSwap  = 32
	maxPurge = 4000
	// maxRead is how many chunks are in memory at once.
	maxRead = 50_000
)

// compactor moves recent chunks into blocks, and takes out what has expired, in the background.
func (s *Store) compactor(ctx context.Context) {
	t := time.NewTicker(s.opt.compactEvery)
	defer t.Stop()
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-hourly.C:
			if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("what has expired was not taken out, trying again in an hour", "err", err)
			}
			continue
		}
		if err := s.compactOlder(ctx, s.opt.settled); err != nil && ctx.Err() == nil {
			s.log.Error("chunks not compacted, trying again", "err", err)
		}
	}
}

// Compact moves all recent chunks into blocks now, those included that more may follow.
func (s *Store) Compact(ctx context.Context) error {
	return named("compact", s.compactOlder(ctx, -time.Hour))
}

// compactOlder makes blocks of what had its last addition so long ago. One at a time does.
func (s *Store) compactOlder(ctx context.Context, age time.Duration) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	var failed error // a day that is damaged does not hold up the others
	for _, name := range s.parts.toCompact() {
		gen := s.parts.gen(name)
		left, err := s.compactPartition(ctx, name, s.now().Add(-age).Unix())
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("partition %s: %w", name, err))
		case left == 0:
			s.parts.compacted(name, gen)
		}
	}
	return failed
}

// blockSpan is the chunks that become one block.
type blockSpan struct {
	subjectSignal
	stream int64
	rows   []recentRow
}

func (s *Store) compactPartition(ctx context.Context, name string, before int64) (left int, err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return 0, err
	}
	defer s.parts.release(part)
	spans := part.ripe(before)
	names := map[int64]string{}
	for len(spans) > 0 {
		some, rows := 0, 0
		for some < len(spans) && (some == 0 || rows+len(spans[some].rows) <= maxRead) {
			rows += len(spans[some].rows)
			some++
		}
		blocks, err := s.makeBlocks(ctx, part, spans[:some], names)
		if err != nil {
			return 0, err
		}
		spans = spans[some:]
		for few := range slices.Chunk(blocks, maxSwap) {
			if err := s.write.between(ctx, func(ctx context.Context) error { return s.swap(ctx, part, few) }); err != nil {
				return 0, err
			}
		}
	}
	// Asked between two batches, all rows below the next id are known to the index.
	var oldest int64
	if err := s.write.between(ctx, func(context.Context) error { oldest = part.next; return nil }); err != nil {
		return 0, err
	}
	oldest = part.oldestRecent(oldest)
	for {
		var purged int64
		err := s.write.between(ctx, func(ctx context.Context) (err error) {
			purged, err = part.purge(ctx, oldest)
			part.checkpoint(ctx, s.log)
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
		slices.SortFunc(rows, func(a, b recentRow) int {
			return cmp.Or(cmp.Compare(a.stream, b.stream), cmp.Compare(a.slot(), b.slot()), cmp.Compare(a.seq, b.seq))
		})
		for len(rows) > 0 {
			n, newest := 0, int64(math.MinInt64)
			for n < len(rows) && rows[n].stream == rows[0].stream && rows[n].slot() == rows[0].slot() {
				newest = max(newest, rows[n].added)
				n++
			}
			if newest < before {
				for part := range slices.Chunk(rows[:n], vitals.MaxBlockChunks) {
					spans = append(spans, blockSpan{ss, rows[0].stream, part})
				}
			}
			rows = rows[n:]
		}
	}
	// In the order of the file, so that reading walks through it.
	slices.SortFunc(spans, func(a, b blockSpan) int { return cmp.Compare(a.rows[0].id, b.rows[0].id) })
	return spans
}

// slot is the block that a chunk belongs to.
func (r recentRow) slot() int64 { return r.start / blockLasting.Microseconds() }

// oldestRecent is the id, up to a given one, below which no chunk is needed any more.
func (p *partition) oldestRecent(oldest int64) int64 {
	p.mu.RLock()
	all := slices.Collect(maps.Keys(p.recent))
	p.mu.RUnlock()
	for _, ss := range all {
		p.mu.RLock()
		for _, r := range p.recent[ss] {
			oldest = min(oldest, r.id)
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

// block is a span on its way.
type block struct {
	blockSpan
	name        string // of the subject
	key         seal.Key
	start       int64
	first, last int64
	sealed      []byte
	sums        sums
	damaged     []recentRow // chunks that do not open: set aside
}

// makeBlocks reads spans in one walk through the file and makes blocks of them.
func (s *Store) makeBlocks(ctx context.Context, part *partition, spans []blockSpan, names map[int64]string) ([]*block, error) {
	type place struct{ span, row int }
	places := map[int64]place{}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	sealed := make([][][]byte, len(spans))
	for i, sp := range spans {
		sealed[i] = make([][]byte, len(sp.rows))
		for k, r := range sp.rows {
			places[r.id] = place{i, k}
			low, high = min(low, r.id), max(high, r.id)
		}
	}
	err := each(ctx, part.read, "SELECT id, sealed FROM recent WHERE id >= ? AND id <= ?", func(rows *sql.Rows) error {
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
	if err != nil {
		return nil, err
	}
	blocks := make([]*block, len(spans))
	for i, sp := range spans {
		if blocks[i], err = s.makeBlock(ctx, part, sp, sealed[i], names); err != nil {
			return nil, err
		}
		sealed[i] = nil
	}
	return blocks, nil
}

// makeBlock opens a span's chunks and seals them anew as one.
func (s *Store) makeBlock(ctx context.Context, part *partition, sp blockSpan, sealed [][]byte, names map[int64]string) (*block, error) {
	b := &block{blockSpan: sp, start: math.MaxInt64, first: math.MaxInt64, last: math.MinInt64, sums: sums{}}
	var err error
	if b.name, err = part.subjectName(ctx, sp.subject, names); err != nil {
		return nil, err
	}
	part.mu.RLock()
	t := part.taken[sp.stream]
	part.mu.RUnlock()
	b.key, err = s.key(ctx, patientKey(b.name))
	if errors.Is(err, ErrNotFound) { // forgotten
		b.damaged, b.rows = sp.rows, nil
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	chunks := s.openRecent(part, t, b, sealed)
	if len(chunks) == 0 {
		return b, nil
	}
	sp = b.blockSpan
	for i, r := range sp.rows {
		b.start, b.first, b.last = min(b.start, r.start), min(b.first, r.first), max(b.last, r.last)
		b.sums.collect(chunks[i])
	}
	plain := binary.AppendUvarint(nil, uint64(len(sp.rows)))
	last := sp.rows[0].seq - 1
	for _, r := range sp.rows { // ascending; holes stay holes
		plain = binary.AppendUvarint(plain, uint64(r.seq-last-1)) // #nosec G115 -- ascending
		last = r.seq
	}
	// Mostly there is no hole, and the list says nothing.
	if int64(len(sp.rows)) == last-sp.rows[0].seq+1 {
		plain = []byte{0}
	}
	waves, err := vitals.EncodeBlock(chunks)
	if err != nil {
		return b, err
	}
	b.sealed = b.key.Seal(append(plain, waves...), blockData(t, sp.signal, b.name, sp.rows[0].seq, b.start))
	return b, nil
}

func blockData(t *streamTaken, signal vitals.Signal, subject string, seq, start int64) []byte {
	d := associated("block", t.key.sensor, subject)
	d = append(d, byte(signal))
	d = append(d, t.key.epoch[:]...)
	for _, v := range [...]int64{t.number, seq, start} {
		d = binary.BigEndian.AppendUint64(d, uint64(v)) // #nosec G115 -- the bits
	}
	return d
}

// openBlock gives back a block's chunks and their sequence numbers.
func openBlock(key seal.Key, t *streamTaken, signal vitals.Signal, subject string, seq, start int64, sealed []byte) ([]vitals.Chunk, []int64, error) {
	plain, err := key.Open(sealed, blockData(t, signal, subject, seq, start))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: block at %d", ErrSealed, seq)
	}
	n, used := binary.Uvarint(plain)
	if used <= 0 || n > vitals.MaxBlockChunks {
		return nil, nil, fmt.Errorf("%w: block at %d", ErrSealed, seq)
	}
	plain = plain[used:]
	var seqs []int64
	for next := seq; n > 0; n-- {
		skip, used := binary.Uvarint(plain)
		if used <= 0 || skip > math.MaxInt64/2 {
			return nil, nil, fmt.Errorf("%w: block at %d", ErrSealed, seq)
		}
		next += int64(skip)
		seqs = append(seqs, next)
		next++
		plain = plain[used:]
	}
	chunks, err := vitals.DecodeBlock(plain)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: block at %d: %w", ErrSealed, seq, err)
	}
	if seqs == nil {
		for i := range chunks {
			seqs = append(seqs, seq+int64(i))
		}
	}
	if len(seqs) != len(chunks) {
		return nil, nil, fmt.Errorf("%w: block at %d", ErrSealed, seq)
	}
	return chunks, seqs, nil
}

func (p *partition) subjectName(ctx context.Context, id int64, names map[int64]string) (string, error) {
	if name, ok := names[id]; ok {
		return name, nil
	}
	var name string
	if err := p.read.QueryRowContext(ctx, "SELECT name FROM subjects WHERE id = ?", id).Scan(&name); err != nil {
		return "", err
	}
	names[id] = name
	return name, nil
}

// openRecent opens the chunks of a block in the making. Those that do not open go to damaged.
func (s *Store) openRecent(part *partition, t *streamTaken, b *block, sealed [][]byte) (chunks []vitals.Chunk) {
	var good []recentRow
	for i, r := range b.rows {
		c, err := openChunk(b.key, t.rowOf(b.signal, r), b.name, sealed[i])
		if err != nil {
			s.log.Error("a stored chunk cannot be opened and is set aside as damaged", "partition", part.name, "seq", r.seq, "err", err)
			b.damaged = append(b.damaged, r)
			continue
		}
		chunks, good = append(chunks, c), append(good, r)
	}
	b.rows = good
	return chunks
}

// rowOf is what a recent chunk is bound to.
func (t *streamTaken) rowOf(signal vitals.Signal, r recentRow) row {
	return row{t.key.sensor, signal, seal.Epoch{ID: t.key.epoch, Number: uint64(t.number)}, uint64(r.seq), r.start} // #nosec G115 -- never stored negative
}

func openChunk(key seal.Key, r row, subject string, sealed []byte) (vitals.Chunk, error) {
	plain, err := key.Open(sealed, chunkData(r, subject))
	if err != nil {
		return vitals.Chunk{}, fmt.Errorf("%w: chunk %d", ErrSealed, r.seq)
	}
	c, err := vitals.Decode(plain)
	if err != nil {
		err = fmt.Errorf("%w: chunk %d: %w", ErrSealed, r.seq, err)
	}
	return c, err
}

// swap puts blocks in the place of their chunks, and what they say into the sums, in one transaction. The chunks' rows stay until
// the purge; taken says that they do not count any more.
func (s *Store) swap(ctx context.Context, part *partition, blocks []*block) error {
	tx, err := part.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	gone := map[int64]bool{}
	for _, b := range blocks {
		if err = b.insert(ctx, tx, part); err != nil {
			break
		}
		for _, r := range append(slices.Clone(b.rows), b.damaged...) {
			gone[r.id] = true
		}
	}
	if err != nil {
		return errors.Join(err, rollback(tx))
	}
	// Whoever reads sees the chunks in one of the two places.
	part.mu.Lock()
	defer part.mu.Unlock()
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, b := range blocks {
		rows := slices.DeleteFunc(part.recent[b.subjectSignal], func(r recentRow) bool { return gone[r.id] })
		if len(rows) == 0 {
			delete(part.recent, b.subjectSignal)
			continue
		}
		part.recent[b.subjectSignal] = rows
	}
	return nil
}

func (b *block) insert(ctx context.Context, tx *sql.Tx, part *partition) error {
	for _, r := range b.damaged {
		_, err := tx.ExecContext(ctx, "INSERT INTO damaged SELECT * FROM recent WHERE id = ?", r.id)
		if err == nil {
			err = noteTaken(ctx, tx, b.stream, stretch{r.seq, r.seq})
		}
		if err != nil {
			return err
		}
	}
	if len(b.rows) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO blocks (subject, signal, stream, seq, start, first, last, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		b.subject, uint8(b.signal), b.stream, b.rows[0].seq, b.start, b.first, b.last, b.sealed); err != nil {
		return err
	}
	for i := 0; i < len(b.rows); {
		x := stretch{b.rows[i].seq, b.rows[i].seq}
		for i++; i < len(b.rows) && b.rows[i].seq == x.high+1; i++ {
			x.high++
		}
		if err := noteTaken(ctx, tx, b.stream, x); err != nil {
			return err
		}
	}
	return b.sums.add(ctx, tx, part.name, b.subject, b.name, b.key)
}

// noteTaken adds a stretch to those of a stream, as one with the neighbours that it touches.
func noteTaken(ctx context.Context, tx *sql.Tx, stream int64, x stretch) error {
	var low int64
	err := tx.QueryRowContext(ctx, "SELECT low FROM taken WHERE stream = ? AND high = ? ORDER BY low DESC LIMIT 1", stream, x.low-1).Scan(&low)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.ExecContext(ctx, "INSERT INTO taken (stream, low, high) VALUES (?, ?, ?)", stream, x.low, x.high)
	case err == nil:
		_, err = tx.ExecContext(ctx, "UPDATE taken SET high = ? WHERE stream = ? AND low = ?", x.high, stream, low)
	}
	return err
}

// purge takes the oldest chunks out, of those below an id.
func (p *partition) purge(ctx context.Context, below int64) (int64, error) {
	r, err := p.write.ExecContext(ctx, "DELETE FROM recent WHERE id IN (SELECT id FROM recent WHERE id < ? ORDER BY id LIMIT ?)", below, maxPurge)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
