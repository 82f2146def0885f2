package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/access"
)

var _ access.Directory = (*Store)(nil)

// maxRelations bounds a person's wards and patients.
const maxRelations = 1000

// CreatePerson adds someone who may sign in and gives the id, which is made at random if p.ID is empty. ErrExists if the id
// or the login is taken, ErrNotFound for an unknown ward or patient. The display name is sealed.
func (s *Store) CreatePerson(ctx context.Context, p access.Person, passwordHash string) (id string, err error) {
	if p.ID == "" {
		var b [5]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", named("create person", err)
		}
		p.ID = "u-" + patientIDs.EncodeToString(b[:])
	}
	err = errors.Join(checkID("person id", p.ID), checkID("login", p.Login), checkText("display name", p.DisplayName, 0, maxName),
		checkText("password hash", passwordHash, 1, 512))
	if err == nil && !p.Role.Valid() {
		err = fmt.Errorf("%w: role must be one of %v", ErrInvalid, access.Roles())
	}
	if err != nil {
		return "", named("create person", err)
	}
	key, err := s.key(ctx, directoryKey)
	if err != nil {
		return "", named("create person", err)
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		wards, err := relations(ctx, tx, "ward", "wards", p.Wards)
		if err != nil {
			return err
		}
		patients, err := relations(ctx, tx, "patient", "patients", p.Patients)
		if err != nil {
			return err
		}
		if p.Self != "" {
			if err := exists(ctx, tx, "patient", "patients", p.Self); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO persons (id, login, password, sealed_name, role, wards, patients, self, disabled)
			VALUES (?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?)`, p.ID, p.Login, passwordHash,
			key.Seal([]byte(p.DisplayName), associated("person name", p.ID)), string(p.Role), wards, patients, p.Self, p.Disabled)
		return err
	})
	return p.ID, named("create person "+p.Login, err)
}

// relations checks ids against their table and spells them as JSON.
func relations(ctx context.Context, tx *sql.Tx, what, table string, ids []string) (string, error) {
	if len(ids) > maxRelations {
		return "", fmt.Errorf("%w: at most %d of %s", ErrInvalid, maxRelations, table)
	}
	for _, id := range ids {
		if err := exists(ctx, tx, what, table, id); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(ids)
	return string(b), err
}

const selectPerson = `SELECT id, login, password, sealed_name, role, wards, patients, coalesce(self, ''), disabled FROM persons`

type scanner interface{ Scan(...any) error }

func (s *Store) scanPerson(ctx context.Context, r scanner) (p access.Person, hash string, err error) {
	var sealed []byte
	var wards, patients string
	if err := r.Scan(&p.ID, &p.Login, &hash, &sealed, &p.Role, &wards, &patients, &p.Self, &p.Disabled); err != nil {
		return access.Person{}, "", err
	}
	key, err := s.key(ctx, directoryKey)
	if err != nil {
		return access.Person{}, "", err
	}
	name, err := key.Open(sealed, associated("person name", p.ID))
	if err != nil {
		return access.Person{}, "", ErrSealed
	}
	p.DisplayName = string(name)
	if err := errors.Join(json.Unmarshal([]byte(wards), &p.Wards), json.Unmarshal([]byte(patients), &p.Patients)); err != nil {
		return access.Person{}, "", err
	}
	return p, hash, nil
}

// PersonByLogin is the person who signs in as login, and the hash of the password.
func (s *Store) PersonByLogin(ctx context.Context, login string) (p access.Person, passwordHash string, err error) {
	p, passwordHash, err = s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE login = ?", login))
	return p, passwordHash, named("person", err)
}

// Person is the person with this id.
func (s *Store) Person(ctx context.Context, id string) (access.Person, error) {
	p, _, err := s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE id = ?", id))
	return p, named("person", err)
}

// Persons are all persons by login.
func (s *Store) Persons(ctx context.Context) ([]access.Person, error) {
	all, err := list(ctx, s.db, func(r *sql.Rows) (access.Person, error) {
		p, _, err := s.scanPerson(ctx, r)
		return p, err
	}, selectPerson+" ORDER BY login")
	return all, named("persons", err)
}

// SetWards replaces the wards a nurse is on.
func (s *Store) SetWards(ctx context.Context, person string, wards []string) error {
	return named("set wards", s.inTx(ctx, func(tx *sql.Tx) error {
		ids, err := relations(ctx, tx, "ward", "wards", wards)
		if err != nil {
			return err
		}
		return affected(tx.ExecContext(ctx, "UPDATE persons SET wards = ? WHERE id = ?", ids, person))
	}))
}

// SetPatients replaces the patients a doctor treats.
func (s *Store) SetPatients(ctx context.Context, person string, patients []string) error {
	return named("set patients", s.inTx(ctx, func(tx *sql.Tx) error {
		ids, err := relations(ctx, tx, "patient", "patients", patients)
		if err != nil {
			return err
		}
		return affected(tx.ExecContext(ctx, "UPDATE persons SET patients = ? WHERE id = ?", ids, person))
	}))
}

// SetPassword replaces a person's password hash.
func (s *Store) SetPassword(ctx context.Context, person, passwordHash string) error {
	if err := checkText("password hash", passwordHash, 1, 512); err != nil {
		return named("set password", err)
	}
	return named("set password", affected(s.db.ExecContext(ctx, "UPDATE persons SET password = ? WHERE id = ?", passwordHash, person)))
}

// SetPersonDisabled locks a person out or lets them back in; live sessions are the caller's to end.
func (s *Store) SetPersonDisabled(ctx context.Context, person string, disabled bool) error {
	return named("disable person", affected(s.db.ExecContext(ctx, "UPDATE persons SET disabled = ? WHERE id = ?", disabled, person)))
}

// SaveSession inserts a session; ErrExists if the hash is known. Sessions past their absolute end go.
func (s *Store) SaveSession(ctx context.Context, n access.Session) error {
	if err := checkText("workstation", n.Workstation, 0, maxID); err != nil {
		return named("save session", err)
	}
	return named("save session", s.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires <= ?", micro(s.now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions (hash, person, workstation, started, used, expires) VALUES (?, ?, ?, ?, ?, ?)",
			n.Hash[:], n.PersonID, n.Workstation, micro(n.Started), micro(n.LastUsed), micro(n.Expires))
		return err
	}))
}

// TouchSession sets when a session was last used; ErrNotFound if it has been deleted meanwhile.
func (s *Store) TouchSession(ctx context.Context, tokenHash [32]byte, lastUsed time.Time) error {
	return named("touch session", affected(s.db.ExecContext(ctx, "UPDATE sessions SET used = ? WHERE hash = ?", micro(lastUsed), tokenHash[:])))
}

// Session is the session with this token hash, expired or not.
func (s *Store) Session(ctx context.Context, tokenHash [32]byte) (access.Session, error) {
	n := access.Session{Hash: tokenHash}
	var started, used, expires int64
	if err := s.db.QueryRowContext(ctx, "SELECT person, workstation, started, used, expires FROM sessions WHERE hash = ?", tokenHash[:]).
		Scan(&n.PersonID, &n.Workstation, &started, &used, &expires); err != nil {
		return access.Session{}, named("session", err)
	}
	n.Started, n.LastUsed, n.Expires = fromMicro(started), fromMicro(used), fromMicro(expires)
	return n, nil
}

// DeleteSession ends a session; none is no error.
func (s *Store) DeleteSession(ctx context.Context, tokenHash [32]byte) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE hash = ?", tokenHash[:])
	return named("delete session", err)
}

// DeleteSessionsOf ends all sessions of a person; none is no error.
func (s *Store) DeleteSessionsOf(ctx context.Context, personID string) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM sessions WHERE person = ?", personID)
	return named("delete sessions", err)
}

// SaveAPIKey stores a key; ErrNotFound for an unknown person or channel.
func (s *Store) SaveAPIKey(ctx context.Context, k access.APIKey) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO api_keys (hash, person, channel, writes) VALUES (?, ?, ?, ?)",
		k.Hash[:], k.PersonID, k.Channel, k.Write)
	return named("save api key", err)
}

// APIKey is the key with this hash.
func (s *Store) APIKey(ctx context.Context, keyHash [32]byte) (access.APIKey, error) {
	k := access.APIKey{Hash: keyHash}
	err := s.db.QueryRowContext(ctx, "SELECT person, channel, writes FROM api_keys WHERE hash = ?", keyHash[:]).
		Scan(&k.PersonID, &k.Channel, &k.Write)
	if err != nil {
		return access.APIKey{}, named("api key", err)
	}
	return k, nil
}
