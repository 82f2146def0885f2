package store

import (
	"database/sql"
	"time"
)

// Registry is the open store of channels and TalkBacks.
type Registry struct {
	db       *DB
	apart    *apartDB // entries and commands
	quota    Quota
	sweepNow chan struct{} // has room for one
}

// newRegistry makes a Registry that openApartFiles or openServer opens.
func newRegistry(db *DB, quota Quota) *Registry {
	return &Registry{db: db, quota: quota.filled(), sweepNow: make(chan struct{}, 1)}
}

// openServer has entries and commands in the database of all else.
func (s *Registry) openServer() {
	s.apart = &apartDB{DB: s.db.DB, writes: s.db.DB, shared: true}
}

// close closes what openApartFiles opened.
func (s *Registry) close() error {
	if s.apart == nil {
		return nil
	}
	return s.apart.close()
}

// File is what holds entries and commands, for readers.
func (s *Registry) File() *sql.DB { return s.apart.DB }

// OnHeld has f told how long each write transaction was open, from now on. No write may be under way.
func (s *Registry) OnHeld(f func(time.Duration)) { s.apart.held = f }
