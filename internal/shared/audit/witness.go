package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/shared/form"
)

const (
	// WitnessEvery is how often Witnesses.Run asks for a new checkpoint, give or take a tenth.
	WitnessEvery = 3 * time.Minute

	// UnprovenAfter is for how long a log may go without a statement before that is an alarm.
	UnprovenAfter = 30 * time.Minute

	witnessRetry   = time.Second
	conflictSuffix = ".conflict"
	maxWitnessFile = maxCheckpoint + 1<<10
	maxAsked       = 64
)

// Witness remembers, far from the log, the newest checkpoint that it has seen, and demands of every
// later one the proof that it only adds. So the holder of the log's disk and its key cannot change
// the past unnoticed. It keeps the checkpoint in a file; a statement that proves nothing never
// replaces it, and if it is well signed it is kept beside it as evidence (FILE.conflict). While
// that lies there the witness stays alarmed, also after a restart.
//
// It compares what it saw with what others saw (Heard): a log of which two states are signed that
// are not of one log was shown to some in one form and to others in another (a split view). That is
// evidence too (FILE.split), and as lasting. Whose log it is lies in FILE.hub: that it named its
// hub, so that it must go on doing so, and its key, which no other hub's log may have (Witnesses).
//
// The first statement is believed, and its key kept from then on: give OpenWitness the log's public
// key where an operator can bring it. A Witness is safe for concurrent use.
type Witness struct {
	path string
	name string // of the hub whose log it is; empty: any
	now  func() time.Time
	born time.Time // when it was opened

	mu     sync.Mutex // guards what follows
	key    string     // verifier key; empty until one is known
	have   Checkpoint
	proven time.Time
	bad    error
	book   book    // as it is on disk
	owners *owners // of the keys of all logs; nil: a Witness by itself

	heard    []heard      // what others saw and nothing has proven yet; at most MaxAlso
	agreed   []Checkpoint // what was proven, oldest first; at most maxAgreed
	compared time.Time
	asked    []Checkpoint // what Asks without an answer started from: several may be under way; at most maxAsked
}

// WitnessState is what a witness has to say. Its JSON form stands in a gateway's status.
type WitnessState struct {
	Size   int64     `json:"size"`            // entries that the remembered checkpoint covers
	Proven time.Time `json:"proven,omitzero"` // when a statement last continued it; zero: not since the start
	// Compared is when something that another witness saw was last proven to be of the same log;
	// zero: not since the start.
	Compared time.Time `json:"compared,omitzero"`
	// Alarm says what is wrong: the log was rewritten or rolled back, others were shown another
	// log, another hub answers for it, or no statement has continued it for UnprovenAfter. Empty:
	// nothing.
	Alarm string `json:"alarm,omitempty"`
}

// OpenWitness reads what was remembered in the file at path, or starts to remember there.
// verifierKey is the log's public key; empty means the one in the file, or of the first statement.
// A file that is damaged, or remembers a log of another key, is an error and stays as it is.
func OpenWitness(path, verifierKey string) (*Witness, error) {
	return openWitness(path, verifierKey, "", nil)
}

func openWitness(path, verifierKey, name string, of *owners) (*Witness, error) {
	w := &Witness{path: path, name: name, owners: of, key: strings.TrimSpace(verifierKey), now: time.Now, born: time.Now()}
	key, have, err := ReadWitness(path)
	missing := errors.Is(err, os.ErrNotExist)
	switch {
	case missing:
	case err != nil:
		return nil, err
	case w.key != "" && w.key != key:
		return nil, fmt.Errorf("%w: %s remembers a log of another key", ErrInconsistent, path)
	default:
		w.key, w.have = key, have
	}
	switch b, err := readBook(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case missing:
		return nil, fmt.Errorf("audit: witness: %s says whose log it is, and the checkpoint in %s is gone; if you took it away on purpose (the hub was restored), delete the other too",
			path+bookSuffix, path)
	case b.Key != w.key || name != "" && b.Hub != name:
		return nil, fmt.Errorf("%w: %s remembers the log of the hub %q by another key or name than %s", ErrInconsistent, path+bookSuffix, b.Hub, path)
	default:
		w.book = b
	}
	if err := of.claim(w.key, name); err != nil {
		return nil, err
	}
	for _, suffix := range []string{splitSuffix, conflictSuffix} {
		switch _, err := os.Lstat(path + suffix); {
		case err == nil && suffix == splitSuffix:
			w.bad = fmt.Errorf("%w: the evidence is in %s", ErrSplit, path+suffix)
		case err == nil && w.bad == nil:
			w.bad = fmt.Errorf("%w: the evidence is in %s", ErrInconsistent, path+suffix)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("audit: witness: %w", err)
		}
	}
	return w, nil
}

// ReadWitness reads a witness's file: the log's verifier key and the checkpoint, whose signature is
// checked.
func ReadWitness(path string) (verifierKey string, c Checkpoint, err error) {
	f, err := os.Open(path) // #nosec G304 -- the caller names the file
	if err != nil {
		return "", c, fmt.Errorf("audit: witness: %w", err)
	}
	defer f.Close() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxWitnessFile+1))
	if err != nil {
		return "", c, fmt.Errorf("audit: witness: %s: %w", path, err)
	}
	verifierKey, signed, ok := strings.Cut(string(b), "\n")
	if !ok || len(b) > maxWitnessFile {
		return "", c, fmt.Errorf("audit: witness: %s is not a witness's file", path)
	}
	if c, err = ParseCheckpoint(signed, verifierKey); err != nil {
		return "", c, fmt.Errorf("audit: witness: %s is damaged: %w", path, err)
	}
	return verifierKey, c, nil
}

// Size is how many entries the witness remembers: what the next statement must start from.
func (w *Witness) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have.Size
}

