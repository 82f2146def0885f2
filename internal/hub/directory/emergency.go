package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// maxExclusions bounds whom one patient excludes.
const maxExclusions = 200

// maxEmergencies bounds one answer.
const maxEmergencies = 10_000

// SaveEmergency records an emergency access. What was typed about the patient is sealed under the patient's key.
func (s *Directory) SaveEmergency(ctx context.Context, g access.EmergencyAccess) error {
	if err := checkEmergency(g); err != nil {
		return sealdb.Named("save emergency", err)
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(g.PatientID))
	if err != nil {
		return sealdb.Named("save emergency", err)
	}
	return sealdb.Named("save emergency", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error { return insertEmergency(ctx, tx, key, g) }))
}

// OpenEmergency is SaveEmergency within a limit: see access.Emergencies. The directory has one writer at a time, over all hubs, so that what it
// counts stays so until it is written.
func (s *Directory) OpenEmergency(ctx context.Context, g access.EmergencyAccess, since time.Time, most int) (access.EmergencyAccess, error) {
	if err := checkEmergency(g); err != nil {
		return access.EmergencyAccess{}, sealdb.Named("open emergency", err)
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(g.PatientID))
	if err != nil {
		return access.EmergencyAccess{}, sealdb.Named("open emergency", err)
	}
	var renewed string
	err = s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		c, err := countEmergencies(ctx, tx, g, since)
		if err != nil {
			return err
		}
		if renewed = c.Open; renewed != "" {
			return sealdb.Affected(tx.ExecContext(ctx, "UPDATE glasses SET expires = ? WHERE id = ? AND reviewed IS NULL", sealdb.Micro(g.Expires), renewed))
		}
		if !c.Same && c.Others >= most {
			return access.ErrEmergencyRate
		}
		return insertEmergency(ctx, tx, key, g)
	})
	if err != nil || renewed == "" {
		return g, sealdb.Named("open emergency", err)
	}
	// It is renewed: a caller that left meanwhile must not hear of a failure.
	return s.Emergency(context.WithoutCancel(ctx), renewed)
}

// CountEmergencies says how things stand before OpenEmergency.
func (s *Directory) CountEmergencies(ctx context.Context, g access.EmergencyAccess, since time.Time) (access.EmergencyCount, error) {
	c, err := countEmergencies(ctx, s.db.DB, g, since)
	if err == nil {
		err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM glasses WHERE opened >= ?", sealdb.Micro(since)).Scan(&c.All)
	}
	return c, sealdb.Named("count emergencies", err)
}

// countEmergencies counts all but EmergencyCount.All. What is sealed in a row is not looked at: a damaged one must not keep the others from being
// counted.
func countEmergencies(ctx context.Context, q sealdb.Querier, g access.EmergencyAccess, since time.Time) (c access.EmergencyCount, err error) {
	// One that was opened or renewed at a time lasts EmergencyLife from then on.
	oldest, lately := sealdb.Micro(g.Opened.Add(-access.EmergencyLongest)), sealdb.Micro(since.Add(access.EmergencyLife))
	if err := q.QueryRowContext(ctx, `SELECT count(DISTINCT CASE WHEN patient <> ?1 THEN patient END), count(DISTINCT CASE WHEN patient = ?1 THEN patient END) > 0
		FROM glasses WHERE person = ?2 AND opened >= ?3 AND expires >= ?4`, g.PatientID, g.PersonID, oldest, lately).Scan(&c.Others, &c.Same); err != nil {
		return c, err
	}
	err = q.QueryRowContext(ctx, `SELECT id FROM glasses WHERE person = ? AND patient = ? AND session = ? AND workstation = ? AND reviewed IS NULL
		AND expires > ? AND opened >= ? ORDER BY opened DESC LIMIT 1`, g.PersonID, g.PatientID, g.Session, g.Workstation, sealdb.Micro(g.Opened),
		sealdb.Micro(g.Expires.Add(-access.EmergencyLongest))).Scan(&c.Open)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return c, err
}

func checkEmergency(g access.EmergencyAccess) error {
	return errors.Join(sealdb.CheckID("emergency id", g.ID), sealdb.CheckText("workstation", g.Workstation, 1, sealdb.MaxID), sealdb.CheckText("session", g.Session, 1, sealdb.MaxID),
		sealdb.CheckText("reason", g.Reason, 1, 4*access.MaxEmergencyReason))
}

func insertEmergency(ctx context.Context, tx *sql.Tx, key seal.Key, g access.EmergencyAccess) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO glasses (id, person, patient, workstation, session, sealed_reason, opened, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, g.ID, g.PersonID, g.PatientID, g.Workstation, g.Session,
		key.Seal([]byte(g.Reason), sealdb.Associated("emergency reason", g.ID)), sealdb.Micro(g.Opened), sealdb.Micro(g.Expires))
	return err
}

const selectEmergency = `SELECT id, person, patient, workstation, session, sealed_reason, opened, expires, coalesce(reviewer, ''), reviewed,
	outcome, sealed_note FROM glasses`

