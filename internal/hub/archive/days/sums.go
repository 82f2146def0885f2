package days

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Mean is the mean of the values; there must be one.
func (a Aggregate) Mean() float64 { return a.sum / float64(a.Count) }

// Levels are the lengths of slots that sums are kept for, in minutes.
var Levels = [...]int64{1, 15, 60}

// slotKey is one slot of one level, counted since 1970.
type slotKey struct{ minutes, slot int64 }

// sums are what chunks add to the slots of every level.
type sums map[slotKey]*Cell

// collect adds the values of a sensor's chunk.
func (m sums) collect(sensor string, c vitals.Chunk) {
	for _, b := range c.Bundles {
		of := SourceSums{Sensor: sensor}
		some := false
		for _, n := range b.Numerics {
			some = of.add(n) || some
		}
		if !some {
			continue
		}
		for _, minutes := range Levels {
			k := slotKey{minutes, MinuteOf(b.At) / minutes}
			if m[k] == nil {
				m[k] = new(Cell)
			}
			m[k].mergeOne(&of)
		}
	}
}

// MinuteOf counts minutes since 1970; times before that do not get here.
func MinuteOf(t time.Time) int64 { return t.Unix() / 60 }

// add merges the sums into those of a partition. A slot that begins before midnight may be in two partitions; readers merge them.
func (m sums) add(ctx context.Context, tx *sql.Tx, d Day, subject int64, name string, key seal.Key) error {
	table := d.Table("sums")
	for k, c := range m {
		where := sumData(name, d.label(), k)
		var sealed []byte
		switch err := tx.QueryRowContext(ctx, "SELECT sealed FROM "+table+" WHERE subject = ? AND minutes = ? AND slot = ?", subject, k.minutes, k.slot).Scan(&sealed); {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		default:
			var old Cell
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
	return sealdb.Associated("sum", patient, partition, strconv.FormatInt(k.minutes, 10), strconv.FormatInt(k.slot, 10))
}

// TrendsIn visits what a partition has in the minutes [low, high): whole slots of the given length from the sums of that
// length, what is before the first and after the last of them from the minutes, and what is in no block yet from the chunks.
func (s *Days) TrendsIn(ctx context.Context, name string, key seal.Key, patient string, low, high, minutes int64, note func(time.Time, time.Duration, *Cell)) (err error) {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return err
	}
	defer d.Release()
	snap, err := d.snapshot(ctx, patient, uint8(vitals.Numerics))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.close()) }()
	read := func(minutes, low, high int64) error {
		if low >= high {
			return nil
		}
		return sealdb.Each(ctx, snap.tx, "SELECT slot, sealed FROM "+d.Table("sums")+" WHERE subject = ? AND minutes = ? AND slot >= ? AND slot < ?", func(rows *sql.Rows) error {
			var slot int64
			var sealed sql.RawBytes
			if err := rows.Scan(&slot, &sealed); err != nil {
				return err
			}
			var c Cell
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
	return snap.chunks(ctx, patient, key, func(r RecentRow) bool { return r.last >= low*60e6 && r.first < high*60e6 }, func(o Opened) error {
		for _, b := range o.Chunk.Bundles {
			if m := MinuteOf(b.At); m < low || m >= high {
				continue
			}
			c := Cell{Sources: []SourceSums{{Sensor: o.Sensor}}}
			for _, n := range b.Numerics {
				c.Sources[0].add(n)
			}
			note(b.At, 1, &c)
		}
		return nil
	})
}
