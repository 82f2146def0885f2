package uplink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// exchange is the traffic on one of the sender's connections: write takes records out of the lane
// and sends them, read takes the answers. Each runs in its own goroutine.
type exchange struct {
	s    *Sender
	c    *overlay.Conn
	r    *bufio.Reader // read's
	w    *bufio.Writer // write's
	ping time.Duration

	clock    *toldClock    // nil: the hub does not speak of clocks
	answered chan struct{} // holds a token when the hub's answer about the clock wants another report at once

	again  chan *sending     // to be sent again, from a timer to write; has room for all that may wait
	wanted chan seal.EpochID // to be announced again, from read to write
	freed  chan struct{}     // the window has room again

	number uint64 // write's: the next message's

	mu       sync.Mutex // guards the fields below
	inflight map[uint64]*sending
	waiting  map[*sending]*time.Timer // to be sent again
	window   int                      // messages that occupy the window, in flight or waiting to be sent again
	old      int                      // those of them that are of the backlog
	parked   int                      // messages that wait outside the window
	probed   time.Time                // when the last one stepped aside
	bytes    int
	noted    map[delivery.Reason]bool // reasons to reject that were logged
	ended    bool
}

// sending is one record on its way. Its fields are guarded by exchange.mu, except record and
// message, which never change.
type sending struct {
	record  outbox.Record
	message delivery.Message
	bad     error // it is no message: settled here
	repeat  bool  // an announcement sent again: the outbox may not have it any more
	backlog bool
	parked  bool // it does not occupy the window
	tries   int
	before  uint64 // how many messages were settled when it was first put off
	pause   time.Duration
}

