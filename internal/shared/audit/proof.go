package audit

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"vitalseal/internal/shared/form"
)

var (
	// ErrInconsistent means that what a log states about itself does not prove what it must: that
	// it continues what a witness remembers, or that an entry is in it. Its signer has broken the
	// rules, or it is forged.
	ErrInconsistent = errors.New("audit: statement does not prove what it claims")
	// ErrNoEntry means that the log has no signed entry with this number.
	ErrNoEntry = errors.New("audit: no such entry among the signed ones")
)

// Checkpoint is a signed statement that the log's first Size entries have this root.
type Checkpoint struct {
	Size   int64
	Root   tlog.Hash
	Signed string // the note, exactly as it was signed
}

// ParseCheckpoint reads a checkpoint and checks its signature. Every error is ErrTampered, but for
// a verifier key that is none.
func ParseCheckpoint(signed, verifierKey string) (Checkpoint, error) {
	size, root, err := parseCheckpoint([]byte(signed), verifierKey)
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{size, root, signed}, nil
}

// Consistency is what a log states to a witness that remembers its first From entries: its newest
// checkpoint, and the proof (RFC 6962, 2.1.2) that those entries are still its beginning. Its JSON
// form is the wire format.
type Consistency struct {
	Key        string `json:"key"` // the verifier key, for who has none yet
	Checkpoint string `json:"checkpoint"`
	From       int64  `json:"from"`
	// Origin is a signed note that names the hub whose checkpoint it is; empty from a hub of before
	// this.
	Origin string         `json:"origin,omitempty"`
	Proof  tlog.TreeProof `json:"proof"` // empty when From is 0, the checkpoint's size, or beyond it
	// Also proves the further sizes of an Ask. nil from a hub of before this, which proves none.
	Also []Beginning `json:"also"`
	// Seen is what other witnesses, and the hub itself, have seen.
	Seen []Sighting `json:"seen,omitempty"`
}

// check proves that the statement continues before.
//
//defence:witness a later log must contain the earlier one
func (c Consistency) check(before Checkpoint, verifierKey string) (Checkpoint, error) {
	refuse := func(format string, args ...any) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("%w: %s", ErrInconsistent, fmt.Sprintf(format, args...))
	}
	now, err := ParseCheckpoint(c.Checkpoint, verifierKey)
	switch {
	case err != nil:
		return refuse("%v", err)
	case now.Size > before.Size && before.Size > 0 && c.From != before.Size:
		return refuse("it proves something about %d entries, %d were asked about", c.From, before.Size)
	}
	if err := now.continues(before, c.Proof); err != nil {
		return now, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	return now, nil
}

// Inclusion proves that one entry is in the log (RFC 6962, 2.1.1). Its JSON form is what `vitalseal
// audit prove` prints.
type Inclusion struct {
	Checkpoint string           `json:"checkpoint"`
	Seq        int64            `json:"seq"`
	Entry      string           `json:"entry"` // the line as it stands in the log
	Proof      tlog.RecordProof `json:"proof"`
}

