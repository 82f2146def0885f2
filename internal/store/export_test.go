package store

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/access"
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
	return len(s.parts.files)
}

// RecodeCell decodes a trend and encodes it again.
func RecodeCell(b []byte) ([]byte, error) {
	var c cell
	if err := c.decode(b); err != nil {
		return nil, err
	}
	return c.encode(), nil
}

// OnDisk puts a registered VFS below all databases that are opened from now on.
func OnDisk(name string) { onDisk = "&vfs=" + name }

// OnRealDisk ends it.
func OnRealDisk() { onDisk = "" }

// WithCompaction makes the compaction look so often, and not wait for more.
func WithCompaction(every time.Duration) Option {
	return func(o *options) { o.compactEvery, o.settled = every, -time.Hour }
}

// WithMaxWaiting bounds the chunks of one sensor that wait.
func WithMaxWaiting(n int64) Option { return func(o *options) { o.maxWaiting = n } }

// FirstPartitionStep makes those tables of the first schema that a later one took away.
func FirstPartitionStep() string {
	step := strings.ReplaceAll(partitionSteps[0], "CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
	return step
}

// WrappedKey is a patient's key as the file has it.
func (s *Store) WrappedKey(t *testing.T, patient string) (b []byte) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), "SELECT wrapped FROM keys WHERE name = ?", patientKey(patient)).Scan(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

// RecentChunks is how many of a day's chunks are in no block yet.
func (s *Store) RecentChunks(t *testing.T, day string) int {
	t.Helper()
	part, err := s.parts.acquire(t.Context(), day, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.parts.release(part)
	return part.recentCount()
}

// Forwarded has a patient's channel forwarded in plain text with the patient's consent, without asking anybody.
func (s *Store) Forwarded(t *testing.T, patient string) (id KeyID) {
	t.Helper()
	ctx := t.Context()
	c, err := s.ChannelOf(ctx, patient)
	if err != nil {
		t.Fatal(err)
	}
	person, err := s.CreatePerson(ctx, access.Person{Login: "asks-for-" + patient, DisplayName: "N", Role: access.RoleDoctor}, "hash")
	if err != nil {
		t.Fatal(err)
	}
	copy(id[:], patient[len(patient)-8:])
	if err := s.ensureKey(ctx, envelopeKey(c.ID, id)); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"INSERT INTO sinks (channel, server, remote, mode, sealed_key, envelope_key, requested_by, requested, cursor) VALUES (?1, 's', 1, 'plain', ?2, ?2, ?3, 0, 0)",
		"INSERT INTO cloud_consents (patient, person, given) SELECT patient, ?3, 1 FROM channels WHERE id = ?1 AND length(?2) > 0",
	} {
		if _, err := s.db.ExecContext(ctx, q, c.ID, id[:], person); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// Dollars spells a query's placeholders for PostgreSQL.
func Dollars(query string) string { return dollars(query) }
