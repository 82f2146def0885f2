package delivery

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// How far a gateway's clock is off is measured on its connection by many small exchanges: the
// gateway says its time, the hub answers when it heard that and when it answers, and with its next
// message the gateway says when it heard the answer. The first two times bound the offset from
// below, the last two from above, whatever the delay; of the last exchanges the one with the
// shortest round trip counts, and half of that is the stated error.

// ClockRecord is a lane's part of the gateway's record of its clock's steps.
type ClockRecord struct {
	Version    uint64
	Generation uint64        // another one whenever the clock was set
	Stepped    time.Duration // the sum of all steps since the gateway started
	Spans      []ClockSpan   // ascending by From; at most MaxClockSpans are sent, the newest
}

// ClockSpan says of a lane's epochs, from one number up to the next span's, by which clock they
// were measured.
type ClockSpan struct {
	From uint64 // epoch number
	Kind ClockKind
	// Value is, with ClockSet, by how much the clock was set since, all steps together; with
	// ClockMeasured how far it was ahead of the hub's when that was measured last, within Error.
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

// ClockReport is the gateway's frame about its clock. Times are µs since 1970.
type ClockReport struct {
	Sent       int64 // when it was sent, by the gateway's clock
	Echo       int64 // when the hub sent its last answer, by the hub's clock; 0: none
	Heard      int64 // when that came, by the gateway's clock
	Generation uint64
	Stepped    time.Duration
	Spans      []ClockSpan
}

// ClockAnswer is the hub's frame. Times are µs since 1970.
type ClockAnswer struct {
	Sent     int64 // as in the report
	Received int64 // by the hub's clock
	Answered int64 // likewise
}

const (
	clockReportBytes = 5*8 + 1
	clockSpanBytes   = 8 + 1 + 8 + 8
	clockAnswerBytes = 3 * 8
)

// AppendClockReport appends the frame, with the newest MaxClockSpans of its spans.
func AppendClockReport(b []byte, r ClockReport) []byte {
	spans := r.Spans
	if extra := len(spans) - MaxClockSpans; extra > 0 {
		spans = spans[extra:]
	}
	var body []byte
	for _, v := range [...]int64{r.Sent, r.Echo, r.Heard, int64(r.Generation), r.Stepped.Microseconds()} { // #nosec G115 -- the bits
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	body = append(body, byte(len(spans))) // #nosec G115 -- MaxClockSpans at most
	for _, s := range spans {
		body = binary.BigEndian.AppendUint64(body, s.From)
		body = append(body, byte(s.Kind))
		body = binary.BigEndian.AppendUint64(body, uint64(s.Value.Microseconds())) // #nosec G115 -- the bits
		body = binary.BigEndian.AppendUint64(body, uint64(s.Error.Microseconds())) // #nosec G115 -- the bits
	}
	return AppendFrame(b, FrameClock, body)
}

// maxClockMicros bounds times and durations on the wire: ten thousand years.
const maxClockMicros = 10_000 * 366 * 24 * int64(time.Hour/time.Microsecond)

// ParseClockReport reads the body of a gateway's FrameClock. It wraps ErrFrame.
func ParseClockReport(body []byte) (r ClockReport, err error) {
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
	r.Sent, r.Echo, r.Heard = moment(), moment(), moment()
	r.Generation, r.Stepped = uint64(next()), duration() // #nosec G115 -- the bits
	body = body[1:]
	for range n {
		s := ClockSpan{From: uint64(next())} // #nosec G115 -- the bits
		s.Kind = ClockKind(body[0])
		body = body[1:]
		s.Value, s.Error = duration(), duration()
		if len(r.Spans) > 0 && s.From <= r.Spans[len(r.Spans)-1].From || s.Error < 0 {
			err = fmt.Errorf("%w: a clock's record that is out of order", ErrFrame)
		}
		r.Spans = append(r.Spans, s)
	}
	return r, err
}

// maxStatedClock is how far off a clock may be said to be: a time.Duration holds 292 years.
const maxStatedClock = 200 * 365 * 24 * time.Hour

// AppendClockAnswer appends the frame.
func AppendClockAnswer(b []byte, a ClockAnswer) []byte {
	var body []byte
	for _, v := range [...]int64{a.Sent, a.Received, a.Answered} {
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	return AppendFrame(b, FrameClock, body)
}

// ParseClockAnswer reads the body of a hub's FrameClock. It wraps ErrFrame.
func ParseClockAnswer(body []byte) (a ClockAnswer, err error) {
	if len(body) != clockAnswerBytes {
		return a, fmt.Errorf("%w: clock of %d bytes", ErrFrame, len(body))
	}
	for i, v := range []*int64{&a.Sent, &a.Received, &a.Answered} {
		*v = int64(binary.BigEndian.Uint64(body[8*i:])) // #nosec G115 -- the bits
		if *v < 0 || *v > maxClockMicros {
			return a, fmt.Errorf("%w: a clock at %d µs", ErrFrame, *v)
		}
	}
	return a, nil
}

// Exchanges are the last measurements of one clock against another, in µs that it is ahead. The
// zero value has none.
type Exchanges struct{ all []Exchanged }

// Exchanged bounds an offset, in µs.
type Exchanged struct {
	Low, High int64
}

// keptExchanges is a minute of them: a clock that is slewed must not be judged by what it was.
const keptExchanges = 12

// Add takes a measurement in. One that contradicts itself is none; one that contradicts those
// before says that the clock has moved.
func (e *Exchanges) Add(x Exchanged) {
	if x.Low > x.High {
		return
	}
	if best, ok := e.best(); ok && (x.Low > best.High || x.High < best.Low) {
		e.all = e.all[:0]
	}
	if len(e.all) >= keptExchanges {
		e.all = slices.Delete(e.all, 0, 1)
	}
	e.all = append(e.all, x)
}

// best is the one with the shortest round trip.
func (e *Exchanges) best() (best Exchanged, ok bool) {
	for i, x := range e.all {
		if i == 0 || x.High-x.Low < best.High-best.Low {
			best = x
		}
	}
	return best, len(e.all) > 0
}

// Offset is how far the clock is ahead, and how far that may be off; false: nothing was measured.
func (e *Exchanges) Offset() (offset, within time.Duration, ok bool) {
	x, ok := e.best()
	return time.Duration((x.Low+x.High)/2) * time.Microsecond, time.Duration((x.High-x.Low+1)/2) * time.Microsecond, ok
}

// Shift is told that the clock was set forward by so much.
func (e *Exchanges) Shift(by time.Duration) {
	for i := range e.all {
		e.all[i].Low += by.Microseconds()
		e.all[i].High += by.Microseconds()
	}
}

// Clone is a copy that later measurements do not change.
func (e *Exchanges) Clone() Exchanges { return Exchanges{slices.Clone(e.all)} }

// HelloClock is what a version 2 hello says behind the other fields.
type HelloClock struct {
	Speaks bool
	Times  [2]int64 // the gateway's: when it was sent, and 0; the hub's: when the other's came, and when this was sent
}

func (h HelloClock) append(body []byte) []byte {
	body = append(body, versionClock)
	for _, v := range h.Times {
		body = binary.BigEndian.AppendUint64(body, uint64(v)) // #nosec G115 -- the bits
	}
	return body
}

func parseHelloClock(rest []byte) (h HelloClock) {
	if len(rest) < 1+2*8 || rest[0] < versionClock {
		return h
	}
	r := bytes.NewReader(rest[1:])
	if binary.Read(r, binary.BigEndian, &h.Times) != nil {
		return HelloClock{}
	}
	for _, v := range h.Times {
		if v < 0 || v > maxClockMicros {
			return HelloClock{}
		}
	}
	h.Speaks = true
	return h
}
