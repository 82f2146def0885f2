package directory

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

const (
	// mostStrangers bounds the counts of logins that belong to no person: some 10 MB.
	mostStrangers = 1 << 16
	// triesPerSweep is how many new counts come between two looks for those that are over.
	triesPerSweep = 64
	// triesAtOnce is how many counts one statement drops.
	triesAtOnce = 500
	// mostKnown and knownFor bound at how many workstations a person is known, and for how long without a sign-in there.
	mostKnown = 32
	knownFor  = 90 * 24 * time.Hour
	// mostNoticed bounds the workstations that a notice of failed sign-ins tells apart.
	mostNoticed = 16
)

// TriesStep is the part of the directory's schema about failed sign-ins. What is counted says nothing about patients, places or
// rights, so that it wakes no hub's memory of the directory.
const TriesStep = `
CREATE TABLE tries (
  name TEXT PRIMARY KEY, failures INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL, told INTEGER NOT NULL,
  person TEXT NOT NULL, stranger INTEGER NOT NULL, gone INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tries_by_end ON tries (stranger, gone);
CREATE TABLE known_workstations (
  person TEXT NOT NULL REFERENCES persons(id), workstation TEXT NOT NULL, used INTEGER NOT NULL,
  PRIMARY KEY (person, workstation)) WITHOUT ROWID;
CREATE TABLE failed_sign_ins (
  person TEXT NOT NULL REFERENCES persons(id), session TEXT NOT NULL, workstation TEXT NOT NULL, failures INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (person, session, workstation)) WITHOUT ROWID;
INSERT INTO known_workstations SELECT person, workstation, max(started) FROM sessions GROUP BY person, workstation;
`

// PgTries is TriesStep in PostgreSQL.
const PgTries = `
CREATE TABLE tries (
  name TEXT PRIMARY KEY, failures BIGINT NOT NULL, at BIGINT NOT NULL, until BIGINT NOT NULL, told BOOLEAN NOT NULL,
  person TEXT NOT NULL, stranger BOOLEAN NOT NULL, gone BIGINT NOT NULL);
CREATE INDEX tries_by_end ON tries (stranger, gone);
CREATE TABLE known_workstations (
  person TEXT NOT NULL REFERENCES persons(id), workstation TEXT NOT NULL, used BIGINT NOT NULL, PRIMARY KEY (person, workstation));
CREATE TABLE failed_sign_ins (
  person TEXT NOT NULL REFERENCES persons(id), session TEXT NOT NULL, workstation TEXT NOT NULL, failures BIGINT NOT NULL,
  first BIGINT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (person, session, workstation));
INSERT INTO known_workstations SELECT person, workstation, max(started) FROM sessions GROUP BY person, workstation;
`

// PgTriesBack is the way back from PgTries.
const PgTriesBack = `DROP TABLE tries, known_workstations, failed_sign_ins;`

// TryCount is what is counted under a name; the zero one if nothing is.
func (s *Directory) TryCount(ctx context.Context, name string) (c access.TryCount, err error) {
	var at, until int64
	err = s.db.QueryRowContext(ctx, "SELECT failures, at, until, told, person FROM tries WHERE name = ?", name).Scan(&c.Failures, &at, &until, &c.Told, &c.Person)
	if errors.Is(err, sql.ErrNoRows) {
		return access.TryCount{}, nil
	}
	c.At, c.Until = sealdb.FromMicro(at), fromZero(until)
	return c, sealdb.Named("count of tries", err)
}

