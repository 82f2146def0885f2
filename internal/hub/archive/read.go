package archive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

const (
	// MaxNumerics is the most bundles one call of Numerics returns.
	MaxNumerics = 100_000
	// MaxWaveform is the most chunks one call of Waveform returns: 83 minutes of 250 ms chunks.
	MaxWaveform = 20_000
)

// Numerics are the newest limit bundles of a patient in [from, to), ascending by time, of all sensors alike.
// A face that shows a current value asks Said and lets vitals.Chooser choose. limit <= 0 or above MaxNumerics means MaxNumerics. The
// grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Archive) Numerics(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Bundle, error) {
	said, err := s.said(ctx, g, patient, from, to, limit)
	if err != nil {
		return nil, sealdb.Named("numerics", err)
	}
	var got []vitals.Bundle
	for _, x := range said {
		got = append(got, x.Bundle)
	}
	return got, nil
}

// Said is Numerics with the sensor that said each bundle, as vitals.Chooser and vitals.Choose take them: the one place where it is
// decided which of several sensors counts. Heard is zero.
func (s *Archive) Said(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Said, error) {
	said, err := s.said(ctx, g, patient, from, to, limit)
	return said, sealdb.Named("numerics", err)
}

func (s *Archive) said(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) ([]vitals.Said, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, err
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > MaxNumerics {
		limit = MaxNumerics
	}
	var got []vitals.Said
	marks, err := s.MarksOf(ctx, patient)
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
			kept = sealdb.Micro(got[0].At)
		}
	}
	wanted := func(last int64) bool {
		if len(got) >= limit && kept < last {
			shrink()
		}
		return last >= kept
	}
	names, err := s.Days.Between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		day, err := time.Parse(time.DateOnly, name)
		if err != nil {
			return nil, err
		}
		if kept > sealdb.Micro(day.Add(24*time.Hour+attribution.MaxSpan)) {
			break // nothing in this day or before is that late
		}
		err = s.Days.Scan(ctx, name, key, patient, vitals.Numerics, sealdb.Micro(from), sealdb.Micro(to), wanted, func(o days.Opened) error {
			for _, b := range o.Chunk.Bundles {
				if !b.At.Before(from) && b.At.Before(to) {
					got = append(got, vitals.Said{Sensor: o.Sensor, NotConfirmed: marks.Cover(o.Sensor, b.At), Bundle: b})
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
func (s *Archive) Waveform(ctx context.Context, g access.Grant, patient string, sig vitals.Signal, from, to time.Time) ([]vitals.Chunk, error) {
	got, err := s.waveform(ctx, g, patient, sig, from, to)
	return chunksOf(got), sealdb.Named("waveform", err)
}

// WaveformOf is Waveform of one sensor (SPIFFE id), since a wave of two sensors together is of no
// use; with an empty sensor it is of the first by id that has one. It tells of which sensor it is:
// empty where there is no chunk.
func (s *Archive) WaveformOf(ctx context.Context, g access.Grant, patient, sensor string, sig vitals.Signal, from, to time.Time) (string, []vitals.Chunk, error) {
	got, err := s.waveform(ctx, g, patient, sig, from, to)
	if err != nil {
		return "", nil, sealdb.Named("waveform", err)
	}
	if sensor == "" && len(got) > 0 {
		sensor = slices.MinFunc(got, func(a, b days.Opened) int { return cmp.Compare(a.Sensor, b.Sensor) }).Sensor
	}
	got = slices.DeleteFunc(got, func(o days.Opened) bool { return o.Sensor != sensor })
	if len(got) == 0 {
		return "", nil, nil
	}
	return sensor, chunksOf(got), nil
}

func chunksOf(all []days.Opened) []vitals.Chunk {
	chunks := make([]vitals.Chunk, len(all))
	for i, o := range all {
		chunks[i] = o.Chunk
	}
	return chunks
}

func (s *Archive) waveform(ctx context.Context, g access.Grant, patient string, sig vitals.Signal, from, to time.Time) ([]days.Opened, error) {
	if err := s.db.Allowed(g, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return nil, err
	}
	if !sig.Valid() {
		return nil, fmt.Errorf("%w: unknown signal", sealdb.ErrInvalid)
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return nil, err
	}
	names, err := s.Days.Between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	var got []days.Opened
	for _, name := range names {
		err := s.Days.Scan(ctx, name, key, patient, sig, sealdb.Micro(from), sealdb.Micro(to), func(int64) bool { return true }, func(o days.Opened) error {
			if (sig == vitals.PPG || sig == vitals.Pressure) && o.Start < sealdb.Micro(from) && o.Last <= sealdb.Micro(from) {
				return nil // a waveform's end is just after its last sample
			}
			if len(got) >= MaxWaveform {
				return sealdb.ErrTooMuch
			}
			got = append(got, o)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(got, func(a, b days.Opened) int {
		switch {
		case a.Start != b.Start:
			return cmp.Compare(a.Start, b.Start)
		case a.Sensor != b.Sensor:
			return cmp.Compare(a.Sensor, b.Sensor)
		case a.Epoch.Number != b.Epoch.Number:
			return cmp.Compare(a.Epoch.Number, b.Epoch.Number)
		}
		return cmp.Compare(a.Seq, b.Seq)
	})
	return got, nil
}
