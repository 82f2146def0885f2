package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"vitalseal/internal/vitals"
)

// contentStep lets a block be found by its stream and its first sequence number, to compare what comes again with what is stored.
const contentStep = `CREATE INDEX blocks_by_stream ON blocks (stream, seq);`

// pgContent is contentStep in PostgreSQL: of a partitioned table, so of all days, those to come included.
var pgContent = step{up: contentStep, down: "DROP INDEX blocks_by_stream;"}

// maxOverlapping is how many blocks of a stream may cover one sequence number: what came late has a block of its own.
const maxOverlapping = 16

// sameContent compares a chunk with the one that is stored under its number; true if there is none to compare it with.
func (s *Days) sameContent(ctx context.Context, p *pending) (bool, error) {
	d, err := s.archive.open(ctx, p.partition)
	if err != nil {
		return false, err
	}
	defer d.release()
	var id int64
	switch err := d.reader().QueryRowContext(ctx, "SELECT id FROM streams WHERE sensor = ? AND signal = ? AND epoch = ?", p.sensor, int64(p.signal), p.epoch.ID[:]).Scan(&id); {
	case errors.Is(err, sql.ErrNoRows):
		return true, nil
	case err != nil:
		return false, err
	}
	t, err := d.stream(ctx, id)
	if err != nil || t == nil {
		return t == nil, err
	}
	stored, err := s.storedChunk(ctx, d, t, id, p.signal, int64(p.seq)) // #nosec G115 -- prepare checked
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrSealed): // gone, forgotten or damaged
		return true, nil
	case err != nil:
		return false, err
	}
	return sameValues(stored, p.chunk), nil
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
func (s *Days) storedChunk(ctx context.Context, d day, t *streamTaken, stream int64, signal vitals.Signal, seq int64) (vitals.Chunk, error) {
	names := map[int64]string{}
	r, subject, sealed, err := d.recentChunk(ctx, stream, signal, seq)
	if err == nil {
		name, err := subjectName(ctx, d, subject, names)
		if err != nil {
			return vitals.Chunk{}, err
		}
		key, err := s.db.key(ctx, patientKey(name))
		if err != nil {
			return vitals.Chunk{}, err
		}
		return openChunk(key, t.rowOf(signal, r), name, sealed)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return vitals.Chunk{}, err
	}
	type candidate struct {
		subject, seq, start int64
		sealed              []byte
	}
	var near []candidate
	if err := each(ctx, d.reader(), "SELECT subject, seq, start, sealed FROM "+d.table("blocks")+" WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT ?", func(rows *sql.Rows) error {
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
		key, err := s.db.key(ctx, patientKey(name))
		if errors.Is(err, ErrNotFound) { // forgotten
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
	return vitals.Chunk{}, ErrNotFound
}

// recentChunk implements day.
func (p *partition) recentChunk(ctx context.Context, stream int64, signal vitals.Signal, seq int64) (r recentRow, subject int64, sealed []byte, err error) {
	found := false
	p.mu.RLock()
	for of, rows := range p.recent {
		if of.signal != signal {
			continue
		}
		for _, x := range rows {
			if x.stream == stream && x.seq == seq {
				r, subject, found = x, of.subject, true
			}
		}
	}
	p.mu.RUnlock()
	if !found {
		return r, 0, nil, sql.ErrNoRows
	}
	err = p.read.QueryRowContext(ctx, "SELECT sealed FROM recent WHERE id = ?", r.id).Scan(&sealed)
	return r, subject, sealed, err
}

// recentChunk implements day.
func (d tablesDay) recentChunk(ctx context.Context, stream int64, _ vitals.Signal, seq int64) (r recentRow, subject int64, sealed []byte, err error) {
	r.stream, r.seq = stream, seq
	err = d.reader().QueryRowContext(ctx, "SELECT id, subject, start, sealed FROM "+d.table("recent")+" WHERE stream = ? AND seq = ?", stream, seq). // #nosec G202 -- the tables' names are ours
																				Scan(&r.id, &subject, &r.start, &sealed)
	return r, subject, sealed, err
}

// takenIn is what a day holds.
func (s *Days) takenIn(ctx context.Context, name string) ([]streamTaken, error) {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer d.release()
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
