package sealdb

import (
	"errors"

	"vitalseal/internal/hub/access"
)

var (
	// ErrNotFound is access.ErrNotFound: what was asked for does not exist.
	ErrNotFound = access.ErrNotFound
	// ErrExists means the id or login is taken.
	ErrExists = errors.New("store: already exists")
	// ErrOccupied means another patient lies in the bed at that time.
	ErrOccupied = errors.New("store: bed is occupied")
	// ErrConflict means the change contradicts what the history says, such as a stay that begins inside another.
	ErrConflict = errors.New("store: conflicts with what is recorded")
	// ErrInvalid means an argument is malformed; the text names it and the allowed range.
	ErrInvalid = errors.New("store: invalid argument")
	// ErrNotAllowed means the grant does not allow this, or no longer.
	ErrNotAllowed = errors.New("store: the grant does not allow this")
	// ErrTooMuch means the answer would exceed its bound; ask for a shorter time.
	ErrTooMuch = errors.New("store: too much asked for at once")
	// ErrSealed means stored bytes could not be opened: another key, or damage.
	ErrSealed = errors.New("store: stored data cannot be opened")
	// ErrNewer means a file was written by a newer version of the program.
	ErrNewer = errors.New("store: file was written by a newer version")
	// ErrHeld means that a legal hold protects what would be destroyed.
	ErrHeld = errors.New("store: the patient is under a legal hold")
	// ErrInUse means another process has the store open.
	ErrInUse = errors.New("store: in use by another process")
	// ErrClosed means the store has been closed.
	ErrClosed = errors.New("store: closed")
)
