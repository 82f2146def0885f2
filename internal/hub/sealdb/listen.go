package sealdb

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// listenPatience is how long the server may take to answer on the connection that notices come by.
const listenPatience = 3 * time.Second

// listenEvery is how long a silence lasts before the server is asked whether it is still there.
const listenEvery = time.Second

// noticed does what notices of other hubs ask of readings. One goroutine calls it.
type noticed interface {
	// Begin is called when notices begin to arrive, again too: whatever was missed before this
	// moment must be looked for.
	Begin(ctx context.Context) error
	// Read is called after each notice and each silence.
	Read(ctx context.Context) error
	// Idle is called after each notice and each silence, before read.
	Idle(ctx context.Context) error
	// Stale drops all copies.
	Stale()
	// Heed does what a notice says, or reports that it does not know it.
	Heed(what, rest string) bool
}

// Listener listens to what other hubs on the same database do. It drops copies of what they change.
type Listener struct {
	s      *DB
	then   noticed
	cfg    *pgx.ConnConfig
	cancel context.CancelFunc
	ctx    context.Context // of run, which close ends
	done   chan struct{}
}

// NewListener makes a Listener for an open DB in PostgreSQL; Run starts it.
func NewListener(ctx context.Context, s *DB, then noticed) *Listener {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Listener{s: s, then: then, cfg: s.server.Copy(), ctx: run, cancel: cancel, done: make(chan struct{})}
	l.cfg.RuntimeParams["application_name"] = "vitalseal notices"
	return l
}

// Deaf says that changes of other hubs are not heard of at the moment: what is remembered may not
// be true any more.
func (s *DB) Deaf() bool { return s.shared && !s.hears.Load() }

// Close ends Run, which must have been called, and waits for it.
func (l *Listener) Close() {
	l.cancel()
	<-l.done
}

// Run listens until close, and connects again when the connection breaks.
func (l *Listener) Run() {
	defer close(l.done)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := l.listen()
		if l.ctx.Err() != nil {
			return
		}
		l.s.Log.Warn("lost the notices of other hubs; connecting again", "err", err)
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *Listener) listen() error {
	ctx, cancel := context.WithTimeout(l.ctx, listenPatience)
	conn, err := pgx.ConnectConfig(ctx, l.cfg)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) //nolint:errcheck // nothing was written on it
	defer l.s.hears.Store(false)
	if _, err := conn.Exec(l.ctx, "LISTEN vitalseal"); err != nil {
		return err
	}
	// Whatever was missed before this moment: copies are stale, and any day may have chunks.
	l.stale()
	if err := l.then.Begin(l.ctx); err != nil {
		return err
	}
	l.s.hears.Store(true)
	for {
		if err := l.then.Read(l.ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(l.ctx, listenEvery)
		notice, err := conn.WaitForNotification(ctx)
		cancel()
		switch {
		case err == nil:
			l.heed(notice.Payload)
		case l.ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed():
			return err
		default:
			// Silence. One that is cut without a word would be silent for ever.
			if err := l.alive(conn); err != nil {
				return err
			}
		}
		if err := l.then.Idle(l.ctx); err != nil {
			return err
		}
	}
}

// alive asks the server on the connection that notices come by.
func (l *Listener) alive(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(l.ctx, listenPatience)
	defer cancel()
	return conn.Ping(ctx)
}

// stale drops all copies.
func (l *Listener) stale() {
	l.s.keys.forget(func(string) bool { return true })
	l.s.DevicesChanged()
	l.then.Stale()
	l.s.Changed()
}

// heed does what a notice says; one that is not known is of a newer hub, and everything may have
// changed.
func (l *Listener) heed(payload string) {
	what, rest, _ := strings.Cut(payload, " ")
	switch what {
	case "places":
		l.s.PlacesChanged()
		l.s.Changed()
	case "devices":
		l.s.DevicesChanged()
		l.s.Changed()
	case "directory":
		l.s.Changed()
	default:
		if !l.then.Heed(what, rest) {
			l.stale()
		}
	}
}
