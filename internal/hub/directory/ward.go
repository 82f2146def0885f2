package directory

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// Ward is a group of beds.
type Ward struct {
	ID   string // 1 to 64 of letters, digits and -._@
	Name string // 1 to 200 bytes
}

// Bed is a place for one patient.
type Bed struct {
	ID   string // 1 to 64 of letters, digits and -._@
	Ward string
	Name string // 1 to 200 bytes
}

// CreateWard adds a ward; ErrExists if the id is taken.
func (s *Directory) CreateWard(ctx context.Context, w Ward) error {
	if err := errors.Join(sealdb.CheckID("ward id", w.ID), sealdb.CheckText("ward name", w.Name, 1, sealdb.MaxName)); err != nil {
		return sealdb.Named("create ward", err)
	}
	_, err := s.db.ExecContext(ctx, "INSERT INTO wards (id, name) VALUES (?, ?)", w.ID, w.Name)
	return sealdb.Named("create ward "+w.ID, err)
}

// Wards are all wards by id.
func (s *Directory) Wards(ctx context.Context) ([]Ward, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (w Ward, err error) { return w, r.Scan(&w.ID, &w.Name) },
		"SELECT id, name FROM wards ORDER BY id")
	return all, sealdb.Named("wards", err)
}

// CreateBed adds a bed to a ward; ErrExists if the id is taken, ErrNotFound if there is no such ward.
func (s *Directory) CreateBed(ctx context.Context, b Bed) error {
	if err := errors.Join(sealdb.CheckID("bed id", b.ID), sealdb.CheckText("bed name", b.Name, 1, sealdb.MaxName)); err != nil {
		return sealdb.Named("create bed", err)
	}
	return sealdb.Named("create bed "+b.ID, s.db.InTx(ctx, func(tx *sql.Tx) error {
		if err := sealdb.Exists(ctx, tx, "ward", "wards", b.Ward); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO beds (id, ward, name) VALUES (?, ?, ?)", b.ID, b.Ward, b.Name)
		return err
	}))
}

// Beds are all beds by id.
func (s *Directory) Beds(ctx context.Context) ([]Bed, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (b Bed, err error) { return b, r.Scan(&b.ID, &b.Ward, &b.Name) },
		"SELECT id, ward, name FROM beds ORDER BY id")
	return all, sealdb.Named("beds", err)
}

// patientIDs are random, so that an id says nothing about who or when.
var patientIDs = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// CreatePatient adds a patient with a key and a ThingSpeak channel of its own and gives its random id, "p-" and eight
// characters. The name, 1 to 200 bytes, is sealed.
func (s *Directory) CreatePatient(ctx context.Context, name string) (id string, err error) {
	if err := sealdb.CheckText("patient name", name, 1, sealdb.MaxName); err != nil {
		return "", sealdb.Named("create patient", err)
	}
	var b [5]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", sealdb.Named("create patient", err)
	}
	id = "p-" + patientIDs.EncodeToString(b[:])
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		key, err := s.db.NewKey(ctx, tx, sealdb.PatientKey(id))
		if err != nil {
			return err
		}
		now := s.db.Now()
		if _, err := tx.ExecContext(ctx, "INSERT INTO patients (id, sealed_name, created) VALUES (?, ?, ?)",
			id, key.Seal([]byte(name), sealdb.Associated("patient name", id)), sealdb.Micro(now)); err != nil {
			return err
		}
		c := channel.Channel{Name: "Patient " + id, Patient: id, Created: now} // the face names its fields
		_, err = s.channels.InsertChannel(ctx, tx, c)
		return err
	})
	return id, sealdb.Named("create patient", err)
}

// PatientName opens a patient's name. The grant must allow access.ViewPatient on the patient, or access.ManageDirectory:
// the administrator of the directory has to read it, and it opens no value. A patient who was forgotten is ForgottenName.
func (s *Directory) PatientName(ctx context.Context, g access.Grant, id string) (string, error) {
	if s.db.Allowed(g, access.ManageDirectory, access.OnSystem()) != nil {
		if err := s.db.Allowed(g, access.ViewPatient, access.OnPatient(id)); err != nil {
			return "", sealdb.Named("patient name", err)
		}
	}
	var sealed []byte
	if err := s.db.QueryRowContext(ctx, "SELECT sealed_name FROM patients WHERE id = ?", id).Scan(&sealed); err != nil {
		return "", sealdb.Named("patient name", err)
	}
	if len(sealed) == 0 {
		return sealdb.ForgottenName, nil
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(id))
	if err != nil {
		return "", sealdb.Named("patient name", err)
	}
	name, err := key.Open(sealed, sealdb.Associated("patient name", id))
	if err != nil {
		return "", sealdb.Named("patient name", sealdb.ErrSealed)
	}
	return string(name), nil
}

