package directory

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// maxFactorData bounds what one second factor holds.
const maxFactorData = 16 << 10

// SetPassword replaces a person's password hash. A one-time one must be changed before anything else, and is made by
// another person: the patient whose login it is is told.
func (s *Directory) SetPassword(ctx context.Context, person, passwordHash string, oneTime bool) error {
	if err := sealdb.CheckText("password hash", passwordHash, 1, 512); err != nil {
		return sealdb.Named("set password", err)
	}
	return sealdb.Named("set password", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := sealdb.Affected(tx.ExecContext(ctx, "UPDATE persons SET password = ?, one_time = ? WHERE id = ?", passwordHash, oneTime, person)); err != nil || !oneTime {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE persons SET changed = ? WHERE id = ?", sealdb.Micro(s.db.Now()), person); err != nil {
			return err
		}
		return s.noteReset(ctx, tx, person)
	}))
}

// SwapPassword replaces the hash was of a person's password by one of their own: access.ErrConflict if the person has another by now, is
// disabled, or is not known. The condition is decided by the database, over all hubs.
func (s *Directory) SwapPassword(ctx context.Context, person, was, passwordHash string) error {
	if err := sealdb.CheckText("password hash", passwordHash, 1, 512); err != nil {
		return sealdb.Named("change password", err)
	}
	return sealdb.Named("change password", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := sealdb.Affected(tx.ExecContext(ctx, "UPDATE persons SET password = ?, one_time = ? WHERE id = ? AND password = ? AND disabled = ?",
			passwordHash, false, person, was, false))
		if !errors.Is(err, sealdb.ErrNotFound) {
			return err
		}
		// It may be there already, where the answer to an earlier try was lost: a hash has a salt of its own.
		var there bool
		err = tx.QueryRowContext(ctx, "SELECT count(*) > 0 FROM persons WHERE id = ? AND password = ?", person, passwordHash).Scan(&there)
		if err == nil && !there {
			err = access.ErrConflict
		}
		return err
	}))
}

func checkFactor(f access.Factor) error {
	if len(f.Data) > maxFactorData {
		return fmt.Errorf("%w: a second factor may have %d bytes", sealdb.ErrInvalid, maxFactorData)
	}
	return errors.Join(sealdb.CheckID("factor id", f.ID), sealdb.CheckID("factor kind", f.Kind), sealdb.CheckText("factor name", f.Name, 0, sealdb.MaxName))
}

// optionalMicro is NULL for the zero time.
func optionalMicro(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := sealdb.Micro(t)
	return &us
}

// SaveFactor inserts a second factor, or replaces the one with its id. What it holds is sealed.
func (s *Directory) SaveFactor(ctx context.Context, f access.Factor) error {
	return sealdb.Named("save factor", s.writeFactor(ctx, f, nil))
}

// ReplaceFactors inserts a second factor in the place of all of its kind that its person has.
func (s *Directory) ReplaceFactors(ctx context.Context, f access.Factor) error {
	return sealdb.Named("replace factors", s.writeFactor(ctx, f, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM factors WHERE person = ? AND kind = ?", f.PersonID, f.Kind)
		return err
	}))
}

