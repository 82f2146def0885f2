// Package ingest is the hub's end of the protocol that brings sealed chunks from a gateway's outbox to the store: Server. What it
// speaks is package delivery; the gateway's end is package uplink.
//
// It hides windows, connections, epochs and their openers. It guarantees: the sensor of a chunk is the identity that its
// connection proved, never what a message says, and a chunk sealed for another sensor does not open; accepted and duplicate mean
// that the store has it on disk exactly once; an epoch number never goes back and a gateway's older start is turned away, so a
// clone or a restored backup is noticed. Frames, windows, connections and caches are bounded. Server is safe for concurrent use
// and its goroutines end with Serve.
//
// It does not protect against a sensor's own key in the wrong hands (disable the identity), nor keep order on the wire: order is
// (epoch, sequence), in the store.
package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

const (
	defaultMaxConns = 8192
	// bodyBytes bounds the messages of all connections that are being read, opened or committed.
	bodyBytes = 64 << 20
	// recheck is how often a connection's identity is looked up again, in case CutSensor was not called.
	recheck = 5 * time.Second
	// auditPause is how long the entries of one identity for the audit log are apart: a forger must not fill it.
	auditPause = time.Minute
	// defaultAlone is longer than a gateway takes to start again, or a network to come back.
	defaultAlone = 2 * time.Minute
)

// Store is what the server needs of the store; *store.Store is one.
type Store interface {
	// Hand calls settled once, when a chunk's outcome is durable; until then it may have returned. Chunks in hand share commits.
	Hand(ctx context.Context, g access.Grant, a archive.Arrival, settled func(o delivery.Outcome, reason string, err error))
	// TakeStart decides whether a run of a gateway may deliver as an identity, and remembers the newest one durably.
	TakeStart(ctx context.Context, sensor string, st delivery.Start, anyway bool) (directory.StartVerdict, error)
	// SaveAnnouncement is store.ErrConflict for an epoch that cannot be, number or id used before, and store.ErrEpochJump for a
	// number that no gateway can have counted to.
	SaveAnnouncement(ctx context.Context, sensor string, of delivery.Start, epoch seal.Epoch, signal uint8, announcement []byte) error
	// Announcement is store.ErrNotFound for an epoch that was never announced.
	Announcement(ctx context.Context, sensor string, epoch seal.EpochID) ([]byte, error)
	// TouchDevice notes that an identity is alive; it is cheap.
	TouchDevice(ctx context.Context, id string) error
	// NoteTrouble notes what a sensor says is wrong with its gateway, NoteAlert what the hub refused of an identity.
	NoteTrouble(ctx context.Context, sensor, text string, at time.Time) error
	NoteAlert(ctx context.Context, id, text string, at time.Time) error
	AppendEntry(ctx context.Context, g access.Grant, channelID int64, e channel.Entry) (channel.Entry, error)
	// SaveGaps notes, durably, what a sensor's gateway says will never arrive. The same again is no error.
	SaveGaps(ctx context.Context, sensor string, gaps []archive.Gap) error
	AppendEntries(ctx context.Context, g access.Grant, channelID int64, entries []channel.Entry) ([]channel.Entry, error)
}

// Config is what a Server works with.
type Config struct {
	Store     Store
	Recipient *seal.RecipientKey
	// Grant must allow access.AppendVitals: the engine's standing grant.
	Grant access.Grant
	// Active returns nil for an identity that may deliver now, and an access.ErrUndecided where that
	// could not be looked up. It is asked on connect and every few seconds.
	Active func(context.Context, overlay.ID) error
	// Audit gets an entry for each forgery and clone, at most one a minute and identity; nil: only the log does.
	Audit *audit.Log
	// Alert is called with what Audit gets an entry for, as rarely; may be nil. It must not block.
	Alert func(sensor string, r delivery.Reason)
	Log   *slog.Logger
	Now   func() time.Time // default time.Now
	// MaxConns bounds connections overall; default 8192. One identity has at most one, the newest.
	MaxConns int
	// AloneAfter is how long the newest start of an identity must not have been seen, while an older one knocks, until the older
	// one is let in; default 2 min. A copy that is the only gateway there is must not leave a patient unmonitored.
	AloneAfter time.Duration
}

// ServerStats counts since NewServer.
type ServerStats struct {
	Connections                            int // now
	Connects, Accepted, Duplicate, Retries uint64
	Announcements                          uint64
	Rejected                               map[delivery.Reason]uint64 // chunks and announcements
	Ended                                  map[delivery.Reason]uint64 // connections that the hub refused or ended, and those that broke
}

// Server takes in what Senders deliver.
type Server struct {
	c       Config
	openers *openers
	memory  *semaphore.Weighted

	mu      sync.Mutex // guards the fields below
	conns   map[string]*receiver
	stats   ServerStats
	audited map[noted]time.Time // last entry by identity and reason; bounded, see loud
	unsaid  int                 // chunks that were not stored since said
	said    time.Time           // when that was last logged
	knocks  map[string]knock    // identities whose older start is turned away; bounded, see waited
}

// noted is what loud tells at most once a minute.
type noted struct {
	identity string
	reason   delivery.Reason
}

// knock is an older start that is turned away again and again.
type knock struct {
	since time.Time // when it began, or since the newest start was last seen
	last  time.Time
	seen  time.Time // what the store said of the identity then
}

