package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"vitalseal/internal/lab/weaken"
)

// Throttled is the answer to a proof of identity that comes too soon after wrong ones of the same kind. It is an ErrSignIn
// and says nothing about whether the login exists.
type Throttled struct {
	RetryAfter time.Duration
}

// Error is fixed text but for the duration.
func (t *Throttled) Error() string {
	return fmt.Sprintf("%v: too many failures, try again in %v", ErrSignIn, t.RetryAfter.Round(time.Second))
}

// Is makes errors.Is(err, ErrSignIn) true.
func (t *Throttled) Is(target error) bool { return target == ErrSignIn }

const (
	freeFailures = 5 // before the back-off starts
	// spareFailures are judged besides at a workstation that knows the person: wrong passwords there do not keep the right one out.
	spareFailures = 25
	freeProofs    = 20 // wrong codes at step-ups of one person, over all workstations
	firstDelay    = 2 * time.Second
	longestDelay  = 15 * time.Minute
	// meltTime is how long it takes until one failure is forgotten. It is longer than longestDelay: who goes on guessing stays
	// at the longest delay, which is 96 guesses a day.
	meltTime = time.Hour
	// mostFailures is what is counted at most: everything is forgotten after so many times meltTime.
	mostFailures = 95
	// mostSwaps bounds how often a count is read again because another attempt was counted in between.
	mostSwaps = 16
)

// TryCount is how many tries of one kind failed lately. The zero TryCount is none.
type TryCount struct {
	// Failures are the wrong tries, and those that are being judged: a try is counted before it is judged, so that tries side
	// by side count too.
	Failures int
	At       time.Time // when Failures was counted; UTC, whole microseconds, as Until
	Until    time.Time // before this no further try is judged; zero: at once
	Told     bool      // that a try was refused since At is in the audit log
	Person   string    // id of the person whom it is about; empty: the login belongs to no person
}

// Gone is when all of the count is forgotten.
func (c TryCount) Gone() time.Time { return c.At.Add(time.Duration(c.Failures) * meltTime) }

// melted is the count after the time that has gone by.
func (c TryCount) melted(now time.Time) TryCount {
	n := int(now.Sub(c.At) / meltTime)
	if n <= 0 {
		return c
	}
	c.Failures = max(0, c.Failures-n)
	c.At = c.At.Add(time.Duration(n) * meltTime)
	return c
}

// Counts is the part of a Directory about failed proofs of identity. All hubs on one directory count together.
type Counts interface {
	// TryCount is what is counted under a name, the zero TryCount if nothing is.
	TryCount(ctx context.Context, name string) (TryCount, error)
	// SwapTryCount replaces was by now; ErrConflict if something else is there. One without Failures is no longer kept, nor is one
	// after its Gone. Of those without a person a Directory keeps a bounded number, and drops those first that end first.
	SwapTryCount(ctx context.Context, name string, was, now TryCount) error
	// KnownWorkstation reports whether the person has signed in at the workstation lately. SaveSession makes it known.
	KnownWorkstation(ctx context.Context, personID, workstation string) (bool, error)
	// NoteFailedSignIn counts a failed sign-in of a person for the notice at the next one that succeeds.
	NoteFailedSignIn(ctx context.Context, personID, workstation string, at time.Time) error
	// FailedSignIns are those between a session's sign-in and the one before it, by workstation.
	FailedSignIns(ctx context.Context, personID, session string) ([]FailedSignIn, error)
}

// FailedSignIn tells a person of failed sign-ins with their login at one workstation.
type FailedSignIn struct {
	Workstation string // SPIFFE id; empty: several others
	Count       int
	First, Last time.Time // UTC
}

// FailedSignIns are the failed sign-ins with the login of s between its sign-in and the one before, for a notice.
func (e *Engine) FailedSignIns(ctx context.Context, s Subject) ([]FailedSignIn, error) {
	if s.Session == "" {
		return nil, nil
	}
	all, err := e.dir.FailedSignIns(ctx, s.Person.ID, s.Session)
	if err != nil {
		return nil, fmt.Errorf("access: failed sign-ins: %w", err)
	}
	return all, nil
}

