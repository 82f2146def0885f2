package store

import (
	"context"
	"time"
)

// Days is the open days' tables: files of SQLite, or partitioned tables of PostgreSQL.
type Days struct {
	archive
	db      *DB
	parts   partitions // the archive, when it is files
	maxOpen int
	maxAge  time.Duration
	// exclusively runs what only the writer of chunks may do, between two batches.
	exclusively func(context.Context, func(context.Context) error) error
}

// newDays makes Days of which at most maxOpen files are open, and chunks come for the last maxAge.
func newDays(db *DB, maxOpen int, maxAge time.Duration) *Days {
	s := &Days{db: db, maxOpen: maxOpen, maxAge: maxAge}
	s.parts.init(s)
	s.archive = &s.parts
	return s
}

// openFiles finds the files.
func (s *Days) openFiles() error { return s.parts.list() }

// openServer has the days in PostgreSQL, where this hub has that number.
func (s *Days) openServer(hub int64) { s.archive = newTables(s, hub) }

// setWriter says how to run what only the writer of chunks may do.
func (s *Days) setWriter(between func(context.Context, func(context.Context) error) error) {
	s.exclusively = between
}
