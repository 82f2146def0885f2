package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/access"
)

// maxFactorData bounds what one second factor holds.
const maxFactorData = 16 << 10

// SetPassword replaces a person's password hash. A one-time one must be changed before anything else, and is made by
// another person: the patient whose login it is is told.
func (s *Directory) SetPassword(ctx context.Context, person, passwordHash string, oneTime bool) error {
	if err := checkText("password hash", passwordHash, 1, 512); err != nil {
		return named("set password", err)
	}
	return named("set password", s.db.urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := affected(tx.ExecContext(ctx, "UPDATE persons SET password = ?, one_time = ? WHERE id = ?", passwordHash, oneTime, person)); err != nil || !oneTime {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE persons SET changed = ? WHERE id = ?", micro(s.db.now()), person); err != nil {
			return err
		}
		return s.noteReset(ctx, tx, person)
	}))
}

// SwapPassword replaces the hash was of a person's password by one of their own: access.ErrConflict if the person has another by now, is
// disabled, or is not known. The condition is decided by the database, over all hubs.
func (s *Directory) SwapPassword(ctx context.Context, person, was, passwordHash string) error {
	if err := checkText("password hash", passwordHash, 1, 512); err != nil {
		return named("change password", err)
	}
	return named("change password", s.db.urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := affected(tx.ExecContext(ctx, "UPDATE persons SET password = ?, one_time = ? WHERE id = ? AND password = ? AND disabled = ?",
			passwordHash, false, person, was, false))
		if !errors.Is(err, ErrNotFound) {
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
		return fmt.Errorf("%w: a second factor may have %d bytes", ErrInvalid, maxFactorData)
	}
	return errors.Join(checkID("factor id", f.ID), checkID("factor kind", f.Kind), checkText("factor name", f.Name, 0, maxName))
}

// optionalMicro is NULL for the zero time.
func optionalMicro(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := micro(t)
	return &us
}

// SaveFactor inserts a second factor, or replaces the one with its id. What it holds is sealed.
func (s *Directory) SaveFactor(ctx context.Context, f access.Factor) error {
	return named("save factor", s.writeFactor(ctx, f, nil))
}

// ReplaceFactors inserts a second factor in the place of all of its kind that its person has.
func (s *Directory) ReplaceFactors(ctx context.Context, f access.Factor) error {
	return named("replace factors", s.writeFactor(ctx, f, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM factors WHERE person = ? AND kind = ?", f.PersonID, f.Kind)
		return err
	}))
}