const selectPatient = `SELECT p.id, coalesce(b.ward, ''), coalesce(b.id, ''),
	(SELECT string_agg(x.person, ' ') FROM exclusions x WHERE x.patient = p.id) FROM patients p
	LEFT JOIN stays s ON s.patient = p.id AND s.ends IS NULL LEFT JOIN beds b ON b.id = s.bed`

func (s *Directory) scanPatient(r sealdb.Scanner) (p access.PatientRef, err error) {
	var excluded *string
	err = r.Scan(&p.ID, &p.Ward, &p.Bed, &excluded)
	if excluded != nil {
		p.Excluded = strings.Fields(*excluded) // ids have no spaces
	}
	s.db.EachBarred(sealdb.BarExclude, func(id string) {
		patient, person, _ := strings.Cut(id, " ")
		if patient == p.ID && !slices.Contains(p.Excluded, person) {
			p.Excluded = append(p.Excluded, person)
		}
	})
	return p, err
}

// Patient is where a patient lies now, and whom the patient excludes.
//
//defence:bound-queries values reach the database as parameters
func (s *Directory) Patient(ctx context.Context, id string) (access.PatientRef, error) {
	p, err := s.scanPatient(s.db.QueryRowContext(ctx, selectPatient+" WHERE p.id = ?", id))
	return p, sealdb.Named("patient", err)
}

// Patients are all patients by id, whether admitted or not.
func (s *Directory) Patients(ctx context.Context) ([]access.PatientRef, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.PatientRef, error) { return s.scanPatient(r) }, selectPatient+" ORDER BY p.id")
	return all, sealdb.Named("patients", err)
}

// Admit puts a patient into a bed from at on, ending a stay in another bed at that moment. ErrOccupied if someone lies
// there at or after at, ErrConflict if the patient's history reaches beyond at, ErrNotFound for an unknown patient or bed, and
// for a patient who was forgotten: what is measured in that bed would have no owner.
func (s *Directory) Admit(ctx context.Context, patient, bed string, at time.Time) error {
	if err := s.db.CheckAt(at); err != nil {
		return sealdb.Named("admit", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var keys int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM keys WHERE name = ?", sealdb.PatientKey(patient)).Scan(&keys); err != nil {
			return err
		}
		if keys == 0 {
			return fmt.Errorf("patient %.64q: %w", patient, sealdb.ErrNotFound)
		}
		if err := errors.Join(sealdb.Exists(ctx, tx, "patient", "patients", patient), sealdb.Exists(ctx, tx, "bed", "beds", bed)); err != nil {
			return err
		}
		var taken, later int
		if err := tx.QueryRowContext(ctx, `SELECT
			(SELECT count(*) FROM stays WHERE bed = ?1 AND patient <> ?2 AND (ends IS NULL OR ends > ?3)),
			(SELECT count(*) FROM stays WHERE patient = ?2 AND (begins >= ?3 OR ends > ?3))`, bed, patient, sealdb.Micro(at)).Scan(&taken, &later); err != nil {
			return err
		}
		switch {
		case taken > 0:
			return fmt.Errorf("%w: %s", sealdb.ErrOccupied, bed)
		case later > 0:
			return fmt.Errorf("%w: the patient's history reaches beyond this time", sealdb.ErrConflict)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE stays SET ends = ?, told = ? WHERE patient = ? AND ends IS NULL", sealdb.Micro(at), s.toldBy(sealdb.Micro(at)), patient); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO stays (patient, bed, begins) VALUES (?, ?, ?)", patient, bed, sealdb.Micro(at))
		return err
	})
	s.db.PlacesChanged()
	return sealdb.Named("admit", err)
}

// Discharge ends a patient's stay at at; ErrNotFound if there is none, ErrConflict if it begins later.
func (s *Directory) Discharge(ctx context.Context, patient string, at time.Time) error {
	if err := s.db.CheckAt(at); err != nil {
		return sealdb.Named("discharge", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var begins int64
		if err := tx.QueryRowContext(ctx, "SELECT begins FROM stays WHERE patient = ? AND ends IS NULL", patient).Scan(&begins); err != nil {
			return err
		}
		if begins >= sealdb.Micro(at) {
			return fmt.Errorf("%w: the stay begins later", sealdb.ErrConflict)
		}
		_, err := tx.ExecContext(ctx, "UPDATE stays SET ends = ?, told = ? WHERE patient = ? AND ends IS NULL", sealdb.Micro(at), s.toldBy(sealdb.Micro(at)), patient)
		return err
	})
	s.db.PlacesChanged()
	return sealdb.Named("discharge", err)
}
