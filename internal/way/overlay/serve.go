package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxExchanges bounds the enrolments, and apart from them the renewals, that are under way at
	// once.
	maxExchanges = 32
	// maxPeerExchanges bounds those of one proven peer: a component has no reason for more.
	maxPeerExchanges = 2
	// maxWaiters bounds the witnesses that wait at once, apart from all others.
	maxWaiters = 1024
	// askPatience is how long a client may take to say what it wants; an honest one says it at
	// once.
	askPatience = 5 * time.Second
)

// Why the hub itself ends an exchange. What then fails on the closed connection says nothing.
var (
	errSilent    = fmt.Errorf("the client did not prove itself within %v", askPatience)
	errTooLong   = errors.New("the exchange took longer than it may")
	errPushedOut = errors.New("another client needed its place")
)

// errLeft is an answer that did not reach its client, which asks again if it still wants to know.
var errLeft = errors.New("the client left before its answer")

// exchanges are the conversations under way on one service. Who holds one without having proven
// anything may hold it only until others need it.
type exchanges struct {
	max int // at once

	mu   sync.Mutex // guards open and the settled of its elements
	open []*exchange
}

// turn is what a conversation says of itself.
type turn struct {
	// settle says that the client has proven that it belongs here.
	settle func()
	// wait makes room among those who wait for what comes, and time for one answer: false if too
	// many wait.
	wait func() bool
}

type exchange struct {
	peer    ID
	end     context.CancelCauseFunc
	settled bool // it redeemed a ticket: no other may push it out
}

// enter makes room for x: the oldest of the same peer goes when that peer has too many, and the
// oldest of all that has not settled when all places are taken. It is false when all have settled.
func (s *exchanges) enter(x *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same, oldestSame, oldest := 0, -1, -1
	for i, have := range s.open {
		if have.settled {
			continue
		}
		if oldest < 0 {
			oldest = i
		}
		if have.peer == x.peer && x.peer != (ID{}) {
			if same++; oldestSame < 0 {
				oldestSame = i
			}
		}
	}
	out := -1
	switch {
	case same >= maxPeerExchanges:
		out = oldestSame
	case len(s.open) >= s.max && oldest < 0:
		return false
	case len(s.open) >= s.max:
		out = oldest
	}
	if out >= 0 {
		s.open[out].end(errPushedOut)
		s.open = append(s.open[:out:out], s.open[out+1:]...)
	}
	s.open = append(s.open, x)
	return true
}

func (s *exchanges) leave(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.open {
		if have == x {
			s.open = append(s.open[:i:i], s.open[i+1:]...)
			return
		}
	}
}

func (s *exchanges) settle(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.settled = true
}

// serve runs one exchange on each accepted connection, a bounded number at once, each within
// enrolTimeout but for those that wait. talk settles once the client has proven that it belongs
// here; until then it has askPatience.
func serve(ctx context.Context, ln net.Listener, log *slog.Logger, talk func(ctx context.Context, c *Conn, t turn) error) error {
	quiet := NewFlood(log)
	defer quiet.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer func() { _ = ln.Close() }()
	under, waiters := exchanges{max: maxExchanges}, exchanges{max: maxWaiters}
	for {
		raw, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("overlay: serve %s: %w", ln.Addr(), err)
		}
		c, ok := raw.(*Conn)
		if !ok {
			_ = raw.Close()
			return errors.New("overlay: serve: the listener is not one of an Endpoint")
		}
		exchangeCtx, cancel := context.WithCancelCause(ctx)
		limit := time.AfterFunc(enrolTimeout, func() { cancel(errTooLong) })
		x := &exchange{peer: c.peer, end: cancel}
		if !under.enter(x) {
			limit.Stop()
			cancel(nil)
			_ = c.Close()
			quiet.Warn("overlay exchange refused: too many are under way", "service", ln.Addr().String())
			continue
		}
		wg.Go(func() {
			defer cancel(nil)
			defer limit.Stop()
			defer under.leave(x)
			defer waiters.leave(x)
			defer func() { _ = c.Close() }()
			stop := context.AfterFunc(exchangeCtx, func() { _ = c.Close() })
			defer stop()
			patience := time.AfterFunc(askPatience, func() { cancel(errSilent) })
			defer patience.Stop()
			waiting := false
			err := talk(exchangeCtx, c, turn{
				settle: func() {
					patience.Stop()
					under.settle(x)
				},
				wait: func() bool {
					if !waiting && !waiters.enter(x) {
						return false
					}
					if !waiting {
						under.leave(x)
						patience.Stop()
					}
					waiting = true
					return limit.Reset(waitPatience) // false: it is over already
				},
			})
			switch cause := context.Cause(exchangeCtx); {
			case err == nil || ctx.Err() != nil:
			case waiting && errors.Is(cause, errTooLong), cause == nil && errors.Is(err, errLeft): // it asks again
				log.Debug("overlay exchange ended", "service", ln.Addr().String(), "peer", c.peer.String(), "err", errors.Join(cause, err))
			case cause != nil:
				quiet.Warn("overlay exchange ended by the hub", "service", ln.Addr().String(), "peer", c.peer.String(), "err", cause)
			default:
				quiet.Warn("overlay exchange refused", "service", ln.Addr().String(), "peer", c.peer.String(), "err", err)
			}
		})
	}
}
