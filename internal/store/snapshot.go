package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// opened is a stored chunk, opened.
type opened struct {
	row
	last  int64
	chunk vitals.Chunk
}

// snapshot is a patient's chunks of one signal in one day at one moment: those in blocks, and those that are not yet.
type snapshot struct {
	tx      *sql.Tx
	day     day
	subject int64 // -1: nothing of the patient is there
	signal  vitals.Signal
	recent  []recentRow
	held    map[int64][]byte // sealed chunks by id, if they came with the list
	known   map[int64]*streamTaken
}

func (sn *snapshot) close() error { return rollback(sn.tx) }

func (sn *snapshot) stream(ctx context.Context, id int64) (*streamTaken, error) {
	if t := sn.known[id]; t != nil {
		return t, nil
	}
	t, err := sn.day.stream(ctx, id)
	if err == nil && t == nil {
		err = fmt.Errorf("%w: day %s: chunks of no stream", ErrSealed, sn.day.label())
	}
	sn.known[id] = t
	return t, err
}

// chunks visits the wanted chunks that are in no block.
func (sn *snapshot) chunks(ctx context.Context, patient string, key seal.Key, wanted func(recentRow) bool, visit func(opened) error) error {
	for _, r := range sn.recent {
		if !wanted(r) {
			continue
		}
		if err := sn.one(ctx, patient, key, r, visit); err != nil {
			return err
		}
	}
	return nil
}

func (sn *snapshot) one(ctx context.Context, patient string, key seal.Key, r recentRow, visit func(opened) error) error {
	sealed, ok := sn.held[r.id]
	if !ok {
		if err := sn.tx.QueryRowContext(ctx, "SELECT sealed FROM "+sn.day.table("recent")+" WHERE id = ?", r.id).Scan(&sealed); err != nil {
			return err
		}
	}
	t, err := sn.stream(ctx, r.stream)
	if err != nil {
		return err
	}
	o := opened{row: t.rowOf(sn.signal, r), last: r.last}
	if o.chunk, err = openChunk(key, o.row, patient, sealed); err != nil {
		return fmt.Errorf("day %s: %w", sn.day.label(), err)
	}
	return visit(o)
}

// scan visits a patient's chunks of one signal in one day that have samples in [from, to): blocks and single chunks by their
// latest sample, latest first, until one is not wanted.
func (s *Days) scan(ctx context.Context, name string, key seal.Key, patient string, sig vitals.Signal, from, to int64,
	wanted func(last int64) bool, visit func(opened) error) (err error) {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return err
	}
	defer d.release()
	sn, err := d.snapshot(ctx, patient, uint8(sig))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sn.close()) }()
	type found struct {
		last  int64
		block int64 // id; 0: it is a chunk
		row   recentRow
	}
	var all []found
	err = each(ctx, sn.tx, "SELECT id, last FROM "+d.table(blocksByTime)+" WHERE subject = ? AND signal = ? AND last >= ? AND last < ? AND first < ?",
		func(rows *sql.Rows) error {
			var f found
			err := rows.Scan(&f.block, &f.last)
			all = append(all, f)
			return err
		}, sn.subject, uint8(sig), from, to+(2*maxSpan+blockLasting).Microseconds(), to)
	if err != nil {
		return err
	}
	for _, r := range sn.recent {
		if r.last >= from && r.first < to {
			all = append(all, found{last: r.last, row: r})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.last, a.last) })
	for _, f := range all {
		if !wanted(f.last) {
			return nil
		}
		if f.block == 0 {
			err = sn.one(ctx, patient, key, f.row, visit)
		} else {
			err = sn.block(ctx, f.block, patient, key, from, to, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// block visits a block's chunks that have samples in [from, to).
func (sn *snapshot) block(ctx context.Context, id int64, patient string, key seal.Key, from, to int64, visit func(opened) error) error {
	var stream, seq, start int64
	var sealed []byte
	if err := sn.tx.QueryRowContext(ctx, "SELECT stream, seq, start, sealed FROM "+sn.day.table("blocks")+" WHERE id = ?", id).Scan(&stream, &seq, &start, &sealed); err != nil {
		return err
	}
	t, err := sn.stream(ctx, stream)
	if err != nil {
		return err
	}
	chunks, seqs, err := openBlock(key, t, sn.signal, patient, seq, start, sealed)
	if err != nil {
		return fmt.Errorf("day %s: %w", sn.day.label(), err)
	}
	for i, c := range chunks {
		first, last := sampleSpan(c)
		if micro(last) < from || micro(first) >= to {
			continue
		}
		o := opened{row: t.rowOf(sn.signal, recentRow{seq: seqs[i], start: micro(c.Start)}), last: micro(last), chunk: c}
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}
