package store

import (
	"context"
	"database/sql"
	"slices"
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

// SweepTries drops the counts that are over, and those of most logins of no person.
func (s *Store) SweepTries(ctx context.Context, most int) error { return s.sweepTries(ctx, most) }

// ExecDirectory changes the directory below the store's own methods.
func ExecDirectory(ctx context.Context, s *Store, query string, args ...any) error {
	_, err := s.db.ExecContext(ctx, query, args...)
	return err
}

// PartitionsOpen is how many days' files are open.
func (s *Store) PartitionsOpen() int {
	return s.days.FilesOpen()
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
	return func(o *options) { o.archive.CompactEvery, o.archive.Settled = every, -time.Hour }
}

// WithMaxWaiting bounds the chunks of one sensor that wait.
func WithMaxWaiting(n int64) Option { return func(o *options) { o.archive.MaxWaiting = n } }

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
	n, err := s.days.Recent(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Forwarded has a patient's channel forwarded in plain text with the patient's consent, without asking.
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
	if err := s.db.ensureKey(ctx, envelopeKey(c.ID, id)); err != nil {
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
func OnServer(f func(query string)) { onServer = f }

// NewApart opens a file of entries and commands alone, as this program writes it.
func NewApart(ctx context.Context, dir string) (*sql.DB, error) { return openApart(ctx, dir, 1) }

// NewPartition opens a file of a day alone, as this program writes it.
func NewPartition(ctx context.Context, path string) (*sql.DB, error) {
	return openFile(ctx, path, partitionSteps, 1, "")
}

// DirectoryBeforeApart opens a directory that holds entries and commands itself.
func DirectoryBeforeApart(ctx context.Context, path string) (*sql.DB, error) {
	return openFile(ctx, path, directorySteps[:slices.Index(directorySteps, apartStep)], 1, "")
}

// ServerApartVersion is how many steps a database in PostgreSQL has seen before that.
func ServerApartVersion() int {
	return slices.IndexFunc(postgresSteps, func(s step) bool { return s.down == pgApartBack })
}

// Urgently runs f as a revocation.
func (s *Store) Urgently(ctx context.Context, f func() error) error {
	return s.db.urgently(ctx, func(context.Context, *sql.Tx) error { return f() })
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
		if err := s.sweepAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.db.isShared() {
		return 0, 0
	}
	if err := s.giveBack(t.Context()); err != nil {
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
func Dollars(query string) string { return dollars(query) }

// OpenMoves is how many moves of readings are not finished.
func (s *Store) OpenMoves(ctx context.Context) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM moves WHERE done IS NULL").Scan(&n)
	return n, err
}

// AsVersion1 writes a patient's sums of the day as hubs before version 2 did: all sensors in one,
// and what is asserted among what was measured.
func AsVersion1(ctx context.Context, s *Store, patient string, at time.Time) (changed int, err error) {
	key, err := s.db.key(ctx, patientKey(patient))
	if err != nil {
		return 0, err
	}
	name := partitionOf(at)
	d, err := s.days.open(ctx, name)
	if err != nil {
		return 0, err
	}
	defer d.release()
	var subject int64
	if err := d.reader().QueryRowContext(ctx, "SELECT id FROM subjects WHERE name = ?", patient).Scan(&subject); err != nil {
		return 0, err
	}
	old := map[slotKey]*cell{}
	err = each(ctx, d.reader(), "SELECT minutes, slot, sealed FROM "+d.table("sums")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var k slotKey
		var sealed sql.RawBytes
		if err := rows.Scan(&k.minutes, &k.slot, &sealed); err != nil {
			return err
		}
		c := new(cell)
		if err := openCell(c, key, sealed, sumData(patient, name, k)); err != nil {
			return err
		}
		all := c.total()
		for i, a := range all.asserted {
			all.measured[i].merge(a)
			all.asserted[i] = aggregate{}
		}
		old[k] = &cell{sources: []sourceSums{all}}
		return nil
	}, subject)
	if err != nil {
		return 0, err
	}
	return len(old), s.days.change(ctx, d, func(tx *sql.Tx) error {
		for k, c := range old {
			if _, err := tx.ExecContext(ctx, "UPDATE "+d.table("sums")+" SET sealed = ? WHERE subject = ? AND minutes = ? AND slot = ?",
				key.Seal(c.encode(), sumData(patient, name, k)), subject, k.minutes, k.slot); err != nil {
				return err
			}
		}
		return nil
	})
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
	give, err := s.db.takeTurn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return give
}

// TurnsWaiting is how many writers of the directory wait.
func (s *Store) TurnsWaiting() int { return s.db.turnsWaiting() }
