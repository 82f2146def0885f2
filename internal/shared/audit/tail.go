package audit

import (
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxTailJSON bounds the JSON form of a Tail, in bytes: MaxRecent entries and their proof.
const MaxTailJSON = 8 << 20

// Tail is the end of a log with the proof of it: that exactly these entries, and none behind them,
// are its end, and that sizes that were seen before are its beginnings. Its JSON form is the wire
// format, that of a Consistency with three members more.
type Tail struct {
	Consistency
	First int64 `json:"first"` // number of the first entry
	// Left are the roots of the complete subtrees that the entries before First fall into, largest
	// first.
	Left    []tlog.Hash `json:"left"`
	Entries []string    `json:"entries"` // the lines as they stand in the log
}

// Tail is the newest n signed entries (1 to MaxRecent) with the proof that they are, and
// Consistency's for from and also. It reads them, and at most a few hundred others, from disk;
// ErrTampered means that they are not what this log signed.
func (l *Log) Tail(n int, from int64, also ...int64) (Tail, error) {
	v := l.signedView()
	c, err := l.consistency(v, from, also)
	if err != nil {
		return Tail{}, err
	}
	n = min(max(n, 1), MaxRecent)
	t := Tail{Consistency: c, First: max(v.Size-int64(n), 0), Left: []tlog.Hash{}, Entries: []string{}}
	r := newHashReader(l.dir, v.Size, v.index)
	begin := int64(0)
	for level := 62; level >= 0; level-- {
		if t.First&(1<<level) == 0 {
			continue
		}
		h, err := r.node(level, begin>>level)
		if err != nil {
			return Tail{}, err
		}
		t.Left = append(t.Left, h)
		begin += 1 << level
	}
	if v.Size > 0 {
		seq := t.First / tileSize * tileSize
		for tile := t.First / tileSize; tile*tileSize < v.Size; tile++ {
			err := r.lines(tile, func(line []byte) {
				if seq >= t.First {
					t.Entries = append(t.Entries, string(line))
				}
				seq++
			})
			if err != nil {
				return Tail{}, err
			}
		}
	}
	if _, _, err := t.Verify(l.verifierKey); err != nil {
		return Tail{}, fmt.Errorf("%w: the entries on disk are not the ones that were signed", ErrTampered)
	}
	return t, nil
}

// ParseTail reads the JSON form of a Tail. It proves nothing yet.
func ParseTail(b []byte) (t Tail, err error) {
	if len(b) > MaxTailJSON {
		return Tail{}, fmt.Errorf("audit: the end of a log in %d bytes; %d are allowed", len(b), MaxTailJSON)
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return Tail{}, fmt.Errorf("audit: not the end of a log: %w", err)
	}
	return t, nil
}

// Verify proves the entries with nothing but the log's public key. It returns ErrInconsistent if
// that fails.
func (t Tail) Verify(verifierKey string) ([]Entry, Checkpoint, error) {
	at, err := ParseCheckpoint(t.Checkpoint, verifierKey)
	if err != nil {
		return nil, at, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if t.First < 0 || len(t.Entries) > MaxRecent || t.First+int64(len(t.Entries)) != at.Size {
		return nil, at, fmt.Errorf("%w: %d entries from %d on are not the end of a log of %d", ErrInconsistent, len(t.Entries), t.First, at.Size)
	}
	f := frontier{size: t.First}
	for level := 62; level >= 0; level-- {
		if t.First&(1<<level) == 0 {
			continue
		}
		if len(f.tops) >= len(t.Left) {
			return nil, at, fmt.Errorf("%w: what stands before entry %d is not proven", ErrInconsistent, t.First)
		}
		f.tops = append(f.tops, top{level, t.Left[len(f.tops)]})
	}
	var entries []Entry
	for i, line := range t.Entries {
		e, err := decode([]byte(line), t.First+int64(i))
		if err != nil {
			return nil, at, fmt.Errorf("%w: %w", ErrInconsistent, err)
		}
		entries = append(entries, e)
		f.add([]byte(line))
	}
	if len(f.tops) > 0 && f.root() != at.Root || len(f.tops) == 0 && at.Size != 0 {
		return nil, at, fmt.Errorf("%w: the entries shown are not those that were signed", ErrInconsistent)
	}
	return entries, at, nil
}

// Shown takes the end of a log that a hub showed to a person at this workstation, and proves it:
// that it is signed by the key of a log that is remembered, and that its entries are the signed
// ones. Its checkpoint is then something seen, as if another witness had: it is compared with what
// is remembered, at once or by the next statement (Heard). Errors: ErrInconsistent, among them
// ErrSplit; ErrNoEntry where no log of its key is remembered yet.
func (w *Witnesses) Shown(t Tail) error {
	for name, one := range w.known() {
		if s, ok := one.Sighting(); ok && s.Key == t.Key {
			if _, _, err := t.Verify(t.Key); err != nil {
				return err
			}
			return one.Heard(Sighting{name, t.Key, t.Checkpoint})
		}
	}
	return fmt.Errorf("%w: no log of this key is remembered here", ErrNoEntry)
}