// pool is what failures are counted under. Pools are apart, so that failures of one kind hold up no other:
//
//   - sign-ins by login, over all workstations and hubs;
//   - sign-ins of a person at a workstation where the person has signed in before: failures elsewhere do not hold up this
//     one, and failures here with other logins neither;
//   - codes of a person at sign-ins, over all workstations, known ones too: six digits can be guessed;
//   - step-ups of a person at a workstation: it takes a session to fail there; and their codes over all workstations.
//
// A passkey and a recovery code cannot be guessed. Passkeys have the few tries of their Pending only; recovery codes have a
// count of their own, so that one who guesses them is noticed.
type pool struct {
	name  string
	free  int  // failures before the back-off starts
	keeps bool // a right try does not clear it
	// spare are failures beyond free that are judged although they come before the wait is over: a right try passes at once, a wrong
	// one is answered as if it had not been judged.
	spare int
}

func loginPool(hash string) pool { return pool{name: "login:" + hash, free: freeFailures} }
func knownPool(p Person, workstation string) pool {
	return pool{name: "known:" + p.ID + "@" + workstation, free: freeFailures, spare: spareFailures}
}
func codePool(p Person) pool { return pool{name: "code:" + p.ID, free: freeFailures, keeps: true} }
func recoveryPool(p Person, workstation string) pool {
	return pool{name: "recovery:" + p.ID + "@" + workstation, free: freeFailures}
}
func stepUpPool(s Subject) pool {
	return pool{name: "step-up:" + s.Person.ID + "@" + s.Workstation, free: freeFailures}
}
func stepUpCodePool(s Subject) pool {
	return pool{name: "step-up-code:" + s.Person.ID, free: freeProofs, keeps: true}
}

// attempt is a try that has been counted and is not judged yet.
type attempt struct {
	e      *Engine
	counts []counted
	wait   time.Duration // before this is over, a wrong try is answered as one that was not judged
}

// counted is a try in one pool.
type counted struct {
	pool
	failures int // with this try
}

// attempt counts a try in pools before its outcome is known. It is a *Throttled while one of them makes it wait; the first
// refusal after a failure is audited. p is the person whom the try is about; without an id it is a login of no person.
func (e *Engine) attempt(ctx context.Context, p Person, workstation, action string, now time.Time, pools ...pool) (*attempt, error) {
	a := &attempt{e: e}
	if weaken.Skip(weaken.Throttle) {
		return a, nil
	}
	now = now.UTC().Truncate(time.Microsecond)
	for _, in := range pools {
		switch {
		case weaken.Skip(weaken.OwnCounts): // one for everything at a workstation
			in.name = "all@" + workstation
		case weaken.Skip(weaken.CountsTogether): // each workstation for itself
			in.name += "@" + workstation
		}
		if err := a.count(ctx, in, p, workstation, action, now); err != nil {
			if werr := a.withdraw(ctx); werr != nil {
				return nil, werr
			}
			return nil, err
		}
	}
	return a, nil
}

func (a *attempt) count(ctx context.Context, in pool, p Person, workstation, action string, now time.Time) error {
	for range mostSwaps {
		was, err := a.e.dir.TryCount(ctx, in.name)
		if err != nil {
			return fmt.Errorf("access: count a try: %w", err)
		}
		next := was.melted(now)
		// A clock that was set back must not lock a person out for as long as that.
		if wait := next.Until.Sub(now); wait > 0 && wait <= longestDelay && next.Failures < in.free+in.spare {
			a.wait = max(a.wait, wait)
		} else if wait > 0 && wait <= longestDelay {
			if !was.Told {
				told := was
				told.Told = true
				switch err := a.e.dir.SwapTryCount(ctx, in.name, was, told); {
				case errors.Is(err, ErrConflict):
					continue
				case err != nil:
					return fmt.Errorf("access: count a try: %w", err)
				}
				if err := a.e.record(ctx, p, workstation, action, false, "throttled"); err != nil {
					return err
				}
			}
			return &Throttled{RetryAfter: wait}
		}
		next = TryCount{Failures: min(next.Failures+1, mostFailures), At: now, Person: p.ID}
		if over := next.Failures - in.free; over >= 0 {
			next.Until = now.Add(min(firstDelay<<min(over, 16), longestDelay))
		}
		switch err := a.e.dir.SwapTryCount(ctx, in.name, was, next); {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			return fmt.Errorf("access: count a try: %w", err)
		}
		a.counts = append(a.counts, counted{in, next.Failures})
		return nil
	}
	return ErrBusy
}

