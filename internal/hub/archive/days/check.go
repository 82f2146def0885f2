package days

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Integrity has SQLite check a file.
func (c *Checked) Integrity(ctx context.Context, name string, db *sql.DB) error {
	c.Files++
	return sealdb.Each(ctx, db, "PRAGMA integrity_check(10)", func(rows *sql.Rows) error {
		var said string
		err := rows.Scan(&said)
		if err == nil && said != "ok" {
			c.Wrong("%s: %s", name, said)
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

// Wrong notes a problem.
func (c *Checked) Wrong(format string, args ...any) {
	if len(c.Problems) < 100 {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

// CheckPartition reads all of a day, as store.Store.Check says.
func (s *Days) CheckPartition(ctx context.Context, name string, c *Checked) (err error) {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return err
	}
	defer d.Release()
	var damaged int
	if err := d.reader().QueryRowContext(ctx, "SELECT count(*) FROM "+d.Table("damaged")).Scan(&damaged); err != nil {
		return err
	}
	c.SetAside += damaged
	subjects := map[int64]string{}
	if err := sealdb.Each(ctx, d.reader(), "SELECT id, name FROM subjects WHERE id IN (SELECT subject FROM "+d.Table("blocks")+" UNION SELECT subject FROM "+
		d.Table("recent")+" UNION SELECT subject FROM "+d.Table("sums")+")", func(rows *sql.Rows) error {
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

func (s *Days) checkSubject(ctx context.Context, d Day, id int64, subject string, c *Checked) error {
	key, err := s.db.Key(ctx, sealdb.PatientKey(subject))
	if errors.Is(err, sealdb.ErrNotFound) {
		var n int
		err := d.reader().QueryRowContext(ctx, "SELECT count(*) FROM "+d.Table("blocks")+" WHERE subject = ?", id).Scan(&n)
		c.Sealed += n
		return err
	}
	if err != nil {
		return err
	}
	said, numerics := sums{}, false
	there := map[int64]Taken{}
	note := func(stream, seq int64) {
		if there[stream].has(seq) {
			c.Wrong("%s: stream %d: sequence %d is there twice", d.label(), stream, seq)
		}
		there[stream] = there[stream].Add(Stretch{seq, seq})
		c.Chunks++
	}
	err = sealdb.Each(ctx, d.reader(), "SELECT id, signal, stream, seq, start, sealed FROM "+d.Table("blocks")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var block, stream, seq, start int64
		var signal uint8
		var sealed sql.RawBytes
		if err := rows.Scan(&block, &signal, &stream, &seq, &start, &sealed); err != nil {
			return err
		}
		t, err := d.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if t == nil {
			c.Wrong("%s: block %d is of no stream", d.label(), block)
			return nil
		}
		chunks, seqs, err := openBlock(key, t, vitals.Signal(signal), subject, seq, start, sealed)
		if err != nil {
			c.Wrong("%s: block %d: %v", d.label(), block, err)
			return nil
		}
		c.Blocks++
		for i, ch := range chunks {
			note(stream, seqs[i])
			said.collect(t.Key.Sensor, ch)
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
		err = sn.chunks(ctx, subject, key, func(RecentRow) bool { return true }, func(Opened) error { return nil })
		for _, r := range sn.recent {
			note(r.Stream, r.Seq)
		}
		if errors.Is(err, sealdb.ErrSealed) {
			c.Wrong("%v", err)
			err = nil
		}
		if err := errors.Join(err, sn.close()); err != nil {
			return err
		}
	}
	return s.checkSums(ctx, d, id, subject, key, said, numerics, c)
}

// checkSums compares what is kept with what the chunks say; without chunks, retention has taken them, and the sums must open only.
func (s *Days) checkSums(ctx context.Context, d Day, id int64, subject string, key seal.Key, said sums, numerics bool, c *Checked) error {
	kept := map[slotKey]bool{}
	err := sealdb.Each(ctx, d.reader(), "SELECT minutes, slot, sealed FROM "+d.Table("sums")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var k slotKey
		var sealed sql.RawBytes
		if err := rows.Scan(&k.minutes, &k.slot, &sealed); err != nil {
			return err
		}
		var have Cell
		if err := openCell(&have, key, sealed, sumData(subject, d.label(), k)); err != nil {
			c.Wrong("%s: sum of %d minutes: %v", d.label(), k.minutes, err)
			return nil
		}
		kept[k] = true
		c.Sums++
		if !numerics {
			return nil
		}
		want := said[k]
		if want == nil || !have.near(want) {
			c.Wrong("%s: the sum of %d minutes at slot %d is not that of its chunks", d.label(), k.minutes, k.slot)
		}
		return nil
	}, id)
	for k, want := range said {
		if !kept[k] && want.values() {
			c.Wrong("%s: the sum of %d minutes at slot %d is missing", d.label(), k.minutes, k.slot)
		}
	}
	return err
}

// near tells equal but for the last digits of a sum, which depend on the order of adding. Where
// either holds values of unknown sensors (an older hub's), the values of all together are compared,
// and what the chunks say is asserted may be among the measured ones.
func (c *Cell) near(o *Cell) bool {
	if c.unknown() || o.unknown() {
		a, b := c.total(), o.total()
		return a.near(&b, true)
	}
	some := func(all []SourceSums) []SourceSums {
		return slices.DeleteFunc(slices.Clone(all), func(s SourceSums) bool { return !s.values() })
	}
	return slices.EqualFunc(some(c.Sources), some(o.Sources), func(a, b SourceSums) bool { return a.Sensor == b.Sensor && a.near(&b, false) })
}

// values tells whether any source has values: a cell may hold failed attempts alone, which an older
// hub did not count.
func (c *Cell) values() bool {
	return slices.ContainsFunc(c.Sources, func(s SourceSums) bool { return s.values() })
}

// near compares the sums of one source; with asserted, what o has asserted may be among what s has
// measured.
func (s *SourceSums) near(o *SourceSums, asserted bool) bool {
	for k := range s.Measured {
		if s.Asserted[k].Count > o.Asserted[k].Count {
			return false
		}
		a, b := s.Measured[k], o.Measured[k]
		if asserted && s.Asserted[k].Count < o.Asserted[k].Count {
			a.Merge(s.Asserted[k])
			b.Merge(o.Asserted[k])
		} else if !s.Asserted[k].near(o.Asserted[k]) {
			return false
		}
		if !a.near(b) {
			return false
		}
	}
	return true
}

func (a Aggregate) near(b Aggregate) bool {
	return a.Count == b.Count && a.Questionable == b.Questionable &&
		(a.Count == 0 || a.Min == b.Min && a.Max == b.Max && math.Abs(a.sum-b.sum) <= 1e-9*math.Max(1, math.Abs(b.sum)))
}