func (s *Directory) scanEmergency(ctx context.Context, r sealdb.Scanner) (g access.EmergencyAccess, err error) {
	var reason, note []byte
	var opened, expires int64
	var reviewed *int64
	if err := r.Scan(&g.ID, &g.PersonID, &g.PatientID, &g.Workstation, &g.Session, &reason, &opened, &expires, &g.ReviewedBy, &reviewed,
		&g.Outcome, &note); err != nil {
		return access.EmergencyAccess{}, err
	}
	g.Opened, g.Expires, g.Reviewed = sealdb.FromMicro(opened), sealdb.FromMicro(expires), sealdb.FromOptional(reviewed)
	key, err := s.db.Key(ctx, sealdb.PatientKey(g.PatientID))
	if errors.Is(err, sealdb.ErrNotFound) {
		// The patient was forgotten. That it was opened, by whom and when, stays, and must not hide the others.
		g.Reason = sealdb.ForgottenName
		return g, nil
	}
	if err != nil {
		return access.EmergencyAccess{}, err
	}
	g.Reason = s.emergencyText(ctx, key, reason, "emergency reason", g.ID)
	if note != nil {
		g.Note = s.emergencyText(ctx, key, note, "emergency note", g.ID)
	}
	return g, nil
}

// DamagedText is in the place of what was written about an emergency and cannot be read any more.
const DamagedText = "(damaged: cannot be read)"

// emergencyText opens what was written about an emergency. One that is damaged must neither hide the others nor end an access that lasts:
// that one was opened stands beside it in clear.
func (s *Directory) emergencyText(ctx context.Context, key seal.Key, sealed []byte, what, id string) string {
	text, err := key.Open(sealed, sealdb.Associated(what, id))
	if err != nil {
		s.db.Log.ErrorContext(ctx, "the text of an emergency is damaged, or was changed; the audit log has its reason", "emergency", id, "which", what)
		return DamagedText
	}
	return string(text)
}

// Emergencies are the emergency accesses opened since then, newest first, of one person and one patient if they are given.
func (s *Directory) Emergencies(ctx context.Context, since time.Time, personID, patientID string) ([]access.EmergencyAccess, error) {
	where, args := []string{"opened >= ?"}, []any{sealdb.Micro(since)}
	if personID != "" {
		where, args = append(where, "person = ?"), append(args, personID)
	}
	if patientID != "" {
		where, args = append(where, "patient = ?"), append(args, patientID)
	}
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.EmergencyAccess, error) { return s.scanEmergency(ctx, r) },
		selectEmergency+" WHERE "+strings.Join(where, " AND ")+" ORDER BY opened DESC LIMIT ?", append(args, maxEmergencies)...)
	return all, sealdb.Named("emergencies", err)
}

// UnreviewedEmergencies are the emergency accesses that were not judged yet, oldest first.
func (s *Directory) UnreviewedEmergencies(ctx context.Context) ([]access.EmergencyAccess, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.EmergencyAccess, error) { return s.scanEmergency(ctx, r) },
		selectEmergency+" WHERE reviewed IS NULL ORDER BY opened LIMIT ?", maxEmergencies)
	return all, sealdb.Named("emergencies", err)
}

// Emergency is one emergency access.
func (s *Directory) Emergency(ctx context.Context, id string) (access.EmergencyAccess, error) {
	g, err := s.scanEmergency(ctx, s.db.QueryRowContext(ctx, selectEmergency+" WHERE id = ?", id))
	return g, sealdb.Named("emergency", err)
}

// ReviewEmergency writes what a reviewer says; ErrNotFound if there is no such emergency or it has been judged. Of a patient who was
// forgotten meanwhile the verdict is kept, and a note is ErrInvalid: there is no key left to seal it under.
func (s *Directory) ReviewEmergency(ctx context.Context, id, reviewer, outcome, note string, at time.Time) error {
	g, err := s.Emergency(ctx, id)
	if err != nil {
		return sealdb.Named("review emergency", err)
	}
	if err := sealdb.CheckText("note", note, 0, 4*access.MaxEmergencyReason); err != nil {
		return sealdb.Named("review emergency", err)
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(g.PatientID))
	var sealed []byte
	switch {
	case errors.Is(err, sealdb.ErrNotFound) && note != "":
		err = fmt.Errorf("%w: note: must be empty, because the patient was forgotten and nothing about them can be kept", sealdb.ErrInvalid)
	case errors.Is(err, sealdb.ErrNotFound):
		err = nil
	case err == nil:
		sealed = key.Seal([]byte(note), sealdb.Associated("emergency note", id))
	}
	if err != nil {
		return sealdb.Named("review emergency", err)
	}
	return sealdb.Named("review emergency", sealdb.Affected(s.db.ExecContext(ctx, `UPDATE glasses SET reviewer = ?, reviewed = ?, outcome = ?, sealed_note = ?
		WHERE id = ? AND reviewed IS NULL`, reviewer, sealdb.Micro(at), outcome, sealed, id)))
}

// Exclude adds or takes away a person whom a patient does not let see the values.
func (s *Directory) Exclude(ctx context.Context, patientID, personID string, excluded bool) error {
	if !excluded {
		_, err := s.db.ExecContext(ctx, "DELETE FROM exclusions WHERE patient = ? AND person = ?", patientID, personID)
		return sealdb.Named("consent", err)
	}
	return sealdb.Named("consent", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := errors.Join(sealdb.Exists(ctx, tx, "patient", "patients", patientID), sealdb.Exists(ctx, tx, "person", "persons", personID)); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM exclusions WHERE patient = ?", patientID).Scan(&n); err != nil {
			return err
		}
		if n >= maxExclusions {
			return fmt.Errorf("%w: at most %d excluded persons", sealdb.ErrInvalid, maxExclusions)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO exclusions (patient, person, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			patientID, personID, sealdb.Micro(s.db.Now()))
		return err
	}, sealdb.Bar{Kind: sealdb.BarExclude, ID: patientID + " " + personID}))
}
