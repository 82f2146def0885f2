package sealdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// leaseEvery is how often a hub tries to become the one that does something, and looks whether it still is.
const leaseEvery = time.Second

// leaseIdle is how long a hub that asks no more keeps a lease.
const leaseIdle = 10 * time.Second

// Lead runs f whenever this hub is the one of all on the same database that does what name says, until ctx ends: at once if no other
// does. The ctx of f ends when that is so no more, which is noticed within seconds; until then another may have begun. With files there
// is one hub, and it always is. Lead returns what f returned for another reason, or nil.
func (s *DB) Lead(ctx context.Context, name string, f func(context.Context) error) error {
	for ctx.Err() == nil {
		ran, err := s.TryLead(ctx, name, f)
		if ran {
			return err
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("a lease was lost or not got; trying again", "lease", name, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(leaseEvery):
		}
	}
	return nil
}

// TryLead runs f if no other hub leads, and says whether it ran to its end.
func (s *DB) TryLead(ctx context.Context, name string, f func(context.Context) error) (ran bool, err error) {
	if !s.shared {
		return true, f(ctx)
	}
	conn, err := s.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	number := int32(h.Sum32()) // #nosec G115 -- the bits
	var got bool
	if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock(?, ?)", leaseClass, number).Scan(&got); err != nil || !got {
		return false, err
	}
	// A hub that is frozen asks no more, and must not keep the others from it. PostgreSQL 13 does not know this; there the lease ends with
	// the connection only.
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET idle_session_timeout = %d", leaseIdle.Milliseconds())); err == nil {
		defer func() {
			if _, e := conn.ExecContext(context.WithoutCancel(ctx), "RESET idle_session_timeout"); e != nil && err == nil && !errors.Is(e, sql.ErrConnDone) {
				s.Log.Debug("a lease's connection is not used again", "err", e)
			}
		}()
	}
	held, lost := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keep(held, conn, lost)
	}()
	err = f(held)
	why := context.Cause(held)
	lost(nil)
	<-ended
	if errors.Is(why, errLeaseLost) {
		return false, errors.Join(err, why)
	}
	if _, e := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(?, ?)", leaseClass, number); e != nil {
		s.Log.Warn("a lease ends with its connection only", "lease", name, "err", e)
	}
	return true, err
}

var errLeaseLost = errors.New("store: the connection that held a lease is gone")

// keep asks on the lease's connection whether it is still there.
func keep(ctx context.Context, conn *sql.Conn, lost context.CancelCauseFunc) {
	t := time.NewTicker(leaseEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ask, cancel := context.WithTimeout(ctx, listenPatience)
		_, err := conn.ExecContext(ask, "SELECT 1")
		cancel()
		if err != nil && ctx.Err() == nil {
			lost(fmt.Errorf("%w: %w", errLeaseLost, err))
			return
		}
	}
}
