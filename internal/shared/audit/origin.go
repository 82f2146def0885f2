package audit

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// originLine is the first line of a signed origin.
const originLine = "vitalseal.internal/audit-origin/v1"

// maxOrigin bounds the name in it.
const maxOrigin = 256

// SetOrigin names the hub whose log this is, as its SPIFFE id. Every Consistency says it from then
// on, signed together with its checkpoint. It is called once, before the log is used.
func (l *Log) SetOrigin(id string) { l.origin = id[:min(len(id), maxOrigin)] }

func originText(id string, c Checkpoint) string {
	return fmt.Sprintf("%s\n%s\n%d\n%s\n", originLine, id, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// signOrigin states whose the checkpoint is; "" without SetOrigin.
func (l *Log) signOrigin(c Checkpoint) (string, error) {
	if l.origin == "" {
		return "", nil
	}
	b, err := note.Sign(&note.Note{Text: originText(l.origin, c)}, l.signer)
	if err != nil {
		return "", fmt.Errorf("audit: origin: %w", err)
	}
	return string(b), nil
}

// checkOrigin proves that a signed origin is of checkpoint c and of the hub called name.
//
//defence:log-owner a log is shown under no other hub's name
//defence:witness a later log must contain the earlier one
func checkOrigin(signed, verifierKey string, c Checkpoint, name string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: origin: %s", ErrInconsistent, fmt.Sprintf(format, args...))
	}
	v, err := newVerifier(verifierKey)
	if err != nil {
		return refuse("%v", err)
	}
	if len(signed) > maxCheckpoint {
		return refuse("more than %d bytes", maxCheckpoint)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return refuse("not signed by the log's key")
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 5 || lines[0] != originLine || originText(lines[1], c) != n.Text {
		return refuse("it is of another checkpoint")
	}
	if !strings.HasSuffix(lines[1], "/hub/"+name) {
		return refuse("the log is of %.128q, and was shown as that of the hub %q", lines[1], name)
	}
	return nil
}