// SwapTryCount replaces was by now; access.ErrConflict if something else is there.
func (s *Directory) SwapTryCount(ctx context.Context, name string, was, now access.TryCount) error {
	if err := errors.Join(sealdb.CheckText("name of a count", name, 1, 2*sealdb.MaxID), sealdb.CheckText("person", now.Person, 0, sealdb.MaxID)); err != nil {
		return sealdb.Named("count a try", err)
	}
	var r sql.Result
	var err error
	switch {
	case now.Failures == 0:
		r, err = s.db.Statement(ctx, "DELETE FROM tries WHERE name = ? AND failures = ? AND at = ? AND until = ? AND told = ?",
			name, was.Failures, sealdb.Micro(was.At), microZero(was.Until), was.Told)
	case was.Failures == 0:
		r, err = s.db.Statement(ctx, `INSERT INTO tries (name, failures, at, until, told, person, stranger, gone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, name, now.Failures, sealdb.Micro(now.At), microZero(now.Until), now.Told, now.Person, now.Person == "", sealdb.Micro(now.Gone()))
	default:
		r, err = s.db.Statement(ctx, `UPDATE tries SET failures = ?, at = ?, until = ?, told = ?, person = ?, stranger = ?, gone = ?
			WHERE name = ? AND failures = ? AND at = ? AND until = ? AND told = ?`, now.Failures, sealdb.Micro(now.At), microZero(now.Until), now.Told,
			now.Person, now.Person == "", sealdb.Micro(now.Gone()), name, was.Failures, sealdb.Micro(was.At), microZero(was.Until), was.Told)
	}
	if err = sealdb.Affected(r, err); errors.Is(err, sealdb.ErrNotFound) {
		if was.Failures == 0 && now.Failures == 0 {
			return nil
		}
		return access.ErrConflict
	}
	if err == nil && was.Failures == 0 && s.newTries.Add(1)%triesPerSweep == 0 {
		err = s.SweepTries(ctx, mostStrangers)
	}
	return sealdb.Named("count a try", err)
}

// SweepTries drops the counts that are over, and of logins that belong to no person those that end first where there are more than most.
func (s *Directory) SweepTries(ctx context.Context, most int) error {
	for _, stranger := range []bool{false, true} {
		if err := s.sweepTriesUntil(ctx, stranger, sealdb.Micro(s.db.Now()), ""); err != nil {
			return err
		}
	}
	var gone int64
	var name string
	err := s.db.QueryRowContext(ctx, "SELECT gone, name FROM tries WHERE stranger = ? ORDER BY gone DESC, name DESC LIMIT 1 OFFSET ?", true, most).Scan(&gone, &name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.sweepTriesUntil(ctx, true, gone, name)
}

// sweepTriesUntil drops the counts that end before a moment, and those of names up to a last one that end then, or all of them if
// it is empty; a bounded number at a time.
func (s *Directory) sweepTriesUntil(ctx context.Context, stranger bool, gone int64, name string) error {
	for {
		r, err := s.db.Statement(ctx, `DELETE FROM tries WHERE name IN (SELECT name FROM tries
			WHERE stranger = ?1 AND gone <= ?2 AND (gone < ?2 OR ?3 = '' OR name <= ?3) ORDER BY gone LIMIT ?4)`, stranger, gone, name, triesAtOnce)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n < triesAtOnce {
			return err
		}
	}
}

// KnownWorkstation reports whether a person has signed in at a workstation lately.
func (s *Directory) KnownWorkstation(ctx context.Context, personID, workstation string) (known bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM known_workstations WHERE person = ? AND workstation = ? AND used > ?)",
		personID, workstation, sealdb.Micro(s.db.Now().Add(-knownFor))).Scan(&known)
	return known, sealdb.Named("known workstation", err)
}

// signedIn makes a workstation known to a person, and the failed sign-ins that no session has told of this session's.
func (s *Directory) signedIn(ctx context.Context, tx *sql.Tx, n access.Session) error {
	for _, q := range []struct {
		text string
		args []any
	}{
		{"INSERT INTO known_workstations (person, workstation, used) VALUES (?, ?, ?) ON CONFLICT (person, workstation) DO UPDATE SET used = excluded.used",
			[]any{n.PersonID, n.Workstation, sealdb.Micro(n.Started)}},
		{"DELETE FROM known_workstations WHERE person = ? AND used <= ?", []any{n.PersonID, sealdb.Micro(s.db.Now().Add(-knownFor))}},
		{`DELETE FROM known_workstations WHERE person = ?1 AND workstation IN (SELECT workstation FROM known_workstations WHERE person = ?1
			ORDER BY used DESC, workstation LIMIT 1000000 OFFSET ?2)`, []any{n.PersonID, mostKnown}},
		{"DELETE FROM failed_sign_ins WHERE person = ? AND session <> ''", []any{n.PersonID}},
		{"UPDATE failed_sign_ins SET session = ? WHERE person = ? AND session = ''", []any{n.ID, n.PersonID}},
	} {
		if _, err := tx.ExecContext(ctx, q.text, q.args...); err != nil {
			return err
		}
	}
	return nil
}

// NoteFailedSignIn counts a failed sign-in for the notice at the person's next session. Beyond mostNoticed workstations the others
// are counted together.
func (s *Directory) NoteFailedSignIn(ctx context.Context, personID, workstation string, at time.Time) error {
	if err := sealdb.CheckText("workstation", workstation, 1, sealdb.MaxID); err != nil {
		return sealdb.Named("note failed sign-in", err)
	}
	_, err := s.db.Statement(ctx, `INSERT INTO failed_sign_ins (person, session, workstation, failures, first, last)
		SELECT CAST(?1 AS TEXT), '', CASE WHEN (SELECT count(*) FROM failed_sign_ins WHERE person = ?1 AND session = '' AND workstation <> ?2) < ?3
			THEN CAST(?2 AS TEXT) ELSE '' END, 1, CAST(?4 AS BIGINT), CAST(?4 AS BIGINT) WHERE true
		ON CONFLICT (person, session, workstation) DO UPDATE SET failures = failed_sign_ins.failures + 1, last = excluded.last`,
		personID, workstation, mostNoticed, sealdb.Micro(at))
	return sealdb.Named("note failed sign-in", err)
}

// FailedSignIns are those between a session's sign-in and the one before it, the newest first. Only the newest session has them.
func (s *Directory) FailedSignIns(ctx context.Context, personID, session string) ([]access.FailedSignIn, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (f access.FailedSignIn, err error) {
		var first, last int64
		err = r.Scan(&f.Workstation, &f.Count, &first, &last)
		f.First, f.Last = sealdb.FromMicro(first), sealdb.FromMicro(last)
		return f, err
	}, "SELECT workstation, failures, first, last FROM failed_sign_ins WHERE person = ? AND session = ? ORDER BY last DESC", personID, session)
	return all, sealdb.Named("failed sign-ins", err)
}

// microZero and fromZero keep the zero time as zero.
func microZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return sealdb.Micro(t)
}

func fromZero(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return sealdb.FromMicro(us)
}
