package sealdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"vitalseal/internal/hub/access"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/ncruces/go-sqlite3"
)

// ErrUnwritten means that what was taken from someone has been in force on this hub since the call, but is not on disk yet. The
// store tries again until it is, or until it closes.
var ErrUnwritten = fmt.Errorf("store: %w, but not on disk yet; it is tried again until it is", access.ErrInForce)

const (
	// urgentInRow is how many urgent writers go ahead of a usual one that waits.
	urgentInRow = 8
	// urgentPatience is how long a caller waits for an urgent write before it hears ErrUnwritten.
	urgentPatience = 8 * time.Second
	urgentFirst    = 20 * time.Millisecond // between the first two tries, then twice as long each time
	urgentMost     = time.Second
)

// Turns gives the directory's write lock to one writer after the other, in the order that they came, those who take something away
// from someone first. The wait for a database's own lock has no order: there a stream of small writes can hold up one for seconds.
type Turns struct {
	mu            sync.Mutex // guards all below
	busy          bool
	row           int // urgent writers that went since a usual one did
	urgent, usual []chan struct{}
}

// Take waits for the turn; give ends it.
func (t *Turns) Take(ctx context.Context, urgent bool) error {
	t.mu.Lock()
	if !t.busy {
		t.busy = true
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	queue := &t.usual
	//defence:urgent revocations are written before all else
	if urgent {
		queue = &t.urgent
	}
	*queue = append(*queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range *queue {
		if c == mine {
			*queue = append((*queue)[:i:i], (*queue)[i+1:]...)
			return ctx.Err()
		}
	}
	t.next() // the turn came at the same moment
	return ctx.Err()
}

// Give ends the turn that Take waited for.
func (t *Turns) Give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next()
}

func (t *Turns) next() {
	queue := &t.usual
	if len(t.urgent) > 0 && (len(t.usual) == 0 || t.row < urgentInRow) {
		queue = &t.urgent
		t.row++
	} else {
		t.row = 0
	}
	if len(*queue) == 0 {
		t.busy = false
		return
	}
	close((*queue)[0])
	*queue = (*queue)[1:]
}

// waiting is how many writers wait.
func (t *Turns) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.urgent) + len(t.usual)
}

// Bar is something that was taken from someone: kind and id. While it is not on disk, memory says so.
type Bar struct{ Kind, ID string }

// The kinds of a Bar, each with what its id is where that is not plain.
const (
	BarPerson     = "person"
	BarSession    = "session"
	BarSessionsOf = "sessions of" // a person, and after a space the session that stays
	BarDevice     = "device"      // and after a space the state that it is in
	BarKey        = "api key"     // its hash
	BarMQTT       = "mqtt device"
	BarExclude    = "exclusion" // a patient, and after a space the person who is excluded
)

// bars are in force before their commit, and until it.
type bars struct {
	mu sync.RWMutex // guards m
	m  map[Bar]int
}

func (b *bars) set(all []Bar) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[Bar]int{}
	}
	for _, x := range all {
		b.m[x]++
	}
}

func (b *bars) lift(all []Bar) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range all {
		if b.m[x]--; b.m[x] <= 0 {
			delete(b.m, x)
		}
	}
}

func (b *bars) has(kind, id string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.m[Bar{kind, id}] > 0
}

// each gives the ids of a kind that are barred.
func (b *bars) each(kind string, f func(id string)) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for x := range b.m {
		if x.Kind == kind {
			f(x.ID)
		}
	}
}

// Barred reports whether something was taken from someone and is not on disk yet.
func (s *DB) Barred(kind, id string) bool { return s.bars.has(kind, id) }

// EachBarred gives the ids of a kind that are barred.
func (s *DB) EachBarred(kind string, f func(id string)) { s.bars.each(kind, f) }

// Urgently runs f, as InTx does, ahead of usual writers, and again until it has committed or cannot: a busy or full disk, a lost
// connection or a caller who has gone does not undo what someone decided. What bars say is in force at once. It returns after
// urgentPatience with ErrUnwritten at the latest, and goes on.
func (s *DB) Urgently(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error, bars ...Bar) error {
	s.bars.set(bars)
	s.wake(bars)
	done := make(chan error, 1)
	s.tasks.Add(1)
	run := context.WithoutCancel(ctx)
	go func() {
		defer s.tasks.Done()
		err := s.untilDone(run, f)
		if !errors.Is(err, ErrClosed) {
			s.bars.lift(bars)
			s.wake(bars)
		}
		done <- err
	}()
	patience := time.NewTimer(urgentPatience)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		return ErrUnwritten
	}
}

// wake makes callers that remember what followed from the directory look again.
func (s *DB) wake(bars []Bar) {
	s.Changed()
	for _, b := range bars {
		if b.Kind == BarDevice {
			s.DevicesChanged()
			return
		}
	}
}

func (s *DB) untilDone(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	for wait := urgentFirst; ; wait = min(2*wait, urgentMost) {
		err := s.locked(ctx, true, func(tx *sql.Tx) error { return f(ctx, tx) })
		if err == nil || !passing(err) {
			return err
		}
		s.Log.Error("a revocation, or an emergency, could not be written; trying again", "err", err)
		select {
		case <-time.After(wait):
		case <-s.closing:
			return fmt.Errorf("%w: %w", ErrClosed, err)
		}
	}
}

// UrgentExec is urgently for one statement.
func (s *DB) UrgentExec(ctx context.Context, bars []Bar, query string, args ...any) (r sql.Result, err error) {
	err = s.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		r, err = tx.ExecContext(ctx, query, args...)
		return err
	}, bars...)
	return r, err
}

// passing reports whether an error is of the disk, the server or the way there, so that the same may succeed later.
func passing(err error) bool {
	for _, code := range []sqlite3.ErrorCode{sqlite3.BUSY, sqlite3.LOCKED, sqlite3.FULL, sqlite3.IOERR, sqlite3.CANTOPEN, sqlite3.PROTOCOL, sqlite3.NOMEM, sqlite3.READONLY} {
		if errors.Is(err, code) {
			return true
		}
	}
	switch code := pgCode(err); {
	case code == "":
	case code[:2] == "08", code[:2] == "40", code[:2] == "53", code[:2] == "55", code[:2] == "57", code[:2] == "58":
		return true
	default:
		return false
	}
	var lost *pgconn.ConnectError
	return errors.As(err, &lost) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// TakeTurn holds the directory, as a writer does, until give.
func (s *DB) TakeTurn(ctx context.Context) (give func(), err error) {
	return s.turns.Give, s.turns.Take(ctx, false)
}

// TurnsWaiting is how many writers of the directory wait.
func (s *DB) TurnsWaiting() int { return s.turns.waiting() }
