package dashboard

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"vitalseal/internal/lab/weaken"
)

const (
	// defaultRate is far above what a ward's screens and a few people at one machine ask for, and far below what would hold up
	// everybody else.
	defaultRate = 150
	// burst is how many seconds' worth of requests may come at once.
	burst = 10
	// maxRates bounds the workstations that are remembered; one that has been quiet is forgotten first.
	maxRates = 4096
)

// rates bounds how often a workstation may ask.
type rates struct {
	perSecond float64

	mu sync.Mutex
	of map[string]*rate
}

type rate struct {
	left float64
	at   time.Time
}

// retryAfter is what somebody who asks too often is told, in seconds.
const retryAfter = 2

// Limited counts the requests to another face with those to this one: a workstation has one allowance for all of them. What
// is over it is answered 429 and goes no further.
func (h *Handler) Limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.rates.take(h.cfg.Workstation(r), h.cfg.Now()) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		_, text := statusOf(errTooFast)
		h.write(w, http.StatusTooManyRequests, problem{Error: text, RetryAfter: retryAfter})
	})
}

// take reports whether one more request is within the bound.
func (r *rates) take(workstation string, now time.Time) bool {
	if weaken.Skip(weaken.RequestRate) {
		return true
	}
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
		b = &rate{left: r.perSecond * burst, at: now}
		r.of[workstation] = b
	}
	if since := now.Sub(b.at); since > 0 {
		b.left = min(r.perSecond*burst, b.left+since.Seconds()*r.perSecond)
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
		if now.Sub(b.at) > burst*time.Second {
			delete(r.of, k)
		}
	}
	if len(r.of) >= maxRates {
		clear(r.of)
	}
}
