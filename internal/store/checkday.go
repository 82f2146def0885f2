package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

func (c *Checked) integrity(ctx context.Context, name string, db *sql.DB) error {
	c.Files++
	return each(ctx, db, "PRAGMA integrity_check(10)", func(rows *sql.Rows) error {
		var said string
		err := rows.Scan(&said)
		if err == nil && said != "ok" {
			c.wrong("%s: %s", name, said)
		}
		return err
	})
}

// Checked is what Check found.
type Checked struct {
	Files    int `json:"files"`
	Blocks   int `json:"blocks"`  // that open
	Chunks   int `json:"chunks"`  // in those, and in none yet
	Sums     int `json:"sums"`    // that open and are what their chunks say, as far as these are still there
	SetAside int `json:"damaged"` // chunks that were set aside as damaged before
	Sealed   int `json:"no_key"`  // blocks of patients who were forgotten
	// Problems are what is wrong, at most a hundred.
	Problems []string `json:"problems"`
}

func (c *Checked) wrong(format string, args ...any) {
	if len(c.Problems) < 100 {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

func (s *Days) checkPartition(ctx context.Context, name string, c *Checked) (err error) {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return err
	}
	defer d.release()
	var damaged int
	if err := d.reader().QueryRowContext(ctx, "SELECT count(*) FROM "+d.table("damaged")).Scan(&damaged); err != nil {
		return err
	}
	c.SetAside += damaged
	subjects := map[int64]string{}
	if err := each(ctx, d.reader(), "SELECT id, name FROM subjects WHERE id IN (SELECT subject FROM "+d.table("blocks")+" UNION SELECT subject FROM "+
		d.table("recent")+" UNION SELECT subject FROM "+d.table("sums")+")", func(rows *sql.Rows) error {
		var id int64
		var name string
		err := rows.Scan(&id, &name)
		subjects[id] = name
		return err
	}); err != nil {
		return err
	}
	for id, subject := range subjects {
		if err := s.checkSubject(ctx, d, id, subject, c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Days) checkSubject(ctx context.Context, d day, id int64, subject string, c *Checked) error {
	key, err := s.db.key(ctx, patientKey(subject))
	if errors.Is(err, ErrNotFound) {
		var n int
		err := d.reader().QueryRowContext(ctx, "SELECT count(*) FROM "+d.table("blocks")+" WHERE subject = ?", id).Scan(&n)
		c.Sealed += n
		return err
	}
	if err != nil {
		return err
	}
	said, numerics := sums{}, false
	there := map[int64]taken{}
	note := func(stream, seq int64) {
		if there[stream].has(seq) {
			c.wrong("%s: stream %d: sequence %d is there twice", d.label(), stream, seq)
		}
		there[stream] = there[stream].add(stretch{seq, seq})
		c.Chunks++
	}
	err = each(ctx, d.reader(), "SELECT id, signal, stream, seq, start, sealed FROM "+d.table("blocks")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var block, stream, seq, start int64
		var signal uint8
		var sealed sql.RawBytes
		if err := rows.Scan(&block, &signal, &stream, &seq, &start, &sealed); err != nil {
			return err
		}
		t, err := d.stream(ctx, stream)
		if err != nil {
			return err
		}
		if t == nil {
			c.wrong("%s: block %d is of no stream", d.label(), block)
			return nil
		}
		chunks, seqs, err := openBlock(key, t, vitals.Signal(signal), subject, seq, start, sealed)
		if err != nil {
			c.wrong("%s: block %d: %v", d.label(), block, err)
			return nil
		}
		c.Blocks++
		for i, ch := range chunks {
			note(stream, seqs[i])
			said.collect(t.key.sensor, ch)
			numerics = numerics || ch.Signal == vitals.Numerics
		}
		return nil
	}, id)
	if err != nil {
		return err
	}
	for sig := vitals.Signal(1); sig.Valid(); sig++ {
		sn, err := d.snapshot(ctx, subject, uint8(sig))
		if err != nil {
			return err
		}
		err = sn.chunks(ctx, subject, key, func(recentRow) bool { return true }, func(opened) error { return nil })
		for _, r := range sn.recent {
			note(r.stream, r.seq)
		}
		if errors.Is(err, ErrSealed) {
			c.wrong("%v", err)
			err = nil
		}
		if err := errors.Join(err, sn.close()); err != nil {
			return err
		}
	}
	return s.checkSums(ctx, d, id, subject, key, said, numerics, c)
}

// checkSums compares what is kept with what the chunks say; without chunks, retention has taken them, and the sums must open only.
func (s *Days) checkSums(ctx context.Context, d day, id int64, subject string, key seal.Key, said sums, numerics bool, c *Checked) error {
	kept := map[slotKey]bool{}
	err := each(ctx, d.reader(), "SELECT minutes, slot, sealed FROM "+d.table("sums")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var k slotKey
		var sealed sql.RawBytes
		if err := rows.Scan(&k.minutes, &k.slot, &sealed); err != nil {
			return err
		}
		var have cell
		if err := openCell(&have, key, sealed, sumData(subject, d.label(), k)); err != nil {
			c.wrong("%s: sum of %d minutes: %v", d.label(), k.minutes, err)
			return nil
		}
		kept[k] = true
		c.Sums++
		if !numerics {
			return nil
		}
		want := said[k]
		if want == nil || !have.near(want) {
			c.wrong("%s: the sum of %d minutes at slot %d is not that of its chunks", d.label(), k.minutes, k.slot)
		}
		return nil
	}, id)
	for k, want := range said {
		if !kept[k] && want.values() {
			c.wrong("%s: the sum of %d minutes at slot %d is missing", d.label(), k.minutes, k.slot)
		}
	}
	return err
}

// near tells equal but for the last digits of a sum, which depend on the order of adding. Where
// either holds values of unknown sensors (an older hub's), the values of all together are compared,
// and what the chunks say is asserted may be among the measured ones.
func (c *cell) near(o *cell) bool {
	if c.unknown() || o.unknown() {
		a, b := c.total(), o.total()
		return a.near(&b, true)
	}
	some := func(all []sourceSums) []sourceSums {
		return slices.DeleteFunc(slices.Clone(all), func(s sourceSums) bool { return !s.values() })
	}
	return slices.EqualFunc(some(c.sources), some(o.sources), func(a, b sourceSums) bool { return a.sensor == b.sensor && a.near(&b, false) })
}

// values tells whether any source has values: a cell may hold failed attempts alone, which an older
// hub did not count.
func (c *cell) values() bool {
	return slices.ContainsFunc(c.sources, func(s sourceSums) bool { return s.values() })
}

// near compares the sums of one source; with asserted, what o has asserted may be among what s has
// measured.
func (s *sourceSums) near(o *sourceSums, asserted bool) bool {
	for k := range s.measured {
		if s.asserted[k].count > o.asserted[k].count {
			return false
		}
		a, b := s.measured[k], o.measured[k]
		if asserted && s.asserted[k].count < o.asserted[k].count {
			a.merge(s.asserted[k])
			b.merge(o.asserted[k])
		} else if !s.asserted[k].near(o.asserted[k]) {
			return false
		}
		if !a.near(b) {
			return false
		}
	}
	return true
}

func (a aggregate) near(b aggregate) bool {
	return a.count == b.count && a.questionable == b.questionable &&
		(a.count == 0 || a.min == b.min && a.max == b.max && math.Abs(a.sum-b.sum) <= 1e-9*math.Max(1, math.Abs(b.sum)))
}
