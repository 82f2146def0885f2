package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// How far a gateway's clock is off is measured on its connection by many small exchanges: the gateway says its time, the hub answers
// when it heard that and when it answers, and with its next message the gateway says when it heard the answer. The first two times
// bound the offset from below, the last two from above, whatever the delay; of the last exchanges the one with the shortest round trip
// counts, and half of that is the stated error.

// ClockSource is what a sender asks about its gateway's clock. Its methods are called from several goroutines.
type ClockSource interface {
	// Now is the gateway's wall clock, which may be set.
	Now() time.Time
	// Record is what the gateway knows of the clock by which a lane's epochs were measured. Version moves whenever an epoch begins by
	// another clock than the one before it, before the first chunk of that epoch is in the outbox.
	Record(lane string) ClockRecord
	// Measured is told how far the clock of a generation is ahead of the hub's.
	Measured(generation uint64, offset, within time.Duration)
}

// ClockRecord is a lane's part of the gateway's record of its clock's steps.
type ClockRecord struct {
	Version    uint64
	Generation uint64        // another one whenever the clock was set
	Stepped    time.Duration // the sum of all steps since the gateway started
	Spans      []ClockSpan   // ascending by From; at most MaxClockSpans are sent, the newest
}

// ClockSpan says of a lane's epochs, from one number up to the next span's, by which clock they were measured.
type ClockSpan struct {
	From uint64 // epoch number
	Kind ClockKind
	// Value is, with ClockSet, by how much the clock was set since, all steps together; with ClockMeasured how far it was ahead of the
	// hub's when that was measured last, within Error.
	Value, Error time.Duration
}

// ClockKind says what a ClockSpan knows. The numbers are part of the protocol.
type ClockKind uint8

// The kinds.
const (
	ClockNotKnown ClockKind = 0
	ClockSet      ClockKind = 1
	ClockMeasured ClockKind = 2
	ClockOfDevice ClockKind = 3 // the times are a device's own, of whose clock the gateway knows nothing
)

// MaxClockSpans bounds a record on the wire.
const MaxClockSpans = 64

// WithClock has the sender measure how far its gateway's clock is off, and tell the hub.
func WithClock(c ClockSource) SenderOption { return func(s *Sender) { s.clock = c } }

// clockReport is the gateway's frame: µs since 1970.
type clockReport struct {
	sent       int64 // when it was sent, by the gateway's clock
	echo       int64 // when the hub sent its last answer, by the hub's clock; 0: none
	heard      int64 // when that came, by the gateway's clock
	generation uint64
	stepped    time.Duration
	spans      []ClockSpan
}

// clockAnswer is the hub's frame.
type clockAnswer struct {
	sent     int64 // as in the report
	received int64 // by the hub's clock
	answered int64 // likewise
}

const (
	clockReportBytes = 5*8 + 1
	clockSpanBytes   = 8 + 1 + 8 + 8
	clockAnswerBytes = 3 * 8
)

