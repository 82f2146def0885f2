package days

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// What moves the readings of one day. Each step commits by itself and leaves nothing for a second run to do twice: a block goes in one
// transaction from its source to its target, and sums are made from the blocks, not from what they were.

// change runs f in a write transaction of a day, between two batches of the writer.
func (s *Days) change(ctx context.Context, d Day, f func(tx *sql.Tx) error) error {
	switch d := d.(type) {
	case fileDay:
		return s.exclusively(ctx, func(ctx context.Context) error { return sealdb.Transact(ctx, d.write, f) })
	case tableDay:
		return sealdb.Transact(ctx, s.db.DB, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?, ?)", sealdb.DayClass, dayNumber(d.name)); err != nil {
				return err
			}
			return f(tx)
		})
	}
	return fmt.Errorf("store: a day of type %T", d)
}

// storedBlock is a block as it lies there, or is to.
type storedBlock struct {
	id, subject, stream, seq, start, first, last int64
	signal                                       vitals.Signal
	sealed                                       []byte
}

// blocksOf are a subject's blocks of a signal that may have samples in [from, to).
func blocksOf(ctx context.Context, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, d Day, subject int64, signal vitals.Signal, from, to int64) (all []storedBlock, err error) {
	err = sealdb.Each(ctx, db, "SELECT id, stream, seq, start, first, last, sealed FROM "+d.Table(blocksByTime)+
		" WHERE subject = ? AND signal = ? AND last >= ? AND last < ? AND first < ? ORDER BY id", func(rows *sql.Rows) error {
		b := storedBlock{subject: subject, signal: signal}
		err := rows.Scan(&b.id, &b.stream, &b.seq, &b.start, &b.first, &b.last, &b.sealed)
		all = append(all, b)
		return err
	}, subject, uint8(signal), from, to+(2*attribution.MaxSpan+blockLasting).Microseconds(), to)
	return all, err
}

