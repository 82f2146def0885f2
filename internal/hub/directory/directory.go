// Package directory keeps who and what there is: wards, beds, patients and their stays; persons
// with their credentials, sessions and relationships; devices with their places, tickets,
// certificates and starts; emergency accesses, approvals, notices, legal holds and security events.
//
// It hides tables and the sealing of names. It guarantees that a bed has one patient and a patient
// one bed at a time, that history is not written into the future, that an administrator stays, and
// that what is taken from a person or a device is in force at once, before it is on disk.
//
// It does not decide who may do what: package access does, and callers of administration methods
// ask it first. It does not protect the ids, times and relationships: they are in clear in the
// database.
package directory

import (
	"sync/atomic"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// Directory is the open directory.
type Directory struct {
	db       *sealdb.DB
	channels *channel.Registry
	seen     touches
	newTries atomic.Uint64 // counts begun, see SweepTries
}

// New makes the Directory of an open DB. What belongs to a new patient's channel goes to channels.
func New(db *sealdb.DB, channels *channel.Registry) *Directory {
	s := &Directory{db: db, channels: channels}
	s.seen.init()
	return s
}
