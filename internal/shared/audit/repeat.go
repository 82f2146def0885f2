package audit

import (
	"strings"
	"time"
)

const (
	// repeatWindow is how long like refusals are taken together, repeatFirst how many of them are
	// written one by one. Of what was not decided the first is, because no person caused it.
	repeatWindow = time.Minute
	repeatFirst  = 10
	// maxRepeats bounds the kinds of refusals that are told apart within a window. Beyond it they
	// are told apart by all but the resource's id, and beyond twice as many not at all. Nothing
	// goes uncounted.
	maxRepeats = 4096
)

// refusal is what makes two refusals alike.
type refusal struct{ person, workstation, action, resource, reason string }

// repeats takes refusals that repeat themselves together, so that a client that is refused a
// thousand times a second fills neither the disk nor the memory. It belongs to the goroutine that
// writes. What it has counted and not yet written, a minute at most, is lost by a kill.
type repeats struct{ windows map[refusal]*window }

// window is a minute of like refusals.
type window struct {
	first time.Time
	n     int64 // written one by one
	more  Entry // the last of those only counted; Count is how many
}

func newRepeats() repeats { return repeats{map[refusal]*window{}} }

func (r repeats) empty() bool { return len(r.windows) == 0 }

// count reports whether the refusal was counted. Otherwise it must be written.
func (r repeats) count(e Entry, now time.Time) bool {
	key := refusal{e.Person, e.Workstation, e.Action, e.Resource, e.Reason}
	w := r.windows[key]
	if w == nil && len(r.windows) >= maxRepeats {
		kind, _, _ := strings.Cut(e.Resource, ":")
		e.Resource, e.Patient = kind+":*", ""
		key.resource = e.Resource
		if w = r.windows[key]; w == nil && len(r.windows) >= 2*maxRepeats {
			const many = "too many kinds of refusals to tell apart"
			reason := many
			if e.Undecided() {
				reason = NotDecided + many
			}
			e = Entry{Action: "*", Resource: "*", Reason: reason}
			key = refusal{action: e.Action, reason: reason}
			w = r.windows[key]
		}
	}
	if w == nil {
		w = &window{first: now}
		r.windows[key] = w
	}
	first := int64(repeatFirst)
	if e.Undecided() {
		first = 1
	}
	if w.n < first {
		w.n++
		return false
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Count = w.more.Count + 1
	w.more = e
	return true
}

// due are the summaries of the windows that have ended. Windows with nothing to sum up are
// forgotten.
func (r repeats) due(now time.Time) (keys []refusal) {
	for key, w := range r.windows {
		switch {
		case now.Sub(w.first) < repeatWindow:
		case w.more.Count == 0:
			delete(r.windows, key)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}

// writeRepeats writes what was only counted in windows that have ended. What the disk does not take
// now is tried again.
func (l *Log) writeRepeats(now time.Time) {
	keys := l.repeats.due(now)
	for len(keys) > 0 {
		some := keys[:min(len(keys), maxBatch)]
		keys = keys[len(some):]
		batch := make([]request, len(some))
		for i, key := range some {
			batch[i].entry = l.repeats.windows[key].more
		}
		entries, err := l.write(batch)
		if err != nil {
			l.logger.Error("counted refusals not written to the audit log, trying again", "kinds", len(batch)+len(keys), "err", err)
			return
		}
		l.remember(entries...)
		for _, key := range some {
			delete(l.repeats.windows, key)
		}
	}
}
