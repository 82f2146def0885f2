package access

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/shared/audit"
)

const (
	// LookWindow is how long an entry about a look stands for those that are like it: a page that
	// asks again every ten seconds would write 2,880 entries a shift, and what was done would be
	// lost among them.
	LookWindow = 10 * time.Minute
	// ViewPause is how long a view of a patient may have been gone for opening it again to be the
	// same one: a connection that is dropped comes back within seconds.
	ViewPause = 30 * time.Second
	// maxLooks bounds the looks that are remembered. Beyond it they are written one by one.
	maxLooks = 4096
	// WatchEvery is how often a view that stays open is an entry of the audit log again, so that the
	// log says who watched at any hour.
	WatchEvery = time.Hour
	// maxWatched bounds the views that are remembered for that.
	maxWatched = 1 << 14
	// maxJoined bounds how many entries about joined views one decision writes.
	maxJoined = 16
)

// join is which like decisions one entry of the audit log stands for. Only allowed ones are joined.
type join int

const (
	joinNothing join = iota
	joinLooks        // a page that asks again and again, within LookWindow
	joinViews        // a view that is opened again within ViewPause and LookWindow: counted
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

// DecideLook is DecideFor for a request that changes nothing. It is decided as a, and the audit log
// says that it was a look (LookActions). A look that was allowed stands for those like it (person,
// role, workstation, session, resource, policies and purpose) within LookWindow after it; every
// refusal is an entry, as everywhere.
func (e *Engine) DecideLook(ctx context.Context, s Subject, a Action, r Resource, purpose string) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{purpose: purpose, auditYes: true, join: joinLooks})
}

// LookAll is DecideAll for a list that a page asks for again and again: what was allowed is joined as
// by DecideLook.
func (e *Engine) LookAll(ctx context.Context, s Subject, a Action, patients []string) ([]Answer, error) {
	return e.decideAll(ctx, s, a, patients, joinLooks)
}

// DecideView is Decide for a view that its client opens again by itself when its connection breaks.
// One that is opened again within ViewPause after the last one, or after the last Renew of its
// grant, and within LookWindow after the entry, is joined with that: a second entry says how often,
// and when the last time was. After a longer pause it is an entry of its own.
func (e *Engine) DecideView(ctx context.Context, s Subject, a Action, r Resource) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{auditYes: true, join: joinViews})
}

// ViewAll is DecideAll for a view of several patients, joined as by DecideView.
func (e *Engine) ViewAll(ctx context.Context, s Subject, a Action, patients []string) ([]Answer, error) {
	return e.decideAll(ctx, s, a, patients, joinViews)
}

// viewKey is key where like views are joined, and empty otherwise.
func (j join) viewKey(key string) string {
	if j == joinViews {
		return key
	}
	return ""
}

// lookBook remembers which looks stand in the audit log. Its methods are safe for concurrent use.
type lookBook struct {
	mu    sync.Mutex
	known map[string]*known // by lookKey
	due   time.Time         // when joined views were last looked through
	open  map[string]*watched
}

// watched is a view that is open, or was a moment ago.
type watched struct {
	first audit.Entry // of its beginning
	told  time.Time   // when the newest entry about it was made
	seen  time.Time   // when it was last opened or renewed
}

// known is an entry that stands for the looks like it.
type known struct {
	entry audit.Entry
	join  join
	made  time.Time
	seen  time.Time // when the view was last opened or renewed
	last  time.Time // when the last one was joined
	count int64     // how many were
}

func newLookBook() *lookBook {
	return &lookBook{known: map[string]*known{}, open: map[string]*watched{}}
}

