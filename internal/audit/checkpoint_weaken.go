//go:build weaken

package audit

import (
	"errors"

	"golang.org/x/mod/sumdb/note"
)

// unverified believes a signature because there is one.
func unverified(b []byte) (*note.Note, error) {
	_, err := note.Open(b, note.VerifierList())
	var un *note.UnverifiedNoteError
	if !errors.As(err, &un) {
		return nil, err
	}
	un.Note.Sigs, un.Note.UnverifiedSigs = un.Note.UnverifiedSigs, nil
	return un.Note, nil
}
