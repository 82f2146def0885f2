package store

import (
	"context"
	"database/sql"
)

// OldDirectory opens a directory as it was before the ThingSpeak step.
func OldDirectory(ctx context.Context, path string) (*sql.DB, error) {
	for i, step := range directorySteps {
		if step == thingspeakStep {
			return openFile(ctx, path, directorySteps[:i], 1, "")
		}
	}
	panic("no such step")
}

// NewDirectory opens a directory alone, as this program writes it.
func NewDirectory(ctx context.Context, path string) (*sql.DB, error) {
	return openFile(ctx, path, directorySteps, 1, "")
}

// PartitionsOpen is how many days' files are open.
func (s *Store) PartitionsOpen() int {
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	return len(s.parts.open)
}

// RecodeCell decodes a trend and encodes it again.
func RecodeCell(b []byte) ([]byte, error) {
	var c cell
	if err := c.decode(b); err != nil {
		return nil, err
	}
	return c.encode(), nil
}
