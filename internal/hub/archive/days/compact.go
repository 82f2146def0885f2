package days

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

const (
	// blockLasting is how much of a stream is one block.
	blockLasting = 30 * time.Second
	// Settled is how long nothing more must have come for a block before it is made. What comes later gets a block of its own.
	Settled = 20 * time.Second
	// maxSwap bounds how many blocks are put in at once, so that arrivals wait for milliseconds only; maxPurge the rows taken out.
	maxSwap  = 32
	maxPurge = 4000
	// maxRead is how many chunks are in memory at once.
	maxRead = 50_000
)

// blockSpan is the chunks that become one block.
type blockSpan struct {
	subjectSignal
	stream int64
	rows   []RecentRow
}

// ripeOf are the spans of one patient's chunks of one signal whose newest chunk came before.
func ripeOf(of subjectSignal, rows []RecentRow, before int64) (spans []blockSpan) {
	slices.SortFunc(rows, func(a, b RecentRow) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.slot(), b.slot()), cmp.Compare(a.Seq, b.Seq))
	})
	for len(rows) > 0 {
		n, newest := 0, int64(math.MinInt64)
		for n < len(rows) && rows[n].Stream == rows[0].Stream && rows[n].slot() == rows[0].slot() {
			newest = max(newest, rows[n].added)
			n++
		}
		if newest < before {
			for part := range slices.Chunk(rows[:n], vitals.MaxBlockChunks) {
				spans = append(spans, blockSpan{of, rows[0].Stream, part})
			}
		}
		rows = rows[n:]
	}
	return spans
}

// few are the first spans whose chunks may be in memory at once.
func few(spans []blockSpan) []blockSpan {
	some, rows := 0, 0
	for some < len(spans) && (some == 0 || rows+len(spans[some].rows) <= maxRead) {
		rows += len(spans[some].rows)
		some++
	}
	return spans[:some]
}

// slot is the block that a chunk belongs to.
func (r RecentRow) slot() int64 { return r.Start / blockLasting.Microseconds() }

// block is a span on its way.
type block struct {
	blockSpan
	name        string // of the subject
	key         seal.Key
	start       int64
	first, last int64
	sealed      []byte
	sums        sums
	damaged     []RecentRow // chunks that do not open: set aside
}

// makeBlocks reads spans and makes blocks of them.
func (s *Days) makeBlocks(ctx context.Context, d Day, spans []blockSpan, names map[int64]string) ([]*block, error) {
	sealed, err := d.sealed(ctx, spans)
	if err != nil {
		return nil, err
	}
	blocks := make([]*block, len(spans))
	for i, sp := range spans {
		if blocks[i], err = s.makeBlock(ctx, d, sp, sealed[i], names); err != nil {
			return nil, err
		}
		sealed[i] = nil
	}
	return blocks, nil
}

// makeBlock opens a span's chunks and seals them anew as one.
func (s *Days) makeBlock(ctx context.Context, d Day, sp blockSpan, sealed [][]byte, names map[int64]string) (*block, error) {
	b := &block{blockSpan: sp, start: math.MaxInt64, first: math.MaxInt64, last: math.MinInt64, sums: sums{}}
	var err error
	if b.name, err = subjectName(ctx, d, sp.subject, names); err != nil {
		return nil, err
	}
	t, err := d.Stream(ctx, sp.stream)
	if err == nil && t == nil {
		err = fmt.Errorf("%w: chunks of no stream", sealdb.ErrSealed)
	}
	if err != nil {
		return nil, err
	}
	b.key, err = s.db.Key(ctx, sealdb.PatientKey(b.name))
	if errors.Is(err, sealdb.ErrNotFound) { // forgotten
		b.damaged, b.rows = sp.rows, nil
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	chunks := s.openRecent(d, t, b, sealed)
	if len(chunks) == 0 {
		return b, nil
	}
	sp = b.blockSpan
	for i, r := range sp.rows {
		b.start, b.first, b.last = min(b.start, r.Start), min(b.first, r.first), max(b.last, r.last)
		b.sums.collect(t.Key.Sensor, chunks[i])
	}
	plain := binary.AppendUvarint(nil, uint64(len(sp.rows)))
	last := sp.rows[0].Seq - 1
	for _, r := range sp.rows { // ascending; holes stay holes
		plain = binary.AppendUvarint(plain, uint64(r.Seq-last-1)) // #nosec G115 -- ascending
		last = r.Seq
	}
	// Mostly there is no hole, and the list says nothing.
	if int64(len(sp.rows)) == last-sp.rows[0].Seq+1 {
		plain = []byte{0}
	}
	waves, err := vitals.EncodeBlock(chunks)
	if err != nil {
		return b, err
	}
	b.sealed = b.key.Seal(append(plain, waves...), blockData(t, sp.signal, b.name, sp.rows[0].Seq, b.start))
	return b, nil
}

func blockData(t *StreamTaken, signal vitals.Signal, subject string, seq, start int64) []byte {
	d := sealdb.Associated("block", t.Key.Sensor, subject)
	d = append(d, byte(signal))
	d = append(d, t.Key.Epoch[:]...)
	for _, v := range [...]int64{t.number, seq, start} {
		d = binary.BigEndian.AppendUint64(d, uint64(v)) // #nosec G115 -- the bits
	}
	return d
}

// openBlock gives back a block's chunks and their sequence numbers.
func openBlock(key seal.Key, t *StreamTaken, signal vitals.Signal, subject string, seq, start int64, sealed []byte) ([]vitals.Chunk, []int64, error) {
	plain, err := key.Open(sealed, blockData(t, signal, subject, seq, start))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: block at %d", sealdb.ErrSealed, seq)
	}
	n, used := binary.Uvarint(plain)
	if used <= 0 || n > vitals.MaxBlockChunks {
		return nil, nil, fmt.Errorf("%w: block at %d", sealdb.ErrSealed, seq)
	}
	plain = plain[used:]
	var seqs []int64
	for next := seq; n > 0; n-- {
		skip, used := binary.Uvarint(plain)
		if used <= 0 || skip > math.MaxInt64/2 {
			return nil, nil, fmt.Errorf("%w: block at %d", sealdb.ErrSealed, seq)
		}
		next += int64(skip)
		seqs = append(seqs, next)
		next++
		plain = plain[used:]
	}
	chunks, err := vitals.DecodeBlock(plain)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: block at %d: %w", sealdb.ErrSealed, seq, err)
	}
	if seqs == nil {
		for i := range chunks {
			seqs = append(seqs, seq+int64(i))
		}
	}
	if len(seqs) != len(chunks) {
		return nil, nil, fmt.Errorf("%w: block at %d", sealdb.ErrSealed, seq)
	}
	return chunks, seqs, nil
}

