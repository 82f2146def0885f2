package access

import (
	"context"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/audit"
)

const (
	// LookWindow is how long an entry about a look stands for those that are like it: a page that asks again every ten
	// seconds would write 2,880 entries a shift, and what was done would be lost among them.
	LookWindow = 10 * time.Minute
	// maxLooks bounds the looks that are remembered. Beyond it all are forgotten, and the next ones are written again.
	maxLooks = 4096
)

// looks are the names under which the audit log has a look that is decided by the action of an act. No policy knows them.
var looks = []struct{ act, look Action }{
	{ManageDirectory, "directory:read"},
	{ReviewAccess, "review:read"},
	{MoveSensor, "sensor:read"},
	{MoveReadings, "readings:read"},
}

// LookActions are the actions that only the audit log has: looks at what the act of another action would change.
func LookActions() []Action {
	var out []Action
	for _, l := range looks {
		out = append(out, l.look)
	}
	return out
}

// lookOf is what a look that a decides is called.
func lookOf(a Action) Action {
	for _, l := range looks {
		if l.act == a {
			return l.look
		}
	}
	return a
}

// DecideLook is DecideFor for a request that changes nothing. It is decided as a, and the audit log says that it was a look
// (LookActions). A look that was allowed stands for those like it (person, role, workstation, session, resource, policies and
// purpose) within LookWindow after it; every refusal is an entry, as everywhere.
func (e *Engine) DecideLook(ctx context.Context, s Subject, a Action, r Resource, purpose string) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{purpose: purpose, auditYes: true, look: true})
}

// LookAll is DecideAll for a list that a page asks for again and again: what was allowed is joined as by DecideLook.
func (e *Engine) LookAll(ctx context.Context, s Subject, a Action, patients []string) ([]Answer, error) {
	return e.decideAll(ctx, s, a, patients, true)
}

// lookBook remembers which looks stand in the audit log. Its methods are safe for concurrent use.
type lookBook struct {
	mu   sync.Mutex
	seen map[string]time.Time // when the entry was made, by lookKey
}

func newLookBook() *lookBook { return &lookBook{seen: map[string]time.Time{}} }

// lookKey is what makes two looks alike: all of the entry but the time, and the session, which is not in it.
func lookKey(s Subject, e audit.Entry) string {
	var b strings.Builder
	for _, part := range [][]string{{s.Session, e.Person, e.Role, e.Workstation, e.Action, e.Resource, e.Patient, e.Reason}, e.Policies, e.Patients} {
		for _, x := range part {
			b.WriteString(x)
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	return b.String()
}

// stands reports whether an entry of the last LookWindow says it already. A clock that was set back makes a new entry.
func (l *lookBook) stands(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.seen[key]
	since := now.Sub(at)
	return ok && since >= 0 && since < LookWindow
}

// written notes an entry that is on disk.
func (l *lookBook) written(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) >= maxLooks {
		for k, at := range l.seen {
			if since := now.Sub(at); since < 0 || since >= LookWindow {
				delete(l.seen, k)
			}
		}
		if len(l.seen) >= maxLooks {
			clear(l.seen)
		}
	}
	l.seen[key] = now
}

// note appends an entry, unless it is an allowed look that another stands for.
func (e *Engine) note(ctx context.Context, s Subject, entry audit.Entry, look bool, now time.Time) error {
	join := look && entry.Allowed
	var key string
	if join {
		if key = lookKey(s, entry); e.looks.stands(key, now) {
			return nil
		}
	}
	// A request that was cancelled still leaves its trace.
	if _, err := e.audit.Append(context.WithoutCancel(ctx), entry); err != nil {
		return err
	}
	if join {
		e.looks.written(key, now)
	}
	return nil
}
