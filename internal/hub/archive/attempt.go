package archive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// Attempt counts the attempts of one cuff that gave no value, for one reason, in [At, At+step).
type Attempt struct {
	At     time.Time
	Sensor string // SPIFFE id
	Why    vitals.Quality
	Count  int // at least 1
}

// Attempts are a patient's in [from, to), in the order of time, with steps as Trends has them. What
// was compacted before hubs counted them is not there. The grant must allow access.ViewPatient or
// access.ViewDisplay on the patient.
func (s *Archive) Attempts(ctx context.Context, g access.Grant, patient string, from, to time.Time, step time.Duration) ([]Attempt, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("attempts", err)
	}
	switch {
	case step < time.Minute || step%time.Minute != 0:
		return nil, sealdb.Named("attempts", fmt.Errorf("%w: step must be whole minutes", sealdb.ErrInvalid))
	case to.Sub(from) > maxTrendRange:
		return nil, sealdb.Named("attempts", sealdb.ErrTooMuch)
	case !to.After(from):
		return nil, nil
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return nil, sealdb.Named("attempts", err)
	}
	got := map[Attempt]int{} // by all but the count
	err = s.eachCell(ctx, key, patient, from, to, step, func(at time.Time, _ time.Duration, c *days.Cell) {
		for i := range c.Sources {
			for q, n := range c.Sources[i].Failed {
				if n > 0 {
					got[Attempt{At: at.UTC().Truncate(step), Sensor: c.Sources[i].Sensor, Why: vitals.Quality(q)}] += int(n) // #nosec G115 -- an index of twelve
				}
			}
		}
	})
	var all []Attempt
	for a, n := range got {
		a.Count = n
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Attempt) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Sensor, b.Sensor), cmp.Compare(a.Why, b.Why))
	})
	return all, sealdb.Named("attempts", err)
}
