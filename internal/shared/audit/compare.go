package audit

import (
	"errors"
	"fmt"
	"time"
)

// maxAgreed bounds the states of a log that a witness remembers as proven, so as not to ask for the
// same proof twice.
const maxAgreed = 256

// heard is a checkpoint that others saw and that no statement has proven yet.
type heard struct {
	Checkpoint
	since time.Time
}

// Heard takes what another witness saw of this log, as a hub passes it on. What this witness can
// judge it judges: ErrSplit, kept as evidence, if the two cannot be of one log. Else the next Ask
// asks for the proof. A log that nothing is known of yet is passed over; what is signed by no known
// key is ErrTampered and proves nothing.
//
//defence:gossip a witness compares what others saw with what it saw
func (w *Witness) Heard(s Sighting) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.have.Signed == "" {
		return nil
	}
	if s.Key != w.key {
		if _, err := ParseCheckpoint(s.Checkpoint, s.Key); err != nil {
			return err
		}
		return w.split(s.Checkpoint, s.Key, errors.New("others were shown it under another key"))
	}
	c, err := ParseCheckpoint(s.Checkpoint, w.key)
	if err != nil {
		return err
	}
	if c.Size == 0 {
		return nil
	}
	if known, ok := w.known(c.Size); ok {
		if known.Root != c.Root {
			return w.split(c.Signed, "", fmt.Errorf("two different roots are signed for the same %d entries", c.Size))
		}
		w.compared = w.now().UTC()
		return nil
	}
	for _, p := range w.heard {
		if p.Size == c.Size && p.Root == c.Root {
			return nil
		}
	}
	if len(w.heard) < MaxAlso { // else it comes again
		w.heard = append(w.heard, heard{c, w.now()})
	}
	return nil
}

// known is the state of this size that was proven. w.mu is held.
func (w *Witness) known(size int64) (Checkpoint, bool) {
	if size == w.have.Size {
		return w.have, true
	}
	for _, c := range w.agreed {
		if c.Size == size {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// agree remembers a proven state. w.mu is held.
func (w *Witness) agree(c Checkpoint) {
	if _, ok := w.known(c.Size); ok && c.Size != w.have.Size || c.Size == 0 {
		return
	}
	if len(w.agreed) >= maxAgreed {
		w.agreed = w.agreed[1:]
	}
	w.agreed = append(w.agreed, c)
}

// also are the sizes that a statement is to prove. w.mu is held.
func (w *Witness) also() (sizes []int64) {
	for _, p := range w.heard {
		sizes = append(sizes, p.Size)
	}
	return sizes
}

// compare judges what others saw by a statement whose checkpoint is proven already. w.mu is held.
//
//defence:gossip a witness has the log prove what others saw of it
func (w *Witness) compare(c Consistency, now Checkpoint) (err error) {
	if c.Also == nil {
		return nil
	}
	left := w.heard[:0]
	for _, p := range w.heard {
		asked := false
		for _, b := range c.Also {
			if b.From != p.Size || asked {
				continue
			}
			asked = true
			if bad := now.continues(p.Checkpoint, b.Proof); bad != nil {
				err = errors.Join(err, w.splitFrom(now, p.Signed, "", bad))
				continue
			}
			w.agree(p.Checkpoint)
			w.compared = w.now().UTC()
		}
		if !asked {
			left = append(left, p)
		}
	}
	w.heard = left
	return err
}

// split keeps the evidence that theirs cannot be of the log that is remembered. w.mu is held.
func (w *Witness) split(theirs, another string, why error) error {
	return w.splitFrom(w.have, theirs, another, why)
}

func (w *Witness) splitFrom(ours Checkpoint, theirs, another string, why error) error {
	err := fmt.Errorf("%w: %w", ErrSplit, why)
	if w.bad == nil || !errors.Is(w.bad, ErrSplit) {
		w.bad = err
	}
	return errors.Join(err, keepSplit(w.path+splitSuffix, Split{Hub: w.name, Found: w.now().UTC(), What: why.Error(), Key: w.key,
		Ours: ours.Signed, Theirs: theirs, Another: another}))
}
