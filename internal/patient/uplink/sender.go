// Package uplink is the gateway's end of the protocol that brings sealed chunks from its outbox to
// the hub: Sender, one for each sensor identity. What it speaks is package delivery; the hub's end
// is package ingest.
//
// It hides windows, reconnecting, and what is announced again. It guarantees: an outbox record is
// let go only after the hub called it accepted, duplicate or rejected; a record that can never be
// accepted does not block those behind it; what is new does not queue behind a backlog, which
// drains beside it at a bounded rate. Sender is safe for concurrent use and its goroutines end with
// Run.
package uplink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

const (
	maxInflightBytes = 1 << 20 // the bytes of the messages sent and not yet settled
	// maxParked is how many messages that the hub puts off again and again, while it takes others,
	// may wait outside the window.
	maxParked     = 256
	parkedFrom    = 6 // attempts
	putOffFrom    = 3 // attempts of a message until a window full of such makes room for what is measured now
	parkedBackoff = time.Minute
	minBackoff    = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	keptEpochs    = 128 // announcements a sender keeps in memory to announce again
)

// Settled tells what became of one message of the lane.
type Settled struct {
	Record  outbox.Record
	Message delivery.Message // zero if the record was not a message
	Outcome delivery.Outcome
	Reason  delivery.Reason
	Backlog bool // it had waited when the connection began
}

// Rejected reports whether the message was never delivered and is set aside.
func (s Settled) Rejected() bool { return s.Outcome == delivery.Rejected }

// SenderOption changes a default of NewSender.
type SenderOption func(*Sender)

// OnSettled has f called once for every message that leaves the outbox, before it does: accepted,
// duplicate or rejected. A rejected one is gone afterwards: f is the place to set it aside. f is
// called from one goroutine at a time.
func OnSettled(f func(Settled)) SenderOption { return func(s *Sender) { s.settled = f } }

// FromStart names the run of the gateway that the sender belongs to: its boot counter, which never
// goes back, and a random instance. The hub turns away an older run, and another one with the same
// counter: clones and restored backups.
func FromStart(boot uint64, instance [16]byte) SenderOption { return FromRun(NewRun(boot, instance)) }

// FromRun is FromStart for the senders of one gateway, whose boot counter may have to be raised
// while it runs.
func FromRun(r *Run) SenderOption { return func(s *Sender) { s.run = r } }

// OnExceed has f called when the hub says that the boot counter must be above a number: it let this
// run in although its counter is not the highest that it has seen, because the run with that one is
// gone. f may raise the Run; it must not block for long.
func OnExceed(f func(boot uint64)) SenderOption { return func(s *Sender) { s.exceed = f } }

// Run is one run of a gateway, as all of its senders tell the hub. It is safe for concurrent use.
type Run struct {
	mu     sync.Mutex // guards all below
	start  delivery.Start
	raised chan struct{} // closed when the counter is raised
}

// NewRun makes a run from its boot counter and a random instance.
func NewRun(boot uint64, instance [16]byte) *Run {
	return &Run{start: delivery.Start{Boot: boot, Instance: instance}, raised: make(chan struct{})}
}

// Raise sets the boot counter, which must be durable, unless it is as high already. The senders
// connect anew with it.
func (r *Run) Raise(boot uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if boot <= r.start.Boot {
		return
	}
	r.start.Boot = boot
	close(r.raised)
	r.raised = make(chan struct{})
}

// now is the start, and what is closed when it changes.
func (r *Run) now() (delivery.Start, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.start, r.raised
}

// WithPace bounds the backlog; several senders may share one Pace.
func WithPace(p *Pace) SenderOption { return func(s *Sender) { s.pace = p } }

// SenderStats counts since NewSender.
type SenderStats struct {
	Connected                              bool
	Connects, Accepted, Duplicate, Retries uint64
	Rejected                               uint64
	// Backlog are those of the settled that had waited when their connection began, and their
	// bytes.
	Backlog, BacklogBytes uint64
	// Changed is when Connected last did; Refused why the hub turned the last connection away,
	// NoReason if it did not.
	Changed time.Time
	Refused delivery.Reason
}