func (x *exchange) write(ctx context.Context) error {
	keepalive := time.NewTicker(x.ping)
	defer keepalive.Stop()
	turn := time.NewTimer(time.Hour) // the backlog's next
	turn.Stop()
	defer turn.Stop()
	if err := x.reportClock(); err != nil { // before any reading
		return fmt.Errorf("uplink: send: %w", err)
	}
	for {
		// What the hub asked for goes first, then what is new, then the backlog as far as it may.
		// When nothing is at hand, all is flushed: a backlog shares packets and a single chunk does
		// not wait.
		sent, wait, err := x.urgent(), time.Duration(0), error(nil)
		if sent == nil {
			sent, wait, err = x.fresh()
		}
		if err == nil && sent != nil {
			err = sent()
		}
		if err == nil && sent == nil {
			if err = x.flush(); err == nil {
				if wait > 0 {
					turn.Reset(wait)
				}
				select {
				case <-ctx.Done():
					return nil
				case m := <-x.again:
					err = x.send(m)
				case id := <-x.wanted:
					err = x.reannounce(id)
				case <-x.freed:
				case <-x.s.lane.Wake():
				case <-turn.C:
				case <-x.answered:
					err = x.reportClock()
				case <-keepalive.C:
					if x.clock != nil {
						err = x.reportClock()
					} else {
						err = x.put(delivery.AppendFrame(nil, delivery.FramePing))
					}
				}
				turn.Stop()
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("uplink: send: %w", err)
		}
	}
}

// urgent is what need not wait for room in the window; nil for nothing.
func (x *exchange) urgent() func() error {
	select {
	case m := <-x.again:
		return func() error { return x.send(m) }
	case id := <-x.wanted:
		return func() error { return x.reannounce(id) }
	case <-x.answered:
		return x.reportClock
	default:
		return nil
	}
}

// fresh takes the next record out of the lane: control records first, since an epoch must be known
// before its chunks and epochs are announced in order, then what is live, then the backlog. wait is
// how long the backlog must hold back, 0 if it does not.
func (x *exchange) fresh() (send func() error, wait time.Duration, err error) {
	x.mu.Lock()
	full := x.window >= delivery.MaxInflight || x.bytes >= maxInflightBytes
	room := x.old < x.s.pace.window()
	x.mu.Unlock()
	if full {
		return nil, 0, nil
	}
	for _, p := range []outbox.Part{outbox.Controls, outbox.Live, outbox.Backlog} {
		if p == outbox.Backlog {
			if !room || x.s.lane.PendingOf(outbox.Backlog) == 0 {
				return nil, 0, nil
			}
			if wait := x.s.pace.wait(time.Now()); wait > 0 {
				return nil, wait, nil
			}
		}
		rec, ok, err := x.s.lane.Take(p)
		if err != nil {
			return nil, 0, &outboxError{err}
		}
		if ok {
			if p == outbox.Backlog {
				x.s.pace.spend(len(rec.Data))
			}
			return func() error { return x.first(rec, p == outbox.Backlog) }, 0, nil
		}
	}
	return nil, 0, nil
}

func (x *exchange) flush() error {
	if x.w.Buffered() == 0 {
		return nil
	}
	if err := x.c.SetWriteDeadline(time.Now().Add(delivery.WriteTimeout)); err != nil {
		return err
	}
	return x.w.Flush()
}

func (x *exchange) put(frame []byte) error {
	if err := x.c.SetWriteDeadline(time.Now().Add(delivery.WriteTimeout)); err != nil {
		return err
	}
	_, err := x.w.Write(frame)
	return err
}

// first sends a record that comes from the outbox.
func (x *exchange) first(rec outbox.Record, backlog bool) error {
	m := &sending{record: rec, backlog: backlog, pause: minBackoff}
	m.message, m.bad = delivery.ParseMessage(rec.Data)
	if m.bad == nil && len(rec.Data) > delivery.MaxMessage {
		m.bad = fmt.Errorf("%w: record of %d bytes", delivery.ErrFrame, len(rec.Data))
	}
	if m.bad != nil {
		return x.settle(m, delivery.Rejected, delivery.Malformed)
	}
	if m.message.Announcement {
		x.s.mu.Lock()
		x.s.remember(m.message.Epoch.ID, rec.Data)
		x.s.mu.Unlock()
	}
	x.mu.Lock()
	x.occupy(m, 1)
	x.mu.Unlock()
	return x.send(m)
}

func (x *exchange) send(m *sending) error {
	// An epoch by another clock begins: the hub must know before its chunks come.
	if x.clock != nil && x.clock.stale(x.s.clock.Record(x.s.lane.Name())) {
		if err := x.reportClock(); err != nil {
			return err
		}
	}
	x.mu.Lock()
	n := x.number
	x.number++
	x.inflight[n] = m
	delete(x.waiting, m)
	x.mu.Unlock()
	return x.put(delivery.AppendNumbered(nil, n, m.record.Data))
}

// reannounce sends an epoch's announcement again, outside the window: the hub asked for it.
func (x *exchange) reannounce(id seal.EpochID) error {
	x.s.mu.Lock()
	data, ok := x.s.epochs[id]
	x.s.mu.Unlock()
	if !ok {
		return nil // the chunk that needs it is set aside by read
	}
	m := &sending{record: outbox.Record{Data: data}, repeat: true}
	m.message, m.bad = delivery.ParseMessage(data)
	if m.bad != nil {
		return m.bad
	}
	return x.send(m)
}

// occupy counts a message into the window (1) or out of it (-1). The caller holds mu.
func (x *exchange) occupy(m *sending, n int) {
	x.window += n
	x.bytes += n * len(m.record.Data)
	if m.backlog {
		x.old += n
	}
}

func (x *exchange) read(ctx context.Context) error {
	for {
		if err := x.c.SetReadDeadline(time.Now().Add(delivery.IdleTimeout)); err != nil {
			return fmt.Errorf("uplink: receive: %w", err)
		}
		t, body, err := delivery.ReadFrame(x.r)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("uplink: receive: %w", err)
		}
		switch t {
		case delivery.FrameAck:
			a, err := delivery.ParseAck(body)
			if err != nil {
				return err
			}
			if err := x.acked(a); err != nil {
				return err
			}
		case delivery.FrameDirective:
			d, err := delivery.ParseDirective(body)
			if err != nil {
				return err
			}
			if d.Reannounce != nil {
				select {
				case x.wanted <- *d.Reannounce:
				default: // the same chunk will be answered so again
				}
			}
			if d.Exceed > 0 {
				x.s.exceed(d.Exceed)
			}
		case delivery.FramePong:
		case delivery.FrameClock:
			if x.clock == nil {
				return fmt.Errorf("%w: type %d from a hub that does not speak of clocks", delivery.ErrFrame, t)
			}
			a, err := delivery.ParseClockAnswer(body)
			if err != nil {
				return err
			}
			if x.clock.hear(x.s.clock, a) {
				select {
				case x.answered <- struct{}{}:
				default:
				}
			}
		case delivery.FrameGoodbye:
			return delivery.ParseGoodbye(body)
		default:
			return fmt.Errorf("%w: type %d from the hub", delivery.ErrFrame, t)
		}
	}
}

func (x *exchange) acked(a delivery.Ack) error {
	x.mu.Lock()
	m, ok := x.inflight[a.Number]
	delete(x.inflight, a.Number)
	x.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: ack of message %d, which is not in flight", delivery.ErrFrame, a.Number)
	}
	if m.message.Announcement && a.Outcome == delivery.Rejected {
		// Its chunks are set aside as they come, instead of waiting for an epoch that the hub will
		// never know.
		x.s.forget(m.message.Epoch.ID)
	}
	if m.repeat {
		if a.Outcome == delivery.Rejected {
			x.s.log.Error("the hub rejects an epoch announced again", "reason", a.Reason.String())
		}
		return nil
	}
	if a.Outcome == delivery.Retry {
		if a.Reason == delivery.UnknownEpoch && !m.message.Announcement && !x.s.knows(m.message.Epoch.ID) {
			// The key is gone for good; waiting would block the stream for ever.
			return x.release(m, delivery.Rejected, delivery.NotAnnounced)
		}
		x.s.count(func(st *SenderStats) { st.Retries++ })
		return x.later(m)
	}
	return x.release(m, a.Outcome, a.Reason)
}

