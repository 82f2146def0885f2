package ingest

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// receiver is one connection at the hub. run reads and opens frames in order, so that an epoch is known before its chunks, and
// hands the chunks to the store without waiting, so that they share its commits; one more goroutine writes the answers. Each frame
// that wants an answer holds a place in the window until that is on its way: a peer that takes no answers is not read from any more,
// and the store never waits for a peer.
type receiver struct {
	s      *Server
	c      *overlay.Conn
	peer   overlay.ID
	sensor string         // SPIFFE id
	start  delivery.Start // the run of the gateway that it belongs to, as it says
	exceed uint64         // what its boot counter must exceed; 0: it does
	log    *slog.Logger
	cancel context.CancelFunc
	r      *bufio.Reader // run's
	window chan struct{} // a token for each frame that has no answer yet
	out    chan outgoing // room for all of their answers, and for a goodbye
	clock  peerClock     // run's
	wrong  bool          // run's: the gateway's clock is not right, and that was said
	settle atomic.Bool   // something that waited is being settled

	mu    sync.Mutex      // guards why and noted
	why   delivery.Reason // why the connection ends, the first one counts
	noted map[delivery.Reason]bool
}

// end closes the connection from any goroutine.
func (x *receiver) end(why delivery.Reason) {
	x.mu.Lock()
	if x.why == delivery.NoReason {
		x.why = why
	}
	x.mu.Unlock()
	x.cancel()
}

// admit decides whether the peer may deliver, and answers its hello.
func (x *receiver) admit(ctx context.Context) delivery.Reason {
	//defence:peer-kind only sensors and gateways deliver
	if x.peer.Kind != overlay.KindSensor && x.peer.Kind != overlay.KindGateway {
		return delivery.WrongKind
	}
	if err := x.c.SetDeadline(time.Now().Add(delivery.HelloTimeout)); err != nil {
		return x.broke("before its hello", err)
	}
	t, body, err := delivery.ReadFrame(x.r)
	switch {
	case errors.Is(err, delivery.ErrFrame):
		return delivery.BadFrame
	case err != nil:
		return x.broke("before its hello was whole", err)
	}
	h, err := delivery.ParseHello(t, body)
	if err != nil {
		if errors.Is(err, delivery.ErrVersion) {
			return delivery.BadVersion
		}
		return delivery.BadFrame
	}
	x.start = h.Start
	heard := x.s.c.Now()
	// Who is not let in changes nothing of what the fence remembers.
	if err := x.s.c.Active(ctx, x.peer); err != nil {
		return x.kept(err)
	}
	if r := x.s.fence(ctx, x); r != delivery.NoReason {
		return r
	}
	// First entered, then looked up again: a user who disables the identity in between cuts the connection.
	if r := x.s.enter(x); r != delivery.NoReason {
		return r
	}
	if err := x.s.c.Active(ctx, x.peer); err != nil {
		return x.kept(err)
	}
	mine := delivery.Hello{Version: delivery.Version, Idle: delivery.IdleTimeout}
	if h.Clock.Speaks {
		x.clock.measures = true
		x.clock.last = delivery.ClockAnswer{Sent: h.Clock.Times[0], Received: heard.UnixMicro(), Answered: x.s.c.Now().UnixMicro()}
		mine.Clock = delivery.HelloClock{Speaks: true, Times: [2]int64{x.clock.last.Received, x.clock.last.Answered}}
	}
	answer := delivery.AppendHello(nil, mine)
	if x.exceed > 0 {
		answer = delivery.AppendExceed(answer, x.exceed)
	}
	if _, err := x.c.Write(answer); err != nil {
		return x.broke("before it had the answer to its hello", err)
	}
	if err := x.c.SetDeadline(time.Time{}); err != nil {
		return x.broke("after its hello", err)
	}
	return delivery.NoReason
}

// kept is why a peer may not deliver now. That the hub could not look it up is no word about the
// peer, which is asked to come again.
func (x *receiver) kept(err error) delivery.Reason {
	if errors.Is(err, access.ErrUndecided) {
		x.log.Error("whether the identity may deliver is not known; it is asked to come again", "identity", x.sensor, "err", err)
		return delivery.Busy
	}
	return delivery.NotActive
}

// broke says that the connection broke: the peer did nothing that is wrong.
func (x *receiver) broke(where string, err error) delivery.Reason {
	x.log.Info("a sensor's connection broke", "where", where, "err", err)
	return delivery.Broken
}

