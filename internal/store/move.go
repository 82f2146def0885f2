package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"vitalseal/internal/access"
)

// moveStep is the part of the directory's schema about readings that were moved from one patient to another.
const moveStep = `
CREATE TABLE moves (
  id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, target TEXT NOT NULL, sensor TEXT NOT NULL,
  begins INTEGER NOT NULL, ends INTEGER NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL, done INTEGER);
CREATE INDEX moves_by_source ON moves (source, begins);
CREATE INDEX moves_by_target ON moves (target, begins);
CREATE INDEX moves_by_sensor ON moves (sensor, ends);
CREATE INDEX moves_open ON moves (id) WHERE done IS NULL;
`

// pgMove is moveStep in PostgreSQL. A new row makes chunks on their way by the old answer be asked for anew, like a stay's.
const pgMove = `
CREATE TABLE moves (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, sensor TEXT NOT NULL,
  begins BIGINT NOT NULL, ends BIGINT NOT NULL, person TEXT NOT NULL, at BIGINT NOT NULL, done BIGINT);
CREATE INDEX moves_by_source ON moves (source, begins);
CREATE INDEX moves_by_target ON moves (target, begins);
CREATE INDEX moves_by_sensor ON moves (sensor, ends);
CREATE INDEX moves_open ON moves (id) WHERE done IS NULL;
CREATE TRIGGER moved AFTER INSERT ON moves FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON moves FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('directory');
`

const (
	// MaxMove is the longest span whose readings are moved at once.
	MaxMove = 24 * time.Hour
	// MaxBackdate is how far back a stay or a placement may be corrected and readings may be moved.
	MaxBackdate = 31 * 24 * time.Hour
)

// Move is a span of readings that belongs to another patient than it was stored for.
type Move struct {
	From, To    string    // patients; From may be Unassigned
	Sensor      string    // SPIFFE id; empty: of all sensors, which is not for Unassigned
	Begin, End  time.Time // what was measured in [Begin, End)
	Person      string    // id of who moves it
	At          time.Time // when; set by the store
	Done        time.Time // when the last of it was sealed again; zero: not yet
	id          int64
	begin, last int64
}

func (m Move) covers(sensor string) bool { return m.Sensor == "" || m.Sensor == sensor }

// CheckMove says in words what is wrong with a move: ErrInvalid.
func (s *Store) CheckMove(m Move) error {
	now := s.now()
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	switch {
	case m.From == m.To:
		return invalid("both patients are the same")
	case m.From == Unassigned && m.Sensor == "":
		return invalid("sensor: name the one whose unassigned readings are the patient's")
	case !m.End.After(m.Begin):
		return invalid("end must be after begin")
	case m.End.Sub(m.Begin) > MaxMove:
		return invalid("at most %d hours are moved at once", int(MaxMove/time.Hour))
	case m.End.After(now.Truncate(time.Second).Add(time.Second)): // who names this second means all of it
		return invalid("end is in the future; for what is still to come change the stay or the placement")
	case m.Begin.Before(now.Add(-MaxBackdate)):
		return invalid("begin is more than %d days ago", int(MaxBackdate/(24*time.Hour)))
	case s.opt.retention.Numerics != 0 && m.Begin.Before(now.Add(24*time.Hour-s.opt.retention.Numerics)):
		return invalid("begin is before what is kept in full")
	}
	return nil
}

