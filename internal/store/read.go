package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

const (
	// MaxNumerics is the most bundles one call of Numerics returns.
	MaxNumerics = 100_000
	// MaxWaveform is the most chunks one call of Waveform returns: 83 minutes of 250 ms chunks.
	MaxWaveform = 20_000
)

// opened is a stored chunk, opened.
type opened struct {
	row
	last  int64
	chunk vitals.Chunk
}

// snapshot is a patient's chunks of one signal in one partition at one moment: those in blocks, and those that are not yet.
type snapshot struct {
	tx      *sql.Tx
	part    *partition
	subject int64
	signal  vitals.Signal
	recent  []recentRow
	streams map[int64]*streamTaken
}

func (p *partition) snapshot(ctx context.Context, patient string, signal vitals.Signal) (*snapshot, error) {
	sn := &snapshot{part: p, signal: signal, streams: map[int64]*streamTaken{}}
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
	sn.recent = slices.Clone(p.recent[subjectSignal{sn.subject, signal}])
	for _, r := range sn.recent {
		sn.streams[r.stream] = p.taken[r.stream]
	}
	return sn, nil
}

func (sn *snapshot) close() error { return rollback(sn.tx) }

// stream is one of the partition's streams. Its key and number never change.
func (sn *snapshot) stream(id int64) *streamTaken {
	if t := sn.streams[id]; t != nil {
		return t
	}
	sn.part.mu.RLock()
	defer sn.part.mu.RUnlock()
	sn.streams[id] = sn.part.taken[id]
	return sn.streams[id]
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
	var sealed []byte
	if err := sn.tx.QueryRowContext(ctx, "SELECT sealed FROM recent WHERE id = ?", r.id).Scan(&sealed); err != nil {
		return err
	}
	o := opened{row: sn.stream(r.stream).rowOf(sn.signal, r), last: r.last}
	var err error
	if o.chunk, err = openChunk(key, o.row, patient, sealed); err != nil {
		return fmt.Errorf("partition %s: %w", sn.part.name, err)
	}
	return visit(o)
}

// scan visits a patient's chunks of one signal in one partition that have samples in [from, to): blocks and single chunks by their
// latest sample, latest first, until one is not wanted.
func (s *Store) scan(ctx context.Context, name string, key seal.Key, patient string, sig vitals.Signal, from, to int64,
	wanted func(last int64) bool, visit func(opened) error) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	sn, err := part.snapshot(ctx, patient, sig)
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
	err = each(ctx, sn.tx, "SELECT id, last FROM blocks INDEXED BY blocks_by_time WHERE subject = ? AND signal = ? AND last >= ? AND last < ? AND first < ?",
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
	if err := sn.tx.QueryRowContext(ctx, "SELECT stream, seq, start, sealed FROM blocks WHERE id = ?", id).Scan(&stream, &seq, &start, &sealed); err != nil {
		return err
	}
	t := sn.stream(stream)
	if t == nil {
		return fmt.Errorf("%w: partition %s: a block of no stream", ErrSealed, sn.part.name)
	}
	chunks, seqs, err := openBlock(key, t, sn.signal, patient, seq, start, sealed)
	if err != nil {
		return fmt.Errorf("partition %s: %w", sn.part.name, err)
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

// Numerics are the newest limit bundles of a patient in [from, to), ascending by time, of all sensors. limit <= 0 or above
// MaxNumerics means MaxNumerics. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Store) Numerics(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Bundle, error) {
	if err := s.numbersAllowed(g, patient); err != nil {
		return nil, named("numerics", err)
	}
	key, err := s.key(ctx, patientKey(patient))
	if err != nil {
		return nil, named("numerics", err)
	}
	if limit <= 0 || limit > MaxNumerics {
		limit = MaxNumerics
	}
	var got []vitals.Bundle
	// kept is the time of the oldest bundle that will surely be in the answer, once there are enough: chunks whose last
	// sample is older cannot matter any more. Sorting now and then keeps both the list and the work bounded.
	kept := int64(-1 << 62)
	shrink := func() {
		slices.SortStableFunc(got, func(a, b vitals.Bundle) int { return a.At.Compare(b.At) })
		if len(got) >= limit {
			got = slices.Clone(got[len(got)-limit:])
			kept = micro(got[0].At)
		}
	}
	wanted := func(last int64) bool {
		if len(got) >= limit && kept < last {
			shrink()
		}
		return last >= kept
	}
	names := s.parts.between(from, to)
	for _, name := range slices.Backward(names) {
		day, err := time.Parse(time.DateOnly, name)
		if err != nil {
			return nil, named("numerics", err)
		}
		if kept > micro(day.Add(24*time.Hour+maxSpan)) {
			break // nothing in this day or before is that late
		}
		err = s.scan(ctx, name, key, patient, vitals.Numerics, micro(from), micro(to), wanted, func(o opened) error {
			for _, b := range o.chunk.Bundles {
				if !b.At.Before(from) && b.At.Before(to) {
					got = append(got, b)
				}
			}
			return nil
		})
		if err != nil {
			return nil, named("numerics", err)
		}
		shrink()
	}
	return got, nil
}

// Waveform are a patient's chunks of sig that have samples in [from, to), ascending by start; chunks of one stream that
// start together are in (epoch, sequence) order. ErrTooMuch beyond MaxWaveform. Holes stay holes. The grant must
// allow access.ViewPatient on the patient.
func (s *Store) Waveform(ctx context.Context, g access.Grant, patient string, sig vitals.Signal, from, to time.Time) ([]vitals.Chunk, error) {
	if err := s.allowed(g, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return nil, named("waveform", err)
	}
	if !sig.Valid() {
		return nil, named("waveform", fmt.Errorf("%w: unknown signal", ErrInvalid))
	}
	key, err := s.key(ctx, patientKey(patient))
	if err != nil {
		return nil, named("waveform", err)
	}
	var got []opened
	for _, name := range s.parts.between(from, to) {
		err := s.scan(ctx, name, key, patient, sig, micro(from), micro(to), func(int64) bool { return true }, func(o opened) error {
			if (sig == vitals.PPG || sig == vitals.Pressure) && o.start < micro(from) && o.last <= micro(from) {
				return nil // a waveform's end is just after its last sample
			}
			if len(got) >= MaxWaveform {
				return ErrTooMuch
			}
			got = append(got, o)
			return nil
		})
		if err != nil {
			return nil, named("waveform", err)
		}
	}
	slices.SortFunc(got, func(a, b opened) int {
		switch {
		case a.start != b.start:
			return cmp.Compare(a.start, b.start)
		case a.sensor != b.sensor:
			return cmp.Compare(a.sensor, b.sensor)
		case a.epoch.Number != b.epoch.Number:
			return cmp.Compare(a.epoch.Number, b.epoch.Number)
		}
		return cmp.Compare(a.seq, b.seq)
	})
	chunks := make([]vitals.Chunk, len(got))
	for i, o := range got {
		chunks[i] = o.chunk
	}
	return chunks, nil
}

// points are sums in the order of time.
func points(sums map[int64]aggregate) []TrendPoint {
	var all []TrendPoint
	for _, at := range slices.Sorted(maps.Keys(sums)) {
		if a := sums[at]; a.count > 0 {
			all = append(all, TrendPoint{At: time.Unix(at, 0).UTC(), Min: a.min, Mean: a.sum / float64(a.count), Max: a.max,
				Count: int(a.count), Questionable: int(a.questionable)})
		}
	}
	return all
}
