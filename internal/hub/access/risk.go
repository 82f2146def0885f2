package access

import (
	"sync"
	"time"
)

// Risk is counted, not guessed: each failed sign-in adds riskFailure and each refusal riskRefusal to the person at that
// workstation, and it melts evenly, all of 100 within riskMemory. It is about the two together, so that no person can hold up
// another person, or the same person elsewhere.
const (
	riskFailure = 10
	riskRefusal = 2
	riskMemory  = 10 * time.Minute
	// mostRisks bounds the memory.
	mostRisks = 8192
)

// risks remembers what went wrong lately.
type risks struct {
	mu  sync.Mutex
	all map[string]*riskOf
}

// riskOf is one score that melts evenly.
type riskOf struct {
	score float64
	at    time.Time
}

func newRisks() *risks { return &risks{all: map[string]*riskOf{}} }

// now is the score after melting: all of 100 is gone after riskMemory.
func (r *riskOf) now(t time.Time) float64 {
	return max(0, r.score-100*float64(t.Sub(r.at))/float64(riskMemory))
}

// note counts a refusal of s.
func (r *risks) note(s Subject, now time.Time) { r.add(s.Person.ID, s.Workstation, riskRefusal, now) }

// failed counts a failed sign-in or step-up.
func (r *risks) failed(personID, workstation string, now time.Time) {
	r.add(personID, workstation, riskFailure, now)
}

func (r *risks) add(personID, workstation string, score float64, now time.Time) {
	if personID == "" || workstation == "" {
		return // a login that belongs to no person is counted by the throttle
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := personID + " " + workstation
	o := r.all[name]
	if o == nil {
		if len(r.all) >= mostRisks {
			r.sweep(now)
		}
		o = &riskOf{}
		r.all[name] = o
	}
	o.score, o.at = min(100, o.now(now)+score), now
}

// forget clears what was counted: the person has proven who they are by the old password, and made a new one.
func (r *risks) forget(personID, workstation string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, personID+" "+workstation)
}

// sweep forgets what has melted, or everything if nothing has: a flood must not make the hub grow.
func (r *risks) sweep(now time.Time) {
	for name, o := range r.all {
		if o.now(now) == 0 {
			delete(r.all, name)
		}
	}
	if len(r.all) >= mostRisks {
		clear(r.all)
	}
}

// of is the risk of s, 0 to 100.
func (r *risks) of(s Subject, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.all[s.Person.ID+" "+s.Workstation]
	if o == nil {
		return 0
	}
	return int(o.now(now))
}
