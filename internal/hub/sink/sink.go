// Package sink forwards channels to a cloud that speaks ThingSpeak: as envelopes that the cloud
// cannot read, or, where a second person approved and the patient agreed, as plain values. It also
// opens envelopes again, for users who may see the channel, and takes in what a cloud exported.
//
// It hides the compact form of envelopes and their keys, rate limits, what is still to be sent, and
// the cloud's ways of failing. It guarantees: nothing of a channel goes out unless it was asked
// for; what goes out sealed is numbers only, in messages of one length, so that neither values nor
// their absence show; plain needs two persons and consent each time, not once; every second of a
// channel is sent at most once (created_at is unique there, and what is sent again after a doubtful
// answer is the same bytes); what cannot be sent waits in the store and outlives restarts; the
// cloud is spoken to over TLS that ends here, by its own name. An Engine is safe for concurrent
// use.
//
// It does not hide that, when and roughly how much a channel measures, and it cannot take back what
// a cloud has in plain text. What arrives for a second that has been forwarded already, or later
// than Config.Rescan, is not forwarded.
package sink

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
)

// The limits of ThingSpeak's free profile, and ours.
const (
	MinInterval = 15 * time.Second // between two requests about one channel
	MaxMessages = 960              // in one bulk update

	// settle is how old a second must be before it is read: the sensors of one patient deliver it
	// in several parts.
	settle = 10 * time.Second
	// rescanEvery is how often everything since Config.Rescan is looked at again, for what arrived
	// late.
	rescanEvery = 10 * time.Minute
	// idle is how long the engine sleeps when no channel is forwarded.
	idle = 15 * time.Second
)

// Why a channel is not forwarded now, as Sink.Problem has it.
const (
	ProblemApproval = "waits for the approval of another person"
	ProblemConsent  = "the patient's consent is not on record"
	ProblemLimited  = "the cloud asks to slow down"
	ProblemAway     = "the cloud cannot be reached"
	ProblemFailing  = "the cloud fails"
	ProblemRefused  = "the cloud refuses; check channel number and write key"
)

// Config is what an Engine works with. Store, Access, Dial and Log must be set.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	// Dial opens a connection to host:port at the edge of the overlay. TLS comes above it.
	Dial func(ctx context.Context, target string) (net.Conn, error)
	// RootsPEM are the certificate authorities of the cloud; empty: the system's.
	RootsPEM []byte
	// Interval is the time between two requests about one channel; MinInterval if zero.
	Interval time.Duration
	// Rescan is how late something may arrive and still be forwarded; 24 h if zero, at most
	// store.MaxRescan.
	Rescan time.Duration
	Log    *slog.Logger
	Now    func() time.Time // time.Now if nil
}

// Engine forwards. Make it with New.
type Engine struct {
	c     Config
	grant access.Grant
	cloud *http.Client

	mu     sync.Mutex // held during a pass; guards states
	states map[int64]*state

	poke chan struct{}
}

// state is what the engine remembers of one channel while it runs; what must not be lost is in the
// store.
type state struct {
	requested time.Time // tells a new request from the old one
	next      time.Time // no request before
	failures  int
	rescanned time.Time
	most      int    // messages in the next batch; halved when the cloud finds it too large
	said      string // the last thing that was audited
}

