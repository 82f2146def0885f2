package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
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

// levels are the lengths of slots that sums are kept for, in minutes.
var levels = [...]int64{1, 15, 60}

// slotKey is one slot of one level, counted since 1970.
type slotKey struct{ minutes, slot int64 }

// sums are what chunks add to the slots of every level.
type sums map[slotKey]*cell

// collect adds the values of a sensor's chunk.
func (m sums) collect(sensor string, c vitals.Chunk) {
	for _, b := range c.Bundles {
		of := sourceSums{sensor: sensor}
		some := false
		for _, n := range b.Numerics {
			some = of.add(n) || some
		}
		if !some {
			continue
		}
		for _, minutes := range levels {
			k := slotKey{minutes, minuteOf(b.At) / minutes}
			if m[k] == nil {
				m[k] = new(cell)
			}
			m[k].mergeOne(&of)
		}
	}
}

// minuteOf counts minutes since 1970; times before that do not get here.
func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// add merges the sums into those of a partition. A slot that begins before midnight may be in two partitions; readers merge them.
func (m sums) add(ctx context.Context, tx *sql.Tx, d day, subject int64, name string, key seal.Key) error {
	table := d.table("sums")
	for k, c := range m {
		where := sumData(name, d.label(), k)
		var sealed []byte
		switch err := tx.QueryRowContext(ctx, "SELECT sealed FROM "+table+" WHERE subject = ? AND minutes = ? AND slot = ?", subject, k.minutes, k.slot).Scan(&sealed); {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		default:
			var old cell
			if err := openCell(&old, key, sealed, where); err != nil {
				return err
			}
			c.merge(&old)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+table+" (subject, minutes, slot, sealed) VALUES (?, ?, ?, ?)"+ // #nosec G202 -- the tables' names are ours
			" ON CONFLICT (subject, minutes, slot) DO UPDATE SET sealed = excluded.sealed", subject, k.minutes, k.slot, key.Seal(c.encode(), where)); err != nil {
			return err
		}
	}
	return nil
}

func sumData(patient, partition string, k slotKey) []byte {
	return associated("sum", patient, partition, strconv.FormatInt(k.minutes, 10), strconv.FormatInt(k.slot, 10))
}

// maxTrendRange bounds one answer.
const maxTrendRange = 400 * 24 * time.Hour

// Trends sums up one kind of a patient's values in [from, to), in steps of whole minutes (at least
// one) aligned to the step since 0001-01-01 as time.Truncate does. Minutes partly before from or
// after to count whole. Of several sensors each point is of one, chosen as trendStep.choose says;
// what the others measured is in the point's Others. The grant must allow access.ViewPatient or
// access.ViewDisplay on the patient.
func (s *Store) Trends(ctx context.Context, g access.Grant, patient string, k vitals.Kind, from, to time.Time, step time.Duration) ([]TrendPoint, error) {
	if err := s.numbersAllowed(g, patient); err != nil {
		return nil, named("trends", err)
	}
	switch {
	case !k.Valid():
		return nil, named("trends", fmt.Errorf("%w: unknown kind", ErrInvalid))
	case step < time.Minute || step%time.Minute != 0:
		return nil, named("trends", fmt.Errorf("%w: step must be whole minutes", ErrInvalid))
	case to.Sub(from) > maxTrendRange:
		return nil, named("trends", ErrTooMuch)
	case !to.After(from):
		return nil, nil
	}
	key, err := s.key(ctx, patientKey(patient))
	if err != nil {
		return nil, named("trends", err)
	}
	got := map[int64]trendStep{} // by Unix second of the step's begin
	several := false
	err = s.eachCell(ctx, key, patient, from, to, step, func(at time.Time, length time.Duration, c *cell) {
		begin := at.UTC().Truncate(step).Unix()
		for i := range c.sources {
			if !c.sources[i].has(k) {
				continue
			}
			if got[begin] == nil {
				got[begin] = trendStep{}
			}
			got[begin].add(&c.sources[i], k, at, at.Add(length-1))
			several = several || len(got[begin]) > 1
		}
	})
	if err != nil {
		return nil, named("trends", err)
	}
	var asked marks
	if several {
		if asked, err = s.marksOf(ctx, patient); err != nil {
			return nil, named("trends", err)
		}
	}
	return points(got, k, asked), nil
}

// eachCell visits what is kept of a patient's values in [from, to), in slots no longer than a step.
func (s *Store) eachCell(ctx context.Context, key seal.Key, patient string, from, to time.Time, step time.Duration, note func(time.Time, time.Duration, *cell)) error {
	low, high := minuteOf(from), minuteOf(to.Add(time.Minute-1))
	names, err := s.archive.between(ctx, from, to)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.trendsIn(ctx, name, key, patient, low, high, coarsest(step), note); err != nil {
			return err
		}
	}
	return nil
}

// coarsest is the longest slot that divides a step.
func coarsest(step time.Duration) int64 {
	best := int64(1)
	for _, minutes := range levels {
		if int64(step/time.Minute)%minutes == 0 {
			best = minutes
		}
	}
	return best
}

// trendsIn visits what a partition has in the minutes [low, high): whole slots of the given length from the sums of that
// length, what is before the first and after the last of them from the minutes, and what is in no block yet from the chunks.
func (s *Store) trendsIn(ctx context.Context, name string, key seal.Key, patient string, low, high, minutes int64, note func(time.Time, time.Duration, *cell)) (err error) {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return err
	}
	defer d.release()
	snap, err := d.snapshot(ctx, patient, uint8(vitals.Numerics))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.close()) }()
	read := func(minutes, low, high int64) error {
		if low >= high {
			return nil
		}
		return each(ctx, snap.tx, "SELECT slot, sealed FROM "+d.table("sums")+" WHERE subject = ? AND minutes = ? AND slot >= ? AND slot < ?", func(rows *sql.Rows) error {
			var slot int64
			var sealed sql.RawBytes
			if err := rows.Scan(&slot, &sealed); err != nil {
				return err
			}
			var c cell
			if err := openCell(&c, key, sealed, sumData(patient, name, slotKey{minutes, slot})); err != nil {
				return err
			}
			note(time.Unix(slot*minutes*60, 0), time.Duration(minutes)*time.Minute, &c)
			return nil
		}, snap.subject, minutes, low, high)
	}
	if begin, end := (low+minutes-1)/minutes, high/minutes; minutes > 1 && begin < end {
		err = errors.Join(read(1, low, begin*minutes), read(minutes, begin, end), read(1, end*minutes, high))
	} else {
		err = read(1, low, high)
	}
	if err != nil {
		return err
	}
	return snap.chunks(ctx, patient, key, func(r recentRow) bool { return r.last >= low*60e6 && r.first < high*60e6 }, func(o opened) error {
		for _, b := range o.chunk.Bundles {
			if m := minuteOf(b.At); m < low || m >= high {
				continue
			}
			c := cell{sources: []sourceSums{{sensor: o.sensor}}}
			for _, n := range b.Numerics {
				c.sources[0].add(n)
			}
			note(b.At, 1, &c)
		}
		return nil
	})
}
