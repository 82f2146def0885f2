package store

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
	// begin is called when notices begin to arrive, again too: whatever was missed before this moment must be looked for.
	begin(ctx context.Context) error
	// read is called after each notice and each silence.
	read(ctx context.Context) error
	// idle is called after each notice and each silence, before read.
	idle(ctx context.Context) error
	// stale drops all copies.
	stale()
	// heed does what a notice says, or reports that it does not know it.
	heed(what, rest string) bool
}

// listener listens to what other hubs on the same database do. It drops copies of what they change.
type listener struct {
	s      *DB
	then   noticed
	cfg    *pgx.ConnConfig
	cancel context.CancelFunc
	ctx    context.Context // of run, which close ends
	done   chan struct{}
}

func newListener(ctx context.Context, s *DB, then noticed) *listener {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &listener{s: s, then: then, cfg: s.server.Copy(), ctx: run, cancel: cancel, done: make(chan struct{})}
	l.cfg.RuntimeParams["application_name"] = "vitalseal notices"
	return l
}

// deaf says that changes of other hubs are not heard of at the moment: what is remembered may not be true any more.
func (s *DB) deaf() bool { return s.shared && !s.hears.Load() }

func (l *listener) close() {
	l.cancel()
	<-l.done
}

// run listens until close, and connects again when the connection breaks.
func (l *listener) run() {
	defer close(l.done)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := l.listen()
		if l.ctx.Err() != nil {
			return
		}
		l.s.log.Warn("lost the notices of other hubs; connecting again", "err", err)
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

func (l *listener) listen() error {
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
	if err := l.then.begin(l.ctx); err != nil {
		return err
	}
	l.s.hears.Store(true)
	for {
		if err := l.then.read(l.ctx); err != nil {
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
		if err := l.then.idle(l.ctx); err != nil {
			return err
		}
	}
}

// alive asks the server on the connection that notices come by.
func (l *listener) alive(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(l.ctx, listenPatience)
	defer cancel()
	return conn.Ping(ctx)
}

// stale drops all copies.
func (l *listener) stale() {
	l.s.keys.forget(func(string) bool { return true })
	l.s.devicesChanged()
	l.then.stale()
	l.s.changed()
}

// heed does what a notice says; one that is not known is of a newer hub, and everything may have changed.
func (l *listener) heed(payload string) {
	what, rest, _ := strings.Cut(payload, " ")
	switch what {
	case "places":
		l.s.placesChanged()
		l.s.changed()
	case "devices":
		l.s.devicesChanged()
		l.s.changed()
	case "directory":
		l.s.changed()
	default:
		if !l.then.heed(what, rest) {
			l.stale()
		}
	}
}
