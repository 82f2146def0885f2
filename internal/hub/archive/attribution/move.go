package attribution

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
)

// MoveStep is the part of the directory's schema about readings that were moved from one patient to another.
const MoveStep = `
CREATE TABLE moves (
  id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, target TEXT NOT NULL, sensor TEXT NOT NULL,
  begins INTEGER NOT NULL, ends INTEGER NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL, done INTEGER);
CREATE INDEX moves_by_source ON moves (source, begins);
CREATE INDEX moves_by_target ON moves (target, begins);
CREATE INDEX moves_by_sensor ON moves (sensor, ends);
CREATE INDEX moves_open ON moves (id) WHERE done IS NULL;
`

// PgMove is MoveStep in PostgreSQL. A new row makes chunks on their way by the old answer be asked for anew, like a stay's.
const PgMove = `
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

// MaxMove is the longest span whose readings are moved at once.
const MaxMove = 24 * time.Hour

// Move is a span of readings that belongs to another patient than it was stored for.
type Move struct {
	From, To    string    // patients; From may be Unassigned
	Sensor      string    // SPIFFE id; empty: of all sensors, which is not for Unassigned
	Begin, End  time.Time // what was measured in [Begin, End)
	Person      string    // id of who moves it
	At          time.Time // when; set by the store
	Done        time.Time // when the last of it was sealed again; zero: not yet
	ID          int64
	begin, last int64
}

// Covers reports whether a move concerns a sensor.
func (m Move) Covers(sensor string) bool { return m.Sensor == "" || m.Sensor == sensor }

// CheckMove says in words what is wrong with a move: ErrInvalid.
func (s *Attribution) CheckMove(m Move) error {
	now := s.db.Now()
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{sealdb.ErrInvalid}, args...)...)
	}
	switch {
	case m.From == m.To:
		return invalid("both patients are the same")
	case m.From == sealdb.Unassigned && m.Sensor == "":
		return invalid("sensor: name the one whose unassigned readings are the patient's")
	case !m.End.After(m.Begin):
		return invalid("end must be after begin")
	case m.End.Sub(m.Begin) > MaxMove:
		return invalid("at most %d hours are moved at once", int(MaxMove/time.Hour))
	case m.End.After(now.Truncate(time.Second).Add(time.Second)): // who names this second means all of it
		return invalid("end is in the future; for what is still to come change the stay or the placement")
	case m.Begin.Before(now.Add(-directory.MaxBackdate)):
		return invalid("begin is more than %d days ago", int(directory.MaxBackdate/(24*time.Hour)))
	case s.keepNumerics != 0 && m.Begin.Before(now.Add(24*time.Hour-s.keepNumerics)):
		return invalid("begin is before what is kept in full")
	}
	return nil
}

// SelectMove begins a query whose rows ScanMove reads.
const SelectMove = "SELECT id, source, target, sensor, begins, ends, person, at, done FROM moves "

// ScanMove reads a row of SelectMove.
func ScanMove(r *sql.Rows) (m Move, err error) {
	var at int64
	var done *int64
	err = r.Scan(&m.ID, &m.From, &m.To, &m.Sensor, &m.begin, &m.last, &m.Person, &at, &done)
	m.Begin, m.End, m.At, m.Done = sealdb.FromMicro(m.begin), sealdb.FromMicro(m.last), sealdb.FromMicro(at), sealdb.FromOptional(done)
	return m, err
}

// maxMoves bounds an answer of MovesOf.
const maxMoves = 1000

// MovesOf are the moves from or to a patient of what was measured in [from, to), in the order of their spans. The grant must allow
// access.ViewPatient on the patient; whose the other patient is, the answer's reader must not pass on.
func (s *Attribution) MovesOf(ctx context.Context, g access.Grant, patient string, from, to time.Time) ([]Move, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("moves of a patient", err)
	}
	all, err := sealdb.List(ctx, s.db.DB, ScanMove, SelectMove+"WHERE (source = ?1 OR target = ?1) AND ends > ?2 AND begins < ?3 ORDER BY begins, id LIMIT ?4",
		patient, sealdb.Micro(from), sealdb.Micro(to), maxMoves)
	return all, sealdb.Named("moves of a patient", err)
}

// movesOfSensor are the moves that concern a sensor, in the order in which they were made.
func (s *Attribution) movesOfSensor(ctx context.Context, sensor string) ([]Move, error) {
	// What is older than this is never taken in any more.
	return sealdb.List(ctx, s.db.DB, ScanMove, SelectMove+"WHERE sensor IN ('', ?) AND ends > ? ORDER BY id", sensor, sealdb.Micro(s.db.Now().Add(-directory.MaxBackdate-24*time.Hour)))
}

// moved applies moves to the intervals of a sensor: within a move's span, what was its source's is its target's.
func moved(lay intervals, sensor string, moves []Move) intervals {
	for _, m := range moves {
		if !m.Covers(sensor) {
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
		if m.From == sealdb.Unassigned {
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