// NewServer checks the configuration.
func NewServer(c Config) (*Server, error) {
	switch {
	case c.Store == nil || c.Recipient == nil || c.Active == nil || c.Log == nil:
		return nil, errors.New("ingest: server: Store, Recipient, Active and Log are needed")
	case c.MaxConns < 0:
		return nil, errors.New("ingest: server: MaxConns is negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.AloneAfter <= 0 {
		c.AloneAfter = defaultAlone
	}
	if !c.Grant.Allows(access.AppendVitals, access.OnSystem(), c.Now()) {
		return nil, errors.New("ingest: server: the grant does not allow appending")
	}
	s := &Server{c: c, memory: semaphore.NewWeighted(bodyBytes), conns: map[string]*receiver{}, audited: map[noted]time.Time{}, knocks: map[string]knock{}}
	s.openers = newOpeners(s)
	s.stats.Rejected, s.stats.Ended = map[delivery.Reason]uint64{}, map[delivery.Reason]uint64{}
	return s, nil
}

// Serve answers the connections of ln, whose Accept returns *overlay.Conn, until ctx ends, and then returns nil; an error
// if the listener fails. It closes ln, and when it returns all its connections and goroutines have ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			_ = ln.Close()
			return fmt.Errorf("ingest: serve: %w", err)
		}
		oc, ok := c.(*overlay.Conn)
		if !ok {
			_ = c.Close()
			continue
		}
		wg.Go(func() { s.handle(ctx, oc) })
	}
}

// CutSensor ends the live connection of an identity, given as its SPIFFE id, and forgets its openers.
func (s *Server) CutSensor(id string) {
	s.openers.forget(id)
	s.mu.Lock()
	x := s.conns[id]
	delete(s.knocks, id)
	s.mu.Unlock()
	if x != nil {
		x.end(delivery.NotActive)
	}
}

// Stats are the counts so far.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Connections = len(s.conns)
	st.Rejected, st.Ended = map[delivery.Reason]uint64{}, map[delivery.Reason]uint64{}
	for r, n := range s.stats.Rejected {
		st.Rejected[r] = n
	}
	for r, n := range s.stats.Ended {
		st.Ended[r] = n
	}
	return st
}

func (s *Server) count(f func(*ServerStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

func (s *Server) handle(ctx context.Context, c *overlay.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peer := c.Peer()
	x := &receiver{s: s, c: c, peer: peer, sensor: peer.String(), log: s.c.Log.With("sensor", peer.Name), cancel: cancel,
		r: bufio.NewReaderSize(c, delivery.BufferBytes), window: make(chan struct{}, delivery.MaxInflight), out: make(chan outgoing, delivery.MaxInflight+1)}
	defer func() { _ = c.Close() }()
	why := x.admit(ctx)
	if why == delivery.NoReason {
		s.count(func(st *ServerStats) { st.Connects++ })
		x.log.Debug("sensor connected")
		why = x.run(ctx)
		s.leave(x)
	} else {
		s.leave(x)
		if why != delivery.Broken {
			x.refuse(why)
		}
		if why == delivery.Fenced || why == delivery.StartJump {
			s.loud(ctx, x.sensor, why)
		}
	}
	if why != delivery.NoReason {
		s.count(func(st *ServerStats) { st.Ended[why]++ })
		if why != delivery.Broken { // which has been said
			x.log.Warn("connection ended", "reason", why.String(), "identity", x.sensor)
		}
	}
}

// enter makes x the identity's connection, and ends an older one.
func (s *Server) enter(x *receiver) delivery.Reason {
	s.mu.Lock()
	old := s.conns[x.sensor]
	if old == nil && len(s.conns) >= s.c.MaxConns {
		s.mu.Unlock()
		return delivery.Busy
	}
	if old != nil && old.start.Boot > x.start.Boot && x.start.Boot != 0 && x.exceed == 0 {
		s.mu.Unlock()
		return delivery.Fenced // a newer start came between this one's fence and here
	}
	s.conns[x.sensor] = x
	s.mu.Unlock()
	//defence:one-connection an identity has one connection
	if old != nil {
		old.end(delivery.Replaced)
	}
	return delivery.NoReason
}

func (s *Server) leave(x *receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[x.sensor] == x {
		delete(s.conns, x.sensor)
	}
}

// loud records what only an attacker, a clone or a broken gateway does. The message itself is never recorded.
func (s *Server) loud(ctx context.Context, sensor string, r delivery.Reason) {
	now := s.c.Now()
	s.mu.Lock()
	last, seen := s.audited[noted{sensor, r}]
	if seen && now.Sub(last) < auditPause {
		s.mu.Unlock()
		return
	}
	if len(s.audited) >= s.c.MaxConns {
		clear(s.audited)
	}
	s.audited[noted{sensor, r}] = now
	s.mu.Unlock()
	if s.c.Alert != nil {
		s.c.Alert(sensor, r)
	}
	if err := s.c.Store.NoteAlert(context.WithoutCancel(ctx), sensor, r.String(), now); err != nil {
		s.c.Log.Error("the device view does not show what was refused", "identity", sensor, "err", err)
	}
	if s.c.Audit == nil {
		return
	}
	_, err := s.c.Audit.Append(context.WithoutCancel(ctx), audit.Entry{Time: now, Person: "engine:ingest", Workstation: sensor,
		Action: string(access.AppendVitals), Resource: access.OnSystem().String(), Allowed: r == delivery.OlderStart, Reason: r.String()})
	if err != nil {
		s.c.Log.Error("a forgery could not be written to the audit log", "identity", sensor, "err", err)
	}
}
