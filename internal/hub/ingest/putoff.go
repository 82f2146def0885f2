package ingest

import (
	"log/slog"
	"time"
)

// saidEvery is the least time between two lines of the log about chunks that are not stored: of a disk that takes nothing there are
// thousands a minute.
const saidEvery = 10 * time.Second

// putOff counts a chunk that could not be stored, and logs how many there were when it is time.
func (s *Server) putOff(log *slog.Logger, err error) {
	s.mu.Lock()
	s.unsaid++
	if now := time.Now(); s.said.IsZero() || now.Sub(s.said) >= saidEvery {
		n := s.unsaid
		s.unsaid, s.said = 0, now
		defer log.Error("chunks not stored, the senders will try again", "chunks", n, "err", err)
	}
	s.mu.Unlock()
}
