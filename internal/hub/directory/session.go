package directory

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// expiredAtOnce is how many sign-ins past their end go with one that comes: more than one, and few enough for those who wait.
const expiredAtOnce = 100

// SaveSession inserts a sign-in; ErrExists if the id is known. Some of those past their absolute end go, so that they become fewer. The key of its refresh
// tokens is sealed: a stolen database opens no session.
func (s *Directory) SaveSession(ctx context.Context, n access.Session) error {
	if err := errors.Join(sealdb.CheckID("session id", n.ID), sealdb.CheckText("workstation", n.Workstation, 1, sealdb.MaxID), sealdb.CheckText("methods", n.Methods, 0, sealdb.MaxID)); err != nil {
		return sealdb.Named("save session", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return sealdb.Named("save session", err)
	}
	return sealdb.Named("save session", s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= ? ORDER BY expires LIMIT ?)",
			sealdb.Micro(s.db.Now()), expiredAtOnce); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO sessions (id, person, workstation, started, used, expires, proven, second, methods, generation,
			rotated, sealed_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, n.ID, n.PersonID, n.Workstation, sealdb.Micro(n.Started), sealdb.Micro(n.LastUsed),
			sealdb.Micro(n.Expires), sealdb.Micro(n.Proven), n.SecondFactor, n.Methods, n.Generation, sealdb.Micro(n.Rotated),
			key.Seal(n.Key[:], sealdb.Associated("session key", n.ID)))
		if err != nil {
			return err
		}
		return s.signedIn(ctx, tx, n)
	}))
}

const selectSession = `SELECT id, person, workstation, started, used, expires, proven, second, methods, generation, rotated, sealed_key FROM sessions`

func (s *Directory) scanSession(ctx context.Context, r sealdb.Scanner) (n access.Session, err error) {
	var started, used, expires, proven, rotated int64
	var sealed []byte
	if err := r.Scan(&n.ID, &n.PersonID, &n.Workstation, &started, &used, &expires, &proven, &n.SecondFactor, &n.Methods, &n.Generation,
		&rotated, &sealed); err != nil {
		return access.Session{}, err
	}
	n.Started, n.LastUsed, n.Expires = sealdb.FromMicro(started), sealdb.FromMicro(used), sealdb.FromMicro(expires)
	n.Proven, n.Rotated = sealdb.FromMicro(proven), sealdb.FromMicro(rotated)
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return access.Session{}, err
	}
	b, err := key.Open(sealed, sealdb.Associated("session key", n.ID))
	if err != nil || len(b) != len(n.Key) {
		return access.Session{}, sealdb.ErrSealed
	}
	copy(n.Key[:], b)
	return n, nil
}

// Session is the sign-in with this id, expired or not.
func (s *Directory) Session(ctx context.Context, id string) (access.Session, error) {
	n, err := s.scanSession(ctx, s.db.QueryRowContext(ctx, selectSession+" WHERE id = ?", id))
	if err == nil && s.ended(n) {
		n, err = access.Session{}, sealdb.ErrNotFound
	}
	return n, sealdb.Named("session", err)
}

// SessionsOf are a person's sign-ins, oldest first.
func (s *Directory) SessionsOf(ctx context.Context, personID string) ([]access.Session, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.Session, error) { return s.scanSession(ctx, r) },
		selectSession+" WHERE person = ? ORDER BY started", personID)
	all = slices.DeleteFunc(all, s.ended)
	return all, sealdb.Named("sessions", err)
}

// ended reports whether a sign-in was ended, and only the disk does not know yet.
func (s *Directory) ended(n access.Session) bool {
	if s.db.Barred(sealdb.BarSession, n.ID) {
		return true
	}
	gone := false
	s.db.EachBarred(sealdb.BarSessionsOf, func(id string) {
		person, except, _ := strings.Cut(id, " ")
		gone = gone || person == n.PersonID && except != n.ID
	})
	return gone
}

// TouchSession sets when a session was last used; ErrNotFound if it has been deleted meanwhile.
func (s *Directory) TouchSession(ctx context.Context, id string, lastUsed time.Time) error {
	return sealdb.Named("touch session", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE sessions SET used = ? WHERE id = ?", sealdb.Micro(lastUsed), id)))
}

// ProveSession sets when the person last proved who they are.
func (s *Directory) ProveSession(ctx context.Context, id string, at time.Time, secondFactor bool) error {
	return sealdb.Named("prove session", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE sessions SET proven = ?, second = (second OR ?) WHERE id = ?",
		sealdb.Micro(at), secondFactor, id)))
}

// RotateSession goes to the next generation of refresh tokens; access.ErrConflict if the session is at another one.
func (s *Directory) RotateSession(ctx context.Context, id string, from int64, at time.Time) error {
	return sealdb.Named("rotate session", s.db.InTx(ctx, func(tx *sql.Tx) error {
		var now int64
		if err := tx.QueryRowContext(ctx, "SELECT generation FROM sessions WHERE id = ?", id).Scan(&now); err != nil {
			return err
		}
		if now != from {
			return access.ErrConflict
		}
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET generation = generation + 1, rotated = ? WHERE id = ?", sealdb.Micro(at), id)
		return err
	}))
}

// DeleteSession ends a sign-in; none is no error.
func (s *Directory) DeleteSession(ctx context.Context, id string) error {
	_, err := s.db.UrgentExec(ctx, []sealdb.Bar{{Kind: sealdb.BarSession, ID: id}}, "DELETE FROM sessions WHERE id = ?", id)
	return sealdb.Named("delete session", err)
}

// DeleteSessionsOf ends all sign-ins of a person, but for the one named except; none is no error.
func (s *Directory) DeleteSessionsOf(ctx context.Context, personID, except string) error {
	_, err := s.db.UrgentExec(ctx, []sealdb.Bar{{Kind: sealdb.BarSessionsOf, ID: personID + " " + except}}, "DELETE FROM sessions WHERE person = ? AND id <> ?", personID, except)
	return sealdb.Named("delete sessions", err)
}
