// Package channel keeps ThingSpeak channels with their entries, TalkBacks with their commands, the
// limits of what a person may store there, and which channel is forwarded to a cloud and how far.
//
// Entries and commands lie apart from the directory (channels.db, or tables of their own), so that
// a user who stores millions holds up no nurse who signs in. It hides that file, the sealing of
// names and entries, and the sweep that gives space back.
//
// It guarantees that a bulk update is stored whole or not at all, that entry numbers only grow, and
// that an entry opens only with an access.Grant for its channel. It does not protect how many
// entries there are, when they came or who owns them: that is in clear.
package channel

import (
	"database/sql"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// Registry is the open store of channels and TalkBacks.
type Registry struct {
	db       *sealdb.DB
	apart    *apartDB // entries and commands
	quota    Quota
	sweepNow chan struct{} // has room for one
}

// New makes a Registry that OpenApartFiles or OpenServer opens.
func New(db *sealdb.DB, quota Quota) *Registry {
	return &Registry{db: db, quota: quota.filled(), sweepNow: make(chan struct{}, 1)}
}

// OpenServer has entries and commands in the database of all else.
func (s *Registry) OpenServer() {
	s.apart = &apartDB{DB: s.db.DB, writes: s.db.DB, shared: true}
}

// Close closes what OpenApartFiles opened.
func (s *Registry) Close() error {
	if s.apart == nil {
		return nil
	}
	return s.apart.close()
}

// File is what holds entries and commands, for readers.
func (s *Registry) File() *sql.DB { return s.apart.DB }

// OnHeld has f told how long each write transaction was open, from now on. No write may be under
// way.
func (s *Registry) OnHeld(f func(time.Duration)) { s.apart.held = f }
