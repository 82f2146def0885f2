package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

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

// Check reads the whole store: SQLite's own integrity, that every block and chunk opens under its patient's key and is where it says,
// that no sequence number is there twice, and that the sums are those of the chunks. It tells progress of every partition. It
// gives out no value.
func (s *Store) Check(ctx context.Context, progress func(partition string)) (c Checked, err error) {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	progress("directory")
	if err := c.integrity(ctx, "directory", s.db.DB); err != nil {
		return c, named("check", err)
	}
	names, _ := s.parts.all()
	for _, name := range names {
		progress(name)
		if err := s.checkPartition(ctx, name, &c); err != nil {
			return c, named("check", fmt.Errorf("partition %s: %w", name, err))
		}
	}
	return c, nil
}

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

func (s *Store) checkPartition(ctx context.Context, name string, c *Checked) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	if err := c.integrity(ctx, name, part.read); err != nil {
		return err
	}
	var damaged int
	if err := part.read.QueryRowContext(ctx, "SELECT count(*) FROM damaged").Scan(&damaged); err != nil {
		return err
	}
	c.SetAside += damaged
	subjects := map[int64]string{}
	if err := each(ctx, part.read, "SELECT id, name FROM subjects", func(rows *sql.Rows) error {
		var id int64
		var name string
		err := rows.Scan(&id, &name)
		subjects[id] = name
		return err
	}); err != nil {
		return err
	}
	for id, subject := range subjects {
		if err := s.checkSubject(ctx, part, id, subject, c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkSubject(ctx context.Context, part *partition, id int64, subject string, c *Checked) error {
	key, err := s.key(ctx, patientKey(subject))
	if errors.Is(err, ErrNotFound) {
		var n int
		err := part.read.QueryRowContext(ctx, "SELECT count(*) FROM blocks WHERE subject = ?", id).Scan(&n)
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
			c.wrong("%s: stream %d: sequence %d is there twice", part.name, stream, seq)
		}
		there[stream] = there[stream].add(stretch{seq, seq})
		c.Chunks++
	}
	err = each(ctx, part.read, "SELECT id, signal, stream, seq, start, sealed FROM blocks WHERE subject = ?", func(rows *sql.Rows) error {
		var block, stream, seq, start int64
		var signal uint8
		var sealed sql.RawBytes
		if err := rows.Scan(&block, &signal, &stream, &seq, &start, &sealed); err != nil {
			return err
		}
		part.mu.RLock()
		t := part.taken[stream]
		part.mu.RUnlock()
		if t == nil {
			c.wrong("%s: block %d is of no stream", part.name, block)
			return nil
		}
		chunks, seqs, err := openBlock(key, t, vitals.Signal(signal), subject, seq, start, sealed)
		if err != nil {
			c.wrong("%s: block %d: %v", part.name, block, err)
			return nil
		}
		c.Blocks++
		for i, ch := range chunks {
			note(stream, seqs[i])
			said.collect(ch)
			numerics = numerics || ch.Signal == vitals.Numerics
		}
		return nil
	}, id)
	if err != nil {
		return err
	}
	for sig := vitals.Signal(1); sig.Valid(); sig++ {
		sn, err := part.snapshot(ctx, subject, sig)
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
	return s.checkSums(ctx, part, id, subject, key, said, numerics, c)
}

// checkSums compares what is kept with what the chunks say; without chunks, retention has taken them, and the sums must open only.
func (s *Store) checkSums(ctx context.Context, part *partition, id int64, subject string, key seal.Key, said sums, numerics bool, c *Checked) error {
	kept := map[slotKey]bool{}
	err := each(ctx, part.read, "SELECT minutes, slot, sealed FROM sums WHERE subject = ?", func(rows *sql.Rows) error {
		var k slotKey
		var sealed sql.RawBytes
		if err := rows.Scan(&k.minutes, &k.slot, &sealed); err != nil {
			return err
		}
		var have cell
		if err := openCell(&have, key, sealed, sumData(subject, part.name, k)); err != nil {
			c.wrong("%s: sum of %d minutes: %v", part.name, k.minutes, err)
			return nil
		}
		kept[k] = true
		c.Sums++
		if !numerics {
			return nil
		}
		want := said[k]
		if want == nil || !have.near(want) {
			c.wrong("%s: the sum of %d minutes at slot %d is not that of its chunks", part.name, k.minutes, k.slot)
		}
		return nil
	}, id)
	for k := range said {
		if !kept[k] {
			c.wrong("%s: the sum of %d minutes at slot %d is missing", part.name, k.minutes, k.slot)
		}
	}
	return err
}

// near tells equal but for the last digits of a sum, which depend on the order of adding.
func (c *cell) near(o *cell) bool {
	for k := range c {
		a, b := c[k], o[k]
		if a.count != b.count || a.questionable != b.questionable || a.count > 0 && (a.min != b.min || a.max != b.max || math.Abs(a.sum-b.sum) > 1e-9*math.Max(1, math.Abs(b.sum))) {
			return false
		}
	}
	return true
}
