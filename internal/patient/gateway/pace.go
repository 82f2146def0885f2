package gateway

import (
	"context"
	"hash/fnv"
	"time"

	"vitalseal/internal/measurement/vitals"
)

const (
	chunkLasting = 250 * time.Millisecond
	second       = time.Second
	// firstPause to lastPause: how long a sensor that failed is left alone before the next attempt.
	firstPause = 500 * time.Millisecond
	lastPause  = 5 * time.Second
	// healthEvery is how often what changes slowly is reported: die temperature, a converter's health.
	healthEvery = time.Minute
)

// wall is the time without its monotonic reading, so that a clock that is set is seen.
func wall() time.Time { return time.Now().UTC().Round(0) }

// sampleClock gives the samples of a chip that runs on its own oscillator their times: counted, and steered slowly towards
// the host's clock, because a sample's arrival jitters by the polling interval while its time must not.
type sampleClock struct {
	nominal time.Duration // between samples, as configured
	period  float64       // seconds between samples, as measured
	next    time.Time     // of the next sample; zero: not known yet
}

const (
	// clockStep is how far off the count may be before it starts anew: the host's clock was set, or samples were lost.
	clockStep = 300 * time.Millisecond
	// phaseShare and rateShare of the error are corrected at each batch of samples.
	phaseShare, rateShare = 0.02, 0.0002
	// maxDrift is how far the oscillator may be off; the MAX30100's is a few per cent.
	maxDrift = 0.06
)

func newSampleClock(rate vitals.Hertz) sampleClock {
	p := 1 / float64(rate)
	return sampleClock{nominal: time.Duration(p * float64(time.Second)), period: p}
}

// take is told that n samples were read at now, of which the newest is at most one period old, and lost more before
// them. It returns the first one's time.
func (c *sampleClock) take(n, lost int, now time.Time) time.Time {
	lasting := time.Duration(float64(n) * c.period * float64(time.Second))
	// On average the newest sample is half a period old, and the one after it half a period ahead.
	due := now.Add(time.Duration(c.period / 2 * float64(time.Second)))
	if !c.next.IsZero() {
		c.next = c.next.Add(time.Duration(float64(lost) * c.period * float64(time.Second)))
	}
	ahead := c.next.Add(lasting)
	off := due.Sub(ahead)
	if c.next.IsZero() || off > clockStep || off < -clockStep {
		c.next = due
		return due.Add(-lasting)
	}
	first := c.next
	c.next = ahead.Add(time.Duration(phaseShare * float64(off)))
	nominal := c.nominal.Seconds()
	c.period = min(max(c.period+rateShare*off.Seconds()/float64(max(n, 1)), nominal*(1-maxDrift)), nominal*(1+maxDrift))
	return first
}

// rate is the measured sampling rate.
func (c *sampleClock) rate() vitals.Hertz { return vitals.Hertz(1 / c.period) }

// backoff is the pause before a sensor that failed is tried again.
type backoff struct {
	pause time.Duration
	until time.Time
}

func (b *backoff) failed(now time.Time) {
	b.pause = min(max(2*b.pause, firstPause), lastPause)
	b.until = now.Add(b.pause)
}

func (b *backoff) succeeded() { *b = backoff{} }

// due is also true where the clock was set back since: a chip must not be left alone for as long as that.
func (b *backoff) due(now time.Time) bool { return !now.Before(b.until) || b.until.Sub(now) > b.pause }

// beat is what all oximeters of a gateway share: they are read at the same ticks, and end their chunks at the same ones, so that one
// wake-up, one fsync and one burst on the wire serve all of them. Gateways differ in phase, so that a ward's do not all speak
// at once. The ticks lie on the wall clock's grid; a clock that is set moves them, which costs one uneven chunk.
type beat struct{ phase time.Duration }

// beatOf places a gateway by its name.
func beatOf(gateway string) beat {
	h := fnv.New32a()
	_, _ = h.Write([]byte(gateway)) // never fails
	return beat{time.Duration(h.Sum32()%uint32(chunkLasting/time.Millisecond)) * time.Millisecond}
}

// next is the first tick after now of those that are step apart.
func (b beat) next(now time.Time, step time.Duration) time.Time {
	return now.Add(-b.phase).Truncate(step).Add(step + b.phase)
}

// run calls f at the start and then at every tick, until ctx ends. A tick that is missed is not made up.
func (b beat) run(ctx context.Context, step time.Duration, f func()) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if ctx.Err() != nil { // both at once: what f works with may be gone
			return
		}
		f()
		now := wall()
		t.Reset(b.next(now, step).Sub(now))
	}
}

// every calls f at the start and then at each interval until ctx ends; f says how long the next interval is. A call that is
// late is made once, not as often as it was missed.
func every(ctx context.Context, f func(now time.Time) time.Duration) {
	t := time.NewTimer(0)
	defer t.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if ctx.Err() != nil { // both at once: what f works with may be gone
			return
		}
		step := f(time.Now())
		next = next.Add(step)
		if late := time.Until(next); late < 0 {
			next = time.Now()
		}
		t.Reset(time.Until(next))
	}
}
