package days

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// contentStep lets a block be found by its stream and its first sequence number, to compare what comes again with what is stored.
const contentStep = `CREATE INDEX blocks_by_stream ON blocks (stream, seq);`

// PgContent is contentStep in PostgreSQL: of a partitioned table, so of all days, those to come included.
var PgContent = sealdb.Step{Up: contentStep, Down: "DROP INDEX blocks_by_stream;"}

// maxOverlapping is how many blocks of a stream may cover one sequence number: what came late has a block of its own.
const maxOverlapping = 16

// SameContent compares a chunk with the one that is stored under its number; true if there is none to compare it with.
func (s *Days) SameContent(ctx context.Context, p *Pending) (bool, error) {
	d, err := s.database.Open(ctx, p.Partition)
	if err != nil {
		return false, err
	}
	defer d.Release()
	var id int64
	switch err := d.reader().QueryRowContext(ctx, "SELECT id FROM streams WHERE sensor = ? AND signal = ? AND epoch = ?", p.Sensor, int64(p.Signal), p.Epoch.ID[:]).Scan(&id); {
	case errors.Is(err, sql.ErrNoRows):
		return true, nil
	case err != nil:
		return false, err
	}
	t, err := d.Stream(ctx, id)
	if err != nil || t == nil {
		return t == nil, err
	}
	stored, err := s.storedChunk(ctx, d, t, id, p.Signal, int64(p.Seq)) // #nosec G115 -- prepare checked
	switch {
	case errors.Is(err, sealdb.ErrNotFound), errors.Is(err, sealdb.ErrSealed): // gone, forgotten or damaged
		return true, nil
	case err != nil:
		return false, err
	}
	return sameValues(stored, p.Chunk), nil
}

// sameValues reports whether two chunks hold the same values, as far as both reach. Times are not compared: the store corrects those
// of a clock that was wrong. Neither is the length: a chunk is split where its patient changes, and only its first part has its number.
func sameValues(a, b vitals.Chunk) bool {
	return a.Signal == b.Signal && a.Rate == b.Rate && samePrefix(a.Red, b.Red, equal) && samePrefix(a.Infrared, b.Infrared, equal) &&
		samePrefix(a.PressurePa, b.PressurePa, equal) &&
		samePrefix(a.Bundles, b.Bundles, func(x, y vitals.Bundle) bool { return slices.Equal(x.Numerics, y.Numerics) }) &&
		samePrefix(a.Events, b.Events, func(x, y vitals.Event) bool { return x.Code == y.Code && x.Detail == y.Detail })
}

// storedChunk opens the chunk with a sequence number of a stream, wherever it lies; ErrNotFound if its content is not kept any more.
func (s *Days) storedChunk(ctx context.Context, d Day, t *StreamTaken, stream int64, signal vitals.Signal, seq int64) (vitals.Chunk, error) {
	names := map[int64]string{}
	r, subject, sealed, err := d.recentChunk(ctx, stream, signal, seq)
	if err == nil {
		name, err := subjectName(ctx, d, subject, names)
		if err != nil {
			return vitals.Chunk{}, err
		}
		key, err := s.db.Key(ctx, sealdb.PatientKey(name))
		if err != nil {
			return vitals.Chunk{}, err
		}
		return OpenChunk(key, t.RowOf(signal, r), name, sealed)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return vitals.Chunk{}, err
	}
	type candidate struct {
		subject, seq, start int64
		sealed              []byte
	}
	var near []candidate
	if err := sealdb.Each(ctx, d.reader(), "SELECT subject, seq, start, sealed FROM "+d.Table("blocks")+" WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT ?", func(rows *sql.Rows) error {
		var c candidate
		err := rows.Scan(&c.subject, &c.seq, &c.start, &c.sealed)
		near = append(near, c)
		return err
	}, stream, seq, maxOverlapping); err != nil { // #nosec G202 -- the tables' names are ours
		return vitals.Chunk{}, err
	}
	for _, c := range near {
		name, err := subjectName(ctx, d, c.subject, names)
		if err != nil {
			return vitals.Chunk{}, err
		}
		key, err := s.db.Key(ctx, sealdb.PatientKey(name))
		if errors.Is(err, sealdb.ErrNotFound) { // forgotten
			continue
		}
		if err != nil {
			return vitals.Chunk{}, err
		}
		chunks, seqs, err := openBlock(key, t, signal, name, c.seq, c.start, c.sealed)
		if err != nil {
			return vitals.Chunk{}, err
		}
		for i, n := range seqs {
			if n == seq {
				return chunks[i], nil
			}
		}
	}
	return vitals.Chunk{}, sealdb.ErrNotFound
}

// recentChunk implements day.
func (p *partition) recentChunk(ctx context.Context, stream int64, signal vitals.Signal, seq int64) (r RecentRow, subject int64, sealed []byte, err error) {
	found := false
	p.mu.RLock()
	for of, rows := range p.recent {
		if of.signal != signal {
			continue
		}
		for _, x := range rows {
			if x.Stream == stream && x.Seq == seq {
				r, subject, found = x, of.subject, true
			}
		}
	}
	p.mu.RUnlock()
	if !found {
		return r, 0, nil, sql.ErrNoRows
	}
	err = p.read.QueryRowContext(ctx, "SELECT sealed FROM recent WHERE id = ?", r.ID).Scan(&sealed)
	return r, subject, sealed, err
}

// recentChunk implements day.
func (d tableDay) recentChunk(ctx context.Context, stream int64, _ vitals.Signal, seq int64) (r RecentRow, subject int64, sealed []byte, err error) {
	r.Stream, r.Seq = stream, seq
	err = d.reader().QueryRowContext(ctx, "SELECT id, subject, start, sealed FROM "+d.Table("recent")+" WHERE stream = ? AND seq = ?", stream, seq). // #nosec G202 -- the tables' names are ours
																				Scan(&r.ID, &subject, &r.Start, &sealed)
	return r, subject, sealed, err
}

// TakenIn is what a day holds.
func (s *Days) TakenIn(ctx context.Context, name string) ([]StreamTaken, error) {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	return d.streams(ctx)
}

func equal[T comparable](a, b T) bool { return a == b }

func samePrefix[T any](a, b []T, same func(T, T) bool) bool {
	for i := range min(len(a), len(b)) {
		if !same(a[i], b[i]) {
			return false
		}
	}
	return true
}
