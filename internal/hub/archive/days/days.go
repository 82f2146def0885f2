// Package days keeps the chunks and sums of readings by the UTC day that they begin in: a file of
// SQLite a day, or partitions of PostgreSQL's tables.
//
// New chunks are appended to recent ones; compaction makes blocks of half a minute of one stream
// and adds what they say to the sums. It hides files, tables, the form of blocks and sums, and
// which days are open.
//
// It guarantees: a chunk, its uniqueness key and its share of the sums commit together; the same
// (sensor, signal, epoch, sequence) is stored once; a chunk that is moved to another row or patient
// does not open.
//
// It does not decide whose a chunk is or who may read it: package archive does.
package days

import (
	"context"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// Days is the open days' tables: files of SQLite, or partitioned tables of PostgreSQL.
type Days struct {
	database
	db      *sealdb.DB
	parts   partitions // the archive, when it is files
	maxOpen int
	maxAge  time.Duration
	// exclusively runs what only the writer of chunks may do, between two batches.
	exclusively func(context.Context, func(context.Context) error) error
}

// New makes Days of which at most maxOpen files are open, and chunks come for the last maxAge.
func New(db *sealdb.DB, maxOpen int, maxAge time.Duration) *Days {
	s := &Days{db: db, maxOpen: maxOpen, maxAge: maxAge}
	s.parts.init(s)
	s.database = &s.parts
	return s
}

// OpenFiles finds the files.
func (s *Days) OpenFiles() error { return s.parts.list() }

// OpenServer has the days in PostgreSQL, where this hub has that number.
func (s *Days) OpenServer(hub int64) { s.database = newTables(s, hub) }

// SetWriter says how to run what only the writer of chunks may do.
func (s *Days) SetWriter(between func(context.Context, func(context.Context) error) error) {
	s.exclusively = between
}
