package days

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Opened is a stored chunk, opened.
type Opened struct {
	Row
	Last  int64
	Chunk vitals.Chunk
}

// snapshot is a patient's chunks of one signal in one day at one moment: those in blocks, and those that are not yet.
type snapshot struct {
	tx      *sql.Tx
	day     Day
	subject int64 // -1: nothing of the patient is there
	signal  vitals.Signal
	recent  []RecentRow
	held    map[int64][]byte // sealed chunks by id, if they came with the list
	known   map[int64]*StreamTaken
}

func (sn *snapshot) close() error { return sealdb.Rollback(sn.tx) }

func (sn *snapshot) stream(ctx context.Context, id int64) (*StreamTaken, error) {
	if t := sn.known[id]; t != nil {
		return t, nil
	}
	t, err := sn.day.Stream(ctx, id)
	if err == nil && t == nil {
		err = fmt.Errorf("%w: day %s: chunks of no stream", sealdb.ErrSealed, sn.day.label())
	}
	sn.known[id] = t
	return t, err
}

// chunks visits the wanted chunks that are in no block.
func (sn *snapshot) chunks(ctx context.Context, patient string, key seal.Key, wanted func(RecentRow) bool, visit func(Opened) error) error {
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

func (sn *snapshot) one(ctx context.Context, patient string, key seal.Key, r RecentRow, visit func(Opened) error) error {
	sealed, ok := sn.held[r.ID]
	if !ok {
		if err := sn.tx.QueryRowContext(ctx, "SELECT sealed FROM "+sn.day.Table("recent")+" WHERE id = ?", r.ID).Scan(&sealed); err != nil {
			return err
		}
	}
	t, err := sn.stream(ctx, r.Stream)
	if err != nil {
		return err
	}
	o := Opened{Row: t.RowOf(sn.signal, r), Last: r.last}
	if o.Chunk, err = OpenChunk(key, o.Row, patient, sealed); err != nil {
		return fmt.Errorf("day %s: %w", sn.day.label(), err)
	}
	return visit(o)
}

// Scan visits a patient's chunks of one signal in one day that have samples in [from, to): blocks and single chunks by their
// latest sample, latest first, until one is not wanted.
func (s *Days) Scan(ctx context.Context, name string, key seal.Key, patient string, sig vitals.Signal, from, to int64,
	wanted func(last int64) bool, visit func(Opened) error) (err error) {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return err
	}
	defer d.Release()
	sn, err := d.snapshot(ctx, patient, uint8(sig))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sn.close()) }()
	type found struct {
		last  int64
		block int64 // id; 0: it is a chunk
		row   RecentRow
	}
	var all []found
	err = sealdb.Each(ctx, sn.tx, "SELECT id, last FROM "+d.Table(blocksByTime)+" WHERE subject = ? AND signal = ? AND last >= ? AND last < ? AND first < ?",
		func(rows *sql.Rows) error {
			var f found
			err := rows.Scan(&f.block, &f.last)
			all = append(all, f)
			return err
		}, sn.subject, uint8(sig), from, to+(2*attribution.MaxSpan+blockLasting).Microseconds(), to)
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
func (sn *snapshot) block(ctx context.Context, id int64, patient string, key seal.Key, from, to int64, visit func(Opened) error) error {
	var stream, seq, start int64
	var sealed []byte
	if err := sn.tx.QueryRowContext(ctx, "SELECT stream, seq, start, sealed FROM "+sn.day.Table("blocks")+" WHERE id = ?", id).Scan(&stream, &seq, &start, &sealed); err != nil {
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
		first, last := attribution.SampleSpan(c)
		if sealdb.Micro(last) < from || sealdb.Micro(first) >= to {
			continue
		}
		o := Opened{Row: t.RowOf(sn.signal, RecentRow{Seq: seqs[i], Start: sealdb.Micro(c.Start)}), Last: sealdb.Micro(last), Chunk: c}
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}
