package archive

import (
	"context"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// TrendPoint sums up the values of one kind in [At, At+step), of one sensor: a mean of two sensors
// is a value of neither. A step without values has no point. Values of uncertain quality count,
// because a reader saw them as numbers; how many of Count they are is told. What a legacy device
// asserts is never summed up with what was measured: a step with measured values is of these alone.
type TrendPoint struct {
	At             time.Time
	Min, Mean, Max float64 // canonical unit of the kind
	Count          int     // values, at least 1
	Questionable   int     // of Count; all of them where Asserted
	Asserted       bool    // no value of the step was measured: legacy devices say them all
	// Sensor (SPIFFE id) is whose values these are, and Sensors how many have values in the step,
	// of those that measure or, where Asserted, of those that assert. Sensors is 0, and Sensor
	// empty, where that is not known: an older hub summed up all sensors.
	Sensor  string
	Sensors int
	// Others are the values of the other sensors, by SPIFFE id; there are Sensors-1, and one more
	// of unknown origin where an older hub summed up some of the step.
	Others []TrendOther
}

// TrendOther is what a sensor that is not the one of a TrendPoint says in the same step.
type TrendOther struct {
	Sensor              string // SPIFFE id; empty: an older hub summed these up, of sensors that it did not name
	Min, Mean, Max      float64
	Count, Questionable int
	Disagree            bool // its mean lies further from the point's than vitals.MostApart allows
}

// maxTrendRange bounds one answer.
const maxTrendRange = 400 * 24 * time.Hour

// Trends sums up one kind of a patient's values in [from, to), in steps of whole minutes (at least
// one) aligned to the step since 0001-01-01 as time.Truncate does. Minutes partly before from or
// after to count whole. Of several sensors each point is of one, chosen as trendStep.choose says;
// what the others measured is in the point's Others. The grant must allow access.ViewPatient or
// access.ViewDisplay on the patient.
func (s *Archive) Trends(ctx context.Context, g access.Grant, patient string, k vitals.Kind, from, to time.Time, step time.Duration) ([]TrendPoint, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("trends", err)
	}
	switch {
	case !k.Valid():
		return nil, sealdb.Named("trends", fmt.Errorf("%w: unknown kind", sealdb.ErrInvalid))
	case step < time.Minute || step%time.Minute != 0:
		return nil, sealdb.Named("trends", fmt.Errorf("%w: step must be whole minutes", sealdb.ErrInvalid))
	case to.Sub(from) > maxTrendRange:
		return nil, sealdb.Named("trends", sealdb.ErrTooMuch)
	case !to.After(from):
		return nil, nil
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return nil, sealdb.Named("trends", err)
	}
	got := map[int64]trendStep{} // by Unix second of the step's begin
	several := false
	err = s.eachCell(ctx, key, patient, from, to, step, func(at time.Time, length time.Duration, c *days.Cell) {
		begin := at.UTC().Truncate(step).Unix()
		for i := range c.Sources {
			if !c.Sources[i].Has(k) {
				continue
			}
			if got[begin] == nil {
				got[begin] = trendStep{}
			}
			got[begin].add(&c.Sources[i], k, at, at.Add(length-1))
			several = several || len(got[begin]) > 1
		}
	})
	if err != nil {
		return nil, sealdb.Named("trends", err)
	}
	var asked attribution.Marks
	if several {
		if asked, err = s.MarksOf(ctx, patient); err != nil {
			return nil, sealdb.Named("trends", err)
		}
	}
	return points(got, k, asked), nil
}

// eachCell visits what is kept of a patient's values in [from, to), in slots no longer than a step.
func (s *Archive) eachCell(ctx context.Context, key seal.Key, patient string, from, to time.Time, step time.Duration, note func(time.Time, time.Duration, *days.Cell)) error {
	low, high := days.MinuteOf(from), days.MinuteOf(to.Add(time.Minute-1))
	names, err := s.Days.Between(ctx, from, to)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.Days.TrendsIn(ctx, name, key, patient, low, high, coarsest(step), note); err != nil {
			return err
		}
	}
	return nil
}

// coarsest is the longest slot that divides a step.
func coarsest(step time.Duration) int64 {
	best := int64(1)
	for _, minutes := range days.Levels {
		if int64(step/time.Minute)%minutes == 0 {
			best = minutes
		}
	}
	return best
}
