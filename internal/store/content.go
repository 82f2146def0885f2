package store

import (
	"context"
	"time"

	"vitalseal/internal/delivery"
)

// ReasonContent says that another chunk is stored under the same stream, epoch and sequence number.
const ReasonContent = "another chunk is stored under this number"

// comparing bounds how many chunks that came again are compared at once.
const comparing = 4

// settleDuplicate answers a chunk whose number is taken: a duplicate if the same is stored, or if what was stored is gone (expired,
// forgotten, damaged) and cannot be compared. A snapshot of a gateway that is started twice uses a number for two readings; the
// second is set aside and not lost without a word.
func (s *Archive) settleDuplicate(ctx context.Context, p *pending) {
	s.compare <- struct{}{}
	defer func() { <-s.compare }()
	within, cancel := context.WithTimeout(ctx, compareWithin)
	same, err := s.days.sameContent(within, p)
	cancel()
	if err != nil {
		s.db.log.Error("a chunk that came again was not compared with what is stored; it is taken for the same", "sensor", p.sensor, "stream", p.signal.String(), "seq", p.seq, "err", err)
	}
	//defence:duplicate-content what comes again is compared with what is stored
	if !same && err == nil {
		s.rejectContent(ctx, p)
		return
	}
	p.settled(delivery.Duplicate, "", nil)
}

// rejectContent sets a chunk aside whose number was used for another reading.
func (s *Archive) rejectContent(ctx context.Context, p *pending) {
	for _, part := range append([]*pending{p}, p.parts...) {
		a := Arrival{Sensor: p.sensor, Header: p.header, Chunk: part.chunk, Received: fromMicro(p.received)}
		a.Header.Start = part.chunk.Start
		if err := s.setAside(ctx, a, ReasonContent); err != nil {
			p.settled(delivery.Retry, "", named("append: quarantine", err))
			return
		}
	}
	p.settled(delivery.Rejected, ReasonContent, nil)
}

// compareWithin bounds one comparison: what takes longer is taken for a duplicate, and said.
const compareWithin = 30 * time.Second