// writeFactor inserts a factor or replaces the one with its id, after first.
func (s *Directory) writeFactor(ctx context.Context, f access.Factor, first func(*sql.Tx) error) error {
	if err := checkFactor(f); err != nil {
		return err
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx *sql.Tx) error {
		if first != nil {
			if err := first(tx); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO factors (id, person, kind, name, sealed, created, used) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, sealed = excluded.sealed, used = excluded.used`,
			f.ID, f.PersonID, f.Kind, f.Name, key.Seal(f.Data, sealdb.Associated("factor", f.ID)), sealdb.Micro(f.Created), optionalMicro(f.LastUsed))
		return err
	})
}

// SwapFactor replaces was by now: access.ErrConflict if it is gone, or does not hold was.Data any more. What is sealed differs each time,
// so that it is opened to compare; the directory has one writer at a time, over all hubs, and the condition says it once more.
func (s *Directory) SwapFactor(ctx context.Context, was, now access.Factor) error {
	if err := checkFactor(now); err != nil {
		return sealdb.Named("use factor", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return sealdb.Named("use factor", err)
	}
	return sealdb.Named("use factor", s.db.InTx(ctx, func(tx *sql.Tx) error {
		var sealed []byte
		err := tx.QueryRowContext(ctx, "SELECT sealed FROM factors WHERE id = ? AND person = ?", was.ID, was.PersonID).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return access.ErrConflict
		}
		if err != nil {
			return err
		}
		data, err := key.Open(sealed, sealdb.Associated("factor", was.ID))
		if err != nil {
			return sealdb.ErrSealed
		}
		if subtle.ConstantTimeCompare(data, was.Data) != 1 {
			return access.ErrConflict
		}
		err = sealdb.Affected(tx.ExecContext(ctx, "UPDATE factors SET name = ?, sealed = ?, used = ? WHERE id = ? AND sealed = ?", now.Name,
			key.Seal(now.Data, sealdb.Associated("factor", was.ID)), optionalMicro(now.LastUsed), was.ID, sealed))
		if errors.Is(err, sealdb.ErrNotFound) {
			return access.ErrConflict
		}
		return err
	}))
}

// Factors are a person's second factors, oldest first.
func (s *Directory) Factors(ctx context.Context, personID string) ([]access.Factor, error) {
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return nil, sealdb.Named("factors", err)
	}
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (f access.Factor, err error) {
		var sealed []byte
		var created int64
		var used *int64
		if err := r.Scan(&f.ID, &f.PersonID, &f.Kind, &f.Name, &sealed, &created, &used); err != nil {
			return f, err
		}
		f.Created, f.LastUsed = sealdb.FromMicro(created), sealdb.FromOptional(used)
		if f.Data, err = key.Open(sealed, sealdb.Associated("factor", f.ID)); err != nil {
			return f, sealdb.ErrSealed
		}
		return f, nil
	}, "SELECT id, person, kind, name, sealed, created, used FROM factors WHERE person = ? ORDER BY created, id", personID)
	return all, sealdb.Named("factors", err)
}

// DeleteFactor takes a second factor away; ErrNotFound if the person has none of that id.
func (s *Directory) DeleteFactor(ctx context.Context, personID, id string) error {
	return sealdb.Named("delete factor", sealdb.Affected(s.db.UrgentExec(ctx, nil, "DELETE FROM factors WHERE id = ? AND person = ?", id, personID)))
}

// noPassword is no hash: a person whom an OpenID provider vouches for cannot sign in with a password.
const noPassword = "none"

// LinkedPerson is who an OpenID provider calls subject.
func (s *Directory) LinkedPerson(ctx context.Context, issuer, subject string) (access.Person, error) {
	if issuer == "" {
		return access.Person{}, sealdb.Named("linked person", sealdb.ErrNotFound)
	}
	p, _, err := s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE issuer <> '' AND issuer = ? AND subject = ?", issuer, subject))
	return p, sealdb.Named("linked person", err)
}

// CreateLinkedPerson adds someone whom an OpenID provider vouches for; access.ErrConflict if the login is taken.
func (s *Directory) CreateLinkedPerson(ctx context.Context, p access.Person, issuer, subject string) (id string, err error) {
	if err := errors.Join(sealdb.CheckText("issuer", issuer, 1, 512), sealdb.CheckText("subject", subject, 1, 255)); err != nil {
		return "", sealdb.Named("create linked person", err)
	}
	id, err = s.CreatePerson(ctx, p, noPassword)
	if errors.Is(err, sealdb.ErrExists) {
		return "", fmt.Errorf("%w: %w", access.ErrConflict, err)
	}
	if err != nil {
		return "", err
	}
	return id, sealdb.Named("create linked person", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE persons SET issuer = ?, subject = ? WHERE id = ?", issuer, subject, id)))
}

// SaveAPIKey stores a key; ErrNotFound for an unknown person, channel or TalkBack.
func (s *Directory) SaveAPIKey(ctx context.Context, k access.APIKey) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO api_keys (hash, person, channel, writes, talkback) VALUES (?, ?, nullif(CAST(? AS BIGINT), 0), ?, nullif(CAST(? AS BIGINT), 0))",
		k.Hash[:], k.PersonID, k.Channel, k.Write, k.TalkBack)
	return sealdb.Named("save api key", err)
}

const selectKey = "SELECT hash, person, coalesce(channel, 0), writes, coalesce(talkback, 0) FROM api_keys"

func scanKey(r sealdb.Scanner) (k access.APIKey, err error) {
	var hash []byte
	err = r.Scan(&hash, &k.PersonID, &k.Channel, &k.Write, &k.TalkBack)
	copy(k.Hash[:], hash)
	return k, err
}

// APIKey is the key with this hash.
func (s *Directory) APIKey(ctx context.Context, keyHash [32]byte) (access.APIKey, error) {
	k, err := scanKey(s.db.QueryRowContext(ctx, selectKey+" WHERE hash = ?", keyHash[:]))
	if err == nil && s.db.Barred(sealdb.BarKey, k.PersonID+" "+string(keyHash[:])) {
		k, err = access.APIKey{}, sealdb.ErrNotFound
	}
	return k, sealdb.Named("api key", err)
}

// APIKeysOf are a person's keys.
func (s *Directory) APIKeysOf(ctx context.Context, personID string) ([]access.APIKey, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.APIKey, error) { return scanKey(r) }, selectKey+" WHERE person = ? ORDER BY channel, talkback, hash", personID)
	return all, sealdb.Named("api keys", err)
}

// DeleteAPIKey takes a person's key out of use; ErrNotFound if the person has none of that hash.
func (s *Directory) DeleteAPIKey(ctx context.Context, personID string, keyHash [32]byte) error {
	return sealdb.Named("delete api key", sealdb.Affected(s.db.UrgentExec(ctx, []sealdb.Bar{{Kind: sealdb.BarKey, ID: personID + " " + string(keyHash[:])}}, "DELETE FROM api_keys WHERE hash = ? AND person = ?", keyHash[:], personID)))
}