// Verify proves the entry with nothing but the log's public key. It returns ErrInconsistent if that
// fails.
func (p Inclusion) Verify(verifierKey string) (Entry, Checkpoint, error) {
	at, err := ParseCheckpoint(p.Checkpoint, verifierKey)
	if err != nil {
		return Entry{}, Checkpoint{}, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if p.Seq < 0 || p.Seq >= at.Size {
		return Entry{}, Checkpoint{}, fmt.Errorf("%w: no entry %d among %d", ErrInconsistent, p.Seq, at.Size)
	}
	if err := tlog.CheckRecord(p.Proof, at.Size, at.Root, p.Seq, tlog.RecordHash([]byte(p.Entry))); err != nil {
		return Entry{}, Checkpoint{}, fmt.Errorf("%w: entry %d is not in the log of %d entries that was signed", ErrInconsistent, p.Seq, at.Size)
	}
	e, err := decode([]byte(p.Entry), p.Seq)
	if err != nil {
		return Entry{}, Checkpoint{}, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	return e, at, nil
}

// ParseInclusion reads the JSON form of an Inclusion. It proves nothing yet.
func ParseInclusion(b []byte) (p Inclusion, err error) {
	if twice := form.Twice(b); twice != "" {
		return p, fmt.Errorf("audit: not a proof: %s", twice)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("audit: not a proof: %w", err)
	}
	return p, nil
}

// signedView is the log as its newest checkpoint covers it. It does not change.
type signedView struct {
	Checkpoint
	index index
}

// Checkpoint is the newest one: at most a quarter of a second behind the entries.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view.Checkpoint
}

// Consistency is the newest checkpoint with the proof that the first from entries are still its
// beginning, and so are the first entries of each further size, at most MaxAlso. A witness that
// remembers more entries than there are gets the checkpoint alone: it tells its own story. It reads
// at most a few hundred entries a size from disk, and returns ErrTampered if they are not what this
// log signed.
func (l *Log) Consistency(from int64, also ...int64) (Consistency, error) {
	return l.consistency(l.signedView(), from, also)
}

func (l *Log) consistency(v signedView, from int64, also []int64) (Consistency, error) {
	if from < 0 {
		return Consistency{}, fmt.Errorf("%w: consistency with %d entries", ErrNoEntry, from)
	}
	c := Consistency{Key: l.verifierKey, Checkpoint: v.Signed, From: from, Also: []Beginning{}}
	var err error
	if c.Origin, err = l.signOrigin(v.Checkpoint); err != nil {
		return Consistency{}, err
	}
	r := newHashReader(l.dir, v.Size, v.index)
	if c.Proof, err = v.beginning(r, from); err != nil {
		return Consistency{}, err
	}
	for _, size := range also[:min(len(also), MaxAlso)] {
		proof, err := v.beginning(r, max(size, 0))
		if err != nil {
			return Consistency{}, err
		}
		c.Also = append(c.Also, Beginning{size, proof})
	}
	return c, nil
}

// beginning proves that the first from entries are the view's beginning; empty where there is
// nothing to prove.
func (v signedView) beginning(r *hashReader, from int64) (tlog.TreeProof, error) {
	if from == 0 || from >= v.Size {
		return tlog.TreeProof{}, nil
	}
	old, err := tlog.TreeHash(from, r)
	var proof tlog.TreeProof
	if err == nil {
		proof, err = tlog.ProveTree(v.Size, from, r)
	}
	if err != nil {
		return nil, fmt.Errorf("audit: consistency: %w", err)
	}
	// What is on disk may have been changed behind our back since we opened it.
	if err := tlog.CheckTree(proof, v.Size, v.Root, from, old); err != nil {
		return nil, fmt.Errorf("%w: the entries on disk are not the ones that were signed", ErrTampered)
	}
	return proof, nil
}

// Compare proves that a checkpoint that a witness has seen is a state of this log. Errors: ErrSplit
// if this log's key signed it and it is none; ErrTampered if it is not signed by this log's key, or
// the entries on disk are not the signed ones; the disk's.
func (l *Log) Compare(signed string) (Checkpoint, error) {
	c, err := ParseCheckpoint(signed, l.verifierKey)
	if err != nil {
		return c, err
	}
	v := l.signedView()
	if c.Size == 0 {
		return c, nil
	}
	if c.Size > v.Size {
		return c, fmt.Errorf("%w: %d entries were signed, and this log has %d", ErrSplit, c.Size, v.Size)
	}
	root := v.Root
	if c.Size < v.Size {
		r := newHashReader(l.dir, v.Size, v.index)
		if root, err = tlog.TreeHash(c.Size, r); err != nil {
			return c, fmt.Errorf("audit: compare: %w", err)
		}
		if _, err := v.beginning(r, c.Size); err != nil {
			return c, err
		}
	}
	if root != c.Root {
		return c, fmt.Errorf("%w: another root is signed for the first %d entries than this log has", ErrSplit, c.Size)
	}
	return c, nil
}

// Inclusion is an entry with the proof that it is in the log. It returns ErrNoEntry for one that is
// not signed (yet).
func (l *Log) Inclusion(seq int64) (Inclusion, error) { return prove(l.dir, l.signedView(), seq) }

func (l *Log) signedView() signedView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

func prove(dir string, v signedView, seq int64) (Inclusion, error) {
	if seq < 0 || seq >= v.Size {
		return Inclusion{}, fmt.Errorf("%w: %d of %d", ErrNoEntry, seq, v.Size)
	}
	r := newHashReader(dir, v.Size, v.index)
	line, err := r.line(seq)
	if err != nil {
		return Inclusion{}, err
	}
	p := Inclusion{Checkpoint: v.Signed, Seq: seq, Entry: string(line)}
	if p.Proof, err = tlog.ProveRecord(v.Size, seq, r); err != nil {
		return Inclusion{}, fmt.Errorf("audit: inclusion: %w", err)
	}
	if err := tlog.CheckRecord(p.Proof, v.Size, v.Root, seq, tlog.RecordHash(line)); err != nil {
		return Inclusion{}, fmt.Errorf("%w: the entries on disk are not the ones that were signed", ErrTampered)
	}
	return p, nil
}

// Prove is Log.Inclusion for a log that need not be open, from its folder.
func Prove(dir, verifierKey string, seq int64) (Inclusion, error) {
	s, err := scan(dir, verifierKey, nil)
	if err != nil {
		return Inclusion{}, err
	}
	return prove(dir, s.view, seq)
}
