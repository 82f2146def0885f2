package store

import "sync/atomic"

// Directory is the open directory.
type Directory struct {
	db       *DB
	channels *Registry
	seen     touches
	newTries atomic.Uint64 // counts begun, see sweepTries
}

func newDirectory(db *DB, channels *Registry) *Directory {
	s := &Directory{db: db, channels: channels}
	s.seen.init()
	return s
}
