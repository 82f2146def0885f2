package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// firstLog is the log that the file at a Witnesses' own path is of: that of the hub that is called
// so unless it has another name.
const firstLog = "hub"

// maxLogs bounds how many logs are remembered: a deployment has a few hubs.
const maxLogs = 64

// Witnesses are a Witness of every hub's log: each hub writes one of its own, and a component meets
// now this hub, now that. No log is taken for two hubs'. It is safe for concurrent use.
type Witnesses struct {
	path, key string
	owners    *owners

	mu  sync.Mutex // guards all
	all map[string]*Witness
}

// OpenWitnesses reads what was remembered in the file at path, and of other hubs' logs in files
// beside it (witness-NAME.note beside witness.note), or starts to remember there. verifierKey,
// which may be empty, is the public key of the log of the hub called "hub". Errors are
// OpenWitness's, of any file.
func OpenWitnesses(path, verifierKey string) (*Witnesses, error) {
	w := &Witnesses{path: path, key: verifierKey, owners: &owners{hub: map[string]string{}}, all: map[string]*Witness{}}
	if _, err := w.Of(firstLog); err != nil {
		return nil, err
	}
	before, after := w.around()
	for _, end := range []string{"", bookSuffix, conflictSuffix, splitSuffix} { // evidence may be all that there is of a log
		found, err := filepath.Glob(before + "*" + after + end)
		if err != nil {
			return nil, fmt.Errorf("audit: witness: %w", err)
		}
		for _, f := range found {
			if _, err := w.Of(strings.TrimSuffix(strings.TrimPrefix(f, before), after+end)); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// around is what stands before and after a log's name in its file's path.
func (w *Witnesses) around() (before, after string) {
	after = filepath.Ext(w.path)
	return strings.TrimSuffix(w.path, after) + "-", after
}

// Of is the witness of one hub's log. name is the hub's as its certificate proved it, a SPIFFE path
// segment.
func (w *Witnesses) Of(name string) (*Witness, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.all[name]; one != nil {
		return one, nil
	}
	path, key := w.path, w.key
	if name != firstLog {
		if !hubName(name) || len(w.all) >= maxLogs {
			return nil, fmt.Errorf("audit: witness: no log of %.64q is remembered beside %d others", name, len(w.all))
		}
		before, after := w.around()
		path, key = before+name+after, ""
	}
	one, err := openWitness(path, key, name, w.owners)
	if err != nil {
		return nil, err
	}
	w.all[name] = one
	return one, nil
}

// known are the logs that something is remembered of, by hub.
func (w *Witnesses) known() map[string]*Witness {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.all)
}

// Sightings is what was seen of every log, for others: one a log, at most MaxSightings, chosen at
// random where there are more.
func (w *Witnesses) Sightings() (out []Sighting) {
	for _, one := range w.known() {
		if s, ok := one.Sighting(); ok && len(out) < MaxSightings {
			out = append(out, s)
		}
	}
	return out
}

// Hear takes what a hub passes on of what others saw. Logs that nothing is remembered of are passed
// over. Errors: Heard's, joined.
func (w *Witnesses) Hear(seen []Sighting) (err error) {
	all := w.known()
	for _, s := range seen[:min(len(seen), MaxSightings)] {
		if one := all[s.Hub]; one != nil && s.fits() {
			err = errors.Join(err, one.Heard(s))
		}
	}
	return err
}

// Ask is what to ask the hub called name for.
func (w *Witnesses) Ask(name string) (Ask, error) {
	one, err := w.Of(name)
	if err != nil {
		return Ask{}, err
	}
	a := one.Ask()
	a.Seen = w.Sightings()
	return a, nil
}

// Answer takes what the hub called name answered to an Ask: its log's statement (Witness.Update),
// and what it passes on (Hear).
func (w *Witnesses) Answer(name string, statement []byte) error {
	one, err := w.Of(name)
	if err != nil {
		return err
	}
	if err := one.Update(statement); err != nil {
		return err
	}
	var c struct {
		Seen []Sighting `json:"seen"`
	}
	if err := json.Unmarshal(statement, &c); err != nil {
		return fmt.Errorf("%w: not a statement", ErrInconsistent)
	}
	return w.Hear(c.Seen)
}

// State is what they have to say together: entries that are covered, when the last statement came,
// and the first alarm.
func (w *Witnesses) State() (s WitnessState) {
	all := w.known()
	for name, one := range all {
		has := one.State()
		s.Size += has.Size
		if has.Proven.After(s.Proven) {
			s.Proven = has.Proven
		}
		if has.Compared.After(s.Compared) {
			s.Compared = has.Compared
		}
		if has.Alarm != "" && s.Alarm == "" {
			s.Alarm = has.Alarm
			if len(all) > 1 {
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

// Run asks a log for a statement at once and every WitnessEvery, sooner after a failure, until ctx
// ends. fetch reaches a hub, learns from ask what to ask it for, and gives the hub's name and its
// Consistency in JSON. What contradicts is logged as an error each time.
func (w *Witnesses) Run(ctx context.Context, fetch func(ctx context.Context, ask func(hub string) (Ask, error)) (hub string, statement json.RawMessage, err error), log *slog.Logger) error {
	retry := witnessRetry
	for {
		wait := WitnessEvery
		hub, statement, err := fetch(ctx, w.Ask)
		if err == nil {
			retry, err = witnessRetry, w.Answer(hub, statement)
		} else {
			wait, retry = retry, min(2*retry, WitnessEvery)
		}
		switch alarm := w.State().Alarm; {
		case ctx.Err() != nil:
			return nil
		case alarm != "":
			log.Error("AUDIT LOG NOT TO BE TRUSTED: it was rewritten or rolled back, others were shown another log, another hub answers for it, or it has not been proven for long; keep the witness's files, they are evidence",
				"alarm", alarm, "witness", w.path)
		case err != nil:
			log.Warn("audit log not witnessed", "err", err, "retry_in", wait.String())
		}
		// The hub that answers is any of several: until the one that is due has answered, it is
		// asked for more often.
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