func subjectName(ctx context.Context, d Day, id int64, names map[int64]string) (string, error) {
	if name, ok := names[id]; ok {
		return name, nil
	}
	var name string
	if err := d.reader().QueryRowContext(ctx, "SELECT name FROM subjects WHERE id = ?", id).Scan(&name); err != nil {
		return "", err
	}
	names[id] = name
	return name, nil
}

// openRecent opens the chunks of a block in the making. Those that do not open go to damaged.
func (s *Days) openRecent(d Day, t *StreamTaken, b *block, sealed [][]byte) (chunks []vitals.Chunk) {
	var good []RecentRow
	for i, r := range b.rows {
		c, err := OpenChunk(b.key, t.RowOf(b.signal, r), b.name, sealed[i])
		if err != nil {
			s.db.Log.Error("a stored chunk cannot be opened and is set aside as damaged", "partition", d.label(), "seq", r.Seq, "err", err)
			b.damaged = append(b.damaged, r)
			continue
		}
		chunks, good = append(chunks, c), append(good, r)
	}
	b.rows = good
	return chunks
}

// RowOf is what a recent chunk is bound to.
func (t *StreamTaken) RowOf(signal vitals.Signal, r RecentRow) Row {
	return Row{t.Key.Sensor, signal, seal.Epoch{ID: t.Key.Epoch, Number: uint64(t.number)}, uint64(r.Seq), r.Start} // #nosec G115 -- never stored negative
}

// OpenChunk opens the bytes of a chunk that was sealed for a subject.
func OpenChunk(key seal.Key, r Row, subject string, sealed []byte) (vitals.Chunk, error) {
	plain, err := key.Open(sealed, ChunkData(r, subject))
	if err != nil {
		return vitals.Chunk{}, fmt.Errorf("%w: chunk %d", sealdb.ErrSealed, r.Seq)
	}
	c, err := vitals.Decode(plain)
	if err != nil {
		err = fmt.Errorf("%w: chunk %d: %w", sealdb.ErrSealed, r.Seq, err)
	}
	return c, err
}

func (b *block) insert(ctx context.Context, tx *sql.Tx, d Day) error {
	for _, r := range b.damaged {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+d.Table("damaged")+" (id, stream, seq, subject, start, first, last, received, sealed)"+ // #nosec G202 -- the tables' names are ours
			" SELECT id, stream, seq, subject, start, first, last, received, sealed FROM "+d.Table("recent")+" WHERE id = ? AND stream = ? AND seq = ?",
			r.ID, b.stream, r.Seq)
		if err == nil {
			err = noteTaken(ctx, tx, d.Table("taken"), b.stream, Stretch{r.Seq, r.Seq})
		}
		if err != nil {
			return err
		}
	}
	if len(b.rows) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+d.Table("blocks")+" (subject, signal, stream, seq, start, first, last, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", // #nosec G202 -- the tables' names are ours
		b.subject, uint8(b.signal), b.stream, b.rows[0].Seq, b.start, b.first, b.last, b.sealed); err != nil {
		return err
	}
	for i := 0; i < len(b.rows); {
		x := Stretch{b.rows[i].Seq, b.rows[i].Seq}
		for i++; i < len(b.rows) && b.rows[i].Seq == x.High+1; i++ {
			x.High++
		}
		if err := noteTaken(ctx, tx, d.Table("taken"), b.stream, x); err != nil {
			return err
		}
	}
	return b.sums.add(ctx, tx, d, b.subject, b.name, b.key)
}

// noteTaken adds a stretch to those of a stream, as one with the neighbours that it touches.
func noteTaken(ctx context.Context, tx *sql.Tx, table string, stream int64, x Stretch) error {
	var low int64
	err := tx.QueryRowContext(ctx, "SELECT low FROM "+table+" WHERE stream = ? AND high = ? ORDER BY low DESC LIMIT 1", stream, x.Low-1).Scan(&low)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.ExecContext(ctx, "INSERT INTO "+table+" (stream, low, high) VALUES (?, ?, ?)", stream, x.Low, x.High) // #nosec G202 -- the tables' names are ours
	case err == nil:
		_, err = tx.ExecContext(ctx, "UPDATE "+table+" SET high = ? WHERE stream = ? AND low = ?", x.High, stream, low) // #nosec G202 -- the tables' names are ours
	}
	return err
}
