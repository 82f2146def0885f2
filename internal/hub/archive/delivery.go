package archive

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
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
	// Gaps are those of Missing that their gateway has said will never arrive, and why (see Gap).
	Gaps int64
}

// partitionCounts remembers what partitions hold that were not written to since they were asked.
type partitionCounts struct {
	mu sync.Mutex // guards m, and makes one caller count at a time
	m  map[string]countedAt
}

type countedAt struct {
	gen     uint64
	streams []days.StreamTaken
}

func (c *partitionCounts) init() { c.m = map[string]countedAt{} }

// Delivery counts what is stored, from the intervals of sequences that are there.
func (s *Archive) Delivery(ctx context.Context) (Delivery, error) {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	var d Delivery
	epochs := map[attribution.StreamKey]*epochCount{}
	names, gens, err := s.Days.All(ctx)
	if err != nil {
		return Delivery{}, sealdb.Named("delivery", err)
	}
	for i, name := range names {
		counted, ok := s.stats.m[name]
		if !ok || counted.gen != gens[i] {
			streams, err := s.Days.TakenIn(ctx, name)
			if err != nil {
				return Delivery{}, sealdb.Named("delivery", err)
			}
			counted = countedAt{gens[i], streams}
			s.stats.m[name] = counted
		}
		for _, t := range counted.streams {
			e := epochs[t.Key]
			if e == nil {
				e = &epochCount{}
				epochs[t.Key] = e
			}
			e.add(t.Taken)
		}
	}
	gaps, err := s.gapsByEpoch(ctx)
	if err != nil {
		return Delivery{}, sealdb.Named("delivery", err)
	}
	for key := range gaps {
		if epochs[key] == nil {
			epochs[key] = &epochCount{} // nothing of it has arrived
		}
	}
	streams := map[[2]string]*StreamDelivery{}
	for key, e := range epochs {
		id := [2]string{key.Sensor, vitals.Signal(key.Signal).String()}
		st := streams[id]
		if st == nil {
			st = &StreamDelivery{Sensor: id[0], Signal: id[1]}
			streams[id] = st
		}
		st.Chunks += e.rows
		st.Doubled += e.doubled
		// What a gateway says is a gap and has arrived all the same is none.
		explained, highest := gaps[key], e.highest()
		for _, t := range e.parts {
			st.Gaps -= explained.Overlaps(t)
		}
		st.Gaps += explained.Count()
		if n := len(explained); n > 0 {
			highest = max(highest, explained[n-1].High)
		}
		st.Missing += highest + 1 - (e.rows - e.doubled)
	}
	for _, st := range streams {
		d.Streams = append(d.Streams, *st)
	}
	slices.SortFunc(d.Streams, func(a, b StreamDelivery) int {
		return cmp.Or(cmp.Compare(a.Sensor, b.Sensor), cmp.Compare(a.Signal, b.Signal))
	})
	d.LatencyP50, d.LatencyP99, d.Measured = s.lat.quantiles()
	d.Latency = s.lat.distribution()
	err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM quarantine").Scan(&d.Quarantined)
	return d, sealdb.Named("delivery", err)
}

// epochCount is an epoch over all partitions. A sequence number is in a partition once at most; around midnight a faulty sender
// may have used one in two.
type epochCount struct {
	rows, doubled int64
	parts         []days.Taken
}

func (e *epochCount) add(t days.Taken) {
	if len(t) == 0 {
		return
	}
	for _, o := range e.parts {
		e.doubled += t.Overlaps(o)
	}
	e.parts = append(e.parts, t)
	e.rows += t.Count()
}

// highest is the highest sequence number that is there, -1 for none.
func (e *epochCount) highest() int64 {
	h := int64(-1)
	for _, t := range e.parts {
		h = max(h, t[len(t)-1].High)
	}
	return h
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
func (s *Archive) Latency() []LatencyBucket { return s.lat.distribution() }

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
