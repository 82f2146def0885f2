package directory

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// maxRelations bounds a person's wards and patients.
const maxRelations = 1000

// CreatePerson adds someone who may sign in and gives the id, which is made at random if p.ID is empty. ErrExists if the id
// or the login is taken, ErrSecondLogin if the patient of p.Self has a login, ErrNotFound for an unknown ward or patient. The display name is sealed.
func (s *Directory) CreatePerson(ctx context.Context, p access.Person, passwordHash string) (id string, err error) {
	if p.ID == "" {
		var b [5]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", sealdb.Named("create person", err)
		}
		p.ID = "u-" + patientIDs.EncodeToString(b[:])
	}
	err = errors.Join(sealdb.CheckID("person id", p.ID), sealdb.CheckID("login", p.Login), sealdb.CheckDisplayName(p.DisplayName),
		sealdb.CheckText("password hash", passwordHash, 1, 512))
	if err == nil && !p.Role.Valid() {
		err = fmt.Errorf("%w: role must be one of %v", sealdb.ErrInvalid, access.Roles())
	}
	if err != nil {
		return "", sealdb.Named("create person", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return "", sealdb.Named("create person", err)
	}
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		wards, err := relations(ctx, tx, "ward", "wards", p.Wards)
		if err != nil {
			return err
		}
		patients, err := relations(ctx, tx, "patient", "patients", p.Patients)
		if err != nil {
			return err
		}
		if p.Self != "" {
			if err := sealdb.Exists(ctx, tx, "patient", "patients", p.Self); err != nil {
				return err
			}
			if err := oneLogin(ctx, tx, p.Self); err != nil {
				return err
			}
			if err := s.note(ctx, tx, p.ID, NoticeLogin, []string{p.Self}); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO persons (id, login, password, sealed_name, role, wards, patients, self, disabled, one_time, created)
			VALUES (?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?)`, p.ID, p.Login, passwordHash,
			key.Seal([]byte(p.DisplayName), sealdb.Associated("person name", p.ID)), string(p.Role), wards, patients, p.Self, p.Disabled, p.MustChangePassword,
			sealdb.Micro(s.db.Now()))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM notices WHERE at < ?1 AND id IN (SELECT id FROM notices WHERE at < ?1 ORDER BY at LIMIT ?2)", sealdb.Micro(s.db.Now().Add(-noticeLife)), noticesAtOnce); err != nil {
			return err
		}
		return errors.Join(s.note(ctx, tx, p.ID, NoticeWard, p.Wards), s.note(ctx, tx, p.ID, NoticeTreats, p.Patients))
	})
	return p.ID, sealdb.Named("create person "+p.Login, err)
}

// relations checks ids against their table and spells them as JSON.
func relations(ctx context.Context, tx *sql.Tx, what, table string, ids []string) (string, error) {
	if len(ids) > maxRelations {
		return "", fmt.Errorf("%w: at most %d of %s", sealdb.ErrInvalid, maxRelations, table)
	}
	for _, id := range ids {
		if err := sealdb.Exists(ctx, tx, what, table, id); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(ids)
	return string(b), err
}

const selectPerson = `SELECT id, login, password, sealed_name, role, wards, patients, coalesce(self, ''), disabled, one_time,
	created, changed FROM persons`

func (s *Directory) scanPerson(ctx context.Context, r sealdb.Scanner) (p access.Person, hash string, err error) {
	var sealed []byte
	var wards, patients string
	var created, changed int64
	if err := r.Scan(&p.ID, &p.Login, &hash, &sealed, &p.Role, &wards, &patients, &p.Self, &p.Disabled, &p.MustChangePassword, &created, &changed); err != nil {
		return access.Person{}, "", err
	}
	if created > 0 {
		p.Created = sealdb.FromMicro(created)
	}
	if changed > 0 {
		p.Changed = sealdb.FromMicro(changed)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return access.Person{}, "", err
	}
	p.DisplayName = sealdb.ForgottenName
	if len(sealed) > 0 {
		name, err := key.Open(sealed, sealdb.Associated("person name", p.ID))
		if err != nil {
			return access.Person{}, "", sealdb.ErrSealed
		}
		p.DisplayName = string(name)
	}
	if err := errors.Join(json.Unmarshal([]byte(wards), &p.Wards), json.Unmarshal([]byte(patients), &p.Patients)); err != nil {
		return access.Person{}, "", err
	}
	p.Disabled = p.Disabled || s.db.Barred(sealdb.BarPerson, p.ID)
	return p, hash, nil
}

// PersonByLogin is the person who signs in as login, and the hash of the password.
func (s *Directory) PersonByLogin(ctx context.Context, login string) (p access.Person, passwordHash string, err error) {
	p, passwordHash, err = s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE login = ?", login))
	return p, passwordHash, sealdb.Named("person", err)
}

// Person is the person with this id.
func (s *Directory) Person(ctx context.Context, id string) (access.Person, error) {
	p, _, err := s.scanPerson(ctx, s.db.QueryRowContext(ctx, selectPerson+" WHERE id = ?", id))
	return p, sealdb.Named("person", err)
}

// Persons are all persons by login.
func (s *Directory) Persons(ctx context.Context) ([]access.Person, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.Person, error) {
		p, _, err := s.scanPerson(ctx, r)
		return p, err
	}, selectPerson+" ORDER BY login")
	return all, sealdb.Named("persons", err)
}

// SetWards replaces the wards a nurse is on.
func (s *Directory) SetWards(ctx context.Context, person string, wards []string) error {
	p, err := s.Person(ctx, person)
	if err != nil {
		return err
	}
	return s.SetRelations(ctx, p, p.Role, wards, p.Patients)
}

// SetPatients replaces the patients a doctor treats.
func (s *Directory) SetPatients(ctx context.Context, person string, patients []string) error {
	p, err := s.Person(ctx, person)
	if err != nil {
		return err
	}
	return s.SetRelations(ctx, p, p.Role, p.Wards, patients)
}

// SetPersonDisabled locks a person out or lets them back in; live sessions are the caller's to end. Locking out is in force on this
// hub from the call on, and goes ahead of what others write; ErrUnwritten if it could not be written in seconds. ErrConflict for
// the last administrator who may sign in: without one no person could let another in.
func (s *Directory) SetPersonDisabled(ctx context.Context, person string, disabled bool) error {
	const query = "UPDATE persons SET disabled = ?, changed = ? WHERE id = ?"
	if disabled {
		return sealdb.Named("disable person", s.unlessLast(ctx, person, []sealdb.Bar{{Kind: sealdb.BarPerson, ID: person}}, query, disabled, sealdb.Micro(s.db.Now()), person))
	}
	return sealdb.Named("enable person", s.db.InTx(ctx, func(tx *sql.Tx) error {
		if err := sealdb.Affected(tx.ExecContext(ctx, query, disabled, sealdb.Micro(s.db.Now()), person)); err != nil {
			return err
		}
		return s.noteReset(ctx, tx, person)
	}))
}

// SetRole changes what a person is, as an OpenID provider says. Relationships that do not belong to the new role have no effect.
// ErrConflict as SetPersonDisabled.
func (s *Directory) SetRole(ctx context.Context, person string, role access.Role) error {
	if !role.Valid() {
		return sealdb.Named("set role", fmt.Errorf("%w: role must be one of %v", sealdb.ErrInvalid, access.Roles()))
	}
	const query = "UPDATE persons SET role = ?, changed = ? WHERE id = ?"
	if role == access.RoleAdmin {
		return sealdb.Named("set role", sealdb.Affected(s.db.UrgentExec(ctx, nil, query, string(role), sealdb.Micro(s.db.Now()), person)))
	}
	return sealdb.Named("set role", s.unlessLast(ctx, person, nil, query, string(role), sealdb.Micro(s.db.Now()), person))
}

// unlessLast changes a person urgently, unless it is the only administrator who may sign in.
func (s *Directory) unlessLast(ctx context.Context, person string, bars []sealdb.Bar, query string, args ...any) error {
	// Before anything is barred. Where that cannot be read now, locking out comes first.
	if err := keepsAdministrator(ctx, s.db, person); errors.Is(err, sealdb.ErrConflict) {
		return err
	}
	return s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := keepsAdministrator(ctx, tx, person); err != nil {
			return err
		}
		return sealdb.Affected(tx.ExecContext(ctx, query, args...))
	}, bars...)
}

// keepsAdministrator is ErrConflict if a person is the only administrator who may sign in.
func keepsAdministrator(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, person string) error {
	var is, others int
	err := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM persons WHERE id = ?1 AND role = ?2 AND disabled = ?3),
		(SELECT count(*) FROM persons WHERE id <> ?1 AND role = ?2 AND disabled = ?3)`, person, string(access.RoleAdmin), false).Scan(&is, &others)
	if err == nil && is > 0 && others == 0 {
		err = fmt.Errorf("%w: this is the last administrator who may sign in; make another one first", sealdb.ErrConflict)
	}
	return err
}
