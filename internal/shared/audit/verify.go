package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Summary is what Verify found.
type Summary struct {
	Entries     int64     `json:"entries"`
	Signed      int64     `json:"signed"` // of them, covered by the checkpoint
	Refused     int64     `json:"refused"`
	Undecided   int64     `json:"undecided"` // not decided: no refusals
	First, Last time.Time `json:"-"`         // of the first and the last entry; zero for an empty log
	Root        string    `json:"root"`
	KeyName     string    `json:"key_name"`
	KeyHash     string    `json:"key_hash"` // hexadecimal, as in the key itself
	Witnesses   int       `json:"witnesses"`
}

// Verify proves offline that the log in dir is whole: every entry readable, numbered without a
// hole, and the whole sequence what the owner of verifierKey signed; and that it continues each of
// the checkpoints that witnesses remember. The error is nil, ErrTampered (with what and where), or
// ErrUnsigned. A log that is being written may be verified too.
func Verify(dir, verifierKey string, witnesses ...Checkpoint) (Summary, error) {
	// While the log is being written, entries run ahead of the checkpoint. So it is enough that a
	// later checkpoint covers all that the first look saw.
	seen := int64(-1)
	for try := 0; ; try++ {
		s, err := scan(dir, verifierKey, witnesses)
		if err != nil {
			return Summary{}, err
		}
		if s.Entries == s.Signed && s.torn == 0 || seen >= 0 && s.Signed >= seen {
			return s.Summary, nil
		}
		if try == 5 {
			return s.Summary, fmt.Errorf("%w: %d entries and %d more bytes after the %d signed ones", ErrUnsigned, s.Entries-s.Signed, s.torn, s.Signed)
		}
		if seen < 0 {
			if seen = s.Entries; s.torn > 0 {
				seen++
			}
		}
		time.Sleep(checkpointEvery)
	}
}

// Holds reports whether there is anything of a log in dir: a checkpoint or a file of entries. It is
// false where dir is no folder.
func Holds(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, checkpointName)); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err == nil
	}
	found, err := listSegments(dir)
	return len(found) > 0 || errors.Is(err, ErrTampered)
}

// scanned is a log as found on disk.
type scanned struct {
	Summary
	torn int64      // bytes after the last entry
	view signedView // as far as it is signed
}

