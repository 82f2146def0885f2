package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/vitals"
)

// Delivery is the account of what has arrived.
type Delivery struct {
	Streams []StreamDelivery // by sensor, then signal
	// LatencyP50 and LatencyP99 are from a chunk's oldest sample (a waveform chunk spans 250 ms) by the gateway's clock until it was durable here, over all chunks accepted
	// since Open, a backlog's included, within 2 %. Zero when there were none.
	LatencyP50, LatencyP99 time.Duration
	Measured               int64 // how many chunks the latencies are of
	// Latency is their whole distribution: buckets that hold something, ascending.
	Latency     []LatencyBucket
	Quarantined int64 // rejected chunks that are set aside
}

// LatencyBucket counts the chunks that took at most UpTo, and more than the bucket before.
type LatencyBucket struct {
	UpTo  time.Duration
	Count int64
}

// StreamDelivery counts one stream's rows over all partitions. The numbers are counted in the files.
type StreamDelivery struct {
	Sensor, Signal string
	Chunks         int64 // rows
	Doubled        int64 // rows beyond the first that share (sensor, signal, epoch, sequence)
	// Missing are holes in the sequence: what lies between 0 and the highest sequence of each epoch and is not stored.
	// What was rejected, dropped by a full gateway or is still on its way is missing.
	Missing int64
}

type epochKey struct {
	sensor string
	signal vitals.Signal
	epoch  [16]byte
}

// epochCount is one epoch in one partition, where a sequence number is there once at most.
type epochCount struct {
	key             epochKey
	rows            int64
	lowest, highest int64
}

func (e *epochCount) add(seq int64) {
	if e.rows == 0 {
		e.lowest, e.highest = seq, seq
	}
	e.rows++
	e.lowest, e.highest = min(e.lowest, seq), max(e.highest, seq)
}

// partitionCounts are the counts of the partitions that were asked for. A partition is read once, from a snapshot taken
// between two commits; from then on the writer adds what it commits.
type partitionCounts struct {
	counting sync.Mutex // makes one caller count at a time

	mu sync.Mutex // held by the writer around each commit with its counting; guards m and its content
	m  map[string]*partitionCount
}

// partitionCount is one partition's. While it is read, the writer's additions gather in later.
type partitionCount struct {
	ready  bool
	epochs map[epochKey]*epochCount
	later  []counted
}

// counted is a chunk that was committed.
type counted struct {
	key epochKey
	seq int64
}

func (c *partitionCounts) init() { c.m = map[string]*partitionCount{} }

// committed is told what a commit has added to a partition; c.mu is held.
func (c *partitionCounts) committed(name string, group []*pending) {
	pc := c.m[name]
	if pc == nil {
		return
	}
	for _, p := range group {
		if p.outcome != Accepted {
			continue
		}
		a := counted{epochKey{p.sensor, p.signal, p.epoch.ID}, int64(p.seq)} // #nosec G115 -- prepare checked
		if pc.ready {
			pc.add(a)
		} else {
			pc.later = append(pc.later, a)
		}
	}
}

func (pc *partitionCount) add(a counted) {
	e := pc.epochs[a.key]
	if e == nil {
		e = &epochCount{key: a.key}
		pc.epochs[a.key] = e
	}
	e.add(a.seq)
}

// of are a partition's counts now.
func (s *Store) countsOf(ctx context.Context, name string) (all []epochCount, err error) {
	s.stats.mu.Lock()
	pc := s.stats.m[name]
	s.stats.mu.Unlock()
	if pc == nil {
		if err := s.count(ctx, name); err != nil {
			return nil, err
		}
	}
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	for _, e := range s.stats.m[name].epochs {
		all = append(all, *e)
	}
	return all, nil
}

// count reads a partition.
func (s *Store) count(ctx context.Context, name string) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	pc := &partitionCount{epochs: map[epochKey]*epochCount{}}
	s.stats.mu.Lock()
	tx, err := part.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		var one int64 // the first read is what takes the snapshot
		if err = tx.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM streams LIMIT 1)").Scan(&one); err == nil {
			s.stats.m[name] = pc
		}
	}
	s.stats.mu.Unlock()
	if tx != nil {
		defer func() { err = errors.Join(err, rollback(tx)) }()
	}
	if err != nil {
		return err
	}
	found, err := readCounts(ctx, tx)
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	if err != nil {
		delete(s.stats.m, name)
		return err
	}
	pc.epochs, pc.ready = found, true
	for _, a := range pc.later {
		pc.add(a)
	}
	pc.later = nil
	return nil
}

