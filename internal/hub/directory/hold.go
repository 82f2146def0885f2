package directory

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// ForgottenPatients are the ids of the patients who were forgotten, in order.
func (s *Directory) ForgottenPatients(ctx context.Context) ([]string, error) {
	ids, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	}, "SELECT patient FROM forgotten ORDER BY patient")
	return ids, sealdb.Named("forgotten patients", err)
}

// ForgetStep is the part of the directory's schema about legal holds and forgetting.
const ForgetStep = `
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
	if err := sealdb.CheckText("reason", reason, 1, 1000); err != nil {
		return sealdb.Named("hold", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return sealdb.Named("hold", err)
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO holds (patient, since, person, sealed_reason) VALUES (?, ?, ?, ?)",
		patient, sealdb.Micro(s.db.Now()), person, key.Seal([]byte(reason), sealdb.Associated("hold", patient)))
	return sealdb.Named("hold", err)
}

// ReleaseHold ends a hold; ErrNotFound if there is none.
func (s *Directory) ReleaseHold(ctx context.Context, patient string) error {
	return sealdb.Named("release hold", sealdb.Affected(s.db.ExecContext(ctx, "DELETE FROM holds WHERE patient = ?", patient)))
}

// Holds are all holds, oldest first.
func (s *Directory) Holds(ctx context.Context) ([]Hold, error) {
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return nil, sealdb.Named("holds", err)
	}
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (h Hold, err error) {
		var since int64
		var sealed []byte
		if err := r.Scan(&h.Patient, &h.Person, &since, &sealed); err != nil {
			return h, err
		}
		reason, err := key.Open(sealed, sealdb.Associated("hold", h.Patient))
		if err != nil {
			return h, fmt.Errorf("%w: reason of a hold", sealdb.ErrSealed)
		}
		h.Since, h.Reason = sealdb.FromMicro(since), string(reason)
		return h, nil
	}, "SELECT patient, person, since, sealed_reason FROM holds ORDER BY since, patient")
	return all, sealdb.Named("holds", err)
}

// HeldPatients are the ids of those whom a legal hold protects.
func (s *Directory) HeldPatients(ctx context.Context) ([]string, error) {
	return sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (p string, err error) { return p, r.Scan(&p) }, "SELECT patient FROM holds")
}

// Forgotten reports whether a patient was forgotten.
func (s *Directory) Forgotten(ctx context.Context, patient string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM forgotten WHERE patient = ?", patient).Scan(&n)
	return n > 0, sealdb.Named("forgotten", err)
}
