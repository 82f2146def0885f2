package archive

import (
	"context"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// Compactor moves recent chunks into blocks, and takes out what has expired, in the background.
func (s *Archive) Compactor(ctx context.Context) {
	t := time.NewTicker(s.opt.CompactEvery)
	defer t.Stop()
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-hourly.C:
			if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
				s.db.Log.Error("what has expired was not taken out, trying again in an hour", "err", err)
			}
			continue
		}
		if s.db.IsHolding() {
			continue // compaction writes before it frees
		}
		if err := s.compactOlder(ctx, s.opt.Settled); err != nil && ctx.Err() == nil {
			s.db.Log.Error("chunks not compacted, trying again", "err", err)
		}
		if _, err := s.finishMoves(ctx); err != nil && ctx.Err() == nil { // what a crash or another hub left
			s.db.Log.Error("readings are not with their patient yet, trying again", "err", err)
		}
	}
}

// Compact moves all recent chunks into blocks now, those included that more may follow.
func (s *Archive) Compact(ctx context.Context) error {
	return sealdb.Named("compact", s.compactOlder(ctx, -time.Hour))
}

// compactOlder makes blocks of what had its last addition so long ago. One at a time does.
func (s *Archive) compactOlder(ctx context.Context, age time.Duration) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	return s.Days.Compact(ctx, s.db.Now().Add(-age))
}
