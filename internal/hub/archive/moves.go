package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
)

// MoveReadings seals what was measured of m.From in the span again, under the key of m.To, takes it away from m.From, and remakes both
// patients' sums. What arrives later for that span is m.To's at once. Once it has noted the move, a crash at any moment neither
// loses nor doubles a reading: the next start goes on with it. done false: the move is noted, and another hub, or the next look in
// some seconds, does the rest. The grants must allow access.MoveReadings on both patients, for Unassigned on the system. ErrInvalid says
// what is wrong with the span; ErrHeld if a legal hold protects m.From; ErrNotFound for a patient who is unknown or forgotten.
func (s *Archive) MoveReadings(ctx context.Context, from, to access.Grant, m attribution.Move) (done bool, err error) {
	source := access.OnPatient(m.From)
	if m.From == sealdb.Unassigned {
		source = access.OnSystem()
	}
	if err := errors.Join(s.db.Allowed(from, access.MoveReadings, source), s.db.Allowed(to, access.MoveReadings, access.OnPatient(m.To))); err != nil {
		return false, sealdb.Named("move readings", err)
	}
	if err := s.CheckMove(m); err != nil {
		return false, sealdb.Named("move readings", err)
	}
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		for _, p := range []string{m.From, m.To} {
			var keys, held int
			if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM keys WHERE name = ?), (SELECT count(*) FROM holds WHERE patient = ?)`,
				sealdb.PatientKey(p), p).Scan(&keys, &held); err != nil {
				return err
			}
			if keys == 0 && p != sealdb.Unassigned {
				return fmt.Errorf("patient %.64q: %w", p, sealdb.ErrNotFound)
			}
			if held > 0 && p == m.From {
				return sealdb.ErrHeld
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO moves (source, target, sensor, begins, ends, person, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			m.From, m.To, m.Sensor, sealdb.Micro(m.Begin), sealdb.Micro(m.End), m.Person, sealdb.Micro(s.db.Now()))
		return err
	})
	s.db.PlacesChanged()
	if err != nil {
		return false, sealdb.Named("move readings", err)
	}
	left, err := s.finishMoves(ctx)
	return left == 0, sealdb.Named("move readings", err)
}

// finishMoves does what is left of the moves, one after the other in the order in which they were made, and gives how many could not
// be finished here.
func (s *Archive) finishMoves(ctx context.Context) (left int, err error) {
	open := func() ([]attribution.Move, error) {
		return sealdb.List(ctx, s.db.DB, attribution.ScanMove, attribution.SelectMove+"WHERE done IS NULL ORDER BY id")
	}
	moves, err := open()
	if err != nil || len(moves) == 0 {
		return 0, err
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	// Blocks are what is moved; a chunk that is in none becomes one first.
	if err := s.Days.Compact(ctx, s.db.Now().Add(time.Hour)); err != nil {
		return len(moves), err
	}
	err = s.Days.Alone(ctx, func(ctx context.Context) error {
		moves, err := open()
		for _, m := range moves {
			if err == nil {
				err = s.finishMove(ctx, m)
			}
		}
		return err
	})
	if err != nil {
		return len(moves), err
	}
	moves, err = open()
	return len(moves), err
}

func (s *Archive) finishMove(ctx context.Context, m attribution.Move) error {
	names, err := s.Days.Between(ctx, m.Begin, m.End)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.Days.MoveDay(ctx, name, m); err != nil {
			return fmt.Errorf("day %s: %w", name, err)
		}
	}
	_, err = s.db.ExecContext(ctx, "UPDATE moves SET done = ? WHERE id = ? AND done IS NULL", sealdb.Micro(s.db.Now()), m.ID)
	if err == nil {
		s.db.Log.Info("readings were moved to another patient", "begin", m.Begin, "end", m.End, "person", m.Person)
	}
	return err
}