// Sender delivers one lane of an outbox as one identity. Make one with NewSender; Run it once.
type Sender struct {
	ep      overlay.Endpoint
	q       *outbox.Queue
	lane    *outbox.Lane
	log     *slog.Logger
	settled func(Settled)
	run     *Run
	exceed  func(uint64)
	pace    *Pace
	clock   ClockSource // nil: nothing is said of it

	settling sync.Mutex // makes calls of settled one at a time

	// rewound says that the session before ended with errPutOff, and rewound the lane itself: what
	// the hub has not heard is live still. It is Run's.
	rewound bool

	mu    sync.Mutex // guards the fields below
	stats SenderStats
	// epochs are announcements sent, to be sent again if the hub asks; order has them oldest first.
	epochs map[seal.EpochID][]byte
	order  []seal.EpochID
}

// NewSender makes a sender of lane's records over connections dialled as ep. The lane must have no
// other reader.
func NewSender(ep overlay.Endpoint, q *outbox.Queue, lane *outbox.Lane, log *slog.Logger, options ...SenderOption) *Sender {
	s := &Sender{ep: ep, q: q, lane: lane, log: log.With("sensor", ep.ID().Name), settled: func(Settled) {}, exceed: func(uint64) {}, run: NewRun(0, [16]byte{}),
		epochs: map[seal.EpochID][]byte{}}
	s.stats.Changed = time.Now()
	for _, o := range options {
		o(s)
	}
	if s.pace == nil {
		s.pace = NewPace(0, 0)
	}
	return s
}

