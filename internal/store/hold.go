package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// ForgottenPatients are the ids of the patients who were forgotten: they have no name any more.
func (s *Directory) ForgottenPatients(ctx context.Context) ([]string, error) {
	ids, err := list(ctx, s.db.DB, func(r *sql.Rows) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	}, "SELECT id FROM patients WHERE length(sealed_name) = 0 ORDER BY id")
	return ids, named("forgotten patients", err)
}

// forgetStep is the part of the directory's schema about legal holds and forgetting.
const forgetStep = `
CREATE TABLE holds (
  patient TEXT PRIMARY KEY REFERENCES patients(id), since INTEGER NOT NULL, person TEXT NOT NULL, sealed_reason BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE forgotten (patient TEXT PRIMARY KEY REFERENCES patients(id), at INTEGER NOT NULL) WITHOUT ROWID;
`

// Hold is a legal hold: the patient can neither be forgotten nor lose data to retention.
type Hold struct {
	Patient, Person string // whom it protects; who placed it
	Since           time.Time
	Reason          string
}

// PlaceHold protects a patient's data; ErrExists if something protects it already. The reason, 1 to 1,000 bytes, is sealed.
func (s *Directory) PlaceHold(ctx context.Context, patient, person, reason string) error {
	if err := checkText("reason", reason, 1, 1000); err != nil {
		return named("hold", err)
	}
	key, err := s.db.key(ctx, directoryKey)
	if err != nil {
		return named("hold", err)
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO holds (patient, since, person, sealed_reason) VALUES (?, ?, ?, ?)",
		patient, micro(s.db.now()), person, key.Seal([]byte(reason), associated("hold", patient)))
	return named("hold", err)
}

// ReleaseHold ends a hold; ErrNotFound if there is none.
func (s *Directory) ReleaseHold(ctx context.Context, patient string) error {
	return named("release hold", affected(s.db.ExecContext(ctx, "DELETE FROM holds WHERE patient = ?", patient)))
}

// Holds are all holds, oldest first.
func (s *Directory) Holds(ctx context.Context) ([]Hold, error) {
	key, err := s.db.key(ctx, directoryKey)
	if err != nil {
		return nil, named("holds", err)
	}
	all, err := list(ctx, s.db.DB, func(r *sql.Rows) (h Hold, err error) {
		var since int64
		var sealed []byte
		if err := r.Scan(&h.Patient, &h.Person, &since, &sealed); err != nil {
			return h, err
		}
		reason, err := key.Open(sealed, associated("hold", h.Patient))
		if err != nil {
			return h, fmt.Errorf("%w: reason of a hold", ErrSealed)
		}
		h.Since, h.Reason = fromMicro(since), string(reason)
		return h, nil
	}, "SELECT patient, person, since, sealed_reason FROM holds ORDER BY since, patient")
	return all, named("holds", err)
}

func (s *Directory) heldPatients(ctx context.Context) ([]string, error) {
	return list(ctx, s.db.DB, func(r *sql.Rows) (p string, err error) { return p, r.Scan(&p) }, "SELECT patient FROM holds")
}

// Forgotten reports whether a patient was forgotten.
func (s *Directory) Forgotten(ctx context.Context, patient string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM forgotten WHERE patient = ?", patient).Scan(&n)
	return n > 0, named("forgotten", err)
}
