package dashboard

import (
	"sync"
	"time"
)

const (
	// rateBurst and ratePerSecond bound the requests of one workstation: far above what a ward's screens and a few people at
	// one machine ask for, far below what would hold up everybody else.
	rateBurst     = 400
	ratePerSecond = 80
	// maxRates bounds the workstations that are remembered; one that has been quiet is forgotten first.
	maxRates = 4096
)

// rates bounds how often a workstation may ask. The zero value is ready.
type rates struct {
	mu sync.Mutex
	of map[string]*rate
}

type rate struct {
	left float64
	at   time.Time
}

// take reports whether one more request is within the bound.
func (r *rates) take(workstation string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]*rate{}
	}
	b := r.of[workstation]
	if b == nil {
		if len(r.of) >= maxRates {
			r.forget(now)
		}
		b = &rate{left: rateBurst, at: now}
		r.of[workstation] = b
	}
	if since := now.Sub(b.at); since > 0 {
		b.left = min(rateBurst, b.left+since.Seconds()*ratePerSecond)
		b.at = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// forget drops those that have their whole burst again, and everybody if there are none.
func (r *rates) forget(now time.Time) {
	for k, b := range r.of {
		if now.Sub(b.at) > rateBurst/ratePerSecond*time.Second {
			delete(r.of, k)
		}
	}
	if len(r.of) >= maxRates {
		clear(r.of)
	}
}
