package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// MaxBackdate is how far back a stay or a placement may be corrected and readings may be moved.
const MaxBackdate = 31 * 24 * time.Hour

// AdmitFrom is Admit for a stay that begins in the past, at most MaxBackdate ago; of a patient who lies in that bed already it moves the
// beginning back. ErrConflict and ErrOccupied say in words what stands in the way. What was measured since stays with whom it was
// stored for; MoveReadings moves it.
func (s *Directory) AdmitFrom(ctx context.Context, patient, bed string, at time.Time) error {
	if at.Before(s.db.Now().Add(-MaxBackdate)) {
		return sealdb.Named("admit", fmt.Errorf("%w: at is more than %d days ago", sealdb.ErrInvalid, int(MaxBackdate/(24*time.Hour))))
	}
	var extended bool
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var begins int64
		switch err := tx.QueryRowContext(ctx, "SELECT begins FROM stays WHERE patient = ? AND bed = ? AND ends IS NULL", patient, bed).Scan(&begins); {
		case errors.Is(err, sql.ErrNoRows) || err == nil && begins <= sealdb.Micro(at):
			return nil
		case err != nil:
			return err
		}
		// The nearest stay before that one, of this patient or in this bed, must have ended by then.
		var who, where string
		var since int64
		var until *int64
		switch err := tx.QueryRowContext(ctx, `SELECT patient, bed, begins, ends FROM stays WHERE (patient = ?1 OR bed = ?2) AND begins < ?3
			AND NOT (patient = ?1 AND begins = ?3) AND (ends IS NULL OR ends > ?4) ORDER BY begins LIMIT 1`, patient, bed, begins, sealdb.Micro(at)).
			Scan(&who, &where, &since, &until); {
		case err == nil && who != patient:
			return fmt.Errorf("%w: %s lay in %s from %s to %s", sealdb.ErrOccupied, who, where, inWords(&since), inWords(until))
		case err == nil:
			return fmt.Errorf("%w: the patient lay in %s from %s to %s", sealdb.ErrConflict, where, inWords(&since), inWords(until))
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		extended = true
		_, err := tx.ExecContext(ctx, "UPDATE stays SET begins = ? WHERE patient = ? AND begins = ?", sealdb.Micro(at), patient, begins)
		return err
	})
	s.db.PlacesChanged()
	if err != nil || extended {
		return sealdb.Named("admit", err)
	}
	if err := s.Admit(ctx, patient, bed, at); err != nil {
		return s.inWay(ctx, patient, bed, at, err)
	}
	return nil
}

// inWay adds to a refused admission which stay stands in the way.
func (s *Directory) inWay(ctx context.Context, patient, bed string, at time.Time, refused error) error {
	if !errors.Is(refused, sealdb.ErrOccupied) && !errors.Is(refused, sealdb.ErrConflict) {
		return refused
	}
	var who, where string
	var since int64
	var until *int64
	if err := s.db.QueryRowContext(ctx, `SELECT patient, bed, begins, ends FROM stays WHERE (bed = ?1 AND patient <> ?2 AND (ends IS NULL OR ends > ?3))
		OR (patient = ?2 AND (begins >= ?3 OR ends > ?3)) ORDER BY begins LIMIT 1`, bed, patient, sealdb.Micro(at)).Scan(&who, &where, &since, &until); err != nil {
		return refused
	}
	if who == patient {
		return sealdb.Named("admit", fmt.Errorf("%w: the patient lies or lay in %s from %s to %s", sealdb.ErrConflict, where, inWords(&since), inWords(until)))
	}
	return sealdb.Named("admit", fmt.Errorf("%w: %s lies or lay in %s from %s to %s", sealdb.ErrOccupied, who, where, inWords(&since), inWords(until)))
}

// inWords is a time of the history for a person.
func inWords(us *int64) string {
	if us == nil || *us == math.MaxInt64 {
		return "now"
	}
	return sealdb.FromMicro(*us).Format("2006-01-02 15:04:05 UTC")
}

// DischargeFrom is Discharge at most MaxBackdate ago.
func (s *Directory) DischargeFrom(ctx context.Context, patient string, at time.Time) error {
	if at.Before(s.db.Now().Add(-MaxBackdate)) {
		return sealdb.Named("discharge", fmt.Errorf("%w: at is more than %d days ago", sealdb.ErrInvalid, int(MaxBackdate/(24*time.Hour))))
	}
	return s.Discharge(ctx, patient, at)
}
