package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// firstLog is the log that the file at a Witnesses' own path is of: that of the hub that is called so unless it has another name.
const firstLog = "hub"

// maxLogs bounds how many logs are remembered: a deployment has a few hubs.
const maxLogs = 64

// Witnesses are a Witness of every hub's log: each hub writes one of its own, and a component meets now this hub, now that. It is safe
// for concurrent use.
type Witnesses struct {
	path, key string

	mu  sync.Mutex // guards all
	all map[string]*Witness
}

// OpenWitnesses reads what was remembered in the file at path, and of other hubs' logs in files beside it (witness-NAME.note beside
// witness.note), or starts to remember there. verifierKey, which may be empty, is the public key of the log of the hub called "hub".
// Errors are OpenWitness's, of any file.
func OpenWitnesses(path, verifierKey string) (*Witnesses, error) {
	w := &Witnesses{path: path, key: verifierKey, all: map[string]*Witness{}}
	if _, err := w.Of(firstLog); err != nil {
		return nil, err
	}
	before, after := w.around()
	found, err := filepath.Glob(before + "*" + after)
	if err != nil {
		return nil, fmt.Errorf("audit: witness: %w", err)
	}
	for _, f := range found {
		if _, err := w.Of(strings.TrimSuffix(strings.TrimPrefix(f, before), after)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// around is what stands before and after a log's name in its file's path.
func (w *Witnesses) around() (before, after string) {
	after = filepath.Ext(w.path)
	return strings.TrimSuffix(w.path, after) + "-", after
}

// Of is the witness of one hub's log. name is the hub's as its certificate proved it, a SPIFFE path segment.
func (w *Witnesses) Of(name string) (*Witness, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.all[name]; one != nil {
		return one, nil
	}
	path, key := w.path, w.key
	if name != firstLog {
		if name == "" || strings.ContainsAny(name, "/\\*?[") || len(w.all) >= maxLogs {
			return nil, fmt.Errorf("audit: witness: no log of %.64q is remembered beside %d others", name, len(w.all))
		}
		before, after := w.around()
		path, key = before+name+after, ""
	}
	one, err := OpenWitness(path, key)
	if err != nil {
		return nil, err
	}
	one.name = name
	w.all[name] = one
	return one, nil
}

// State is what they have to say together: entries that are covered, when the last statement came, and the first alarm.
func (w *Witnesses) State() (s WitnessState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, one := range w.all {
		has := one.State()
		s.Size += has.Size
		if has.Proven.After(s.Proven) {
			s.Proven = has.Proven
		}
		if has.Alarm != "" && s.Alarm == "" {
			s.Alarm = has.Alarm
			if len(w.all) > 1 {
				s.Alarm = "log of hub " + name + ": " + has.Alarm
			}
		}
	}
	return s
}

// due reports whether a log's statement is overdue.
func (w *Witnesses) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.all {
		if one.late(2 * WitnessEvery) {
			return true
		}
	}
	return false
}

// Run asks a log for a statement at once and every WitnessEvery, sooner after a failure, until ctx ends. fetch reaches a hub, asks from for the
// witness's size of that hub's log, and gives the hub's name and its Consistency in JSON for that many entries. What contradicts is
// logged as an error each time.
func (w *Witnesses) Run(ctx context.Context, fetch func(ctx context.Context, from func(hub string) (int64, error)) (hub string, statement json.RawMessage, err error), log *slog.Logger) error {
	retry := witnessRetry
	for {
		wait := WitnessEvery
		var asked int64
		hub, statement, err := fetch(ctx, func(hub string) (int64, error) {
			one, err := w.Of(hub)
			if err != nil {
				return 0, err
			}
			asked = one.Size()
			return asked, nil
		})
		if err == nil {
			var one *Witness
			if one, err = w.Of(hub); err == nil {
				retry, err = witnessRetry, one.UpdateAsked(asked, statement)
			}
		} else {
			wait, retry = min(retry, wait), 2*retry
		}
		switch alarm := w.State().Alarm; {
		case ctx.Err() != nil:
			return nil
		case alarm != "":
			log.Error("AUDIT LOG NOT TO BE TRUSTED: it was rewritten or rolled back, another hub answers for it, or it has not been proven for long; keep the witness's files, they are evidence",
				"alarm", alarm, "witness", w.path)
		case err != nil:
			log.Warn("audit log not witnessed", "err", err, "retry_in", wait.String())
		}
		// The hub that answers is any of several: until the one that is due has answered, it is asked for more often.
		if w.due() {
			wait = min(wait, WitnessEvery/9)
		}
		wait += time.Duration((rand.Float64() - 0.5) / 5 * float64(wait)) // #nosec G404 -- spreads load, guards nothing
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
