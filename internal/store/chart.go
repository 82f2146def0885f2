package store

import (
	"context"
	"sync"
	"time"
)

// ArchiveOptions are the bounds and times of an Archive. No field may be zero but Retention.
type ArchiveOptions struct {
	MaxAge, MaxAhead time.Duration // how old an arrival's times may be, and how far in the future
	Linger           time.Duration // how long the writer waits for others to commit with
	CompactEvery     time.Duration // how often recent chunks are looked through for blocks
	Settled          time.Duration // how long nothing more must have come for a block before it is made
	Retention        Retention
	Batch            int   // chunks that commit together at most
	WatchQueue       int   // chunks that a subscription holds for a slow reader
	MaxWaiting       int64 // chunks of one sensor that wait for the chart
}

// DefaultArchiveOptions are those of a hospital.
func DefaultArchiveOptions() ArchiveOptions {
	return ArchiveOptions{MaxAge: 31 * 24 * time.Hour, MaxAhead: 5 * time.Minute, Linger: 40 * time.Millisecond,
		CompactEvery: 10 * time.Second, Settled: settled, Batch: 1024, WatchQueue: 512, MaxWaiting: maxWaiting}
}

// Archive is the open store of readings.
type Archive struct {
	*Attribution
	db   *DB
	dir  *Directory
	days *Days
	opt  ArchiveOptions

	write    *writer
	waiter   *waiter
	watch    watchers
	lat      latency
	stats    partitionCounts
	unstored unstored // shown live before they were stored
	// What is said seldom of chunks: that they are not stored, that they cannot wait.
	unwritten, unkept sparse

	compare  chan struct{}  // a place for each chunk that is compared with what is stored
	compares sync.WaitGroup // of those that are, or wait for a place

	releasing  sync.Mutex // one release of waiting chunks at a time
	compacting sync.Mutex // one compaction at a time
}

// newArchive makes an Archive, which run starts. ErrInvalid: a retention is too short.
func newArchive(db *DB, dir *Directory, a *Attribution, days *Days, opt ArchiveOptions) (*Archive, error) {
	if err := opt.Retention.check(); err != nil {
		return nil, err
	}
	s := &Archive{Attribution: a, db: db, dir: dir, days: days, opt: opt, compare: make(chan struct{}, comparing)}
	s.unstored.init()
	s.stats.init()
	return s, nil
}

// start begins to take arrivals. The days are open.
func (s *Archive) start(ctx context.Context) {
	s.write = newWriter(s)
	s.days.setWriter(s.write.between)
	// The writer outlives ctx: close ends it, after it has answered all callers.
	go s.write.run(context.WithoutCancel(ctx))
	s.waiter = newWaiter(s)
	go s.waiter.run(context.WithoutCancel(ctx))
}

// close lets the arrivals already taken commit, and ends all subscriptions.
func (s *Archive) close() {
	s.waiter.close()
	s.write.close()
	s.compares.Wait()
	s.watch.close()
}

// Size counts the pages of all days, tables, indexes and bookkeeping included; write-ahead logs are not.
func (s *Archive) Size(ctx context.Context) (Size, error) { return s.days.Size(ctx) }

// pause keeps compactions, moves and expiries from running until resume.
func (s *Archive) pause() (resume func()) {
	s.compacting.Lock()
	return s.compacting.Unlock
}
