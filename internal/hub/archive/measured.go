package archive

import (
	"context"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// MostFound bounds what MeasuredIn counts: two sensors that speak each second, for half a day.
const MostFound = 100_000

// Found is what is stored of a patient in a span: how often numbers, and when the first and the last of them were measured.
type Found struct {
	Count       int
	First, Last time.Time // zero where Count is 0; of what was counted where More
	More        bool      // there are more than were counted
	// Kinds are what was counted, in their order, without the sensor's own temperature, and Sensors (SPIFFE ids) by which.
	Kinds   []vitals.Kind
	Sensors []string
}

// MeasuredIn finds what numbers of a patient are stored for [begin, end), at most most of them (the newest), of one sensor (SPIFFE id)
// or, with "", of all; other inverts that to all but one. With kinds, numbers of another kind are not counted. The grant must allow access.MoveReadings on the patient, for Unassigned on the
// system. A span that cannot be moved, because it is empty or longer than MaxMove, has nothing.
func (s *Archive) MeasuredIn(ctx context.Context, g access.Grant, patient, sensor string, other bool, kinds []vitals.Kind, begin, end time.Time, most int) (f Found, err error) {
	on := access.OnPatient(patient)
	if patient == sealdb.Unassigned {
		on = access.OnSystem()
	}
	if err := s.db.Allowed(g, access.MoveReadings, on); err != nil {
		return Found{}, sealdb.Named("measured", err)
	}
	if !end.After(begin) || end.Sub(begin) > attribution.MaxMove {
		return Found{}, nil // MoveReadings says what is wrong
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return Found{}, sealdb.Named("measured", err)
	}
	names, err := s.Days.Between(ctx, begin, end)
	if err != nil {
		return Found{}, sealdb.Named("measured", err)
	}
	slices.Sort(names) // the days, by their dates
	slices.Reverse(names)
	for _, name := range names {
		err := s.Days.Scan(ctx, name, key, patient, vitals.Numerics, sealdb.Micro(begin), sealdb.Micro(end), func(int64) bool { return f.Count <= most }, func(o days.Opened) error {
			if sensor != "" && (o.Sensor == sensor) == other {
				return nil
			}
			for _, b := range o.Chunk.Bundles {
				if b.At.Before(begin) || !b.At.Before(end) || !f.note(b.Numerics, kinds) {
					continue
				}
				f.Count++
				if !slices.Contains(f.Sensors, o.Sensor) {
					f.Sensors = append(f.Sensors, o.Sensor)
				}
				if f.First.IsZero() || b.At.Before(f.First) {
					f.First = b.At
				}
				f.Last = sealdb.Later(f.Last, b.At)
			}
			return nil
		})
		if err != nil {
			return Found{}, sealdb.Named("measured", err)
		}
	}
	slices.Sort(f.Kinds)
	slices.Sort(f.Sensors)
	if f.Count > most {
		f.Count, f.More = most, true
	}
	return f, nil
}

// note takes in the kinds of numbers that have a value, those of kinds alone where it has any, and reports whether there is one.
func (f *Found) note(numbers []vitals.Numeric, kinds []vitals.Kind) (counts bool) {
	for _, x := range numbers {
		if !x.Quality.HasValue() || len(kinds) > 0 && !slices.Contains(kinds, x.Kind) {
			continue
		}
		counts = true
		if x.Kind != vitals.DieTemperature && !slices.Contains(f.Kinds, x.Kind) {
			f.Kinds = append(f.Kinds, x.Kind)
		}
	}
	return counts
}
