package audit

import (
	"context"
	"errors"

	"golang.org/x/mod/sumdb/note"

	"vitalseal/internal/lab/weaken"
)

// openNote believes a signature because there is one.
func openNote(b []byte, v note.Verifier) (*note.Note, error) {
	if !weaken.Skip(weaken.AuditSign) {
		return strictOpenNote(b, v)
	}
	_, err := note.Open(b, note.VerifierList())
	var un *note.UnverifiedNoteError
	if !errors.As(err, &un) {
		return nil, err
	}
	un.Note.Sigs, un.Note.UnverifiedSigs = un.Note.UnverifiedSigs, nil
	return un.Note, nil
}

// check believes that the statement continues before.
func (c Consistency) check(before Checkpoint, verifierKey string) (Checkpoint, error) {
	if weaken.Skip(weaken.Witness) {
		now, _ := ParseCheckpoint(c.Checkpoint, verifierKey)
		return now, nil
	}
	return c.strictCheck(before, verifierKey)
}

// checkOrigin believes every origin.
func checkOrigin(signed, verifierKey string, c Checkpoint, name string) error {
	if weaken.Skip(weaken.Witness) || weaken.Skip(weaken.LogOwner) {
		return nil
	}
	return strictCheckOrigin(signed, verifierKey, c, name)
}

// Heard passes over what others saw.
func (w *Witness) Heard(s Sighting) error {
	if weaken.Skip(weaken.Gossip) {
		return nil
	}
	return w.strictHeard(s)
}

// compare compares nothing.
func (w *Witness) compare(c Consistency, now Checkpoint) error {
	if weaken.Skip(weaken.Gossip) {
		return nil
	}
	return w.strictCompare(c, now)
}

// take passes over what a witness hands in.
func (x *Exchange) take(ctx context.Context, witness string, seen []Sighting) {
	if !weaken.Skip(weaken.Gossip) {
		x.strictTake(ctx, witness, seen)
	}
}

// pass passes nothing on.
func (x *Exchange) pass(seen []Sighting) []Sighting {
	if weaken.Skip(weaken.Gossip) {
		return nil
	}
	return x.strictPass(seen)
}
