package uplink

import (
	"sync"
	"time"

	"vitalseal/internal/way/delivery"
)

// Pace bounds how a backlog drains beside what is new: in bytes a second over all senders that
// share it, and in the share of each sender's window that it may occupy. It is safe for concurrent
// use.
type Pace struct {
	rate  float64 // bytes a second
	share float64

	mu     sync.Mutex // guards the fields below
	tokens float64    // bytes that may go now; below zero after the last one that did
	filled time.Time
}

const (
	// DefaultPace is how many bytes a second of backlog go, an order of magnitude more than 32
	// sensors make.
	DefaultPace = 1 << 20
	// DefaultShare is the share of a window that the backlog may take.
	DefaultShare = 0.5
	// burst is how much goes at once after a rest.
	burst = 250 * time.Millisecond
)

// NewPace makes a Pace; zero means the default. share is within 0 to 1.
func NewPace(bytesPerSecond int64, share float64) *Pace {
	if bytesPerSecond <= 0 {
		bytesPerSecond = DefaultPace
	}
	if share <= 0 || share > 1 {
		share = DefaultShare
	}
	return &Pace{rate: float64(bytesPerSecond), share: share}
}

// window is how many messages of a backlog a sender may have under way: at least one, and never the
// last place of all.
func (p *Pace) window() int {
	return min(max(int(p.share*delivery.MaxInflight), 1), delivery.MaxInflight-1)
}

// wait is how long until a message may go; 0: now.
func (p *Pace) wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filled.IsZero() {
		p.tokens = p.rate * burst.Seconds()
	} else {
		p.tokens = min(p.tokens+p.rate*now.Sub(p.filled).Seconds(), p.rate*burst.Seconds())
	}
	p.filled = now
	if p.tokens > 0 {
		return 0
	}
	return max(time.Duration(-p.tokens/p.rate*float64(time.Second)), time.Millisecond)
}

// spend takes a message's bytes.
func (p *Pace) spend(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens -= float64(n)
}