// Stats are the counts so far.
func (s *Sender) Stats() SenderStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Sender) count(f func(*SenderStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// delivered is how many records the hub has answered for good.
func (s *Sender) delivered() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.Accepted + s.stats.Duplicate + s.stats.Rejected
}

// Run delivers until ctx ends, then returns nil; it connects again whenever it must, with growing
// pauses up to 5 s. An error is returned only if the outbox itself fails.
func (s *Sender) Run(ctx context.Context) error {
	pause := minBackoff
	failing := false
	for {
		before := s.delivered()
		err := s.session(ctx)
		var turned *delivery.Refusal
		refused := errors.As(err, &turned)
		s.count(func(st *SenderStats) {
			if st.Connected {
				st.Connected, st.Changed = false, time.Now()
			}
			st.Refused = delivery.NoReason
			if refused {
				st.Refused = turned.Reason
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		var broken *outboxError
		if errors.As(err, &broken) {
			return err
		}
		if s.delivered() > before { // a hub that only greets and hangs up is no hub that is back
			pause, failing = minBackoff, false
		}
		if errors.Is(err, errRaised) {
			continue
		}
		if errors.Is(err, errPutOff) && sleep(ctx, jitter(minBackoff)) {
			continue
		}
		if errors.Is(err, delivery.ErrVersion) || lasting(err) {
			pause = maxBackoff
		}
		if !failing { // once per outage
			failing = true
			s.log.Warn("hub not reached; readings wait in the outbox", "err", err)
			if refused && turned.Reason == delivery.StartJump {
				s.log.Error("THE HUB TURNS THIS GATEWAY AWAY: its boot counter is far above the last one that the hub knows",
					"hint", "is the number in the file boot of its folder right? Then run: vitalseal identity reset-numbers sensor/"+s.ep.ID().Name)
			}
			if refused && turned.Reason == delivery.Fenced {
				s.log.Error("THE HUB TURNS THIS GATEWAY AWAY: another one with the same identities has started later. Was it cloned, or this one restored from a backup?",
					"hint", "stop the one that is wrong; if this is the right one, write a number above the highest that any of them held into the file boot of its folder and start it again")
			}
		}
		if !sleep(ctx, jitter(pause)) {
			return nil
		}
		pause = min(2*pause, maxBackoff)
	}
}

// jitter spreads a fleet's attempts over half of the pause.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } // #nosec G404 -- not a secret

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outboxError is the outbox failing, which reconnecting does not mend.
type outboxError struct{ err error }

func (e *outboxError) Error() string { return "uplink: send: outbox: " + e.err.Error() }
func (e *outboxError) Unwrap() error { return e.err }

// session is one connection, from dialling to its end.
func (s *Sender) session(ctx context.Context) (err error) {
	rewound := s.rewound
	s.rewound = false // an outage makes all of it backlog
	c, err := s.ep.Dial(ctx, overlay.ServiceIngest)
	if err != nil {
		return fmt.Errorf("uplink: dial: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Closing is what unblocks reads and writes; the first to fail, or the context, does it.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		if stop() {
			_ = c.Close()
		}
	}()
	r := bufio.NewReaderSize(c, delivery.BufferBytes)
	run, raised := s.run.now()
	idle, told, err := s.greet(c, r, run)
	if err != nil {
		return err
	}
	if !rewound {
		s.lane.Rewind() // whatever was in flight on an earlier connection was not settled
	}
	x := &exchange{s: s, c: c, r: r, w: bufio.NewWriterSize(c, delivery.BufferBytes), ping: idle / 3,
		inflight: map[uint64]*sending{}, waiting: map[*sending]*time.Timer{}, noted: map[delivery.Reason]bool{}, freed: make(chan struct{}, 1),
		again: make(chan *sending, delivery.MaxInflight+maxParked), wanted: make(chan seal.EpochID, delivery.MaxInflight), clock: told, answered: make(chan struct{}, 1)}
	s.count(func(st *SenderStats) {
		st.Connected, st.Changed, st.Refused = true, time.Now(), delivery.NoReason
		st.Connects++
	})
	s.log.Info("connected to the hub")

	errs := make(chan error, 2)
	var wg sync.WaitGroup
	for _, f := range []func(context.Context) error{x.write, x.read} {
		wg.Go(func() {
			err := f(ctx)
			cancel()
			errs <- err
		})
	}
	wg.Go(func() {
		select {
		case <-raised: // the hub hears of it in a hello
			cancel()
		case <-ctx.Done():
		}
	})
	wg.Wait()
	x.stopTimers()
	close(errs)
	for e := range errs {
		// What the hub said explains more than a closed connection does.
		if e != nil && (err == nil || errors.Is(e, delivery.ErrRefused) || errors.As(e, new(*outboxError))) {
			err = e
		}
	}
	select {
	case <-raised:
		if err == nil {
			err = errRaised
		}
	default:
	}
	if errors.Is(err, errPutOff) {
		heard := x.putOff()
		s.lane.RewindBut(func(id uint64) bool { return !heard[id] })
		s.rewound = true
	}
	return err
}

// errRaised ends a session whose hello does not hold any more.
var errRaised = errors.New("uplink: the boot counter was raised")

// greet exchanges hellos. told is nil where the hub does not speak of clocks, or the sender does
// not.
func (s *Sender) greet(c *overlay.Conn, r *bufio.Reader, run delivery.Start) (idle time.Duration, told *toldClock, err error) {
	if err := c.SetDeadline(time.Now().Add(delivery.HelloTimeout)); err != nil {
		return 0, nil, fmt.Errorf("uplink: hello: %w", err)
	}
	mine := delivery.Hello{Version: delivery.Version, Idle: delivery.IdleTimeout, Start: run}
	if s.clock != nil {
		told = &toldClock{record: s.clock.Record(s.lane.Name())}
		mine.Clock = delivery.HelloClock{Speaks: true, Times: [2]int64{max(s.clock.Now().UnixMicro(), 0)}}
	}
	if _, err := c.Write(delivery.AppendHello(nil, mine)); err != nil {
		return 0, nil, fmt.Errorf("uplink: hello: %w", err)
	}
	t, body, err := delivery.ReadFrame(r)
	if err != nil {
		return 0, nil, fmt.Errorf("uplink: hello: %w", err)
	}
	if t == delivery.FrameGoodbye {
		return 0, nil, delivery.ParseGoodbye(body)
	}
	h, err := delivery.ParseHello(t, body)
	if err != nil {
		return 0, nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return 0, nil, fmt.Errorf("uplink: hello: %w", err)
	}
	if told != nil && h.Clock.Speaks {
		told.hear(s.clock, delivery.ClockAnswer{Sent: mine.Clock.Times[0], Received: h.Clock.Times[0], Answered: h.Clock.Times[1]})
	} else {
		told = nil
	}
	return min(max(h.Idle, time.Second), delivery.IdleTimeout), told, nil
}

// lasting reports whether a refusal is not mended by asking again at once.
func lasting(err error) bool {
	var r *delivery.Refusal
	if !errors.As(err, &r) {
		return false
	}
	return r.Reason != delivery.Stopping && r.Reason != delivery.Busy
}

// remember keeps an announcement for as long as its epoch may still be asked for. The caller holds
// mu.
func (s *Sender) remember(id seal.EpochID, data []byte) {
	if _, known := s.epochs[id]; known {
		return
	}
	if len(s.order) >= keptEpochs {
		delete(s.epochs, s.order[0])
		s.order = s.order[1:]
	}
	s.epochs[id] = data
	s.order = append(s.order, id)
}
