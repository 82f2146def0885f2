package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
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
func (s *Store) scan(ctx context.Context, name string, key seal.Key, patient string, sig vitals.Signal, from, to int64,
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

// Numerics are the newest limit bundles of a patient in [from, to), ascending by time, of all sensors alike.
// A face that shows a current value asks Said and lets vitals.Chooser choose. limit <= 0 or above MaxNumerics means MaxNumerics. The
// grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Store) Numerics(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Bundle, error) {
	said, err := s.said(ctx, g, patient, from, to, limit)
	if err != nil {
		return nil, named("numerics", err)
	}
	var got []vitals.Bundle
	for _, x := range said {
		got = append(got, x.Bundle)
	}
	return got, nil
}

// Said is Numerics with the sensor that said each bundle, as vitals.Chooser and vitals.Choose take them: the one place where it is
// decided which of several sensors counts. Heard is zero.
func (s *Store) Said(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Said, error) {
	said, err := s.said(ctx, g, patient, from, to, limit)
	return said, named("numerics", err)
}

func (s *Store) said(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Said, error) {
	if err := s.numbersAllowed(g, patient); err != nil {
		return nil, err
	}
	key, err := s.key(ctx, patientKey(patient))
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > MaxNumerics {
		limit = MaxNumerics
	}
	var got []vitals.Said
	marks, err := s.marksOf(ctx, patient)
	if err != nil {
		return nil, err
	}
	// kept is the time of the oldest bundle that will surely be in the answer, once there are enough: chunks whose last
	// sample is older cannot matter any more. Sorting now and then keeps both the list and the work bounded.
	kept := int64(-1 << 62)
	shrink := func() {
		slices.SortStableFunc(got, func(a, b vitals.Said) int { return a.At.Compare(b.At) })
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
	names, err := s.archive.between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		day, err := time.Parse(time.DateOnly, name)
		if err != nil {
			return nil, err
		}
		if kept > micro(day.Add(24*time.Hour+maxSpan)) {
			break // nothing in this day or before is that late
		}
		err = s.scan(ctx, name, key, patient, vitals.Numerics, micro(from), micro(to), wanted, func(o opened) error {
			for _, b := range o.chunk.Bundles {
				if !b.At.Before(from) && b.At.Before(to) {
					got = append(got, vitals.Said{Sensor: o.sensor, NotConfirmed: marks.cover(o.sensor, b.At), Bundle: b})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		shrink()
	}
	return got, nil
}

// Waveform are a patient's chunks of sig that have samples in [from, to), of all sensors, ascending
// by start; chunks of one stream that start together are in (epoch, sequence) order. ErrTooMuch
// beyond MaxWaveform. Holes stay holes. The grant must allow access.ViewPatient on the patient.
func (s *Store) Waveform(ctx context.Context, g access.Grant, patient string, sig vitals.Signal, from, to time.Time) ([]vitals.Chunk, error) {
	got, err := s.waveform(ctx, g, patient, sig, from, to)
	return chunksOf(got), named("waveform", err)
}

// WaveformOf is Waveform of one sensor (SPIFFE id), since a wave of two sensors together is of no
// use; with an empty sensor it is of the first by id that has one. It tells of which sensor it is:
// empty where there is no chunk.
func (s *Store) WaveformOf(ctx context.Context, g access.Grant, patient, sensor string, sig vitals.Signal, from, to time.Time) (string, []vitals.Chunk, error) {
	got, err := s.waveform(ctx, g, patient, sig, from, to)
	if err != nil {
		return "", nil, named("waveform", err)
	}
	if sensor == "" && len(got) > 0 {
		sensor = slices.MinFunc(got, func(a, b opened) int { return cmp.Compare(a.sensor, b.sensor) }).sensor
	}
	got = slices.DeleteFunc(got, func(o opened) bool { return o.sensor != sensor })
	if len(got) == 0 {
		return "", nil, nil
	}
	return sensor, chunksOf(got), nil
}

func chunksOf(all []opened) []vitals.Chunk {
	chunks := make([]vitals.Chunk, len(all))
	for i, o := range all {
		chunks[i] = o.chunk
	}
	return chunks
}

func (s *Store) waveform(ctx context.Context, g access.Grant, patient string, sig vitals.Signal, from, to time.Time) ([]opened, error) {
	if err := s.allowed(g, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return nil, err
	}
	if !sig.Valid() {
		return nil, fmt.Errorf("%w: unknown signal", ErrInvalid)
	}
	key, err := s.key(ctx, patientKey(patient))
	if err != nil {
		return nil, err
	}
	names, err := s.archive.between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	var got []opened
	for _, name := range names {
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
			return nil, err
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
	return got, nil
}