func appendClockReport(b []byte, r clockReport) []byte {
	spans := r.spans
	if extra := len(spans) - MaxClockSpans; extra > 0 {
		spans = spans[extra:]
	}
	var body []byte
	for _, v := range [...]int64{r.sent, r.echo, r.heard, int64(r.generation), r.stepped.Microseconds()} { // #nosec G115 -- the bits
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	body = append(body, byte(len(spans))) // #nosec G115 -- MaxClockSpans at most
	for _, s := range spans {
		body = binary.BigEndian.AppendUint64(body, s.From)
		body = append(body, byte(s.Kind))
		body = binary.BigEndian.AppendUint64(body, uint64(s.Value.Microseconds())) // #nosec G115 -- the bits
		body = binary.BigEndian.AppendUint64(body, uint64(s.Error.Microseconds())) // #nosec G115 -- the bits
	}
	return appendFrame(b, frameClock, body)
}

// maxClockMicros bounds times and durations on the wire: ten thousand years.
const maxClockMicros = 10_000 * 366 * 24 * int64(time.Hour/time.Microsecond)

func parseClockReport(body []byte) (r clockReport, err error) {
	bad := fmt.Errorf("%w: clock of %d bytes", ErrFrame, len(body))
	if len(body) < clockReportBytes {
		return r, bad
	}
	n := int(body[clockReportBytes-1])
	if n > MaxClockSpans || len(body) != clockReportBytes+n*clockSpanBytes {
		return r, bad
	}
	next := func() int64 {
		v := int64(binary.BigEndian.Uint64(body)) // #nosec G115 -- the bits
		body = body[8:]
		return v
	}
	duration := func() time.Duration {
		v := next()
		if v > int64(maxStatedClock/time.Microsecond) || v < -int64(maxStatedClock/time.Microsecond) {
			err = fmt.Errorf("%w: a clock that is off by %d µs", ErrFrame, v)
			return 0
		}
		return time.Duration(v) * time.Microsecond
	}
	moment := func() int64 {
		v := next()
		if v < 0 || v > maxClockMicros {
			err = fmt.Errorf("%w: a clock at %d µs", ErrFrame, v)
		}
		return v
	}
	r.sent, r.echo, r.heard = moment(), moment(), moment()
	r.generation, r.stepped = uint64(next()), duration() // #nosec G115 -- the bits
	body = body[1:]
	for range n {
		s := ClockSpan{From: uint64(next())} // #nosec G115 -- the bits
		s.Kind = ClockKind(body[0])
		body = body[1:]
		s.Value, s.Error = duration(), duration()
		if len(r.spans) > 0 && s.From <= r.spans[len(r.spans)-1].From || s.Error < 0 {
			err = fmt.Errorf("%w: a clock's record that is out of order", ErrFrame)
		}
		r.spans = append(r.spans, s)
	}
	return r, err
}

// maxStatedClock is how far off a clock may be said to be: a time.Duration holds 292 years.
const maxStatedClock = 200 * 365 * 24 * time.Hour

func appendClockAnswer(b []byte, a clockAnswer) []byte {
	var body []byte
	for _, v := range [...]int64{a.sent, a.received, a.answered} {
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	return appendFrame(b, frameClock, body)
}

func parseClockAnswer(body []byte) (a clockAnswer, err error) {
	if len(body) != clockAnswerBytes {
		return a, fmt.Errorf("%w: clock of %d bytes", ErrFrame, len(body))
	}
	for i, v := range []*int64{&a.sent, &a.received, &a.answered} {
		*v = int64(binary.BigEndian.Uint64(body[8*i:])) // #nosec G115 -- the bits
		if *v < 0 || *v > maxClockMicros {
			return a, fmt.Errorf("%w: a clock at %d µs", ErrFrame, *v)
		}
	}
	return a, nil
}

// exchanges are the last measurements of one clock against another, in µs that it is ahead.
type exchanges struct{ all []exchanged }

// exchanged bounds an offset.
type exchanged struct {
	low, high int64
}

// keptExchanges is a minute of them: a clock that is slewed must not be judged by what it was.
const keptExchanges = 12

// add takes a measurement in. One that contradicts itself is none; one that contradicts those before says that the clock has moved.
func (e *exchanges) add(x exchanged) {
	if x.low > x.high {
		return
	}
	if best, ok := e.best(); ok && (x.low > best.high || x.high < best.low) {
		e.all = e.all[:0]
	}
	if len(e.all) >= keptExchanges {
		e.all = slices.Delete(e.all, 0, 1)
	}
	e.all = append(e.all, x)
}

// best is the one with the shortest round trip.
func (e *exchanges) best() (best exchanged, ok bool) {
	for i, x := range e.all {
		if i == 0 || x.high-x.low < best.high-best.low {
			best = x
		}
	}
	return best, len(e.all) > 0
}

// offset is how far the clock is ahead, and how far that may be off.
func (e *exchanges) offset() (offset, within time.Duration, ok bool) {
	x, ok := e.best()
	return time.Duration((x.low+x.high)/2) * time.Microsecond, time.Duration((x.high-x.low+1)/2) * time.Microsecond, ok
}

// shift is told that the clock was set.
func (e *exchanges) shift(by time.Duration) {
	for i := range e.all {
		e.all[i].low += by.Microseconds()
		e.all[i].high += by.Microseconds()
	}
}

// peerClock is what the hub knows of the clock of a connection's gateway. It belongs to the goroutine that reads.
type peerClock struct {
	measures   bool // the gateway speaks of its clock
	reported   bool // it has
	generation uint64
	stepped    time.Duration
	last       clockAnswer // the hub's own
	measured   exchanges
	spans      []ClockSpan
	front      front
	device     front // of what a device says by a clock of its own
}

// report takes a gateway's report in and gives the hub's answer, as far as it is known before it is sent.
func (k *peerClock) report(r clockReport, now time.Time) {
	// What the hello began is of the first report's generation: else the gateway would not say when it heard the answer.
	first := !k.reported
	if !first && r.generation != k.generation {
		k.measured.shift(r.stepped - k.stepped)
	}
	if r.echo != 0 && r.echo == k.last.answered && (first || r.generation == k.generation) {
		k.measured.add(exchanged{low: k.last.sent - k.last.received, high: r.heard - k.last.answered})
	}
	k.measures, k.reported, k.generation, k.stepped, k.spans = true, true, r.generation, r.stepped, r.spans
	k.last = clockAnswer{sent: r.sent, received: now.UnixMicro(), answered: now.UnixMicro()}
}

// of is what is known of the clock by which a chunk was measured that came just now.
func (k *peerClock) of(number uint64, c vitals.Chunk, received time.Time) store.Clock {
	if !k.measures {
		return k.front.clock(c, received)
	}
	i, _ := slices.BinarySearchFunc(k.spans, number, func(s ClockSpan, n uint64) int {
		if s.From <= n {
			return -1
		}
		return 1
	})
	if i == 0 {
		return store.Clock{Judged: true}
	}
	if k.spans[i-1].Kind == ClockOfDevice {
		return k.deviceClock(c, received)
	}
	return k.clockOf(k.spans[i-1])
}

// deviceClock judges a device's own clock by what comes live. A device may rightly say what it measured a while ago, so one that comes late
// again and again is not known to be wrong: that is for the store to say, which knows whether the patient has changed meanwhile.
func (k *peerClock) deviceClock(c vitals.Chunk, received time.Time) store.Clock {
	clock := k.device.clock(c, received)
	if clock.Known && !clock.Sure() {
		return store.Clock{Judged: true, Late: -clock.Offset}
	}
	return clock
}

func (k *peerClock) clockOf(s ClockSpan) store.Clock {
	offset, within, ok := k.measured.offset()
	switch {
	case s.Kind == ClockSet && ok:
		return store.Clock{Judged: true, Known: true, Offset: offset - s.Value, Error: within}
	case s.Kind == ClockMeasured:
		return store.Clock{Judged: true, Known: true, Offset: s.Value, Error: s.Error}
	}
	return store.Clock{Judged: true}
}

// now is the clock as it is.
func (k *peerClock) now() store.Clock {
	if !k.measures {
		return k.front.now
	}
	offset, within, ok := k.measured.offset()
	return store.Clock{Judged: true, Known: ok, Offset: offset, Error: within}
}

// settlements are what the record and the measurement say together of epochs between two numbers, once the clock is right. high is
// the end of a start's numbers.
func (k *peerClock) settlements(low, high uint64) (all []store.Settlement) {
	if now := k.now(); !k.measures || !now.Known || !now.Sure() {
		return nil
	}
	for i, s := range k.spans {
		x := store.Settlement{Low: s.From, High: s.From | lastOfStart, By: "clock"}
		if i+1 < len(k.spans) {
			x.High = k.spans[i+1].From - 1
		}
		c := k.clockOf(s)
		if !c.Known || x.High < low || x.Low > high {
			continue
		}
		if !c.Sure() {
			x.Ahead = c.Offset
		} else {
			// It is right by now, perhaps because it was slewed: what was measured when a chunk came is nearer to the truth.
			own := x
			own.Measured = true
			all = append(all, own)
		}
		all = append(all, x)
	}
	return all
}

// lastOfStart are the bits of an epoch's number that count the epochs of one start.
const lastOfStart = 1<<20 - 1

// front judges the clock of a gateway that does not speak of it, by what comes on a live connection: what is new goes first there, so a
// newest reading that stays as old as it is for seconds is no backlog, but a clock that is behind.
type front struct {
	newest time.Time // by the gateway's clock
	lags   []lag     // of the readings that were the newest when they came; at most frontKept
	now    store.Clock
}

type lag struct {
	at time.Time
	by time.Duration
}

const (
	frontLasts  = 10 * time.Second
	frontSteady = 2 * time.Second
	frontKept   = 256
)

func (f *front) clock(c vitals.Chunk, received time.Time) store.Clock {
	unknown := store.Clock{Judged: true}
	if c.Signal == vitals.Events {
		return unknown // they are told when they are known
	}
	end := c.End()
	if end.After(f.newest) {
		f.newest = end
		f.lags = append(f.lags, lag{received, received.Sub(end)})
		for len(f.lags) > frontKept || len(f.lags) > 2 && received.Sub(f.lags[1].at) >= frontLasts {
			f.lags = slices.Delete(f.lags, 0, 1)
		}
		f.now = f.judge(received)
	}
	switch {
	case !f.now.Known:
		return unknown
	case f.now.Sure(), f.newest.Sub(end) <= frontSteady:
		return f.now
	}
	return unknown // a backlog, by a clock that nothing is known of
}

func (f *front) judge(now time.Time) store.Clock {
	low, high := f.lags[0].by, f.lags[0].by
	for _, l := range f.lags {
		low, high = min(low, l.by), max(high, l.by)
	}
	if low <= store.ClockSlack && low >= -store.ClockSlack { // one that came at once is enough
		return store.Clock{Judged: true, Known: true, Error: store.ClockSlack}
	}
	if len(f.lags) < 8 || now.Sub(f.lags[0].at) < frontLasts || high-low > frontSteady {
		return store.Clock{Judged: true}
	}
	return store.Clock{Judged: true, Known: true, Offset: -low, Error: frontSteady}
}

// helloClock is what a version 2 hello says behind the other fields.
type helloClock struct {
	speaks bool
	times  [2]int64 // the gateway's: when it was sent, and 0; the hub's: when the other's came, and when this was sent
}

func (h helloClock) append(body []byte) []byte {
	body = append(body, versionClock)
	for _, v := range h.times {
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	return body
}

func parseHelloClock(rest []byte) (h helloClock) {
	if len(rest) < 1+2*8 || rest[0] < versionClock {
		return h
	}
	r := bytes.NewReader(rest[1:])
	if binary.Read(r, binary.BigEndian, &h.times) != nil {
		return helloClock{}
	}
	for _, v := range h.times {
		if v < 0 || v > maxClockMicros {
			return helloClock{}
		}
	}
	h.speaks = true
	return h
}