// State is what the witness has to say now.
func (w *Witness) State() WitnessState {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := WitnessState{Size: w.have.Size, Proven: w.proven, Compared: w.compared}
	switch quiet := w.now().Sub(w.since()); {
	case w.bad != nil:
		s.Alarm = w.bad.Error()
	case w.have.Signed != "" && quiet > UnprovenAfter:
		s.Alarm = fmt.Sprintf("audit: not proven for %d minutes: the hub is away or does not answer, or its log is gone", int(quiet/time.Minute))
	case w.book.Compares && len(w.heard) > 0 && w.now().Sub(w.heard[0].since) > UnprovenAfter:
		s.Alarm = fmt.Sprintf("audit: the hub has not proven for %d minutes that the %d entries that others were shown are of the same log",
			int(w.now().Sub(w.heard[0].since)/time.Minute), w.heard[0].Size)
	}
	return s
}

// Sighting is what this witness has seen, for others; false: nothing yet.
func (w *Witness) Sighting() (Sighting, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Sighting{w.name, w.key, w.have.Signed}, w.have.Signed != ""
}

// Ask is what to ask this log's hub for; the caller adds what was seen of other logs.
func (w *Witness) Ask() Ask {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, w.have)
	w.asked = w.asked[max(0, len(w.asked)-maxAsked):]
	return Ask{From: w.have.Size, Also: w.also()}
}

// since is when the log was last proven, or from when on it could have been. w.mu is held.
func (w *Witness) since() time.Time {
	if w.proven.After(w.born) {
		return w.proven
	}
	return w.born
}

// late reports whether a statement is due for longer than d.
func (w *Witness) late(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have.Signed != "" && w.now().Sub(w.since()) > d
}

// Update takes a log's statement, a Consistency in JSON for the first Size entries, and remembers
// its checkpoint if it proves that the log only grew. Otherwise it returns ErrInconsistent and
// remembers what it did before. Any other error means that the file could not be written; the old
// one is still whole.
func (w *Witness) Update(statement []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.update(statement)
	if errors.Is(err, ErrInconsistent) && w.bad == nil {
		w.bad = err
	}
	return err
}

func (w *Witness) update(statement []byte) error {
	if twice := form.Twice(statement); twice != "" { // which of two checkpoints counted would be chance
		return fmt.Errorf("%w: the statement's %s", ErrInconsistent, twice)
	}
	var c Consistency
	if json.Unmarshal(statement, &c) != nil {
		return fmt.Errorf("%w: not a statement", ErrInconsistent)
	}
	key := w.key
	if key == "" {
		key = strings.TrimSpace(c.Key)
	}
	before, late := w.have, false
	if i := slices.IndexFunc(w.asked, func(then Checkpoint) bool { return then.Size == c.From }); i >= 0 {
		if c.From < w.have.Size { // another answer was faster than this one
			before, late = w.asked[i], true
		}
		w.asked = slices.Delete(w.asked, i, i+1) // one answer a question: an old answer again is a log that was rolled back
	}
	now, err := c.check(before, key)
	if err == nil && late && now.Size == w.have.Size {
		if bad := now.continues(w.have, nil); bad != nil {
			err = fmt.Errorf("%w: %w", ErrInconsistent, bad)
		}
	}
	if err != nil {
		if now.Signed == "" {
			return err
		}
		// Signed, and contradicting what was signed before: a reader of both needs nothing else.
		return errors.Join(err, keepFirst(w.path+conflictSuffix, []byte(key+"\n"+now.Signed)))
	}
	contradicts := func(err error) error {
		return errors.Join(err, keepFirst(w.path+conflictSuffix, []byte(key+"\n"+now.Signed)))
	}
	of := book{Version: bookVersion, Hub: w.name, Key: key, Origin: w.book.Origin, Compares: w.book.Compares || c.Also != nil}
	switch {
	case c.Origin != "" && w.name != "":
		if err := checkOrigin(c.Origin, key, now, w.name); err != nil {
			return contradicts(err)
		}
		if of.Origin == "" {
			of.Origin = c.Origin
		}
	//defence:log-owner a log that said of which hub it is goes on saying so
	case of.Origin != "":
		return fmt.Errorf("%w: it does not say of which hub it is any more", ErrInconsistent)
	}
	if err := w.owners.claim(key, w.name); err != nil {
		return contradicts(err)
	}
	if late {
		// What it says is older than what is known, or is to be proven from there by the next
		// statement.
		if now.Size > w.have.Size && len(w.heard) < MaxAlso {
			w.heard = append(w.heard, heard{now, w.now()})
		}
		return nil
	}
	if now.Size > w.have.Size || w.have.Signed == "" {
		if err := replaceFile(w.path, []byte(key+"\n"+now.Signed), (*os.File).Sync); err != nil {
			return fmt.Errorf("audit: witness: %w", err)
		}
		w.agree(w.have)
		w.have = now
	}
	w.key, w.proven = key, w.now().UTC()
	if w.name != "" {
		if err := w.keep(of); err != nil {
			return err
		}
	}
	if err := w.compare(c, now); err != nil {
		return err
	}
	if !w.evident() {
		w.bad = nil
	}
	return nil
}

// evident reports whether evidence lies on disk: then the alarm stays.
func (w *Witness) evident() bool {
	for _, suffix := range []string{splitSuffix, conflictSuffix} {
		if _, err := os.Lstat(w.path + suffix); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// keepFirst writes evidence once: the first contradiction is the one to look at.
func keepFirst(path string, b []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := replaceFile(path, b, (*os.File).Sync); err != nil {
		return fmt.Errorf("audit: witness: evidence not kept: %w", err)
	}
	return nil
}
