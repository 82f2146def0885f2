package gateway

import (
	"log/slog"
	"sync"
	"time"

	"vitalseal/internal/shared/disk"
)

// StorageStatus is the disk below the data folder.
type StorageStatus struct {
	Folder string `json:"folder"`
	// Failing reports whether the disk did not take the last readings. They are delivered from memory, and a power cut loses those
	// that the hub has not acknowledged.
	Failing bool       `json:"failing"`
	Since   *time.Time `json:"since,omitempty"` // of Failing
	Problem string     `json:"problem,omitempty"`
	// FreeBytes is what may still be written; absent where the system does not tell.
	FreeBytes *int64 `json:"free_bytes,omitempty"`
	// HeldBytes are readings that are only in memory now; HeldRecords how many were since the start.
	HeldBytes   int64  `json:"held_bytes"`
	HeldRecords uint64 `json:"held_records"`
}

// storage knows whether the disk takes what the writers give it. It is safe for concurrent use.
type storage struct {
	folder string
	log    *slog.Logger

	mu      sync.Mutex      // guards all below
	failing map[string]bool // lanes whose records it did not take
	since   time.Time
	problem string
}

// failed is told of an append of a lane that failed, and says it in words.
func (s *storage) failed(lane string, err error) string {
	err = disk.Explain(err, s.folder, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failing) == 0 {
		s.failing, s.since = map[string]bool{}, time.Now().UTC()
		s.log.Error("THE DISK DOES NOT TAKE READINGS; they are delivered from memory, and a power cut would lose what the hub does not have yet", "err", err)
	}
	s.failing[lane] = true
	s.problem = err.Error()
	return s.problem
}

// works is told that a lane whose append had failed is taken again.
func (s *storage) works(lane string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failing, lane)
	if len(s.failing) == 0 {
		s.log.Warn("the disk takes readings again", "failed_for", time.Since(s.since).Round(time.Second).String())
	}
}

func (s *storage) status() StorageStatus {
	st := StorageStatus{Folder: s.folder}
	if free, ok := disk.Free(s.folder); ok {
		st.FreeBytes = &free
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.Failing = len(s.failing) > 0; st.Failing {
		since := s.since
		st.Since, st.Problem = &since, s.problem
	}
	return st
}