func readCounts(ctx context.Context, tx *sql.Tx) (found map[epochKey]*epochCount, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT s.sensor, s.signal, s.epoch, count(*), min(c.seq), max(c.seq)
		FROM chunks c JOIN streams s ON s.id = c.stream GROUP BY c.stream`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found = map[epochKey]*epochCount{}
	for rows.Next() {
		var e epochCount
		var epoch []byte
		if err := rows.Scan(&e.key.sensor, &e.key.signal, &epoch, &e.rows, &e.lowest, &e.highest); err != nil {
			return nil, err
		}
		copy(e.key.epoch[:], epoch)
		found[e.key] = &e
	}
	return found, rows.Err()
}

// Delivery counts what is stored. The first call reads an index of every partition.
func (s *Store) Delivery(ctx context.Context) (Delivery, error) {
	s.stats.counting.Lock()
	defer s.stats.counting.Unlock()
	var d Delivery
	spans := map[epochKey][]span{}
	for _, name := range s.parts.all() {
		epochs, err := s.countsOf(ctx, name)
		if err != nil {
			return Delivery{}, named("delivery", err)
		}
		for _, e := range epochs {
			spans[e.key] = append(spans[e.key], span{name, e})
		}
	}
	streams := map[[2]string]*StreamDelivery{}
	for key, in := range spans {
		id := [2]string{key.sensor, key.signal.String()}
		st := streams[id]
		if st == nil {
			st = &StreamDelivery{Sensor: id[0], Signal: id[1]}
			streams[id] = st
		}
		if err := s.tally(ctx, st, key, in); err != nil {
			return Delivery{}, named("delivery", err)
		}
	}
	for _, st := range streams {
		d.Streams = append(d.Streams, *st)
	}
	slices.SortFunc(d.Streams, func(a, b StreamDelivery) int {
		return cmp.Or(cmp.Compare(a.Sensor, b.Sensor), cmp.Compare(a.Signal, b.Signal))
	})
	d.LatencyP50, d.LatencyP99, d.Measured = s.lat.quantiles()
	d.Latency = s.lat.distribution()
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM quarantine").Scan(&d.Quarantined)
	return d, named("delivery", err)
}

// span is an epoch's share of one partition.
type span struct {
	partition string
	epochCount
}

// tally adds an epoch's shares to its stream.
func (s *Store) tally(ctx context.Context, st *StreamDelivery, key epochKey, in []span) error {
	var rows, highest int64
	overlap := false
	for i, e := range in {
		rows, highest = rows+e.rows, max(highest, e.highest)
		for _, o := range in[:i] {
			overlap = overlap || e.lowest <= o.highest && o.lowest <= e.highest
		}
	}
	distinct := rows
	if overlap {
		// Shares of two days whose sequences overlap: the same sequence may be in both. Look.
		seen := map[int64]struct{}{}
		for _, e := range in {
			if err := s.sequences(ctx, e.partition, key, seen); err != nil {
				return err
			}
		}
		distinct = int64(len(seen))
	}
	st.Chunks += rows
	st.Doubled += rows - distinct
	st.Missing += highest + 1 - distinct
	return nil
}

func (s *Store) sequences(ctx context.Context, name string, key epochKey, seen map[int64]struct{}) (err error) {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	rows, err := part.read.QueryContext(ctx, `SELECT c.seq FROM streams s JOIN chunks c ON c.stream = s.id
		WHERE s.sensor = ? AND s.signal = ? AND s.epoch = ?`, key.sensor, uint8(key.signal), key.epoch[:])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		seen[seq] = struct{}{}
	}
	return rows.Err()
}

// latency is a histogram whose buckets grow by 2 %, from 100 µs to above a month.
type latency struct {
	mu      sync.Mutex // guards all below
	buckets [1200]int64
	total   int64
}

const (
	latencyUnit   = 100 * time.Microsecond
	latencyGrowth = 1.02
)

func (l *latency) observe(d time.Duration) {
	i := 0
	if d > latencyUnit { // a gateway's clock that is ahead gives less than nothing
		i = int(math.Ceil(math.Log(float64(d)/float64(latencyUnit)) / math.Log(latencyGrowth)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[min(i, len(l.buckets)-1)]++
	l.total++
}

// Latency is the distribution that Delivery tells, without counting anything.
func (s *Store) Latency() []LatencyBucket { return s.lat.distribution() }

// distribution are the buckets that hold something.
func (l *latency) distribution() (all []LatencyBucket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range l.buckets {
		if n > 0 {
			all = append(all, LatencyBucket{upTo(i), n})
		}
	}
	return all
}

// upTo is the upper end of a bucket.
func upTo(i int) time.Duration {
	return time.Duration(float64(latencyUnit) * math.Pow(latencyGrowth, float64(i)))
}

func (l *latency) quantiles() (p50, p99 time.Duration, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(q float64) time.Duration {
		want := int64(math.Ceil(q * float64(l.total)))
		for i, c := range l.buckets {
			if want -= c; want <= 0 {
				return upTo(i)
			}
		}
		return 0
	}
	if l.total == 0 {
		return 0, 0, 0
	}
	return at(0.5), at(0.99), l.total
}
