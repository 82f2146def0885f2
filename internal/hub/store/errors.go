package store

import "vitalseal/internal/hub/sealdb"

// The errors of all rooms.
var (
	// ErrNotFound is access.ErrNotFound: what was asked for does not exist.
	ErrNotFound = sealdb.ErrNotFound
	// ErrExists means the id or login is taken.
	ErrExists = sealdb.ErrExists
	// ErrOccupied means another patient lies in the bed at that time.
	ErrOccupied = sealdb.ErrOccupied
	// ErrConflict means the change contradicts what the history says, such as a stay that begins
	// inside another.
	ErrConflict = sealdb.ErrConflict
	// ErrInvalid means an argument is malformed; the text names it and the allowed range.
	ErrInvalid = sealdb.ErrInvalid
	// ErrNotAllowed means the grant does not allow this, or no longer.
	ErrNotAllowed = sealdb.ErrNotAllowed
	// ErrTooMuch means the answer would exceed its bound; ask for a shorter time.
	ErrTooMuch = sealdb.ErrTooMuch
	// ErrSealed means stored bytes could not be opened: another key, or damage.
	ErrSealed = sealdb.ErrSealed
	// ErrNewer means a file was written by a newer version of the program.
	ErrNewer = sealdb.ErrNewer
	// ErrHeld means that a legal hold protects what would be destroyed.
	ErrHeld = sealdb.ErrHeld
	// ErrInUse means another process has the store open.
	ErrInUse = sealdb.ErrInUse
	// ErrClosed means the store has been closed.
	ErrClosed = sealdb.ErrClosed
	// ErrUnwritten means that what was taken from someone has been in force on this hub since the
	// call, but is not on disk yet. The store tries again until it is, or until it closes.
	ErrUnwritten = sealdb.ErrUnwritten
	// ErrNoDatabase means that PostgreSQL cannot be reached, or does not let us in.
	ErrNoDatabase = sealdb.ErrNoDatabase
)

const (
	// Unassigned is the subject of chunks whose sensor stood at no occupied bed when they were
	// taken. It has a key of its own and no person is ever granted it; only an engine's standing
	// grant opens it.
	Unassigned = sealdb.Unassigned
	// ForgottenName stands where a name was.
	ForgottenName = sealdb.ForgottenName
)

// Full reports whether err says that a disk has no room: this one's, or the database server's.
func Full(err error) bool { return sealdb.Full(err) }

// CheckDisplayName refuses, with ErrInvalid, a name of a person that the store would refuse.
func CheckDisplayName(name string) error { return sealdb.CheckDisplayName(name) }