// scan reads and checks a whole log.
func scan(dir, verifierKey string, witnesses []Checkpoint) (s scanned, err error) {
	verifier, err := newVerifier(verifierKey)
	if err != nil {
		return s, err
	}
	signed, err := readCheckpoint(dir, verifierKey)
	if err != nil {
		return s, err
	}
	var x index
	// roots are those that the log must have had at some size.
	roots := map[int64]tlog.Hash{signed.Size: signed.Root}
	for _, w := range witnesses {
		if have, ok := roots[w.Size]; ok && have != w.Root {
			return s, fmt.Errorf("%w: at %d entries a witness saw another log", ErrTampered, w.Size)
		}
		roots[w.Size] = w.Root
	}
	if want, ok := roots[0]; ok && want != x.root() {
		return s, fmt.Errorf("%w: the checkpoint's root does not fit an empty log", ErrTampered)
	}
	s.view.Checkpoint = signed
	s.Summary = Summary{Signed: signed.Size, Root: signed.Root.String(), KeyName: verifier.Name(),
		KeyHash: fmt.Sprintf("%08x", verifier.KeyHash()), Witnesses: len(witnesses)}
	s.torn, err = eachEntry(dir, func(e Entry, line []byte, at place) error {
		x.add(line, at)
		s.Last = e.Time
		if x.size == 1 {
			s.First = e.Time
		}
		switch e.answer() {
		case Refused:
			s.Refused += e.times()
		case Undecided:
			s.Undecided += e.times()
		}
		//defence:audit-tree the entries are those that were signed and witnessed
		if want, ok := roots[x.size]; ok && want != x.root() {
			if x.size == signed.Size {
				return fmt.Errorf("%w: the first %d entries do not have the signed root", ErrTampered, x.size)
			}
			return fmt.Errorf("%w: the first %d entries are not the ones that a witness saw", ErrTampered, x.size)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	s.Entries, s.view.index = x.size, x
	for size := range roots {
		//defence:audit-tree all that was signed is there
		if x.size < size && size == signed.Size {
			return s, fmt.Errorf("%w: %d entries of the %d signed", ErrTampered, x.size, size)
		}
		//defence:audit-tree all that a witness saw is there
		if signed.Size < size {
			return s, fmt.Errorf("%w: it was rolled back: %d entries are signed, a witness saw %d", ErrTampered, signed.Size, size)
		}
	}
	return s, nil
}

// eachEntry visits the entries of a log in order and strictly, each with its line and where that
// starts. It returns how many bytes of a torn tail follow the last.
func eachEntry(dir string, visit func(e Entry, line []byte, at place) error) (torn int64, err error) {
	segments, err := listSegments(dir)
	if err != nil {
		return 0, err
	}
	seq := int64(0)
	for i, s := range segments {
		if s.first != seq {
			return 0, fmt.Errorf("%w: segment %s where entry %d was expected", ErrTampered, filepath.Base(s.path), seq)
		}
		offset := int64(0)
		_, torn, err = s.read(func(line []byte) error {
			e, err := decode(line, seq)
			if err != nil {
				return err
			}
			if err := visit(e, line, place{s.first, offset}); err != nil {
				return err
			}
			seq++
			offset += int64(len(line)) + 1
			return nil
		})
		if err != nil {
			return 0, err
		}
		if torn > 0 && i != len(segments)-1 {
			return 0, fmt.Errorf("%w: segment %s ends in the middle of an entry", ErrTampered, filepath.Base(s.path))
		}
	}
	return torn, nil
}

// Export calls visit with every entry of the log in dir, in order, and with its line as it stands
// there. It checks that each was written by a log and that none is missing in between; that they
// are unchanged is for Verify to say. It ends with the first error that visit returns.
func Export(dir string, visit func(e Entry, line []byte) error) error {
	_, err := eachEntry(dir, func(e Entry, line []byte, _ place) error { return visit(e, line) })
	return err
}

// Filter chooses entries. Its zero value chooses all.
type Filter struct {
	From, To        time.Time // From <= time < To; zero: no bound
	Person, Patient string    // ids; empty: any
	Action          string    // such as "patient:view"; empty: any
	Answer          string    // Allowed, Refused or Undecided; empty: any
}

// The answers that a Filter chooses by.
const (
	Allowed   = "allowed"
	Refused   = "refused"
	Undecided = "undecided"
)

func (e Entry) answer() string {
	switch {
	case e.Allowed:
		return Allowed
	case e.Undecided():
		return Undecided
	}
	return Refused
}

// onPatient begins the resource of what was done to a patient. Such an entry left Patient empty in
// earlier versions.
const onPatient = "patient:"

// Concerns reports whether the entry is about a patient, alone or among others.
func (e Entry) Concerns(patient string) bool {
	if e.Patient == "" && len(e.Patients) == 0 {
		return patient == "" || e.Resource == onPatient+patient
	}
	return e.Patient == patient || slices.Contains(e.Patients, patient)
}

// Match reports whether the filter chooses e.
func (f Filter) Match(e Entry) bool {
	return (f.From.IsZero() || !e.Time.Before(f.From)) && (f.To.IsZero() || e.Time.Before(f.To)) &&
		(f.Person == "" || e.Person == f.Person) && (f.Patient == "" || e.Concerns(f.Patient)) &&
		(f.Action == "" || e.Action == f.Action) && (f.Answer == "" || e.answer() == f.Answer)
}

// newVerifier reads a public key.
func newVerifier(verifierKey string) (note.Verifier, error) {
	v, err := note.NewVerifier(string(bytes.TrimSpace([]byte(verifierKey))))
	if err != nil {
		return nil, fmt.Errorf("audit: the verifier key is not one: %w", err)
	}
	return v, nil
}

// WriteInclusion writes the JSON form of a proof, for people to keep.
func WriteInclusion(w io.Writer, p Inclusion) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // the entry's line has its own escapes
	e.SetIndent("", "  ")
	return e.Encode(p)
}
