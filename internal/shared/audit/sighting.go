package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"vitalseal/internal/shared/form"
)

const (
	// MaxSightings is how many sightings one message holds.
	MaxSightings = 16
	// MaxAlso is how many further sizes one statement proves.
	MaxAlso = 8
	// MaxAsk bounds the JSON form of an Ask, in bytes.
	MaxAsk = 20 << 10

	maxHubName = 128
	maxKey     = 256
	maxSighted = 1 << 10 // a signed checkpoint has some 200 bytes
)

var (
	// ErrSplit means that a log's owner has signed two states that are not of one log: one was
	// shown to some witnesses, the other to others. It is an ErrInconsistent.
	ErrSplit = fmt.Errorf("%w: two views of one log", ErrInconsistent)
	// ErrAsk means that a message of a witness is malformed or out of bounds.
	ErrAsk = errors.New("audit: not a message of a witness")
)

// Sighting is a checkpoint as a witness has seen it, for others to compare with what they saw. It
// proves itself by the log's key. Its JSON form is the wire format.
type Sighting struct {
	Hub        string `json:"hub"` // the name of the hub whose log it is
	Key        string `json:"key"` // the log's verifier key
	Checkpoint string `json:"checkpoint"`
}

func (s Sighting) fits() bool {
	return hubName(s.Hub) && s.Key != "" && len(s.Key) <= maxKey && s.Checkpoint != "" && len(s.Checkpoint) <= maxSighted
}

// hubName reports whether a name may be a hub's: a SPIFFE path segment that is a file name as well.
func hubName(name string) bool {
	return name != "" && len(name) <= maxHubName && name != "." && name != ".." &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// Ask is what a witness says to a hub when it asks for a statement about the hub's log. Its JSON
// form is the wire format. The zero Ask asks for all of the log and has seen nothing.
type Ask struct {
	From int64 `json:"from"` // entries that the witness remembers
	// Also are sizes of the same log that others have seen: the statement is to prove that each is
	// a beginning of it too.
	Also []int64 `json:"also,omitempty"`
	// Seen is what the witness has seen, of this hub's log and of others'.
	Seen []Sighting `json:"seen,omitempty"`
}

// ReadAsk reads the JSON form of an Ask. Every error is ErrAsk.
func ReadAsk(b []byte) (Ask, error) {
	var a Ask
	if len(b) > MaxAsk {
		return Ask{}, fmt.Errorf("%w: %d bytes; %d are allowed", ErrAsk, len(b), MaxAsk)
	}
	if twice := form.Twice(b); twice != "" {
		return Ask{}, fmt.Errorf("%w: %s", ErrAsk, twice)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&a); err != nil || d.More() {
		return Ask{}, fmt.Errorf("%w: malformed JSON", ErrAsk)
	}
	switch {
	case a.From < 0:
		return Ask{}, fmt.Errorf("%w: from %d entries", ErrAsk, a.From)
	case len(a.Also) > MaxAlso:
		return Ask{}, fmt.Errorf("%w: %d further sizes; %d are allowed", ErrAsk, len(a.Also), MaxAlso)
	case len(a.Seen) > MaxSightings:
		return Ask{}, fmt.Errorf("%w: %d sightings; %d are allowed", ErrAsk, len(a.Seen), MaxSightings)
	}
	for _, n := range a.Also {
		if n <= 0 {
			return Ask{}, fmt.Errorf("%w: also %d entries", ErrAsk, n)
		}
	}
	for _, s := range a.Seen {
		if !s.fits() {
			return Ask{}, fmt.Errorf("%w: a sighting is out of bounds", ErrAsk)
		}
	}
	return a, nil
}

// Beginning proves that the first From entries of a log are the beginning of the checkpoint that it
// comes with.
type Beginning struct {
	From  int64          `json:"from"`
	Proof tlog.TreeProof `json:"proof"` // empty when From is the checkpoint's size, or beyond it
}

// continues proves that now continues before, by a proof from before's size.
func (now Checkpoint) continues(before Checkpoint, proof tlog.TreeProof) error {
	switch {
	case now.Size < before.Size:
		return fmt.Errorf("the log has %d entries, and %d were signed before", now.Size, before.Size)
	case before.Size == 0 || now.Size == before.Size && now.Root == before.Root:
		return nil
	case now.Size == before.Size:
		return fmt.Errorf("two different roots are signed for the same %d entries", now.Size)
	}
	if err := tlog.CheckTree(proof, now.Size, now.Root, before.Size, before.Root); err != nil {
		return fmt.Errorf("the first %d of %d entries are not those that were signed before", before.Size, now.Size)
	}
	return nil
}