// MoveDay does a day's part of a move.
func (s *Days) MoveDay(ctx context.Context, name string, m attribution.Move) error {
	d, err := s.database.Open(ctx, name)
	if errors.Is(err, sealdb.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Release()
	source, err := s.db.Key(ctx, sealdb.PatientKey(m.From))
	if errors.Is(err, sealdb.ErrNotFound) { // forgotten since: there is nothing that can be opened
		return nil
	}
	if err != nil {
		return err
	}
	target, err := s.db.Key(ctx, sealdb.PatientKey(m.To))
	if errors.Is(err, sealdb.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	from, err := s.subjectOf(ctx, d, m.From)
	if err != nil {
		return err
	}
	to, err := s.subjectOf(ctx, d, m.To)
	if err != nil {
		return err
	}
	for signal := vitals.Signal(1); signal <= vitals.MaxSignal; signal++ {
		blocks, err := blocksOf(ctx, d.reader(), d, from, signal, sealdb.Micro(m.Begin), sealdb.Micro(m.End))
		if err != nil {
			return err
		}
		for part := range slices.Chunk(blocks, maxSwap) {
			if err := s.moveBlocks(ctx, d, m, part, source, target, to); err != nil {
				return err
			}
		}
	}
	return errors.Join(s.remakeSums(ctx, d, m.From, from, source, sealdb.Micro(m.Begin), sealdb.Micro(m.End)), s.remakeSums(ctx, d, m.To, to, target, sealdb.Micro(m.Begin), sealdb.Micro(m.End)))
}

// subjectOf is the short number of a patient in a day, given if there is none.
func (s *Days) subjectOf(ctx context.Context, d Day, name string) (id int64, err error) {
	const find = "SELECT id FROM subjects WHERE name = ?"
	if err = d.reader().QueryRowContext(ctx, find, name).Scan(&id); !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	err = s.change(ctx, d, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO subjects (name) VALUES (?) ON CONFLICT DO NOTHING", name)
		return err
	})
	if err == nil {
		err = d.reader().QueryRowContext(ctx, find, name).Scan(&id)
	}
	return id, err
}

// moveBlocks splits blocks into what stays and what goes, and puts both in their place in one transaction.
func (s *Days) moveBlocks(ctx context.Context, d Day, m attribution.Move, blocks []storedBlock, source, target seal.Key, to int64) error {
	var gone []int64
	var made []storedBlock
	for _, b := range blocks {
		t, err := d.Stream(ctx, b.stream)
		if err == nil && t == nil {
			err = fmt.Errorf("%w: a block of no stream", sealdb.ErrSealed)
		}
		if err != nil {
			return err
		}
		if !m.Covers(t.Key.Sensor) {
			continue
		}
		chunks, seqs, err := openBlock(source, t, b.signal, m.From, b.seq, b.start, b.sealed)
		if err != nil { // it stays where it is, as damaged as it was
			s.db.Log.Error("a damaged block cannot be moved to its patient", "partition", d.label(), "seq", b.seq, "err", err)
			continue
		}
		stays, goes := split(chunks, seqs, sealdb.Micro(m.Begin), sealdb.Micro(m.End))
		if len(goes.chunks) == 0 {
			continue
		}
		gone = append(gone, b.id)
		moved, err := goes.seal(target, t, b, to, m.To)
		if err != nil {
			return err
		}
		made = append(made, moved)
		if len(stays.chunks) > 0 {
			kept, err := stays.seal(source, t, b, b.subject, m.From)
			if err != nil {
				return err
			}
			made = append(made, kept)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.change(ctx, d, func(tx *sql.Tx) error {
		for _, id := range gone {
			if err := sealdb.Affected(tx.ExecContext(ctx, "DELETE FROM "+d.Table("blocks")+" WHERE id = ?", id)); err != nil { // #nosec G202 -- the tables' names are ours
				return err
			}
		}
		for _, b := range made {
			if _, err := tx.ExecContext(ctx, "INSERT INTO "+d.Table("blocks")+" (subject, signal, stream, seq, start, first, last, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", // #nosec G202 -- the tables' names are ours
				b.subject, uint8(b.signal), b.stream, b.seq, b.start, b.first, b.last, b.sealed); err != nil {
				return err
			}
		}
		return nil
	})
}

// numbered are chunks of one stream with their sequence numbers, ascending.
type numbered struct {
	chunks []vitals.Chunk
	seqs   []int64
}

func (n *numbered) add(c vitals.Chunk, seq int64) {
	n.chunks, n.seqs = append(n.chunks, c), append(n.seqs, seq)
}

// split parts chunks at the ends of [begin, end): numbers and events one by one, a wave's quarter of a second whole, by its start.
func split(chunks []vitals.Chunk, seqs []int64, begin, end int64) (stays, goes numbered) {
	in := func(t time.Time) bool { return sealdb.Micro(t) >= begin && sealdb.Micro(t) < end }
	for i, c := range chunks {
		switch c.Signal {
		case vitals.Numerics:
			a, b := c, c
			a.Bundles = slices.DeleteFunc(slices.Clone(c.Bundles), func(x vitals.Bundle) bool { return in(x.At) })
			b.Bundles = slices.DeleteFunc(slices.Clone(c.Bundles), func(x vitals.Bundle) bool { return !in(x.At) })
			if len(a.Bundles) > 0 {
				stays.add(a, seqs[i])
			}
			if len(b.Bundles) > 0 {
				goes.add(b, seqs[i])
			}
		case vitals.Events:
			a, b := c, c
			a.Events = slices.DeleteFunc(slices.Clone(c.Events), func(x vitals.Event) bool { return in(x.At) })
			b.Events = slices.DeleteFunc(slices.Clone(c.Events), func(x vitals.Event) bool { return !in(x.At) })
			if len(a.Events) > 0 {
				stays.add(a, seqs[i])
			}
			if len(b.Events) > 0 {
				goes.add(b, seqs[i])
			}
		default:
			if in(c.Start) {
				goes.add(c, seqs[i])
			} else {
				stays.add(c, seqs[i])
			}
		}
	}
	return stays, goes
}

// seal makes a block of chunks, for a subject, in the place of another one.
func (n numbered) seal(key seal.Key, t *StreamTaken, was storedBlock, subject int64, name string) (b storedBlock, err error) {
	b = storedBlock{subject: subject, stream: was.stream, signal: was.signal, seq: n.seqs[0], start: math.MaxInt64, first: math.MaxInt64, last: math.MinInt64}
	plain := binary.AppendUvarint(nil, uint64(len(n.seqs)))
	last := n.seqs[0] - 1
	for i, c := range n.chunks {
		first, end := attribution.SampleSpan(c)
		b.start, b.first, b.last = min(b.start, sealdb.Micro(c.Start)), min(b.first, sealdb.Micro(first)), max(b.last, sealdb.Micro(end))
		plain = binary.AppendUvarint(plain, uint64(n.seqs[i]-last-1)) // #nosec G115 -- ascending
		last = n.seqs[i]
	}
	waves, err := vitals.EncodeBlock(n.chunks)
	if err != nil {
		return b, err
	}
	b.sealed = key.Seal(append(plain, waves...), blockData(t, b.signal, name, b.seq, b.start))
	return b, nil
}

// remakeSums makes a patient's sums of all slots that touch [begin, end) anew, from the blocks that are there.
func (s *Days) remakeSums(ctx context.Context, d Day, name string, subject int64, key seal.Key, begin, end int64) error {
	hour := Levels[len(Levels)-1] * 60e6
	for low := begin / hour * hour; low < end; low += hour { // an hour at a time: the writer waits for none for long
		if err := s.remakeHour(ctx, d, name, subject, key, low, low+hour); err != nil {
			return err
		}
	}
	return nil
}

func (s *Days) remakeHour(ctx context.Context, d Day, name string, subject int64, key seal.Key, low, high int64) error {
	blocks, err := blocksOf(ctx, d.reader(), d, subject, vitals.Numerics, low, high)
	if err != nil {
		return err
	}
	made := sums{}
	for _, b := range blocks {
		t, err := d.Stream(ctx, b.stream)
		if err != nil || t == nil {
			return errors.Join(err, fmt.Errorf("%w: a block of no stream", sealdb.ErrSealed))
		}
		chunks, _, err := openBlock(key, t, b.signal, name, b.seq, b.start, b.sealed)
		if err != nil {
			s.db.Log.Error("a damaged block is left out of the sums", "partition", d.label(), "seq", b.seq, "err", err)
			continue
		}
		for _, c := range chunks {
			c.Bundles = slices.DeleteFunc(c.Bundles, func(x vitals.Bundle) bool { return sealdb.Micro(x.At) < low || sealdb.Micro(x.At) >= high })
			made.collect(t.Key.Sensor, c)
		}
	}
	minutes := [2]int64{low / 60e6, high / 60e6}
	return s.change(ctx, d, func(tx *sql.Tx) error {
		for _, level := range Levels {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+d.Table("sums")+" WHERE subject = ? AND minutes = ? AND slot >= ? AND slot < ?", // #nosec G202 -- the tables' names are ours
				subject, level, minutes[0]/level, minutes[1]/level); err != nil {
				return err
			}
		}
		for _, k := range slices.SortedFunc(maps.Keys(made), func(a, b slotKey) int { return int(a.slot - b.slot) }) {
			if _, err := tx.ExecContext(ctx, "INSERT INTO "+d.Table("sums")+" (subject, minutes, slot, sealed) VALUES (?, ?, ?, ?)", // #nosec G202 -- the tables' names are ours
				subject, k.minutes, k.slot, key.Seal(made[k].encode(), sumData(name, d.label(), k))); err != nil {
				return err
			}
		}
		return nil
	})
}
