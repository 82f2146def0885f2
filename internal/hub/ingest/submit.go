package ingest

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
)

// ErrEntry means an entry for a channel is malformed or too large; the text names the field.
var ErrEntry = errors.New("ingest: bad entry")

// maxField bounds a field or the status of a channel entry in bytes, as ThingSpeak does.
const maxField = 255

// Submit takes in an entry of a free channel, as a face received it; it returns with the entry's number once it is
// durable. The grant is the decision for access.WriteChannel on that channel, already audited; the store checks it.
// Errors: ErrEntry, and the store's.
func (s *Server) Submit(ctx context.Context, g access.Grant, channelID int64, e channel.Entry) (channel.Entry, error) {
	if err := checkEntry(e); err != nil {
		return channel.Entry{}, err
	}
	got, err := s.c.Store.AppendEntry(ctx, g, channelID, e)
	if err != nil {
		return channel.Entry{}, fmt.Errorf("ingest: submit: %w", err)
	}
	return got, nil
}

// SubmitAll is Submit for several entries at once, all or none; a Created that is given is unique in its channel, as
// store.AppendEntries says.
func (s *Server) SubmitAll(ctx context.Context, g access.Grant, channelID int64, entries []channel.Entry) ([]channel.Entry, error) {
	for i, e := range entries {
		if err := checkEntry(e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	got, err := s.c.Store.AppendEntries(ctx, g, channelID, entries)
	if err != nil {
		return nil, fmt.Errorf("ingest: submit: %w", err)
	}
	return got, nil
}

func checkEntry(e channel.Entry) error {
	empty := e.Status == ""
	for i, f := range e.Fields {
		if f == nil {
			continue
		}
		empty = false
		if len(*f) > maxField || !utf8.ValidString(*f) {
			return fmt.Errorf("%w: field%d must be UTF-8 of at most %d bytes", ErrEntry, i+1, maxField)
		}
	}
	if len(e.Status) > maxField || !utf8.ValidString(e.Status) {
		return fmt.Errorf("%w: status must be UTF-8 of at most %d bytes", ErrEntry, maxField)
	}
	if empty {
		return fmt.Errorf("%w: it has neither a field nor a status", ErrEntry)
	}
	return nil
}
