package sealdb

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"vitalseal/internal/shared/disk"
)

// errHeld is the answer to readings and entries of channels while their storage is held.
var errHeld = fmt.Errorf("%w: what is left of it is kept for sign-in, emergency access and the audit log", disk.ErrFull)

// saidEvery is the least time between two lines of the log about the same failure.
const saidEvery = 10 * time.Second

// Full reports whether err says that a disk has no room: this one's, or the database server's.
func Full(err error) bool {
	return errors.Is(err, disk.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, sqlite3.FULL) ||
		pgCode(err) == pgDiskFull
}

// pgDiskFull is PostgreSQL's code for a server without room.
const pgDiskFull = "53100"

// HoldReadings stops the storage of readings, of entries of channels and the compaction, or lets them go on. Meanwhile Append answers Retry and
// shows live what is of the present; entries are refused with an error for which Full holds. All else is stored on.
func (s *DB) HoldReadings(hold bool) { s.holding.Store(hold) }

// MayStore is nil where readings and entries are stored now.
func (s *DB) MayStore() error {
	if s.holding.Load() {
		return errHeld
	}
	if s.cfg.Failing != nil {
		return s.cfg.Failing()
	}
	return nil
}

// Sparse says a failure that comes again and again at most once in saidEvery, with how often it came. Its zero value is ready.
type Sparse struct {
	mu   sync.Mutex // guards all below
	said time.Time
	n    int // since
}

// Say counts n failures and logs them when it is time.
func (q *Sparse) Say(log *slog.Logger, now time.Time, n int, text string, args ...any) {
	q.mu.Lock()
	q.n += n
	age := now.Sub(q.said)
	if !q.said.IsZero() && age >= 0 && age < saidEvery {
		q.mu.Unlock()
		return
	}
	n, q.n, q.said = q.n, 0, now
	q.mu.Unlock()
	log.Error(text, append([]any{"chunks", n}, args...)...)
}

// IsHolding reports whether readings are not stored now, see HoldReadings.
func (s *DB) IsHolding() bool { return s.holding.Load() }