// right clears the counts after a right try, but for those that keep: of these it takes back this try alone.
func (a *attempt) right(ctx context.Context) error {
	return a.change(ctx, func(in pool, now TryCount) TryCount {
		if in.keeps {
			return less(now)
		}
		return TryCount{}
	})
}

// withdraw takes back a try that was never judged.
func (a *attempt) withdraw(ctx context.Context) error {
	return a.change(ctx, func(_ pool, now TryCount) TryCount { return less(now) })
}

// less is a count without one of its tries. The wait that the try brought ends: before it there was none.
func less(c TryCount) TryCount {
	c.Failures, c.Until = max(0, c.Failures-1), time.Time{}
	return c
}

func (a *attempt) change(ctx context.Context, to func(pool, TryCount) TryCount) error {
	ctx = context.WithoutCancel(ctx) // a request that was cancelled must not leave a failure behind that was none
	for _, c := range a.counts {
		err := ErrConflict
		for i := 0; i < mostSwaps && errors.Is(err, ErrConflict); i++ {
			var now TryCount
			if now, err = a.e.dir.TryCount(ctx, c.name); err != nil {
				break
			}
			if now.Failures == 0 { // cleared meanwhile
				break
			}
			err = a.e.dir.SwapTryCount(ctx, c.name, now, to(c.pool, now))
		}
		if err != nil {
			return fmt.Errorf("access: count a try: %w", err)
		}
	}
	return nil
}

// wrong tells of a try that was judged wrong: the person at the next sign-in, and those who watch over security as soon as it
// looks like guessing. It is refused, or what failed.
func (a *attempt) wrong(ctx context.Context, p Person, workstation string, now time.Time, refused error) error {
	for _, c := range a.counts {
		// Where the back-off starts, and every tenth after that: about once in three hours of guessing without end.
		if n := c.failures; n >= c.free && (n-c.free)%10 == 0 {
			a.e.events(Event{Kind: EventGuessing, Person: p.ID, Where: workstation, Detail: fmt.Sprintf("%d wrong proofs of identity", n)})
		}
	}
	if a.wait > 0 && errors.Is(refused, ErrSignIn) {
		refused = &Throttled{RetryAfter: a.wait}
	}
	if p.ID == "" {
		return refused
	}
	if err := a.e.dir.NoteFailedSignIn(context.WithoutCancel(ctx), p.ID, workstation, now); err != nil {
		return fmt.Errorf("access: note a failed sign-in: %w", err)
	}
	return refused
}

// loginKey keeps what people typed as a login out of the directory: some type their password there. It is one of the
// directory's secrets, for all hubs on it.
type loginKey struct {
	mu  sync.Mutex // guards key
	key []byte
}

const secretLoginKey = "sign-in-counts"

// name is what a login is counted under.
func (k *loginKey) name(ctx context.Context, dir Directory, login string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key == nil {
		b, err := dir.UpdateSecret(ctx, secretLoginKey, func(old []byte) ([]byte, error) {
			if len(old) == sha256.Size {
				return nil, nil
			}
			b := make([]byte, sha256.Size)
			rand.Read(b) // never fails
			return b, nil
		})
		if err != nil {
			return "", fmt.Errorf("access: count a try: %w", err)
		}
		k.key = b
	}
	m := hmac.New(sha256.New, k.key)
	m.Write([]byte(login))
	return hex.EncodeToString(m.Sum(nil)[:16]), nil
}
