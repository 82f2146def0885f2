package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// TrendPoint sums up the values of one kind in [At, At+step). A step without values has no point.
// Values of uncertain quality count, because a reader saw them as numbers; how many of Count they are is told.
// What a legacy device asserts is never summed up with what was measured: a step with measured values is of these alone.
type TrendPoint struct {
	At             time.Time
	Min, Mean, Max float64 // canonical unit of the kind
	Count          int     // values, at least 1
	Questionable   int     // of Count; all of them where Asserted
	Asserted       bool    // no value of the step was measured: legacy devices say them all
}

// aggregate sums up values; merging is associative and commutative, so late and out-of-order arrivals come out the same.
type aggregate struct {
	count, questionable uint32
	min, max, sum       float64
}

func (a *aggregate) merge(b aggregate) {
	if b.count == 0 {
		return
	}
	if a.count == 0 {
		*a = b
		return
	}
	a.count += b.count
	a.questionable += b.questionable
	a.min, a.max, a.sum = min(a.min, b.min), max(a.max, b.max), a.sum+b.sum
}

// sum is what a step has of one kind.
type sum struct{ measured, asserted aggregate }

// cell is one patient's slot: of each kind what was measured, and what legacy devices assert.
type cell struct {
	measured, asserted [vitals.MaxKind + 1]aggregate
}

func (c *cell) merge(o *cell) {
	for k := range c.measured {
		c.measured[k].merge(o.measured[k])
		c.asserted[k].merge(o.asserted[k])
	}
}

// add takes in one value, and tells whether it is one.
func (c *cell) add(n vitals.Numeric) bool {
	if !n.Quality.HasValue() || !n.Kind.Valid() || math.IsNaN(n.Value) || math.IsInf(n.Value, 0) {
		return false
	}
	one := aggregate{count: 1, min: n.Value, max: n.Value, sum: n.Value}
	if n.Quality.Uncertain() {
		one.questionable = 1
	}
	if n.Quality == vitals.Asserted {
		c.asserted[n.Kind].merge(one)
	} else {
		c.measured[n.Kind].merge(one)
	}
	return true
}

// levels are the lengths of slots that sums are kept for, in minutes.
var levels = [...]int64{1, 15, 60}

// slotKey is one slot of one level, counted since 1970.
type slotKey struct{ minutes, slot int64 }

// sums are what chunks add to the slots of every level.
type sums map[slotKey]*cell

// collect adds a chunk's values.
func (m sums) collect(c vitals.Chunk) {
	for _, b := range c.Bundles {
		var c cell
		some := false
		for _, n := range b.Numerics {
			some = c.add(n) || some
		}
		if !some {
			continue
		}
		for _, minutes := range levels {
			k := slotKey{minutes, minuteOf(b.At) / minutes}
			if m[k] == nil {
				m[k] = new(cell)
			}
			m[k].merge(&c)
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

const (
	cellVersion = 2
	// cellPlain is the version of a cell that holds nothing asserted: hubs before version 2 read it too. One that such a hub
	// wrote holds the asserted values among the measured ones.
	cellPlain    = 1
	cellAsserted = 0x80            // this bit of the kind: values that are asserted
	cellRecord   = 1 + 4 + 4 + 3*8 // kind, count, questionable, min, max, sum
)

// encode writes the kinds that have values, as doc/formats/store.md says.
func (c *cell) encode() []byte {
	b := []byte{cellPlain}
	write := func(all *[vitals.MaxKind + 1]aggregate, mark byte) {
		for k, a := range all {
			if a.count == 0 {
				continue
			}
			b[0] = max(b[0], cellPlain+mark/cellAsserted)
			b = append(b, byte(k)|mark) // #nosec G115 -- an index of ten
			b = binary.BigEndian.AppendUint32(b, a.count)
			b = binary.BigEndian.AppendUint32(b, a.questionable)
			for _, v := range [...]float64{a.min, a.max, a.sum} {
				b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
			}
		}
	}
	write(&c.measured, 0)
	write(&c.asserted, cellAsserted)
	return b
}

// decode takes what encode writes and nothing else.
func (c *cell) decode(b []byte) error {
	if len(b) < 1 || b[0] != cellPlain && b[0] != cellVersion || (len(b)-1)%cellRecord != 0 {
		return fmt.Errorf("%w: trend of unknown form", ErrSealed)
	}
	last, version := byte(0), b[0]
	for b = b[1:]; len(b) > 0; b = b[cellRecord:] {
		f := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b[9+8*i:])) }
		a := aggregate{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), f(0), f(1), f(2)}
		all, kind := &c.measured, b[0]
		if kind&cellAsserted != 0 {
			all, kind = &c.asserted, kind&^cellAsserted
		}
		if !vitals.Kind(kind).Valid() || b[0] <= last || a.count == 0 || a.questionable > a.count || all == &c.asserted && a.questionable != a.count {
			return fmt.Errorf("%w: trend of unknown form", ErrSealed)
		}
		last, all[kind] = b[0], a
	}
	if (version == cellVersion) != (last&cellAsserted != 0) {
		return fmt.Errorf("%w: trend of unknown form", ErrSealed)
	}
	return nil
}

func openCell(c *cell, key seal.Key, sealed, where []byte) error {
	b, err := key.Open(sealed, where)
	if err != nil {
		return fmt.Errorf("%w: trend", ErrSealed)
	}
	return c.decode(b)
}

// maxTrendRange bounds one answer.
const maxTrendRange = 400 * 24 * time.Hour

// Trends sums up one kind of a patient's values in [from, to), in steps of whole minutes (at least one) aligned to the
// step since 0001-01-01 as time.Truncate does. Minutes partly before from or after to count whole. The grant must
// allow access.ViewPatient or access.ViewDisplay on the patient.
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
	got := map[int64]*sum{} // by Unix second of the step's begin
	note := func(at time.Time, c *cell) {
		measured, asserted := c.measured[k], c.asserted[k]
		if measured.count == 0 && asserted.count == 0 {
			return
		}
		step := at.UTC().Truncate(step).Unix()
		if got[step] == nil {
			got[step] = new(sum)
		}
		got[step].measured.merge(measured)
		got[step].asserted.merge(asserted)
	}
	low, high := minuteOf(from), minuteOf(to.Add(time.Minute-1))
	names, err := s.archive.between(ctx, from, to)
	if err != nil {
		return nil, named("trends", err)
	}
	for _, name := range names {
		if err := s.trendsIn(ctx, name, key, patient, low, high, coarsest(step), note); err != nil {
			return nil, named("trends", err)
		}
	}
	return points(got), nil
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
func (s *Store) trendsIn(ctx context.Context, name string, key seal.Key, patient string, low, high, minutes int64, note func(time.Time, *cell)) (err error) {
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
			note(time.Unix(slot*minutes*60, 0), &c)
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
			var c cell
			for _, n := range b.Numerics {
				c.add(n)
			}
			note(b.At, &c)
		}
		return nil
	})
}