func (s *Sender) forget(id seal.EpochID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.epochs, id)
	s.order = slices.DeleteFunc(s.order, func(o seal.EpochID) bool { return o == id })
}

func (s *Sender) knows(id seal.EpochID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.epochs[id]
	return ok
}

// later sends a message again after a growing pause. It keeps its place in the window, so a hub
// that cannot store is not flooded; but one that is put off again and again while others are taken
// steps aside, so that it does not block its stream. When nothing at all is taken, one steps aside
// now and then, to see whether it is the hub or the messages. When the whole window waits so and
// something newer was measured, it is errPutOff: a hub that cannot store still shows live what it
// is sent.
func (x *exchange) later(m *sending) error {
	delivered := x.s.delivered()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return nil
	}
	if m.tries == 0 {
		m.before = delivered
	}
	m.tries++
	if !m.parked && m.tries >= parkedFrom && x.parked < maxParked && !m.message.Announcement &&
		(delivered > m.before || time.Since(x.probed) >= maxBackoff) {
		m.parked = true
		x.probed = time.Now()
		x.parked++
		x.occupy(m, -1)
		x.roomAgain()
		x.s.log.Warn("the hub puts this message off again and again; it steps aside and is tried each minute", "stream", m.message.Signal, "seq", m.message.Seq)
	}
	wait := jitter(m.pause)
	m.pause = min(2*m.pause, maxBackoff)
	if m.parked {
		m.pause = parkedBackoff
	}
	x.waiting[m] = time.AfterFunc(wait, func() { x.again <- m }) // has room
	full := x.window >= delivery.MaxInflight || x.bytes >= maxInflightBytes
	if full && m.tries >= putOffFrom && delivered == m.before && x.s.lane.PendingOf(outbox.Live) > 0 {
		return errPutOff
	}
	return nil
}

// errPutOff ends a session in which the hub takes nothing: with the next one all that it put off is
// backlog, and what it has not heard goes first.
var errPutOff = errors.New("uplink: the hub stores nothing now; what it puts off goes back into the outbox")

func (x *exchange) roomAgain() {
	select {
	case x.freed <- struct{}{}:
	default:
	}
}

func (x *exchange) release(m *sending, o delivery.Outcome, r delivery.Reason) error {
	x.mu.Lock()
	if m.parked {
		x.parked--
	} else {
		x.occupy(m, -1)
	}
	x.mu.Unlock()
	x.roomAgain()
	return x.settle(m, o, r)
}

// firstOf reports whether a reason to reject is new on this connection: a clone's whole stream is
// rejected, four times a second.
func (x *exchange) firstOf(r delivery.Reason) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := !x.noted[r]
	x.noted[r] = true
	return first
}

// settle takes a record out of the outbox for good.
func (x *exchange) settle(m *sending, o delivery.Outcome, r delivery.Reason) error {
	x.s.settling.Lock()
	x.s.settled(Settled{Record: m.record, Message: m.message, Outcome: o, Reason: r, Backlog: m.backlog})
	x.s.settling.Unlock()
	x.s.count(func(st *SenderStats) {
		switch o {
		case delivery.Accepted:
			st.Accepted++
		case delivery.Duplicate:
			st.Duplicate++
		default:
			st.Rejected++
		}
		if m.backlog {
			st.Backlog++
			st.BacklogBytes += uint64(len(m.record.Data))
		}
	})
	if o == delivery.Rejected && x.firstOf(r) {
		x.s.log.Error("the hub will never accept this message; it is set aside, as are others for this reason on this connection", "reason", r.String(), "stream", m.message.Signal,
			"seq", m.message.Seq, "announcement", m.message.Announcement)
		if r == delivery.EpochReused {
			x.s.log.Error("THE HUB REFUSES WHAT THIS GATEWAY MEASURES: it numbers its epochs as an earlier start did. Was it cloned, or restored from an old backup?",
				"hint", "stop every other copy, then write a number above the highest that any of them held into the file `boot` of the data folder and start it again")
		}
	}
	if err := x.s.q.Ack(m.record.ID); err != nil {
		return &outboxError{err}
	}
	return nil
}

// putOff are the records that the hub has heard and put off. Both goroutines have ended.
func (x *exchange) putOff() map[uint64]bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := map[uint64]bool{}
	for m := range x.waiting {
		ids[m.record.ID] = true
	}
	for _, m := range x.inflight {
		if m.tries > 0 && !m.repeat {
			ids[m.record.ID] = true
		}
	}
	return ids
}

func (x *exchange) stopTimers() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	for _, t := range x.waiting {
		t.Stop()
	}
}
