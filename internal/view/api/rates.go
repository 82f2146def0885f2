package api

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// defaultRate is far above what a ward's screens and a few people at one machine ask for, and
	// far below what would hold up the others.
	defaultRate = 150
	// burst is how many seconds' worth of requests may come at once.
	burst = 10
	// maxRates bounds the workstations that are remembered; one that has been quiet is forgotten
	// first.
	maxRates = 4096
)

// RetryAfter is how many seconds a client that asks too often is told to wait.
const RetryAfter = 2

// ErrTooFast is a request above the rate of its workstation, and TooFast what its user is told.
var ErrTooFast = errors.New("api: too many requests")

// TooFast is the text of ErrTooFast for the user.
const TooFast = "Too many requests from this workstation. Wait a moment."

// Limited counts the requests to a handler: a workstation has one allowance for all faces. What is
// over it is answered 429 and goes no further.
func (g *Gate) Limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.Pace(r) == nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", strconv.Itoa(RetryAfter))
		_ = Answer(w, http.StatusTooManyRequests, Problem{Error: TooFast, RetryAfter: RetryAfter})
	})
}

// Pace counts one more request of a workstation: ErrTooFast if it is above the bound.
func (g *Gate) Pace(r *http.Request) error {
	if !g.rates.take(g.cfg.Workstation(r), g.cfg.Now()) {
		return ErrTooFast
	}
	return nil
}

// rates bounds how often a workstation may ask.
type rates struct {
	perSecond float64

	mu     sync.Mutex // guards the fields below
	of     map[string]*rate.Limiter
	latest time.Time // the limiters never see an earlier one, which would give the same time twice
}

func newRates(perSecond float64) rates {
	return rates{perSecond: perSecond, of: map[string]*rate.Limiter{}}
}

// take reports whether one more request is within the bound.
//
//defence:request-rate requests of one workstation are bounded
func (r *rates) take(workstation string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.latest) { // requests that come together may reach this in another order
		now = r.latest
	}
	r.latest = now
	l := r.of[workstation]
	if l == nil {
		if len(r.of) >= maxRates {
			r.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(r.perSecond), int(r.perSecond*burst))
		r.of[workstation] = l
	}
	return l.AllowN(now, 1)
}

// forget drops those that have their whole burst again, and all if there are none.
func (r *rates) forget(now time.Time) {
	for k, l := range r.of {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(r.of, k)
		}
	}
	if len(r.of) >= maxRates {
		clear(r.of)
	}
}
