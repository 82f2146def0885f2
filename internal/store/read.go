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

// scan visits a patient's chunks of one signal in one partition that have samples in [from, to), latest last sample
// first, until visit says no.
func (s *Store) scan(ctx context.Context, name string, key seal.Key, patient string, sig vitals.Signal, from, to int64,
	wanted func(last int64) bool, visit func(opened) error) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	rows, err := part.read.QueryContext(ctx, `SELECT s.sensor, s.epoch, s.number, c.seq, c.start, c.last, c.sealed
		FROM chunks c INDEXED BY by_time CROSS JOIN streams s ON s.id = c.stream
		WHERE c.subject = (SELECT id FROM subjects WHERE name = ?) AND c.signal = ? AND c.last >= ? AND c.last < ? AND c.first < ?
		ORDER BY c.last DESC`, patient, uint8(sig), from, to+2*maxSpan.Microseconds(), to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o opened
		var epoch, sealed sql.RawBytes
		var number, seq int64
		if err := rows.Scan(&o.sensor, &epoch, &number, &seq, &o.start, &o.last, &sealed); err != nil {
			return err
		}
		if !wanted(o.last) {
			return nil
		}
		if len(epoch) != len(o.epoch.ID) {
			return ErrSealed
		}
		copy(o.epoch.ID[:], epoch)
		o.signal, o.epoch.Number, o.seq = sig, uint64(number), uint64(seq) // #nosec G115 -- never stored negative
		plain, err := key.Open(sealed, chunkData(o.row, patient))
		if err != nil {
			return fmt.Errorf("%w: chunk %d in partition %s", ErrSealed, seq, name)
		}
		if o.chunk, err = vitals.Decode(plain); err != nil {
			return fmt.Errorf("%w: chunk %d in partition %s: %w", ErrSealed, seq, name, err)
		}
		if err := visit(o); err != nil {
			return err
		}
	}
	return rows.Err()
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
