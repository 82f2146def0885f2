package ingest

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/outbox"
	"vitalseal/internal/overlay"
	"vitalseal/internal/seal"
	"vitalseal/internal/store"
)

// exchange is the traffic on one of the sender's connections: pull takes records out of the lane, write sends them, read
// takes the answers. Each runs in its own goroutine.
type exchange struct {
	s    *Sender
	c    *overlay.Conn
	r    *bufio.Reader // read's
	w    *bufio.Writer // write's
	ping time.Duration

	next   chan outbox.Record // from pull to write
	again  chan *sending      // to be sent again, from a timer to write; never more than are in flight
	wanted chan seal.EpochID  // to be announced again, from read to write
	freed  chan struct{}      // the window has room again

	number uint64 // write's: the next message's

	mu       sync.Mutex // guards the fields below
	inflight map[uint64]*sending
	waiting  map[*sending]*time.Timer // to be sent again
	window   int                      // messages that occupy the window, in flight or waiting to be sent again
	bytes    int
	ended    bool
}

// sending is one record on its way. Its fields are guarded by exchange.mu, except record and message, which never change.
type sending struct {
	record  outbox.Record
	message Message
	bad     error // it is no message: settled here
	repeat  bool  // an announcement sent again: the outbox may not have it any more
	pause   time.Duration
}

func (x *exchange) pull(ctx context.Context) error {
	for {
		rec, err := x.s.lane.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return &outboxError{err}
		}
		select {
		case x.next <- rec:
		case <-ctx.Done():
			return nil // the next session's Rewind hands it out again
		}
	}
}

func (x *exchange) write(ctx context.Context) error {
	keepalive := time.NewTicker(x.ping)
	defer keepalive.Stop()
	for {
		next := x.next
		if x.full() {
			next = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case m := <-x.again:
			err = x.send(m)
		case id := <-x.wanted:
			err = x.reannounce(id)
		case rec := <-next:
			err = x.first(rec)
		case <-x.freed:
			continue
		case <-keepalive.C:
			err = x.put(appendFrame(nil, framePing))
		}
		// Flush when nothing more is at hand, so that a backlog shares packets and a single chunk does not wait.
		if err == nil && (len(x.next) == 0 || x.full()) && len(x.again) == 0 && len(x.wanted) == 0 {
			if err = x.c.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
				err = x.w.Flush()
			}
		}
		if err != nil {
			return fmt.Errorf("ingest: send: %w", err)
		}
	}
}

func (x *exchange) put(frame []byte) error {
	if err := x.c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := x.w.Write(frame)
	return err
}

// first sends a record that comes from the outbox.
func (x *exchange) first(rec outbox.Record) error {
	m := &sending{record: rec, pause: minBackoff}
	m.message, m.bad = ParseMessage(rec.Data)
	if m.bad == nil && len(rec.Data)+numberBytes > MaxFrame {
		m.bad = fmt.Errorf("%w: record of %d bytes", ErrFrame, len(rec.Data))
	}
	if m.bad != nil {
		return x.settle(m, store.Rejected, Malformed)
	}
	if m.message.Announcement {
		x.s.mu.Lock()
		x.s.remember(m.message.Epoch.ID, rec.Data)
		x.s.mu.Unlock()
	}
	x.mu.Lock()
	x.window++
	x.bytes += len(rec.Data)
	x.mu.Unlock()
	return x.send(m)
}

func (x *exchange) send(m *sending) error {
	x.mu.Lock()
	n := x.number
	x.number++
	x.inflight[n] = m
	delete(x.waiting, m)
	x.mu.Unlock()
	return x.put(appendMessage(nil, n, m.record.Data))
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
	m.message, m.bad = ParseMessage(data)
	if m.bad != nil {
		return m.bad
	}
	return x.send(m)
}

func (x *exchange) full() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.window >= maxInflight || x.bytes >= maxInflightBytes
}

func (x *exchange) read(ctx context.Context) error {
	for {
		if err := x.c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return fmt.Errorf("ingest: receive: %w", err)
		}
		t, body, err := readFrame(x.r)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("ingest: receive: %w", err)
		}
		switch t {
		case frameAck:
			a, err := parseAck(body)
			if err != nil {
				return err
			}
			if err := x.acked(a); err != nil {
				return err
			}
		case frameDirective:
			id, ok, err := parseReannounce(body)
			if err != nil {
				return err
			}
			if ok {
				select {
				case x.wanted <- id:
				default: // the same chunk will be answered so again
				}
			}
		case framePong:
		case frameGoodbye:
			return goodbye(body)
		default:
			return fmt.Errorf("%w: type %d from the hub", ErrFrame, t)
		}
	}
}

func (x *exchange) acked(a ack) error {
	x.mu.Lock()
	m, ok := x.inflight[a.number]
	delete(x.inflight, a.number)
	x.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: ack of message %d, which is not in flight", ErrFrame, a.number)
	}
	if m.message.Announcement && a.outcome == store.Rejected {
		// Its chunks are set aside as they come, instead of waiting for an epoch that the hub will never know.
		x.s.forget(m.message.Epoch.ID)
	}
	if m.repeat {
		if a.outcome == store.Rejected {
			x.s.log.Error("the hub rejects an epoch announced again", "reason", a.reason.String())
		}
		return nil
	}
	if a.outcome == store.Retry {
		if a.reason == UnknownEpoch && !m.message.Announcement && !x.s.knows(m.message.Epoch.ID) {
			// Nobody has the key any more; waiting would block the stream for ever.
			return x.release(m, store.Rejected, NotAnnounced)
		}
		x.s.count(func(st *SenderStats) { st.Retries++ })
		x.later(m)
		return nil
	}
	return x.release(m, a.outcome, a.reason)
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

// later sends a message again after a growing pause. It keeps its place in the window, so a hub that cannot store is not
// flooded.
func (x *exchange) later(m *sending) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	wait := jitter(m.pause)
	m.pause = min(2*m.pause, maxBackoff)
	x.waiting[m] = time.AfterFunc(wait, func() { x.again <- m }) // has room: again holds the whole window
}

func (x *exchange) release(m *sending, o store.Outcome, r Reason) error {
	x.mu.Lock()
	x.window--
	x.bytes -= len(m.record.Data)
	x.mu.Unlock()
	select {
	case x.freed <- struct{}{}:
	default:
	}
	return x.settle(m, o, r)
}

// settle takes a record out of the outbox for good.
func (x *exchange) settle(m *sending, o store.Outcome, r Reason) error {
	x.s.settling.Lock()
	x.s.settled(Settled{Record: m.record, Message: m.message, Outcome: o, Reason: r})
	x.s.settling.Unlock()
	x.s.count(func(st *SenderStats) {
		switch o {
		case store.Accepted:
			st.Accepted++
		case store.Duplicate:
			st.Duplicate++
		default:
			st.Rejected++
		}
	})
	if o == store.Rejected {
		x.s.log.Error("the hub will never accept this message; it is set aside", "reason", r.String(), "stream", m.message.Signal,
			"seq", m.message.Seq, "announcement", m.message.Announcement)
	}
	if err := x.s.q.Ack(m.record.ID); err != nil {
		return &outboxError{err}
	}
	return nil
}

func (x *exchange) stopTimers() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	for _, t := range x.waiting {
		t.Stop()
	}
}
