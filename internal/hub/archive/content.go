package archive

import (
	"context"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/delivery"
)

// ReasonContent says that another chunk is stored under the same stream, epoch and sequence number.
const ReasonContent = "another chunk is stored under this number"

// comparing bounds how many chunks that came again are compared at once.
const comparing = 4

// settleDuplicate answers a chunk whose number is taken: a duplicate if the same is stored, or if what was stored is gone (expired,
// forgotten, damaged) and cannot be compared. A snapshot of a gateway that is started twice uses a number for two readings; the
// second is set aside and not lost without a word.
func (s *Archive) settleDuplicate(ctx context.Context, p *days.Pending) {
	s.compare <- struct{}{}
	defer func() { <-s.compare }()
	within, cancel := context.WithTimeout(ctx, compareWithin)
	same, err := s.Days.SameContent(within, p)
	cancel()
	if err != nil {
		s.db.Log.Error("a chunk that came again was not compared with what is stored; it is taken for the same", "sensor", p.Sensor, "stream", p.Signal.String(), "seq", p.Seq, "err", err)
	}
	//defence:duplicate-content what comes again is compared with what is stored
	if !same && err == nil {
		s.rejectContent(ctx, p)
		return
	}
	p.Settled(delivery.Duplicate, "", nil)
}

// rejectContent sets a chunk aside whose number was used for another reading.
func (s *Archive) rejectContent(ctx context.Context, p *days.Pending) {
	for _, part := range append([]*days.Pending{p}, p.Parts...) {
		a := attribution.Arrival{Sensor: p.Sensor, Header: p.Header, Chunk: part.Chunk, Received: sealdb.FromMicro(p.Received)}
		a.Header.Start = part.Chunk.Start
		if err := s.setAside(ctx, a, ReasonContent); err != nil {
			p.Settled(delivery.Retry, "", sealdb.Named("append: quarantine", err))
			return
		}
	}
	p.Settled(delivery.Rejected, ReasonContent, nil)
}

// compareWithin bounds one comparison: what takes longer is taken for a duplicate, and said.
const compareWithin = 30 * time.Second
