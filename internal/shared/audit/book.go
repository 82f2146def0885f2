package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vitalseal/internal/shared/form"
)

const (
	bookSuffix  = ".hub"
	splitSuffix = ".split"
	bookVersion = 1
	maxBook     = 8 << 10
)

// book is what a witness remembers of a log beside its checkpoint, in FILE.hub: whose it is. Its
// JSON form is the file.
type book struct {
	Version int    `json:"version"`
	Hub     string `json:"hub"` // the hub's name
	Key     string `json:"key"` // the log's verifier key
	// Origin is the signed note by which the log named its hub; empty until it has.
	Origin string `json:"origin,omitempty"`
	// Compares says that the hub has proven what others saw: a hub that stops doing so is no older
	// version.
	Compares bool `json:"compares,omitempty"`
}

// parseBook reads a book and checks the signature in it.
func parseBook(b []byte) (out book, err error) {
	if len(b) > maxBook {
		return book{}, errors.New("not what a witness remembers of a log")
	}
	if twice := form.Twice(b); twice != "" { // which of two keys counted would be chance
		return book{}, errors.New("what a witness remembers of a log is not clear: " + twice)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil || d.More() {
		return book{}, errors.New("not what a witness remembers of a log")
	}
	if out.Version != bookVersion {
		return book{}, fmt.Errorf("version %d of what a witness remembers; this program knows version %d", out.Version, bookVersion)
	}
	if !hubName(out.Hub) || out.Key == "" || len(out.Key) > maxKey {
		return book{}, errors.New("it does not say whose log it is of")
	}
	v, err := newVerifier(out.Key)
	if err != nil || out.Origin == "" {
		return out, err
	}
	n, err := note.Open([]byte(out.Origin), note.VerifierList(v))
	if err != nil {
		return book{}, errors.New("its origin is not signed by the log's key")
	}
	if lines := strings.Split(n.Text, "\n"); len(lines) != 5 || lines[0] != originLine || !strings.HasSuffix(lines[1], "/hub/"+out.Hub) {
		return book{}, errors.New("its origin is another hub's")
	}
	return out, nil
}

// readBounded reads a whole file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) // #nosec G304 -- the witness's own file
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}

// readBook reads the book beside a witness's file; a missing one is os.ErrNotExist.
func readBook(path string) (book, error) {
	b, err := readBounded(path+bookSuffix, maxBook)
	if err != nil {
		return book{}, fmt.Errorf("audit: witness: %w", err)
	}
	out, err := parseBook(b)
	if err != nil {
		return book{}, fmt.Errorf("audit: witness: %s is damaged: %w", path+bookSuffix, err)
	}
	return out, nil
}

// keep puts the book on disk if it is not what is there.
func (w *Witness) keep(b book) error {
	if b == w.book {
		return nil
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err == nil {
		err = replaceFile(w.path+bookSuffix, append(text, '\n'), (*os.File).Sync)
	}
	if err != nil {
		return fmt.Errorf("audit: witness: %w", err)
	}
	w.book = b
	return nil
}

// owners says which hub each key's log is of. It is safe for concurrent use; a nil one knows
// nothing.
type owners struct {
	mu  sync.Mutex // guards hub
	hub map[string]string
}

// claim makes a key the log of the hub called name, unless it is another hub's already.
func (o *owners) claim(key, name string) error {
	if o == nil || key == "" || name == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	//defence:log-owner a log belongs to one hub
	//defence:witness a later log must contain the earlier one
	if has, ok := o.hub[key]; ok && has != name {
		return fmt.Errorf("%w: this log is that of the hub %q, and was shown as that of the hub %q", ErrInconsistent, has, name)
	}
	o.hub[key] = name
	return nil
}

// Split is the evidence of two views of one log, as a file keeps it: with it and the log's key a
// reader needs nothing else to see that both were signed, and with the log that at most one of them
// is of it.
type Split struct {
	Version int       `json:"version"`
	Hub     string    `json:"hub"`
	Found   time.Time `json:"found"`
	What    string    `json:"what"` // in words
	Key     string    `json:"key"`
	Ours    string    `json:"ours"`              // the signed checkpoint that this witness, or the log itself, has
	Theirs  string    `json:"theirs"`            // the signed checkpoint that contradicts it
	Another string    `json:"another,omitempty"` // the key of Theirs, if it is another
}

// keepSplit writes evidence once: the first contradiction is the one to look at.
func keepSplit(path string, s Split) error {
	s.Version = bookVersion
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("audit: evidence: %w", err)
	}
	return keepFirst(path, append(b, '\n'))
}

// ReadSplit reads evidence as a file keeps it, and checks that both checkpoints are signed. A
// missing file is os.ErrNotExist.
func ReadSplit(path string) (Split, error) {
	var s Split
	b, err := readBounded(path, 4*maxSighted+maxBook)
	if err != nil {
		return s, fmt.Errorf("audit: evidence: %w", err)
	}
	if twice := form.Twice(b); twice != "" {
		return Split{}, fmt.Errorf("audit: evidence: %s is not clear: %s", path, twice)
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Version != bookVersion {
		return Split{}, fmt.Errorf("audit: evidence: %s is damaged", path)
	}
	theirs := s.Key
	if s.Another != "" {
		theirs = s.Another
	}
	_, first := ParseCheckpoint(s.Ours, s.Key)
	_, second := ParseCheckpoint(s.Theirs, theirs)
	if err := errors.Join(first, second); err != nil {
		return Split{}, fmt.Errorf("audit: evidence: %s: %w", path, err)
	}
	return s, nil
}
