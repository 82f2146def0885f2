package access

import (
	"fmt"
	"sync"
	"time"

	"vitalseal/internal/weaken"
)

// Throttled is the answer to a sign-in that comes too soon after failures with the same login at the same workstation
// (or after failures with very many logins there). It is an ErrSignIn, says nothing about whether the login exists,
// and no other workstation is affected: nobody can lock a colleague out from afar.
type Throttled struct {
	RetryAfter time.Duration
}

// Error is fixed text but for the duration.
func (t *Throttled) Error() string {
	return fmt.Sprintf("%v: too many failures, try again in %v", ErrSignIn, t.RetryAfter.Round(time.Second))
}

// Is makes errors.Is(err, ErrSignIn) true.
func (t *Throttled) Is(target error) bool { return target == ErrSignIn }

const (
	freeFailures     = 5 // before the back-off starts
	firstDelay       = 2 * time.Second
	longestDelay     = 15 * time.Minute
	forgetAfter      = time.Hour // without a failure
	loginsPerStation = 64        // different failing logins, before the workstation as a whole backs off
	mostStations     = 4096      // enrolled and failing at the same time
)

// throttle counts failed sign-ins. Its memory is bounded: workstations are enrolled, so a stranger cannot make many;
// within one the logins are counted one by one up to a limit, and together beyond it.
type throttle struct {
	mu       sync.Mutex
	stations map[string]*station
}

type station struct {
	logins map[string]*failures
	others failures // logins that found no place
	last   time.Time
}

type failures struct {
	count    int
	last     time.Time
	until    time.Time
	reported bool // a refusal by throttling was audited since the last failure
}

func newThrottle() *throttle { return &throttle{stations: map[string]*station{}} }

// begin counts an attempt as a failure before its outcome is known, so that attempts side by side count too. It
// returns how long to wait instead, and whether that refusal is the first of its kind and worth auditing.
func (t *throttle) begin(workstation, login string, now time.Time) (wait time.Duration, first bool) {
	if weaken.Skip(weaken.Throttle) {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.find(workstation, login, now)
	if wait := f.until.Sub(now); wait > 0 {
		first, f.reported = !f.reported, true
		return wait, first
	}
	f.count++
	f.last = now
	f.reported = false
	if over := f.count - freeFailures; over >= 0 {
		f.until = now.Add(min(firstDelay<<min(over, 16), longestDelay))
	}
	return 0, false
}

// succeeded forgets the failures of this login here.
func (t *throttle) succeeded(workstation, login string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stations[workstation]
	if s == nil {
		return
	}
	if _, own := s.logins[login]; own {
		delete(s.logins, login)
		return
	}
	s.others = failures{}
}

// withdraw takes back a begin whose attempt was never judged.
func (t *throttle) withdraw(workstation, login string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stations[workstation]
	if s == nil {
		return
	}
	f := &s.others
	if own := s.logins[login]; own != nil {
		f = own
	}
	f.count = max(0, f.count-1)
	f.until = time.Time{}
}

func (t *throttle) find(workstation, login string, now time.Time) *failures {
	s := t.stations[workstation]
	if s == nil {
		if len(t.stations) >= mostStations {
			t.sweep(now)
		}
		s = &station{logins: map[string]*failures{}}
		t.stations[workstation] = s
	}
	s.last = now
	if f := s.logins[login]; f != nil && now.Sub(f.last) < forgetAfter {
		return f
	}
	if len(s.logins) >= loginsPerStation {
		for l, f := range s.logins {
			if now.Sub(f.last) >= forgetAfter {
				delete(s.logins, l)
			}
		}
	}
	if len(s.logins) >= loginsPerStation && s.logins[login] == nil {
		if now.Sub(s.others.last) >= forgetAfter {
			s.others = failures{}
		}
		return &s.others
	}
	f := &failures{}
	s.logins[login] = f
	return f
}

// sweep makes room: first the forgotten stations, else the one that has been quiet longest.
func (t *throttle) sweep(now time.Time) {
	oldest, at := "", now
	for name, s := range t.stations {
		if now.Sub(s.last) >= forgetAfter {
			delete(t.stations, name)
		} else if !s.last.After(at) {
			oldest, at = name, s.last
		}
	}
	if len(t.stations) >= mostStations {
		delete(t.stations, oldest)
	}
}
