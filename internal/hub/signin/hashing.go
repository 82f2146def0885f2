package signin

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

const (
	hashesAtOnce    = 2 // 64 MiB each
	mostWaiting     = 256
	mostWaitingHere = 8 // in one lane
)

// hashing bounds the memory of password hashing and shares it fairly. Each workstation has a lane, and so has each person who is
// signed in, or who has signed in at that workstation before: a lane computes one hash at a time, and lanes take turns, so that
// one with many sign-ins waiting holds up no other for longer than one hash. What waits is bounded, by lane and in all; when all
// together are too many, the longest lane gives way.
type hashing struct {
	mu      sync.Mutex // guards all
	running int
	waiting int
	lanes   map[string]*lane
	turn    []*lane // those in which something waits, in the order of their turns
}

type lane struct {
	name  string
	busy  bool
	queue []chan error // each of them gets nil when it is its turn, or ErrBusy
}

func newHashing() *hashing { return &hashing{lanes: map[string]*lane{}} }

// do runs f when it is its turn in a lane, or returns ErrBusy or ctx's error.
func (h *hashing) do(ctx context.Context, name string, f func()) error {
	if ctx.Err() != nil {
		return fmt.Errorf("signin: password: %w", ctx.Err())
	}
	l, mine, err := h.enter(name)
	if err != nil {
		return err
	}
	select {
	case err = <-mine:
	case <-ctx.Done():
		if !h.leave(l, mine) {
			if err = <-mine; err == nil { // its turn came meanwhile
				h.done(l)
			}
		}
		return fmt.Errorf("signin: password: %w", ctx.Err())
	}
	if err != nil {
		return err
	}
	defer h.done(l)
	f()
	return nil
}

// enter waits in a lane.
func (h *hashing) enter(name string) (*lane, chan error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lanes[name]
	if l == nil {
		l = &lane{name: name}
	}
	if len(l.queue) >= mostWaitingHere {
		return nil, nil, ErrBusy
	}
	if h.waiting >= mostWaiting {
		long := slices.MaxFunc(h.turn, func(a, b *lane) int { return len(a.queue) - len(b.queue) })
		if len(long.queue) <= len(l.queue)+1 {
			return nil, nil, ErrBusy
		}
		newest := len(long.queue) - 1
		long.queue[newest] <- ErrBusy
		long.queue = long.queue[:newest]
		h.waiting--
	}
	h.lanes[name] = l
	mine := make(chan error, 1)
	if len(l.queue) == 0 {
		h.turn = append(h.turn, l)
	}
	l.queue = append(l.queue, mine)
	h.waiting++
	h.next()
	return l, mine, nil
}

// leave takes one out of its lane; false if its turn has come, or it had to give way.
func (h *hashing) leave(l *lane, mine chan error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := slices.Index(l.queue, mine)
	if at < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, at, at+1)
	h.waiting--
	h.forget(l)
	return true
}

// done ends what runs in a lane.
func (h *hashing) done(l *lane) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	l.busy = false
	h.forget(l)
	h.next()
}

// forget drops an empty lane.
func (h *hashing) forget(l *lane) {
	if len(l.queue) > 0 {
		return
	}
	h.turn = slices.DeleteFunc(h.turn, func(o *lane) bool { return o == l })
	if !l.busy {
		delete(h.lanes, l.name)
	}
}

// next starts what may run: the first of the lane whose turn it is.
func (h *hashing) next() {
	for h.running < hashesAtOnce {
		at := slices.IndexFunc(h.turn, func(l *lane) bool { return !l.busy })
		if at < 0 {
			return
		}
		l := h.turn[at]
		h.turn = slices.Delete(h.turn, at, at+1)
		mine := l.queue[0]
		l.queue = l.queue[1:]
		l.busy = true
		h.waiting--
		h.running++
		if len(l.queue) > 0 {
			h.turn = append(h.turn, l) // behind all others
		}
		mine <- nil
	}
}

// newPasswords is the lane of passwords that administrators make.
const newPasswords = "new"

// HashPassword is the function of that name, waiting its turn among the sign-ins: ErrPassword, ErrBusy or ctx's error.
func (svc *Service) HashPassword(ctx context.Context, pw string) (string, error) {
	return svc.hashIn(ctx, newPasswords, pw)
}

func (svc *Service) hashIn(ctx context.Context, lane, pw string) (string, error) {
	var out string
	var herr error
	if err := svc.hashing.do(ctx, lane, func() { out, herr = HashPassword(pw) }); err != nil {
		return "", err
	}
	return out, herr
}
