package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// WitnessEvery is how often Witnesses.Run asks for a new checkpoint, give or take a tenth.
	WitnessEvery = 3 * time.Minute

	// UnprovenAfter is for how long a log may go without a statement before that is an alarm.
	UnprovenAfter = 30 * time.Minute

	witnessRetry   = time.Second
	conflictSuffix = ".conflict"
	maxWitnessFile = maxCheckpoint + 1<<10
)

// Witness remembers, far from the log, the newest checkpoint that it has seen, and demands of every later one the proof
// that it only adds. So whoever holds the log's disk and its key cannot change the past unnoticed. It keeps the
// checkpoint in a file; a statement that proves nothing never replaces it, and if it is well signed it is kept beside it
// as evidence (FILE.conflict). While that lies there the witness stays alarmed, also after a restart.
//
// The first statement is believed, and its key kept from then on: give OpenWitness the log's public key where somebody
// can bring it. A Witness is safe for concurrent use.
type Witness struct {
	path string
	name string // of the hub whose log it is; empty: any
	now  func() time.Time
	born time.Time // when it was opened

	mu     sync.Mutex // guards what follows
	key    string     // verifier key; empty until one is known
	have   Checkpoint
	proven time.Time
	named  bool // a statement has named its hub: one that does not is refused from then on
	bad    error
}

// WitnessState is what a witness has to say. Its JSON form stands in a gateway's status.
type WitnessState struct {
	Size   int64     `json:"size"`            // entries that the remembered checkpoint covers
	Proven time.Time `json:"proven,omitzero"` // when a statement last continued it; zero: not since the start
	// Alarm says what is wrong: the log was rewritten or rolled back, another hub answers for it, or no statement has continued it
	// for UnprovenAfter. Empty: nothing.
	Alarm string `json:"alarm,omitempty"`
}

// OpenWitness reads what was remembered in the file at path, or starts to remember there. verifierKey is the log's
// public key; empty means the one in the file, or of the first statement. A file that is damaged, or remembers a log of
// another key, is an error and stays as it is.
func OpenWitness(path, verifierKey string) (*Witness, error) {
	w := &Witness{path: path, key: strings.TrimSpace(verifierKey), now: time.Now, born: time.Now()}
	key, have, err := ReadWitness(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case w.key != "" && w.key != key:
		return nil, fmt.Errorf("%w: %s remembers a log of another key", ErrInconsistent, path)
	default:
		w.key, w.have = key, have
	}
	switch _, err := os.Lstat(path + conflictSuffix); {
	case err == nil:
		w.bad = fmt.Errorf("%w: the evidence is in %s", ErrInconsistent, path+conflictSuffix)
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("audit: witness: %w", err)
	}
	return w, nil
}

// ReadWitness reads a witness's file: the log's verifier key and the checkpoint, whose signature is checked.
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
	s := WitnessState{Size: w.have.Size, Proven: w.proven}
	switch quiet := w.now().Sub(w.since()); {
	case w.bad != nil:
		s.Alarm = w.bad.Error()
	case w.have.Signed != "" && quiet > UnprovenAfter:
		s.Alarm = fmt.Sprintf("audit: not proven for %d minutes: the hub is away or does not answer, or its log is gone", int(quiet/time.Minute))
	}
	return s
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

// Update takes a log's statement, a Consistency in JSON for the first Size entries, and remembers its checkpoint if it
// proves that the log only grew. Otherwise it returns ErrInconsistent and remembers what it did before. Any other error
// means that the file could not be written; the old one is still whole.
func (w *Witness) Update(statement []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.update(statement)
	if errors.Is(err, ErrInconsistent) && w.bad == nil {
		w.bad = err
	}
	return err
}

// UpdateAsked is Update for a statement that was asked for when the witness remembered the first asked entries. Where it remembers more by
// now, because another statement came in between, this one is not judged: it proves nothing about what is remembered, and is not
// wrong either. The log then counts as proven by the other one.
func (w *Witness) UpdateAsked(asked int64, statement []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asked != w.have.Size {
		return nil
	}
	err := w.update(statement)
	if errors.Is(err, ErrInconsistent) && w.bad == nil {
		w.bad = err
	}
	return err
}

func (w *Witness) update(statement []byte) error {
	var c Consistency
	if json.Unmarshal(statement, &c) != nil {
		return fmt.Errorf("%w: not a statement", ErrInconsistent)
	}
	key := w.key
	if key == "" {
		key = strings.TrimSpace(c.Key)
	}
	now, err := c.check(w.have, key)
	if err != nil {
		if now.Signed == "" {
			return err
		}
		// Signed, and contradicting what was signed before: whoever reads both needs nothing else.
		return errors.Join(err, keepFirst(w.path+conflictSuffix, []byte(key+"\n"+now.Signed)))
	}
	switch {
	case c.Origin != "" && w.name != "":
		if err := checkOrigin(c.Origin, key, now, w.name); err != nil {
			return errors.Join(err, keepFirst(w.path+conflictSuffix, []byte(key+"\n"+now.Signed)))
		}
		w.named = true
	case w.named:
		return fmt.Errorf("%w: it does not say of which hub it is any more", ErrInconsistent)
	}
	if now.Size > w.have.Size || w.have.Signed == "" {
		if err := replaceFile(w.path, []byte(key+"\n"+now.Signed), (*os.File).Sync); err != nil {
			return fmt.Errorf("audit: witness: %w", err)
		}
		w.have = now
	}
	w.key, w.proven = key, w.now().UTC()
	if _, err := os.Lstat(w.path + conflictSuffix); errors.Is(err, os.ErrNotExist) {
		w.bad = nil
	}
	return nil
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