// lookKey is what makes two looks alike: all of the entry but the time, and the session, which is not
// in it. A list and a view are two things.
func lookKey(s Subject, e audit.Entry, j join) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\x00", j)
	for _, part := range [][]string{{s.Session, e.Person, e.Role, e.Workstation, e.Action, e.Resource, e.Patient, e.Reason}, e.Policies, e.Patients} {
		for _, x := range part {
			b.WriteString(x)
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	return b.String()
}

// open reports whether more looks may be joined with k. A clock that was set back ends it.
func (k *known) open(now time.Time) bool {
	since, pause := now.Sub(k.made), now.Sub(k.seen)
	return since >= 0 && since < LookWindow && (k.join != joinViews || pause < ViewPause)
}

// stands reports whether an entry says it already, and counts it there.
func (l *lookBook) stands(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.known[key]
	if k == nil || !k.open(now) {
		return false
	}
	k.count++
	k.last = now
	if now.After(k.seen) {
		k.seen = now
	}
	if w := l.open[key]; w != nil && now.After(w.seen) {
		w.seen = now
	}
	return true
}

// seen notes that a view goes on. due is the first entry about it when the newest is WatchEvery old,
// else nil: one of those who ask gets it, and calls told.
func (l *lookBook) seen(key string, now time.Time) (due *audit.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.open[key]; w != nil {
		if now.After(w.seen) {
			w.seen = now
		}
		if now.Sub(w.told) >= WatchEvery {
			w.told = now
			first := w.first
			due = &first
		}
	}
	if k := l.known[key]; k != nil && k.open(now) && now.After(k.seen) {
		k.seen = now
	}
	return due
}

// untold takes back that an entry about a view was made: the next Renew makes it.
func (l *lookBook) untold(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.open[key]; w != nil {
		w.told = time.Time{}
	}
}

// watch remembers a view whose entry e is on disk. One that goes on keeps its first entry. mu is held.
func (l *lookBook) watch(key string, e audit.Entry, now time.Time) {
	if w := l.open[key]; w != nil && now.Sub(w.seen) < ViewPause {
		w.told, w.seen = now, now
		return
	}
	if len(l.open) >= maxWatched {
		for k, w := range l.open {
			if now.Sub(w.seen) >= ViewPause {
				delete(l.open, k)
			}
		}
	}
	if len(l.open) < maxWatched {
		l.open[key] = &watched{first: e, told: now, seen: now}
	}
}

// written notes an entry that is on disk. One before it whose joined views are not written down yet
// is kept until they are.
func (l *lookBook) written(key string, e audit.Entry, j join, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.known[key]; old != nil && old.owes() {
		delete(l.known, key)
		l.known[fmt.Sprintf("%s%d", key, old.entry.Seq)] = old // no lookKey ends in a digit
	}
	if j == joinViews {
		l.watch(key, e, now)
	}
	if len(l.known) >= maxLooks {
		for k, old := range l.known {
			if !old.open(now) && !old.owes() {
				delete(l.known, k)
			}
		}
	}
	if len(l.known) < maxLooks {
		l.known[key] = &known{entry: e, join: j, made: now, seen: now}
	}
}

// owes reports whether views were joined that no entry counts yet.
func (k *known) owes() bool { return k.join == joinViews && k.count > 0 }

// joined takes out the entries about views that are over, or all of them.
func (l *lookBook) joined(now time.Time, all bool) (out []*known) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.due); !all && since >= 0 && since < time.Second {
		return nil
	}
	l.due = now
	for key, k := range l.known {
		if k.owes() && (all || !k.open(now)) && (all || len(out) < maxJoined) {
			out = append(out, k)
			delete(l.known, key)
		}
	}
	return out
}

// back puts an entry that could not be written to those that wait.
func (l *lookBook) back(k *known) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[fmt.Sprintf("back %d", k.entry.Seq)] = k
}

// writeJoined writes one entry for the views that were joined with each that is over: how many, and
// when the first and the last was opened. Its own time is that of writing, so that the log stays in
// the order of time.
func (e *Engine) writeJoined(ctx context.Context, now time.Time, all bool) {
	for _, k := range e.looks.joined(now, all) {
		entry := k.entry
		entry.Seq, entry.Time = 0, now
		who := "the page"
		if strings.HasPrefix(entry.Reason, byKey) {
			who = "the client"
		}
		times := fmt.Sprintf("%d times", k.count)
		if k.count == 1 {
			times = "once"
		}
		how := fmt.Sprintf("%s connected again %s since entry %d of %s, the last time at %s", who, times, k.entry.Seq, stamp(k.entry.Time), stamp(k.last))
		entry.Reason = clipTo(strings.TrimPrefix(entry.Reason+"; "+how, "; "), audit.MaxReason)
		if _, err := e.audit.Append(context.WithoutCancel(ctx), entry); err != nil {
			e.log.ErrorContext(ctx, "access: views that were joined are not in the audit log yet, trying again", "count", k.count, "err", err)
			e.looks.back(k)
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// goesOn notes that a view goes on, and writes an entry when the newest about it is WatchEvery old.
func (e *Engine) goesOn(ctx context.Context, view string, now time.Time) {
	first := e.looks.seen(view, now)
	if first == nil {
		return
	}
	entry := *first
	entry.Seq, entry.Time = 0, now
	how := fmt.Sprintf("still open since entry %d of %s", first.Seq, stamp(first.Time))
	entry.Reason = clipTo(strings.TrimPrefix(entry.Reason+"; "+how, "; "), audit.MaxReason)
	if _, err := e.audit.Append(context.WithoutCancel(ctx), entry); err != nil {
		e.log.ErrorContext(ctx, "access: that a view is still open is not in the audit log yet, trying again", "err", err)
		e.looks.untold(view)
	}
}

// WriteJoined writes down which views were joined with entries of the audit log. Those that are over
// are also written with later decisions; all: the others too, as before the log is closed.
func (e *Engine) WriteJoined(ctx context.Context, all bool) { e.writeJoined(ctx, time.Now(), all) }
