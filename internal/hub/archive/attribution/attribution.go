// Package attribution says whose a reading is: the patient who lay, at the time when it was
// measured, in the bed where its sensor stood, or no patient's. It knows how sure that is: what was
// found out of the clock that the time was read from, which silences of a sensor raise the question
// whether it is still at the same patient, and which spans were moved to another one.
//
// It hides the placements and stays that this follows from, and remembers them until they change.
//
// It guarantees that a chunk that reaches over a boundary is split there, and that a chunk sent
// again is attributed alike. It does not store readings, and does not ask whether the directory
// tells the truth.
package attribution

import (
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
)

// Attribution says whose readings are, and which of them are not sure.
type Attribution struct {
	db           *sealdb.DB
	dir          *directory.Directory
	confirmAfter time.Duration // how long a sensor must have been silent for its return to be questioned
	keepNumerics time.Duration // how long numbers stay; zero: for ever

	where   histories
	unsure  unsureReadings
	clocks  clockNotes
	voices  listening
	unnoted sealdb.Sparse // that a silence is not noted
}

// New makes an Attribution. keepNumerics zero: numbers stay for ever.
func New(db *sealdb.DB, dir *directory.Directory, confirmAfter, keepNumerics time.Duration) *Attribution {
	s := &Attribution{db: db, dir: dir, confirmAfter: confirmAfter, keepNumerics: keepNumerics}
	s.where.init()
	s.unsure.init()
	s.clocks.init()
	s.voices.init()
	return s
}

// FirstShown reports whether a chunk whose time is not sure was not shown before, and remembers
// that it is.
func (s *Attribution) FirstShown(k StreamKey, seq uint64) bool { return s.unsure.first(k, seq) }

// NoteShown remembers the numbers of a chunk whose time is not sure, for Unsure.
func (s *Attribution) NoteShown(u Update) { s.unsure.note(u) }

// ForgetShown forgets them: the chart has them now.
func (s *Attribution) ForgetShown(sensor string) { s.unsure.forget(sensor) }

// NoteWaiting notes that chunks of a sensor wait for their time.
func (s *Attribution) NoteWaiting(sensor string) { s.unsure.waits(sensor) }

// MayWait reports whether chunks of a sensor may wait, as far as this process knows.
func (s *Attribution) MayWait(sensor string) bool { return s.unsure.waiting(sensor) }

// SilencesChanged makes what is remembered of silences stale.
func (s *Attribution) SilencesChanged() { s.voices.changed() }