// refuse tells the peer why, as far as it listens.
func (x *receiver) refuse(why delivery.Reason) {
	if x.c.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = x.c.Write(delivery.AppendGoodbye(nil, why)) // it is gone either way
	}
}

// run is the connection's life after hello. It returns why the hub ended it; NoReason if the peer or
// the network did between two frames, Broken if inside one.
func (x *receiver) run(ctx context.Context) delivery.Reason {
	var wg sync.WaitGroup
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		x.write(writing)
	}()
	// A read blocks until its deadline; the end of ctx brings that forward.
	stop := context.AfterFunc(ctx, func() { _ = x.c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	wg.Go(func() { x.watch(ctx) })
	err := x.read(ctx, &wg)
	x.mu.Lock()
	why := x.why
	x.mu.Unlock()
	broken := delivery.NoReason
	switch {
	case why != delivery.NoReason:
	case ctx.Err() != nil:
		why = delivery.Stopping
	case errors.Is(err, delivery.ErrFrame):
		why = delivery.BadFrame
	case errors.Is(err, delivery.ErrBroken):
		broken = x.broke("inside a frame", err)
	}
	x.cancel()
	wg.Wait() // those in commit still answer
	if why != delivery.NoReason {
		x.out <- outgoing{bytes: delivery.AppendGoodbye(nil, why), last: true}
	}
	close(x.out)
	<-wrote
	if why == delivery.Stopping {
		why = delivery.NoReason
	}
	if why == delivery.NoReason {
		why = broken // nothing that a goodbye would tell the peer
	}
	return why
}

// watch looks the identity up again and again.
func (x *receiver) watch(ctx context.Context) {
	t := time.NewTicker(recheck)
	defer t.Stop()
	for {
		// "Last seen" is a convenience: that it cannot be written must not stop readings.
		if err := x.s.c.Store.TouchDevice(ctx, x.sensor); err != nil && ctx.Err() == nil {
			x.log.Debug("last seen not noted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := x.s.c.Active(ctx, x.peer); err != nil && ctx.Err() == nil {
				x.end(x.kept(err))
				return
			}
		}
	}
}

// write sends answers until out is closed. Acks are batched for up to ackDelay, so that a sensor's second
// costs one packet and not five. After a failure it only drains.
func (x *receiver) write(ctx context.Context) {
	w := bufio.NewWriterSize(x.c, delivery.BufferBytes)
	late := time.NewTimer(time.Hour)
	defer late.Stop()
	waiting, failed := 0, false
	check := func(err error) {
		if err != nil {
			failed = true
			x.cancel()
		}
	}
	flush := func() {
		waiting = 0
		late.Stop()
		err := x.c.SetWriteDeadline(time.Now().Add(delivery.WriteTimeout))
		if err == nil {
			err = w.Flush()
		}
		check(err)
	}
	for {
		select {
		case f, more := <-x.out:
			if !more {
				if !failed && ctx.Err() == nil {
					flush()
				}
				return
			}
			if !f.last {
				<-x.window
			}
			if failed || ctx.Err() != nil {
				continue
			}
			if waiting == 0 {
				late.Reset(ackDelay)
			}
			waiting++
			_, err := w.Write(f.bytes)
			check(err)
			if !failed && (f.urgent || f.last || waiting >= ackCompany) {
				flush()
			}
		case <-late.C:
			if !failed && waiting > 0 && ctx.Err() == nil {
				flush()
			}
		}
	}
}

const (
	// ackDelay is how long an ack waits for others at most; ackCompany is how many it waits for. A sender's window is four times
	// as large, so that a backlog does not wait for the delay.
	ackDelay   = 500 * time.Millisecond
	ackCompany = delivery.MaxInflight / 4
)

// outgoing are frames to the sender: the answer to one of its own, or a goodbye, which is the last.
type outgoing struct {
	bytes        []byte
	urgent, last bool
}

// enter takes a place in the window for a frame that is now handled; leave gives it back if there is to be no answer.
func (x *receiver) enter(ctx context.Context) error {
	select {
	case x.window <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *receiver) leave() { <-x.window }

func (x *receiver) read(ctx context.Context, wg *sync.WaitGroup) error {
	for {
		if err := x.c.SetReadDeadline(time.Now().Add(delivery.IdleTimeout)); err != nil {
			return err
		}
		if ctx.Err() != nil { // after the deadline was set, so that the end of ctx is not overwritten
			return ctx.Err()
		}
		n, err := delivery.ReadHead(x.r)
		if err != nil {
			return err
		}
		if err := x.s.memory.Acquire(ctx, int64(n)); err != nil {
			return err
		}
		release := func() { x.s.memory.Release(int64(n)) }
		t, body, err := delivery.ReadBody(x.r, n)
		if err != nil {
			release()
			return err
		}
		if err := x.enter(ctx); err != nil {
			release()
			return err
		}
		switch t {
		case delivery.FramePing:
			release()
			x.out <- outgoing{bytes: delivery.AppendFrame(nil, delivery.FramePong), urgent: true}
		case delivery.FrameClock:
			release()
			r, err := delivery.ParseClockReport(body)
			if err != nil {
				x.leave()
				return err
			}
			x.clock.report(r, x.s.c.Now())
			x.out <- outgoing{bytes: delivery.AppendClockAnswer(nil, x.clock.last), urgent: true}
			x.judgeClock(ctx, wg)
		case delivery.FrameAnnouncement, delivery.FrameEnvelope:
			m, err := delivery.ParseNumbered(t, body)
			if err != nil {
				release()
				x.leave()
				return err
			}
			if t == delivery.FrameAnnouncement {
				a := x.announce(ctx, m)
				release()
				x.answer(a)
				if a.Outcome == delivery.Retry {
					// What follows may be a later epoch of the same stream, which must not overtake this one.
					return errors.New("ingest: announcement not stored")
				}
				continue
			}
			wg.Add(1)
			x.chunk(ctx, m, func() {
				release()
				wg.Done()
			})
			if now := x.clock.now(); !x.clock.measures && now.Known && now.Sure() == x.wrong {
				x.judgeClock(ctx, wg)
			}
		default:
			release()
			x.leave()
			return delivery.ErrFrame
		}
	}
}

// answer counts an outcome and queues its ack, behind what else there is to say.
func (x *receiver) answer(a delivery.Ack, before ...byte) {
	x.s.count(func(st *ServerStats) {
		switch a.Outcome {
		case delivery.Accepted:
			st.Accepted++
		case delivery.Duplicate:
			st.Duplicate++
		case delivery.Retry:
			st.Retries++
		default:
			st.Rejected[a.Reason]++
		}
	})
	x.out <- outgoing{bytes: delivery.AppendAck(before, a), urgent: a.Outcome != delivery.Accepted && a.Outcome != delivery.Duplicate}
}

// note logs a rejection, once a connection for each reason: its count is in the statistics.
func (x *receiver) note(ctx context.Context, r delivery.Reason, err error, h seal.Header) {
	x.mu.Lock()
	first := !x.noted[r]
	if x.noted == nil {
		x.noted = map[delivery.Reason]bool{}
	}
	x.noted[r] = true
	x.mu.Unlock()
	if first {
		x.log.Error("message rejected", "reason", r.String(), "stream", h.Signal, "seq", h.Seq, "identity", x.sensor, "err", err)
		x.s.loud(ctx, x.sensor, r)
	}
}

func (x *receiver) announce(ctx context.Context, m delivery.Numbered) delivery.Ack {
	r, o, err := x.s.openers.announce(ctx, x.sensor, x.start, m.Data)
	if o == delivery.Rejected || r == delivery.EpochJump {
		x.note(ctx, r, err, seal.Header{})
	} else if err != nil && ctx.Err() == nil {
		x.log.Error("announcement not stored", "err", err)
	}
	x.s.count(func(st *ServerStats) { st.Announcements++ })
	return delivery.Ack{Number: m.Number, Outcome: o, Reason: r}
}

// chunk opens, checks and stores one chunk, and calls done when that has come to an end. It answers unless the connection is
// ending before the outcome is known.
func (x *receiver) chunk(ctx context.Context, m delivery.Numbered, done func()) {
	a, ok := x.open(ctx, m)
	if !ok {
		done()
		return
	}
	x.s.c.Store.Hand(ctx, x.s.c.Grant, a, func(o delivery.Outcome, reason string, err error) {
		if err == nil && (o == delivery.Accepted || o == delivery.Duplicate) {
			x.answer(delivery.Ack{Number: m.Number, Outcome: o})
			done()
			return
		}
		go func() { // the audit entry may take a disk write, and the caller is the store's writer
			defer done()
			switch {
			case err != nil:
				x.retry(ctx, m, err)
			case o == delivery.Rejected:
				why := delivery.StoreRejected
				if reason == archive.ReasonContent {
					why = delivery.OtherContent
				}
				x.reject(ctx, m, why, errors.New(reason), a.Header)
			default:
				x.answer(delivery.Ack{Number: m.Number, Outcome: delivery.Retry, Reason: delivery.Unavailable})
			}
		}()
	})
}

// reject answers that a chunk is never taken.
func (x *receiver) reject(ctx context.Context, m delivery.Numbered, r delivery.Reason, err error, h seal.Header) {
	x.note(ctx, r, err, h)
	x.answer(delivery.Ack{Number: m.Number, Outcome: delivery.Rejected, Reason: r})
}

// open makes an arrival of a message, or answers why not.
func (x *receiver) open(ctx context.Context, m delivery.Numbered) (a archive.Arrival, ok bool) {
	reject := func(r delivery.Reason, err error, h seal.Header) { x.reject(ctx, m, r, err, h) }
	outside, err := seal.ParseHeader(m.Data, x.sensor)
	if err != nil {
		reject(delivery.Malformed, err, outside)
		return a, false
	}
	opener, err := x.s.openers.get(ctx, x.sensor, outside.Epoch.ID, outside.Signal)
	switch {
	case errors.Is(err, store.ErrNotFound):
		x.answer(delivery.Ack{Number: m.Number, Outcome: delivery.Retry, Reason: delivery.UnknownEpoch}, delivery.AppendReannounce(nil, outside.Epoch.ID)...)
		return a, false
	case errors.Is(err, seal.ErrOpen), errors.Is(err, seal.ErrMalformed):
		reject(delivery.DoesNotOpen, err, outside)
		return a, false
	case err != nil:
		x.retry(ctx, m, err)
		return a, false
	}
	h, plain, err := opener.Open(m.Data)
	if err != nil {
		reject(delivery.DoesNotOpen, err, outside)
		return a, false
	}
	chunk, err := vitals.Decode(plain)
	if err != nil {
		reject(delivery.Malformed, err, h)
		return a, false
	}
	// What the envelope says in clear was bound to the key, but not to what is inside.
	if uint8(chunk.Signal) != h.Signal || !chunk.Start.Equal(h.Start) || h.Sensor != x.sensor {
		reject(delivery.Mismatch, nil, h)
		return a, false
	}
	err = x.gaps(ctx, chunk)
	if err == nil {
		err = x.troubles(ctx, chunk)
	}
	if err != nil {
		x.retry(ctx, m, err)
		return a, false
	}
	received := x.s.c.Now().UTC()
	return archive.Arrival{Sensor: x.sensor, Header: h, Chunk: chunk, Encoded: plain, Received: received, Clock: x.clock.of(h.Epoch.Number, chunk, received)}, true
}

// gaps notes what a chunk of events says will never arrive, before the chunk itself: whatever is lost in between comes again.
func (x *receiver) gaps(ctx context.Context, c vitals.Chunk) error {
	var gaps []archive.Gap
	for _, e := range c.Events {
		if g, ok := delivery.ParseGap(e); ok {
			gaps = append(gaps, archive.Gap{Signal: g.Signal, Epoch: g.Epoch, First: g.First, Last: g.Last, From: g.From, To: g.To, Reason: g.Reason})
		}
	}
	if len(gaps) == 0 {
		return nil
	}
	x.log.Warn("the gateway says that readings are lost", "gaps", len(gaps), "stream", gaps[0].Signal.String(), "reason", gaps[0].Reason)
	return x.s.c.Store.SaveGaps(ctx, x.sensor, gaps)
}

// troubles notes what a chunk of events says of the gateway's disk, for the device view.
func (x *receiver) troubles(ctx context.Context, c vitals.Chunk) error {
	for _, e := range c.Events {
		text := ""
		switch e.Code {
		case delivery.EventStorageFailed:
			text = e.Detail
			x.log.Error("the disk of a gateway does not take readings; it delivers from memory", "identity", x.sensor, "detail", e.Detail)
		case delivery.EventStorageWorks:
		default:
			continue
		}
		if err := x.s.c.Store.NoteTrouble(ctx, x.sensor, text, e.At); err != nil && !errors.Is(err, store.ErrInvalid) {
			return err
		}
	}
	return nil
}

// retry answers that the hub cannot now. While the connection ends there is no answer: the sender asks again anyway.
func (x *receiver) retry(ctx context.Context, m delivery.Numbered, err error) {
	if ctx.Err() != nil {
		x.leave()
		return
	}
	x.s.putOff(x.log, err)
	x.answer(delivery.Ack{Number: m.Number, Outcome: delivery.Retry, Reason: delivery.Unavailable})
}
