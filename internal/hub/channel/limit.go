package channel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"vitalseal/internal/hub/sealdb"
)

// Kinds of those who have limits, and the names of the limits.
const (
	LimitPerson   = "person"   // ID is the person's
	LimitStation  = "station"  // ID is the workstation's SPIFFE id
	LimitHospital = "hospital" // ID is empty

	LimitEntries = "entries"    // entries and commands in channels and TalkBacks: of persons and the hospital
	LimitBytes   = "bytes"      // what they take on disk: of persons and the hospital
	LimitLive    = "live_views" // live views at once: of persons and workstations
)

// maxLimit bounds a limit, mostLimits how many there are.
const (
	maxLimit   = 1_000_000_000_000_000
	mostLimits = 10_000
)

// limitStep is where limits are that an administrator has set in place of the configuration's.
const limitStep = `
CREATE TABLE limits (kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (kind, id, name)) WITHOUT ROWID;
`

// PgLimit is limitStep in PostgreSQL.
const PgLimit = `
CREATE TABLE limits (kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (kind, id, name));
`

// Limit is a bound that an administrator has set for one person, one workstation or the hospital.
type Limit struct {
	Kind, ID, Name string
	Value          int64 // at least 1
}

func (l Limit) check() error {
	var names []string
	switch l.Kind {
	case LimitPerson:
		names = []string{LimitEntries, LimitBytes, LimitLive}
	case LimitStation:
		names = []string{LimitLive}
	case LimitHospital:
		names = []string{LimitEntries, LimitBytes}
	default:
		return fmt.Errorf("%w: kind of a limit: person, station or hospital", sealdb.ErrInvalid)
	}
	if err := sealdb.CheckText("id of a limit", l.ID, 0, sealdb.MaxID); err != nil {
		return err
	}
	if (l.ID == "") != (l.Kind == LimitHospital) {
		return fmt.Errorf("%w: a limit of a person or workstation names whose it is, one of the hospital names no one", sealdb.ErrInvalid)
	}
	known := false
	for _, n := range names {
		known = known || n == l.Name
	}
	if !known {
		return fmt.Errorf("%w: name of a limit of a %s: one of %v", sealdb.ErrInvalid, l.Kind, names)
	}
	if l.Value < 0 || l.Value > maxLimit {
		return fmt.Errorf("%w: a limit is 1 to %d, or 0 for the configuration's", sealdb.ErrInvalid, int64(maxLimit))
	}
	return nil
}

// SetLimit sets a limit in place of the configuration's; Value 0 is the configuration's again. was is the one before, 0 for the
// configuration's. It holds from the next entry or view on; what is over it already stays.
func (s *Registry) SetLimit(ctx context.Context, l Limit) (was int64, err error) {
	if err := l.check(); err != nil {
		return 0, sealdb.Named("set limit", err)
	}
	err = s.apart.locked(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT value FROM limits WHERE kind = ? AND id = ? AND name = ?", l.Kind, l.ID, l.Name).Scan(&was)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if l.Value == 0 {
			_, err = tx.ExecContext(ctx, "DELETE FROM limits WHERE kind = ? AND id = ? AND name = ?", l.Kind, l.ID, l.Name)
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO limits (kind, id, name, value) VALUES (?, ?, ?, ?)
			ON CONFLICT (kind, id, name) DO UPDATE SET value = excluded.value`, l.Kind, l.ID, l.Name, l.Value)
		return err
	})
	return was, sealdb.Named("set limit", err)
}

// Limits are those that administrators have set, at most 10,000.
func (s *Registry) Limits(ctx context.Context) ([]Limit, error) {
	all, err := sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (l Limit, err error) { return l, r.Scan(&l.Kind, &l.ID, &l.Name, &l.Value) },
		"SELECT kind, id, name, value FROM limits ORDER BY kind, id, name LIMIT ?", mostLimits)
	return all, sealdb.Named("limits", err)
}

// LimitOf is a limit that an administrator has set, 0 for none.
func (s *Registry) LimitOf(ctx context.Context, kind, id, name string) (value int64, err error) {
	err = s.apart.QueryRowContext(ctx, "SELECT value FROM limits WHERE kind = ? AND id = ? AND name = ?", kind, id, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return value, sealdb.Named("limit", err)
}

// limited is the two bounds for an owner, those that were set in place of the configuration's.
func (s *Registry) limited(ctx context.Context, q interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, owner string) (most Usage, err error) {
	most = s.quota.Of(owner)
	kind := LimitPerson
	if owner == "" {
		kind = LimitHospital
	}
	rows, err := q.QueryContext(ctx, "SELECT name, value FROM limits WHERE kind = ? AND id = ?", kind, owner)
	if err != nil {
		return most, err
	}
	defer rows.Close() //nolint:errcheck // read to its end
	for rows.Next() {
		var name string
		var value int64
		if err := rows.Scan(&name, &value); err != nil {
			return most, err
		}
		switch name {
		case LimitEntries:
			most.Entries = value
		case LimitBytes:
			most.Bytes = value
		}
	}
	return most, rows.Err()
}

// SignIns are how many sessions and API keys each person has, those that are over included until they are swept.
func (s *Registry) SignIns(ctx context.Context) (sessions, keys map[string]int64, err error) {
	sessions, keys = map[string]int64{}, map[string]int64{}
	for query, to := range map[string]map[string]int64{
		"SELECT person, count(*) FROM sessions GROUP BY person": sessions,
		"SELECT person, count(*) FROM api_keys GROUP BY person": keys,
	} {
		err := sealdb.Each(ctx, s.db, query, func(rows *sql.Rows) error {
			var person string
			var n int64
			if err := rows.Scan(&person, &n); err != nil {
				return err
			}
			to[person] = n
			return nil
		})
		if err != nil {
			return nil, nil, sealdb.Named("sign-ins", err)
		}
	}
	return sessions, keys, nil
}
