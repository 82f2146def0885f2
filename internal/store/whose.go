package store

import "time"

// Attribution says whose readings are, and which of them are not sure.
type Attribution struct {
	db           *DB
	dir          *Directory
	confirmAfter time.Duration // how long a sensor must have been silent for its return to be questioned
	keepNumerics time.Duration // how long numbers stay; zero: for ever

	where   attribution
	unsure  unsureReadings
	clocks  clockNotes
	voices  listening
	unnoted sparse // that a silence is not noted
}

func newAttribution(db *DB, dir *Directory, confirmAfter, keepNumerics time.Duration) *Attribution {
	s := &Attribution{db: db, dir: dir, confirmAfter: confirmAfter, keepNumerics: keepNumerics}
	s.where.init()
	s.unsure.init()
	s.clocks.init()
	s.voices.init()
	return s
}