// New makes an engine; Run runs it.
func New(c Config) (*Engine, error) {
	if c.Store == nil || c.Access == nil || c.Dial == nil || c.Log == nil {
		return nil, errors.New("sink: configuration incomplete")
	}
	if c.Interval == 0 {
		c.Interval = MinInterval
	}
	if c.Rescan == 0 {
		c.Rescan = 24 * time.Hour
	}
	if c.Interval < 0 || c.Rescan < 0 || c.Rescan > channel.MaxRescan {
		return nil, errors.New("sink: interval or rescan out of range")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	cloud, err := newClient(c.Dial, c.RootsPEM)
	if err != nil {
		return nil, err
	}
	return &Engine{c: c, cloud: cloud, states: map[int64]*state{}, poke: make(chan struct{}, 1),
		grant: c.Access.Standing("sink", access.ViewChannel, access.ViewPatient)}, nil
}

// Run forwards until ctx ends, and then returns nil.
func (e *Engine) Run(ctx context.Context) error {
	defer e.cloud.CloseIdleConnections()
	for {
		wait := time.Until(e.pass(ctx))
		timer := time.NewTimer(max(wait, 10*time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-e.poke:
			timer.Stop()
		}
	}
}

// Wake makes Run look at once: something about a sink has changed.
func (e *Engine) Wake() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// parallel is how many clouds are spoken to at once, so that one that stalls does not hold up the
// others for long.
const parallel = 8

// pass gives every channel that is due its turn, and says when the next one is.
func (e *Engine) pass(ctx context.Context) (next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next = e.c.Now().Add(idle)
	sinks, err := e.c.Store.Sinks(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.c.Log.Error("the list of channels to forward cannot be read", "err", err)
		}
		return next
	}
	states := map[int64]*state{}
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, k := range sinks {
		s := e.states[k.Channel]
		if s == nil || !s.requested.Equal(k.Requested) {
			s = &state{requested: k.Requested, most: MaxMessages}
			if !k.LastSent.IsZero() { // the limit holds across a restart
				s.next = k.LastSent.Add(e.c.Interval)
			}
		}
		states[k.Channel] = s
		if s.next.After(e.c.Now()) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			e.turn(ctx, k, s)
		})
	}
	wg.Wait()
	e.states = states
	for _, s := range states {
		if s.next.Before(next) {
			next = s.next
		}
	}
	return next
}

// turn is one channel's: what may go out, what there is, and what the cloud says.
func (e *Engine) turn(ctx context.Context, k channel.Sink, s *state) {
	s.next = e.c.Now().Add(e.c.Interval)
	begin, problem, err := e.permitted(ctx, k)
	if err == nil && problem != "" {
		e.report(ctx, k, s, problem)
		return
	}
	var b *batch
	if err == nil {
		b, err = e.nextBatch(ctx, k, s, begin)
	}
	if err != nil {
		if ctx.Err() == nil {
			e.c.Log.Error("channel not forwarded", "channel", k.Channel, "err", err)
		}
		return
	}
	if b == nil {
		e.report(ctx, k, s, "")
		return
	}
	if s.said != sending(k) { // written down before the first byte goes out
		if err := e.c.Access.Record(ctx, e.grant, access.OnChannel(k.Channel), sending(k)); err != nil {
			e.c.Log.Error("channel not forwarded: the audit log cannot be written", "channel", k.Channel, "err", err)
			return
		}
		s.said = sending(k)
	}
	e.deliver(ctx, k, s, b)
}

func sending(k channel.Sink) string {
	if k.Mode == channel.SinkPlain {
		return "forwards in plain text to " + k.Server + ", asked for by " + k.RequestedBy + ", approved by " + k.ApprovedBy
	}
	return "forwards sealed to " + k.Server + ", asked for by " + k.RequestedBy
}

// permitted is from when on a channel's values may go out, or why they may not now. It is asked
// before every batch. Nothing that was measured before one person asked, another approved and the
// patient agreed ever goes out in plain text.
func (e *Engine) permitted(ctx context.Context, k channel.Sink) (begin time.Time, problem string, err error) {
	if k.Mode == channel.SinkSealed {
		return k.Requested, "", nil
	}
	if k.ApprovedBy == "" || k.ApprovedBy == k.RequestedBy {
		return begin, ProblemApproval, nil
	}
	begin = k.Approved
	ref, err := e.c.Store.ChannelRef(ctx, k.Channel)
	if err != nil || ref.Patient == "" {
		return begin, "", err
	}
	agreed, err := e.c.Store.Consented(ctx, ref.Patient)
	switch {
	case err != nil:
		return begin, "", err
	case agreed.IsZero():
		return begin, ProblemConsent, nil
	case agreed.After(begin):
		begin = agreed
	}
	return begin, "", nil
}

// report keeps what is wrong where an administrator sees it.
func (e *Engine) report(ctx context.Context, k channel.Sink, s *state, problem string) {
	if problem == k.Problem {
		return
	}
	if problem != "" {
		e.c.Log.Warn("channel is not forwarded", "channel", k.Channel, "server", k.Server, "why", problem)
		s.said = "" // when it goes on, that is written down again
	}
	if err := e.c.Store.SinkProblem(context.WithoutCancel(ctx), k, problem); err != nil {
		e.c.Log.Error("the state of forwarding is not noted", "channel", k.Channel, "err", err)
	}
}
