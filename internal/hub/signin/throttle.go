package signin

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

	"vitalseal/internal/hub/access"
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
	// mostFailures is what is counted at most: everything is forgotten after so many times meltTime.
	mostFailures = 95
	// mostSwaps bounds how often a count is read again because another attempt was counted in between.
	mostSwaps = 16
)

// FailedSignIns are the failed sign-ins with the login of s between its sign-in and the one before, for a notice.
func (svc *Service) FailedSignIns(ctx context.Context, s access.Subject) ([]access.FailedSignIn, error) {
	if s.Session == "" {
		return nil, nil
	}
	all, err := svc.dir.FailedSignIns(ctx, s.Person.ID, s.Session)
	if err != nil {
		return nil, fmt.Errorf("signin: failed sign-ins: %w", err)
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
func knownPool(p access.Person, workstation string) pool {
	return pool{name: "known:" + p.ID + "@" + workstation, free: freeFailures, spare: spareFailures}
}
func codePool(p access.Person) pool {
	return pool{name: "code:" + p.ID, free: freeFailures, keeps: true}
}
func recoveryPool(p access.Person, workstation string) pool {
	return pool{name: "recovery:" + p.ID + "@" + workstation, free: freeFailures}
}
func stepUpPool(s access.Subject) pool {
	return pool{name: "step-up:" + s.Person.ID + "@" + s.Workstation, free: freeFailures}
}
func stepUpCodePool(s access.Subject) pool {
	return pool{name: "step-up-code:" + s.Person.ID, free: freeProofs, keeps: true}
}

// attempt is a try that has been counted and is not judged yet.
type attempt struct {
	svc    *Service
	counts []counted
	wait   time.Duration // before this is over, a wrong try is answered as one that was not judged
}

// counted is a try in one pool.
type counted struct {
	pool
	failures int // with this try
}

// attempt counts a try in pools before its outcome is known. It is a *Throttled while one of them
// makes it wait; the first refusal after a failure is audited. p is the person whom the try is about;
// without an id it is a login of no person.
//
//defence:throttle failures slow down
//defence:own-counts a step-up is not counted with the sign-ins
//defence:counts-together failures count over all workstations
func (svc *Service) attempt(ctx context.Context, p access.Person, workstation, action string, now time.Time, pools ...pool) (*attempt, error) {
	a := &attempt{svc: svc}
	now = now.UTC().Truncate(time.Microsecond)
	for _, in := range pools {
		if err := a.count(ctx, in, p, workstation, action, now); err != nil {
			if werr := a.withdraw(ctx); werr != nil {
				return nil, werr
			}
			return nil, err
		}
	}
	return a, nil
}

func (a *attempt) count(ctx context.Context, in pool, p access.Person, workstation, action string, now time.Time) error {
	for range mostSwaps {
		was, err := a.svc.dir.TryCount(ctx, in.name)
		if err != nil {
			return fmt.Errorf("signin: count a try: %w", err)
		}
		next := was.Melted(now)
		// A clock that was set back must not lock a person out for as long as that.
		if wait := next.Until.Sub(now); wait > 0 && wait <= longestDelay && next.Failures < in.free+in.spare {
			a.wait = max(a.wait, wait)
		} else if wait > 0 && wait <= longestDelay {
			if !was.Told {
				told := was
				told.Told = true
				switch err := a.svc.dir.SwapTryCount(ctx, in.name, was, told); {
				case errors.Is(err, access.ErrConflict):
					continue
				case err != nil:
					return fmt.Errorf("signin: count a try: %w", err)
				}
				if err := a.svc.record(ctx, p, workstation, action, false, "throttled"); err != nil {
					return err
				}
			}
			return &Throttled{RetryAfter: wait}
		}
		next = access.TryCount{Failures: min(next.Failures+1, mostFailures), At: now, Person: p.ID}
		if over := next.Failures - in.free; over >= 0 {
			next.Until = now.Add(min(firstDelay<<min(over, 16), longestDelay))
		}
		switch err := a.svc.dir.SwapTryCount(ctx, in.name, was, next); {
		case errors.Is(err, access.ErrConflict):
			continue
		case err != nil:
			return fmt.Errorf("signin: count a try: %w", err)
		}
		a.counts = append(a.counts, counted{in, next.Failures})
		return nil
	}
	return ErrBusy
}

// right clears the counts after a right try, but for those that keep: of these it takes back this try alone.
func (a *attempt) right(ctx context.Context) error {
	return a.change(ctx, func(in pool, now access.TryCount) access.TryCount {
		if in.keeps {
			return less(now)
		}
		return access.TryCount{}
	})
}

// withdraw takes back a try that was never judged.
func (a *attempt) withdraw(ctx context.Context) error {
	return a.change(ctx, func(_ pool, now access.TryCount) access.TryCount { return less(now) })
}

// less is a count without one of its tries. The wait that the try brought ends: before it there was none.
func less(c access.TryCount) access.TryCount {
	c.Failures, c.Until = max(0, c.Failures-1), time.Time{}
	return c
}

func (a *attempt) change(ctx context.Context, to func(pool, access.TryCount) access.TryCount) error {
	ctx = context.WithoutCancel(ctx) // a request that was cancelled must not leave a failure behind that was none
	for _, c := range a.counts {
		err := access.ErrConflict
		for i := 0; i < mostSwaps && errors.Is(err, access.ErrConflict); i++ {
			var now access.TryCount
			if now, err = a.svc.dir.TryCount(ctx, c.name); err != nil {
				break
			}
			if now.Failures == 0 { // cleared meanwhile
				break
			}
			err = a.svc.dir.SwapTryCount(ctx, c.name, now, to(c.pool, now))
		}
		if err != nil {
			return fmt.Errorf("signin: count a try: %w", err)
		}
	}
	return nil
}

// wrong tells of a try that was judged wrong: the person at the next sign-in, and those who watch over security as soon as it
// looks like guessing. It is refused, or what failed.
func (a *attempt) wrong(ctx context.Context, p access.Person, workstation string, now time.Time, refused error) error {
	for _, c := range a.counts {
		// Where the back-off starts, and every tenth after that: about once in three hours of guessing without end.
		if n := c.failures; n >= c.free && (n-c.free)%10 == 0 {
			a.svc.access.Tell(access.Event{Kind: access.EventGuessing, Person: p.ID, Where: workstation, Detail: fmt.Sprintf("%d wrong proofs of identity", n)})
		}
	}
	if a.wait > 0 && errors.Is(refused, ErrSignIn) {
		refused = &Throttled{RetryAfter: a.wait}
	}
	if p.ID == "" {
		return refused
	}
	if err := a.svc.dir.NoteFailedSignIn(context.WithoutCancel(ctx), p.ID, workstation, now); err != nil {
		return fmt.Errorf("signin: note a failed sign-in: %w", err)
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
func (k *loginKey) name(ctx context.Context, dir access.Accounts, login string) (string, error) {
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
			return "", fmt.Errorf("signin: count a try: %w", err)
		}
		k.key = b
	}
	m := hmac.New(sha256.New, k.key)
	m.Write([]byte(login))
	return hex.EncodeToString(m.Sum(nil)[:16]), nil
}
