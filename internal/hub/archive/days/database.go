package days

import (
	"context"
	"database/sql"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/measurement/vitals"
)

// database keeps chunks by the UTC day they begin in: files of SQLite, or partitioned tables of PostgreSQL. A day's tables are
// the same in both, but for their names.
type database interface {
	// Between are the days that may hold samples of [from, to], ascending.
	Between(ctx context.Context, from, to time.Time) ([]string, error)
	// All are all days, ascending, each with a number that moves when chunks have come to the day.
	All(ctx context.Context) (names []string, gens []uint64, err error)
	// Write commits a group of one day and sets the outcomes; on error nothing of it is stored. One goroutine calls it.
	Write(ctx context.Context, name string, group []*Pending) error
	// Open gives a day's tables to a reader, who releases them.
	Open(ctx context.Context, name string) (Day, error)
	// Compact makes blocks of what came before.
	Compact(ctx context.Context, before time.Time) error
	// Alone runs f while this hub alone removes what has expired; it may skip f if another hub does so.
	Alone(ctx context.Context, f func(context.Context) error) error
	// Drop deletes a day that is not in use, with all that is in it.
	Drop(ctx context.Context, name string) error
	size(ctx context.Context) (Size, error)
	// Check tells what the database itself finds wrong.
	Check(ctx context.Context, c *Checked, progress func(string)) error
	Close() error
}

// Day is the tables of one day.
type Day interface {
	label() string            // "2026-11-23"
	Table(name string) string // what the day's table is called
	reader() *sql.DB
	writer() *sql.DB
	// Stream is one of the day's streams, nil if there is none of that id. Its key and number never change.
	Stream(ctx context.Context, id int64) (*StreamTaken, error)
	// streams are all of them, each with all sequences that are there.
	streams(ctx context.Context) ([]StreamTaken, error)
	// holds reports whether a stream's chunk of a sequence number is, or was, there.
	holds(ctx context.Context, k attribution.StreamKey, seq int64) (bool, error)
	snapshot(ctx context.Context, patient string, signal uint8) (*snapshot, error)
	// sealed are the chunks of spans as they are stored, span by span and row by row; nil for one that is gone.
	sealed(ctx context.Context, spans []blockSpan) ([][][]byte, error)
	// recentChunk is a chunk that is not in a block yet; sql.ErrNoRows if it is not there.
	recentChunk(ctx context.Context, stream int64, signal vitals.Signal, seq int64) (r RecentRow, subject int64, sealed []byte, err error)
	// shrink gives space back to the disk, after rows have been taken out.
	shrink(ctx context.Context) error
	Release()
}
