package ingest

import (
	"context"
	"fmt"
	"unicode/utf8"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

// maxField bounds a field or the status of a channel entry in bytes, as ThingSpeak does.
const maxField = 255

// Submit takes in an entry of a free channel, as a face received it; it returns with the entry's number once it is
// durable. The grant is the decision for access.WriteChannel on that channel, already audited; the store checks it.
// Errors: ErrEntry, and the store's.
func (s *Server) Submit(ctx context.Context, g access.Grant, channel int64, e store.Entry) (store.Entry, error) {
	empty := e.Status == ""
	for i, f := range e.Fields {
		if f == nil {
			continue
		}
		empty = false
		if len(*f) > maxField || !utf8.ValidString(*f) {
			return store.Entry{}, fmt.Errorf("%w: field%d must be UTF-8 of at most %d bytes", ErrEntry, i+1, maxField)
		}
	}
	if len(e.Status) > maxField || !utf8.ValidString(e.Status) {
		return store.Entry{}, fmt.Errorf("%w: status must be UTF-8 of at most %d bytes", ErrEntry, maxField)
	}
	if empty {
		return store.Entry{}, fmt.Errorf("%w: it has neither a field nor a status", ErrEntry)
	}
	got, err := s.c.Store.AppendEntry(ctx, g, channel, e)
	if err != nil {
		return store.Entry{}, fmt.Errorf("ingest: submit: %w", err)
	}
	return got, nil
}
