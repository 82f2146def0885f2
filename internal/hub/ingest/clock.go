package ingest

import (
	"slices"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// peerClock is what the hub knows of the clock of a connection's gateway. It belongs to the goroutine that reads.
type peerClock struct {
	measures   bool // the gateway speaks of its clock
	reported   bool // it has
	generation uint64
	stepped    time.Duration
	last       delivery.ClockAnswer // the hub's own
	measured   delivery.Exchanges
	spans      []delivery.ClockSpan
	front      front
	device     front // of what a device says by a clock of its own
}

// report takes a gateway's report in and gives the hub's answer, as far as it is known before it is sent.
func (k *peerClock) report(r delivery.ClockReport, now time.Time) {
	// What the hello began is of the first report's generation: else the gateway would not say when it heard the answer.
	first := !k.reported
	if !first && r.Generation != k.generation {
		k.measured.Shift(r.Stepped - k.stepped)
	}
	if r.Echo != 0 && r.Echo == k.last.Answered && (first || r.Generation == k.generation) {
		k.measured.Add(delivery.Exchanged{Low: k.last.Sent - k.last.Received, High: r.Heard - k.last.Answered})
	}
	k.measures, k.reported, k.generation, k.stepped, k.spans = true, true, r.Generation, r.Stepped, r.Spans
	k.last = delivery.ClockAnswer{Sent: r.Sent, Received: now.UnixMicro(), Answered: now.UnixMicro()}
}

// of is what is known of the clock by which a chunk was measured that came just now.
func (k *peerClock) of(number uint64, c vitals.Chunk, received time.Time) archive.Clock {
	if !k.measures {
		return k.front.clock(c, received)
	}
	i, _ := slices.BinarySearchFunc(k.spans, number, func(s delivery.ClockSpan, n uint64) int {
		if s.From <= n {
			return -1
		}
		return 1
	})
	if i == 0 {
		return archive.Clock{Judged: true}
	}
	if k.spans[i-1].Kind == delivery.ClockOfDevice {
		return k.deviceClock(c, received)
	}
	return k.clockOf(k.spans[i-1])
}

// deviceClock judges a device's own clock by what comes live. A device may rightly say what it measured a while ago, so one that comes late
// again and again is not known to be wrong: that is for the store to say, which knows whether the patient has changed meanwhile.
func (k *peerClock) deviceClock(c vitals.Chunk, received time.Time) archive.Clock {
	clock := k.device.clock(c, received)
	if clock.Known && !clock.Sure() {
		return archive.Clock{Judged: true, Late: -clock.Offset}
	}
	return clock
}

func (k *peerClock) clockOf(s delivery.ClockSpan) archive.Clock {
	offset, within, ok := k.measured.Offset()
	switch {
	case s.Kind == delivery.ClockSet && ok:
		return archive.Clock{Judged: true, Known: true, Offset: offset - s.Value, Error: within}
	case s.Kind == delivery.ClockMeasured:
		return archive.Clock{Judged: true, Known: true, Offset: s.Value, Error: s.Error}
	}
	return archive.Clock{Judged: true}
}

// now is the clock as it is.
func (k *peerClock) now() archive.Clock {
	if !k.measures {
		return k.front.now
	}
	offset, within, ok := k.measured.Offset()
	return archive.Clock{Judged: true, Known: ok, Offset: offset, Error: within}
}

// settlements are what the record and the measurement say together of epochs between two numbers, once the clock is right. high is
// the end of a start's numbers.
func (k *peerClock) settlements(low, high uint64) (all []archive.Settlement) {
	if now := k.now(); !k.measures || !now.Known || !now.Sure() {
		return nil
	}
	for i, s := range k.spans {
		x := archive.Settlement{Low: s.From, High: s.From | lastOfStart, By: "clock"}
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
	now    archive.Clock
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

func (f *front) clock(c vitals.Chunk, received time.Time) archive.Clock {
	unknown := archive.Clock{Judged: true}
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

func (f *front) judge(now time.Time) archive.Clock {
	low, high := f.lags[0].by, f.lags[0].by
	for _, l := range f.lags {
		low, high = min(low, l.by), max(high, l.by)
	}
	if low <= delivery.ClockSlack && low >= -delivery.ClockSlack { // one that came at once is enough
		return archive.Clock{Judged: true, Known: true, Error: delivery.ClockSlack}
	}
	if len(f.lags) < 8 || now.Sub(f.lags[0].at) < frontLasts || high-low > frontSteady {
		return archive.Clock{Judged: true}
	}
	return archive.Clock{Judged: true, Known: true, Offset: -low, Error: frontSteady}
}
