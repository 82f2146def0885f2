package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// OldDirectory opens a directory as it was before the ThingSpeak step.
func OldDirectory(ctx context.Context, path string) (*sql.DB, error) {
	for i, step := range directorySteps {
		if step == channel.ThingspeakStep {
			return sealdb.OpenFile(ctx, path, directorySteps[:i], 1, "")
		}
	}
	panic("no such step")
}

// NewDirectory opens a directory alone, as this program writes it.
func NewDirectory(ctx context.Context, path string) (*sql.DB, error) {
	return sealdb.OpenFile(ctx, path, directorySteps, 1, "")
}

// ExecDirectory changes the directory below the store's own methods.
func ExecDirectory(ctx context.Context, s *Store, query string, args ...any) error {
	_, err := s.db.ExecContext(ctx, query, args...)
	return err
}

// PartitionsOpen is how many days' files are open.
func (s *Store) PartitionsOpen() int {
	return s.days.FilesOpen()
}

// OnDisk puts a registered VFS below all databases that are opened from now on.
func OnDisk(name string) { sealdb.OnDisk = "&vfs=" + name }

// OnRealDisk ends it.
func OnRealDisk() { sealdb.OnDisk = "" }

// WithCompaction makes the compaction look so often, and not wait for more.
func WithCompaction(every time.Duration) Option {
	return func(o *options) { o.archive.CompactEvery, o.archive.Settled = every, -time.Hour }
}

// WithMaxWaiting bounds the chunks of one sensor that wait.
func WithMaxWaiting(n int64) Option { return func(o *options) { o.archive.MaxWaiting = n } }

// FirstPartitionStep makes those tables of the first schema that a later one took away.
func FirstPartitionStep() string {
	step := strings.ReplaceAll(days.PartitionSteps[0], "CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
	return step
}

// WrappedKey is a patient's key as the file has it.
func (s *Store) WrappedKey(t *testing.T, patient string) (b []byte) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), "SELECT wrapped FROM keys WHERE name = ?", sealdb.PatientKey(patient)).Scan(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

// RecentChunks is how many of a day's chunks are in no block yet.
func (s *Store) RecentChunks(t *testing.T, day string) int {
	t.Helper()
	n, err := s.days.Recent(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Forwarded has a patient's channel forwarded in plain text with the patient's consent, without asking.
func (s *Store) Forwarded(t *testing.T, patient string) (id channel.KeyID) {
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
	if err := s.db.EnsureKey(ctx, channel.EnvelopeKey(c.ID, id)); err != nil {
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

// OnServer is told every query to PostgreSQL from now on.
func OnServer(f func(query string)) { sealdb.OnServer = f }

// NewApart opens a file of entries and commands alone, as this program writes it.
func NewApart(ctx context.Context, dir string) (*sql.DB, error) {
	return channel.OpenApart(ctx, dir, 1)
}

// NewPartition opens a file of a day alone, as this program writes it.
func NewPartition(ctx context.Context, path string) (*sql.DB, error) {
	return sealdb.OpenFile(ctx, path, days.PartitionSteps, 1, "")
}

// DirectoryBeforeApart opens a directory that holds entries and commands itself.
func DirectoryBeforeApart(ctx context.Context, path string) (*sql.DB, error) {
	return sealdb.OpenFile(ctx, path, directorySteps[:slices.Index(directorySteps, channel.ApartStep)], 1, "")
}

// ServerApartVersion is how many steps a database in PostgreSQL has seen before that.
func ServerApartVersion() int {
	return slices.IndexFunc(postgresSteps, func(s sealdb.Step) bool { return s.Down == channel.PgApartBack })
}

// Urgently runs f as a revocation.
func (s *Store) Urgently(ctx context.Context, f func() error) error {
	return s.db.Urgently(ctx, func(context.Context, *sql.Tx) error { return f() })
}

// Swept waits until nothing is to be swept, and gives the pages that are free in channels.db and their number in all.
func (s *Store) Swept(t testing.TB) (free, all int64) {
	t.Helper()
	for {
		var n int
		if err := s.Registry.File().QueryRowContext(t.Context(), "SELECT count(*) FROM sweeps").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if err := s.SweepAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.db.IsShared() {
		return 0, 0
	}
	if err := s.GiveBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for q, to := range map[string]*int64{"PRAGMA freelist_count": &free, "PRAGMA page_count": &all} {
		if err := s.Registry.File().QueryRowContext(t.Context(), q).Scan(to); err != nil {
			t.Fatal(err)
		}
	}
	return free, all
}

// Dollars spells a query's placeholders for PostgreSQL.
func Dollars(query string) string { return sealdb.Dollars(query) }

// OpenMoves is how many moves of readings are not finished.
func (s *Store) OpenMoves(ctx context.Context) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM moves WHERE done IS NULL").Scan(&n)
	return n, err
}

// WithFailingWrites has what stores chunks and entries ask f first.
func WithFailingWrites(f func() error) Option { return func(o *options) { o.writeFails = f } }

// OnHeld has f told how long each write transaction was open, of the directory or of what lies apart.
func (s *Store) OnHeld(f func(apart bool, d time.Duration)) {
	s.db.OnHeld(func(d time.Duration) { f(false, d) })
	s.Registry.OnHeld(func(d time.Duration) { f(true, d) })
}

// TakeTurn holds the directory, as a writer does, until give.
func (s *Store) TakeTurn(t *testing.T) (give func()) {
	t.Helper()
	give, err := s.db.TakeTurn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return give
}

// TurnsWaiting is how many writers of the directory wait.
func (s *Store) TurnsWaiting() int { return s.db.TurnsWaiting() }