// writeFactor inserts a factor or replaces the one with its id, after first.
func (s *Directory) writeFactor(ctx context.Context, f access.Factor, first func(*sql.Tx) error) error {
	if err := checkFactor(f); err != nil {
		return err
	}
	key, err := s.db.key(ctx, directoryKey)
	if err != nil {
		return err
	}
	return s.db.inTx(ctx, func(tx *sql.Tx) error {
		if first != nil {
			if err := first(tx); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO factors (id, person, kind, name, sealed, created, used) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, sealed = excluded.sealed, used = excluded.used`,
			f.ID, f.PersonID, f.Kind, f.Name, key.Seal(f.Data, associated("factor", f.ID)), micro(f.Created), optionalMicro(f.LastUsed))
		return err
	})
}

// SwapFactor replaces was by now: access.ErrConflict if it is gone, or does not hold was.Data any more. What is sealed differs each time,
// so that it is opened to compare; the directory has one writer at a time, over all hubs, and the condition says it once more.
func (s *Directory) SwapFactor(ctx context.Context, was, now access.Factor) error {
	if err := checkFactor(now); err != nil {
		return named("use factor", err)
	}
	key, err := s.db.key(ctx, directoryKey)
	if err != nil {
		return named("use factor", err)
	}
	return named("use factor", s.db.inTx(ctx, func(tx *sql.Tx) error {
		var sealed []byte
		err := tx.QueryRowContext(ctx, "SELECT sealed FROM factors WHERE id = ? AND person = ?", was.ID, was.PersonID).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return access.ErrConflict
		}
		if err != nil {
			return err
		}
		data, err := key.Open(sealed, associated("factor", was.ID))
		if err != nil {
			return ErrSealed
		}
		if subtle.ConstantTimeCompare(data, was.Data) != 1 {
			return access.ErrConflict
		}
		err = affected(tx.ExecContext(ctx, "UPDATE factors SET name = ?, sealed = ?, used = ? WHERE id = ? AND sealed = ?", now.Name,
			key.Seal(now.Data, associated("factor", was.ID)), optionalMicro(now.LastUsed), was.ID, sealed))
		if errors.Is(err, ErrNotFound) {
			return access.ErrConflict
		}
		return err
	}))
}

// Factors are a person's second factors, oldest first.
func (s *Directory) Factors(ctx context.Context, personID string) ([]access.Factor, error) {
	key, err := s.db.key(ctx, directoryKey)
	if err != nil {
		return nil, named("factors", err)
	}
	all, err := list(ctx, s.db.DB, func(r *sql.Rows) (f access.Factor, err error) {
		var sealed []byte
		var created int64
		var used *int64
		if err := r.Scan(&f.ID, &f.PersonID, &f.Kind, &f.Name, &sealed, &created, &used); err != nil {
			return f, err
		}
		f.Created, f.LastUsed = fromMicro(created), fromOptional(used)
		if f.Data, err = key.Open(sealed, associated("factor", f.ID)); err != nil {
			return f, ErrSealed
		}
		return f, nil
	}, "SELECT id, person, kind, name, sealed, created, used FROM factors WHERE person = ? ORDER BY created, id", personID)
	return all, named("factors", err)
}

// DeleteFactor takes a second factor away; ErrNotFound if the person has none of that id.
func (s *Directory) DeleteFactor(ctx context.Context, personID, id string) error {
	return named("delete factor", affected(s.db.urgentExec(ctx, nil, "DELETE FROM factors WHERE id = ? AND person = ?", id, personID)))
}

// noPassword is no hash: a person whom an OpenID provider vouches for cannot sign in with a password.
const noPassword = "none"

// LinkedPerson is who an OpenID provider calls subject.
func (s *Directory) LinkedPerson(ctx context.Context, issuer, subject string) (access.Person, error) {
	if issuer == "" {
		return access.Person{}, named("linked person", ErrNotFound)
	}
	p, _, err := s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE issuer <> '' AND issuer = ? AND subject = ?", issuer, subject))
	return p, named("linked person", err)
}

// CreateLinkedPerson adds someone whom an OpenID provider vouches for; access.ErrConflict if the login is taken.
func (s *Directory) CreateLinkedPerson(ctx context.Context, p access.Person, issuer, subject string) (id string, err error) {
	if err := errors.Join(checkText("issuer", issuer, 1, 512), checkText("subject", subject, 1, 255)); err != nil {
		return "", named("create linked person", err)
	}
	id, err = s.CreatePerson(ctx, p, noPassword)
	if errors.Is(err, ErrExists) {
		return "", fmt.Errorf("%w: %w", access.ErrConflict, err)
	}
	if err != nil {
		return "", err
	}
	return id, named("create linked person", affected(s.db.ExecContext(ctx, "UPDATE persons SET issuer = ?, subject = ? WHERE id = ?", issuer, subject, id)))
}

// SaveAPIKey stores a key; ErrNotFound for an unknown person, channel or TalkBack.
func (s *Directory) SaveAPIKey(ctx context.Context, k access.APIKey) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO api_keys (hash, person, channel, writes, talkback) VALUES (?, ?, nullif(CAST(? AS BIGINT), 0), ?, nullif(CAST(? AS BIGINT), 0))",
		k.Hash[:], k.PersonID, k.Channel, k.Write, k.TalkBack)
	return named("save api key", err)
}

const selectKey = "SELECT hash, person, coalesce(channel, 0), writes, coalesce(talkback, 0) FROM api_keys"

func scanKey(r scanner) (k access.APIKey, err error) {
	var hash []byte
	err = r.Scan(&hash, &k.PersonID, &k.Channel, &k.Write, &k.TalkBack)
	copy(k.Hash[:], hash)
	return k, err
}

// APIKey is the key with this hash.
func (s *Directory) APIKey(ctx context.Context, keyHash [32]byte) (access.APIKey, error) {
	k, err := scanKey(s.db.QueryRowContext(ctx, selectKey+" WHERE hash = ?", keyHash[:]))
	if err == nil && s.db.barred(barKey, k.PersonID+" "+string(keyHash[:])) {
		k, err = access.APIKey{}, ErrNotFound
	}
	return k, named("api key", err)
}

// APIKeysOf are a person's keys.
func (s *Directory) APIKeysOf(ctx context.Context, personID string) ([]access.APIKey, error) {
	all, err := list(ctx, s.db.DB, func(r *sql.Rows) (access.APIKey, error) { return scanKey(r) }, selectKey+" WHERE person = ? ORDER BY channel, talkback, hash", personID)
	return all, named("api keys", err)
}

// DeleteAPIKey takes a person's key out of use; ErrNotFound if the person has none of that hash.
func (s *Directory) DeleteAPIKey(ctx context.Context, personID string, keyHash [32]byte) error {
	return named("delete api key", affected(s.db.urgentExec(ctx, []bar{{barKey, personID + " " + string(keyHash[:])}}, "DELETE FROM api_keys WHERE hash = ? AND person = ?", keyHash[:], personID)))
}
