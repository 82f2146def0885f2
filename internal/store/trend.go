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
// Values of vitals.Questionable quality count, because a reader saw them as numbers; how many of Count they are is told.
type TrendPoint struct {
	At             time.Time
	Min, Mean, Max float64 // canonical unit of the kind
	Count          int     // values, at least 1
	Questionable   int     // of Count
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

// cell is one patient's minute: one aggregate a kind.
type cell [vitals.MaxKind + 1]aggregate

func (c *cell) merge(o *cell) {
	for k := range c {
		c[k].merge(o[k])
	}
}

type cellKey struct {
	subject int64
	minute  int64 // since 1970
}

// delta is what one transaction adds to a cell.
type delta struct {
	cell
	patient string
	key     seal.Key
}

// collect adds the values of an inserted chunk to the transaction's deltas.
func (in *insertion) collect(p *pending, subject int64) {
	for _, b := range p.chunk.Bundles {
		for _, n := range b.Numerics {
			if !n.Quality.HasValue() || !n.Kind.Valid() || math.IsNaN(n.Value) || math.IsInf(n.Value, 0) {
				continue
			}
			k := cellKey{subject, minuteOf(b.At)}
			d := in.deltas[k]
			if d == nil {
				if in.deltas == nil {
					in.deltas = map[cellKey]*delta{}
				}
				d = &delta{patient: p.subject, key: p.key}
				in.deltas[k] = d
			}
			one := aggregate{count: 1, min: n.Value, max: n.Value, sum: n.Value}
			if n.Quality == vitals.Questionable {
				one.questionable = 1
			}
			d.cell[n.Kind].merge(one)
		}
	}
}

// minuteOf counts minutes since 1970; times before that do not get here.
func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// trends writes the deltas: each touched minute is read once (or is in the cache), merged, sealed and written.
// A minute that begins before midnight may be in two partitions; readers merge them.
func (in *insertion) trends(ctx context.Context) error {
	sel, up := in.tx.StmtContext(ctx, in.part.selectTrend), in.tx.StmtContext(ctx, in.part.upsertTrend)
	for k, d := range in.deltas {
		where := trendData(d.patient, in.part.name, k.minute)
		c := in.part.cells[k]
		if c == nil {
			c = new(cell)
			var sealed []byte
			switch err := sel.QueryRowContext(ctx, k.subject, k.minute).Scan(&sealed); {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			default:
				if err := openCell(c, d.key, sealed, where); err != nil {
					// The chunks are the truth, and new ones must not wait for a damaged sum of old ones.
					in.log.Error("a trend cannot be opened and starts again", "partition", in.part.name, "err", err)
				}
			}
			if len(in.part.cells) >= maxCached {
				clear(in.part.cells)
			}
			in.part.cells[k] = c
		}
		c.merge(&d.cell)
		if _, err := up.ExecContext(ctx, k.subject, k.minute, d.key.Seal(c.encode(), where)); err != nil {
			return err
		}
	}
	return nil
}

func trendData(patient, partition string, minute int64) []byte {
	return associated("trend", patient, partition, strconv.FormatInt(minute, 10))
}

const (
	cellVersion = 1
	cellRecord  = 1 + 4 + 4 + 3*8 // kind, count, questionable, min, max, sum
)

// encode writes the kinds that have values, as doc/formats/store.md says.
func (c *cell) encode() []byte {
	b := []byte{cellVersion}
	for k, a := range c {
		if a.count == 0 {
			continue
		}
		b = append(b, byte(k)) // #nosec G115 -- an index of ten
		b = binary.BigEndian.AppendUint32(b, a.count)
		b = binary.BigEndian.AppendUint32(b, a.questionable)
		for _, v := range [...]float64{a.min, a.max, a.sum} {
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
		}
	}
	return b
}

// decode takes what encode writes and nothing else.
func (c *cell) decode(b []byte) error {
	if len(b) < 1 || b[0] != cellVersion || (len(b)-1)%cellRecord != 0 {
		return fmt.Errorf("%w: trend of unknown form", ErrSealed)
	}
	last := byte(0)
	for b = b[1:]; len(b) > 0; b = b[cellRecord:] {
		f := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b[9+8*i:])) }
		a := aggregate{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), f(0), f(1), f(2)}
		if !vitals.Kind(b[0]).Valid() || b[0] <= last || a.count == 0 || a.questionable > a.count {
			return fmt.Errorf("%w: trend of unknown form", ErrSealed)
		}
		last, c[b[0]] = b[0], a
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
	sums := map[int64]aggregate{} // by Unix second of the step's begin
	low, high := minuteOf(from), minuteOf(to.Add(time.Minute-1))
	for _, name := range s.parts.between(from, to) {
		if err := s.trendsIn(ctx, name, key, patient, low, high, func(minute int64, c *cell) {
			at := time.Unix(minute*60, 0).UTC().Truncate(step).Unix()
			sum := sums[at]
			sum.merge(c[k])
			sums[at] = sum
		}); err != nil {
			return nil, named("trends", err)
		}
	}
	return points(sums), nil
}

// trendsIn visits a partition's minutes in [low, high).
func (s *Store) trendsIn(ctx context.Context, name string, key seal.Key, patient string, low, high int64, visit func(int64, *cell)) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	rows, err := part.read.QueryContext(ctx, `SELECT minute, sealed FROM trends
		WHERE subject = (SELECT id FROM subjects WHERE name = ?) AND minute >= ? AND minute < ?`, patient, low, high)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var sealed sql.RawBytes
	for rows.Next() {
		var minute int64
		if err := rows.Scan(&minute, &sealed); err != nil {
			return err
		}
		var c cell
		if err := openCell(&c, key, sealed, trendData(patient, name, minute)); err != nil {
			return err
		}
		visit(minute, &c)
	}
	return rows.Err()
}
