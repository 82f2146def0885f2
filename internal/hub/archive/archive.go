// Package archive keeps readings: it takes arrivals, finds out whose they are, writes them with
// their trends, and gives them out as numbers, waves, trends and live updates. It also keeps gaps,
// chunks that wait for their time to be sure, and chunks that were set aside, and it moves spans of
// readings to the patient whose they are.
//
// Package days below it has the tables and files, package attribution whose readings are; others
// use their nouns by the names that this package gives them. It hides both, the writer and the
// compaction.
//
// It guarantees: what is answered Accepted or Duplicate is on disk, fsynced, and there exactly
// once; a reading is one patient's; what cannot be stored is shown live and kept by its gateway.
// Nothing opens without an access.Grant that allows it at that moment.
//
// It does not know what a value means: choosing among sensors is vitals', alarms are the monitor's.
package archive

import (
	"context"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
)

// Options are the bounds and times of an Archive. No field may be zero but Retention.
type Options struct {
	MaxAge, MaxAhead time.Duration // how old an arrival's times may be, and how far in the future
	Linger           time.Duration // how long the writer waits for others to commit with
	CompactEvery     time.Duration // how often recent chunks are looked through for blocks
	Settled          time.Duration // how long nothing more must have come for a block before it is made
	Retention        Retention
	Batch            int   // chunks that commit together at most
	WatchQueue       int   // chunks that a subscription holds for a slow reader
	MaxWaiting       int64 // chunks of one sensor that wait for the chart
}

// DefaultOptions are those of a hospital.
func DefaultOptions() Options {
	return Options{MaxAge: 31 * 24 * time.Hour, MaxAhead: 5 * time.Minute, Linger: 40 * time.Millisecond,
		CompactEvery: 10 * time.Second, Settled: days.Settled, Batch: 1024, WatchQueue: 512, MaxWaiting: maxWaiting}
}

// Archive is the open store of readings.
type Archive struct {
	*attribution.Attribution
	db   *sealdb.DB
	dir  *directory.Directory
	Days *days.Days
	opt  Options

	write    *writer
	waiter   *waiter
	watch    watchers
	lat      latency
	stats    partitionCounts
	unstored unstored // shown live before they were stored
	// What is said seldom of chunks: that they are not stored, that they cannot wait.
	unwritten, unkept sealdb.Sparse

	compare  chan struct{}  // a place for each chunk that is compared with what is stored
	compares sync.WaitGroup // of those that are, or wait for a place

	releasing  sync.Mutex // one release of waiting chunks at a time
	compacting sync.Mutex // one compaction at a time
}

// New makes an Archive, which Start starts. ErrInvalid: a retention is too short.
func New(db *sealdb.DB, dir *directory.Directory, a *attribution.Attribution, days *days.Days, opt Options) (*Archive, error) {
	if err := opt.Retention.check(); err != nil {
		return nil, err
	}
	s := &Archive{Attribution: a, db: db, dir: dir, Days: days, opt: opt, compare: make(chan struct{}, comparing)}
	s.unstored.init()
	s.stats.init()
	return s, nil
}

// Start begins to take arrivals. The days are open.
func (s *Archive) Start(ctx context.Context) {
	s.write = newWriter(s)
	s.Days.SetWriter(s.write.between)
	// The writer outlives ctx: close ends it, after it has answered all callers.
	go s.write.run(context.WithoutCancel(ctx))
	s.waiter = newWaiter(s)
	go s.waiter.run(context.WithoutCancel(ctx))
}

// Close lets the arrivals already taken commit, and ends all subscriptions.
func (s *Archive) Close() {
	s.waiter.close()
	s.write.close()
	s.compares.Wait()
	s.watch.close()
}

// Size counts the pages of all days, tables, indexes and bookkeeping included; write-ahead logs are
// not.
func (s *Archive) Size(ctx context.Context) (days.Size, error) { return s.Days.Size(ctx) }

// Pause keeps compactions, moves and expiries from running until resume.
func (s *Archive) Pause() (resume func()) {
	s.compacting.Lock()
	return s.compacting.Unlock
}