// MoveReadings seals what was measured of m.From in the span again, under the key of m.To, takes it away from m.From, and remakes both
// patients' sums. What arrives later for that span is m.To's at once. Once it has noted the move, a crash at any moment neither
// loses nor doubles a reading: the next start goes on with it. done false: the move is noted, and another hub, or the next look in
// some seconds, does the rest. The grants must allow access.MoveReadings on both patients, for Unassigned on the system. ErrInvalid says
// what is wrong with the span; ErrHeld if a legal hold protects m.From; ErrNotFound for a patient who is unknown or forgotten.
func (s *Store) MoveReadings(ctx context.Context, from, to access.Grant, m Move) (done bool, err error) {
	source := access.OnPatient(m.From)
	if m.From == Unassigned {
		source = access.OnSystem()
	}
	if err := errors.Join(s.allowed(from, access.MoveReadings, source), s.allowed(to, access.MoveReadings, access.OnPatient(m.To))); err != nil {
		return false, named("move readings", err)
	}
	if err := s.CheckMove(m); err != nil {
		return false, named("move readings", err)
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		for _, p := range []string{m.From, m.To} {
			var keys, held int
			if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM keys WHERE name = ?), (SELECT count(*) FROM holds WHERE patient = ?)`,
				patientKey(p), p).Scan(&keys, &held); err != nil {
				return err
			}
			if keys == 0 && p != Unassigned {
				return fmt.Errorf("patient %.64q: %w", p, ErrNotFound)
			}
			if held > 0 && p == m.From {
				return ErrHeld
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO moves (source, target, sensor, begins, ends, person, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			m.From, m.To, m.Sensor, micro(m.Begin), micro(m.End), m.Person, micro(s.now()))
		return err
	})
	s.where.changed()
	if err != nil {
		return false, named("move readings", err)
	}
	left, err := s.finishMoves(ctx)
	return left == 0, named("move readings", err)
}

const selectMove = "SELECT id, source, target, sensor, begins, ends, person, at, done FROM moves "

func scanMove(r *sql.Rows) (m Move, err error) {
	var at int64
	var done *int64
	err = r.Scan(&m.id, &m.From, &m.To, &m.Sensor, &m.begin, &m.last, &m.Person, &at, &done)
	m.Begin, m.End, m.At, m.Done = fromMicro(m.begin), fromMicro(m.last), fromMicro(at), fromOptional(done)
	return m, err
}

// maxMoves bounds an answer of MovesOf.
const maxMoves = 1000

// MovesOf are the moves from or to a patient of what was measured in [from, to), in the order of their spans. The grant must allow
// access.ViewPatient on the patient; whose the other patient is, the answer's reader must not pass on.
func (s *Store) MovesOf(ctx context.Context, g access.Grant, patient string, from, to time.Time) ([]Move, error) {
	if err := s.numbersAllowed(g, patient); err != nil {
		return nil, named("moves of a patient", err)
	}
	all, err := list(ctx, s.db.DB, scanMove, selectMove+"WHERE (source = ?1 OR target = ?1) AND ends > ?2 AND begins < ?3 ORDER BY begins, id LIMIT ?4",
		patient, micro(from), micro(to), maxMoves)
	return all, named("moves of a patient", err)
}

// movesOfSensor are the moves that concern a sensor, in the order in which they were made.
func (s *Store) movesOfSensor(ctx context.Context, sensor string) ([]Move, error) {
	// What is older than this is never taken in any more.
	return list(ctx, s.db.DB, scanMove, selectMove+"WHERE sensor IN ('', ?) AND ends > ? ORDER BY id", sensor, micro(s.now().Add(-MaxBackdate-24*time.Hour)))
}

// moved applies moves to the intervals of a sensor: within a move's span, what was its source's is its target's.
func moved(lay intervals, sensor string, moves []Move) intervals {
	for _, m := range moves {
		if !m.covers(sensor) {
			continue
		}
		var out intervals
		free := []interval{{m.begin, m.last, m.To}} // what of the span no interval covers
		for _, in := range lay {
			free = carve(free, in.begins, in.ends)
			low, high := max(in.begins, m.begin), min(in.ends, m.last)
			if in.patient != m.From || low >= high {
				out = append(out, in)
				continue
			}
			for _, part := range []interval{{in.begins, low, in.patient}, {low, high, m.To}, {high, in.ends, in.patient}} {
				if part.begins < part.ends {
					out = append(out, part)
				}
			}
		}
		if m.From == Unassigned {
			out = append(out, free...)
		}
		lay = out
	}
	slices.SortFunc(lay, func(a, b interval) int {
		switch {
		case a.begins < b.begins:
			return -1
		case a.begins > b.begins:
			return 1
		}
		return 0
	})
	return lay
}

// carve takes [begins, ends) out of intervals.
func carve(all []interval, begins, ends int64) (out []interval) {
	for _, in := range all {
		for _, part := range []interval{{in.begins, min(in.ends, begins), in.patient}, {max(in.begins, ends), in.ends, in.patient}} {
			if part.begins < part.ends {
				out = append(out, part)
			}
		}
	}
	return out
}

// finishMoves does what is left of the moves, one after the other in the order in which they were made, and gives how many could not
// be finished here.
func (s *Store) finishMoves(ctx context.Context) (left int, err error) {
	open := func() ([]Move, error) {
		return list(ctx, s.db.DB, scanMove, selectMove+"WHERE done IS NULL ORDER BY id")
	}
	moves, err := open()
	if err != nil || len(moves) == 0 {
		return 0, err
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	// Blocks are what is moved; a chunk that is in none becomes one first.
	if err := s.archive.compact(ctx, s.now().Add(time.Hour)); err != nil {
		return len(moves), err
	}
	err = s.archive.alone(ctx, func(ctx context.Context) error {
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

func (s *Store) finishMove(ctx context.Context, m Move) error {
	names, err := s.archive.between(ctx, m.Begin, m.End)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.moveDay(ctx, name, m); err != nil {
			return fmt.Errorf("day %s: %w", name, err)
		}
	}
	_, err = s.db.ExecContext(ctx, "UPDATE moves SET done = ? WHERE id = ? AND done IS NULL", micro(s.now()), m.id)
	if err == nil {
		s.log.Info("readings were moved to another patient", "begin", m.Begin, "end", m.End, "person", m.Person)
	}
	return err
}

// AdmitFrom is Admit for a stay that begins in the past, at most MaxBackdate ago; of a patient who lies in that bed already it moves the
// beginning back. ErrConflict and ErrOccupied say in words what stands in the way. What was measured since stays with whom it was
// stored for; MoveReadings moves it.
func (s *Store) AdmitFrom(ctx context.Context, patient, bed string, at time.Time) error {
	if at.Before(s.now().Add(-MaxBackdate)) {
		return named("admit", fmt.Errorf("%w: at is more than %d days ago", ErrInvalid, int(MaxBackdate/(24*time.Hour))))
	}
	var extended bool
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		var begins int64
		switch err := tx.QueryRowContext(ctx, "SELECT begins FROM stays WHERE patient = ? AND bed = ? AND ends IS NULL", patient, bed).Scan(&begins); {
		case errors.Is(err, sql.ErrNoRows) || err == nil && begins <= micro(at):
			return nil
		case err != nil:
			return err
		}
		// The nearest stay before that one, of this patient or in this bed, must have ended by then.
		var who, where string
		var since int64
		var until *int64
		switch err := tx.QueryRowContext(ctx, `SELECT patient, bed, begins, ends FROM stays WHERE (patient = ?1 OR bed = ?2) AND begins < ?3
			AND NOT (patient = ?1 AND begins = ?3) AND (ends IS NULL OR ends > ?4) ORDER BY begins LIMIT 1`, patient, bed, begins, micro(at)).
			Scan(&who, &where, &since, &until); {
		case err == nil && who != patient:
			return fmt.Errorf("%w: %s lay in %s from %s to %s", ErrOccupied, who, where, inWords(&since), inWords(until))
		case err == nil:
			return fmt.Errorf("%w: the patient lay in %s from %s to %s", ErrConflict, where, inWords(&since), inWords(until))
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		extended = true
		_, err := tx.ExecContext(ctx, "UPDATE stays SET begins = ? WHERE patient = ? AND begins = ?", micro(at), patient, begins)
		return err
	})
	s.where.changed()
	if err != nil || extended {
		return named("admit", err)
	}
	if err := s.Admit(ctx, patient, bed, at); err != nil {
		return s.inWay(ctx, patient, bed, at, err)
	}
	return nil
}

// inWay adds to a refused admission which stay stands in the way.
func (s *Store) inWay(ctx context.Context, patient, bed string, at time.Time, refused error) error {
	if !errors.Is(refused, ErrOccupied) && !errors.Is(refused, ErrConflict) {
		return refused
	}
	var who, where string
	var since int64
	var until *int64
	if err := s.db.QueryRowContext(ctx, `SELECT patient, bed, begins, ends FROM stays WHERE (bed = ?1 AND patient <> ?2 AND (ends IS NULL OR ends > ?3))
		OR (patient = ?2 AND (begins >= ?3 OR ends > ?3)) ORDER BY begins LIMIT 1`, bed, patient, micro(at)).Scan(&who, &where, &since, &until); err != nil {
		return refused
	}
	if who == patient {
		return named("admit", fmt.Errorf("%w: the patient lies or lay in %s from %s to %s", ErrConflict, where, inWords(&since), inWords(until)))
	}
	return named("admit", fmt.Errorf("%w: %s lies or lay in %s from %s to %s", ErrOccupied, who, where, inWords(&since), inWords(until)))
}

// inWords is a time of the history for a person.
func inWords(us *int64) string {
	if us == nil || *us == math.MaxInt64 {
		return "now"
	}
	return fromMicro(*us).Format("2006-01-02 15:04:05 UTC")
}

// DischargeFrom is Discharge at most MaxBackdate ago.
func (s *Store) DischargeFrom(ctx context.Context, patient string, at time.Time) error {
	if at.Before(s.now().Add(-MaxBackdate)) {
		return named("discharge", fmt.Errorf("%w: at is more than %d days ago", ErrInvalid, int(MaxBackdate/(24*time.Hour))))
	}
	return s.Discharge(ctx, patient, at)
}
