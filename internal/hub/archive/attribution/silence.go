package attribution

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// A sensor that was silent for long may have come back on another patient than the one who lies, by the directory, in its bed. So its
// return raises a question: is this still the right patient? Until a person answers, its readings are stored and shown as those of
// that patient, with a mark. What counts is when they were measured: a backlog that arrives late fills the silence, and the question
// goes by itself. The question is on disk before the first reading that it concerns.

// SilenceStep is the part of the directory's schema about sensors that were silent. spoke is the time of a sensor's newest value, as
// written last. A row is a silence between two values, begins and ends, after which a patient's readings were questioned. Its
// readings from ends on are not confirmed: until the sensor or the patient went elsewhere or, after "no", until a person confirmed it.
const SilenceStep = `
ALTER TABLE devices ADD COLUMN spoke INTEGER;
CREATE TABLE silences (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sensor TEXT NOT NULL, patient TEXT NOT NULL, begins INTEGER NOT NULL, ends INTEGER NOT NULL,
  answer TEXT NOT NULL DEFAULT '', person TEXT NOT NULL DEFAULT '', answered INTEGER, until INTEGER);
CREATE UNIQUE INDEX silences_by_sensor ON silences (sensor, ends);
CREATE INDEX silences_by_patient ON silences (patient, ends);
`

// PgSilence is SilenceStep in PostgreSQL.
var PgSilence = sealdb.Step{Up: sealdb.Collated(`
ALTER TABLE devices ADD COLUMN spoke BIGINT;
CREATE TABLE silences (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor TEXT NOT NULL, patient TEXT NOT NULL, begins BIGINT NOT NULL, ends BIGINT NOT NULL,
  answer TEXT NOT NULL DEFAULT '', person TEXT NOT NULL DEFAULT '', answered BIGINT, until BIGINT);
CREATE UNIQUE INDEX silences_by_sensor ON silences (sensor, ends);
CREATE INDEX silences_by_patient ON silences (patient, ends);
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON silences FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_tell('silences');
`), Down: "DROP TABLE silences; ALTER TABLE devices DROP COLUMN spoke;"}

const (
	// DefaultConfirmAfter is how long a sensor must have been silent for its return to be questioned. A wash, a walk or an
	// examination takes less, and a question that is asked many times a day is answered without a look at the patient. A bed that
	// gets another patient stays without a probe for longer: it is cleaned and made in between.
	DefaultConfirmAfter = 30 * time.Minute
	// MinConfirmAfter is the shortest, for trials.
	MinConfirmAfter = 2 * time.Second
	// MaxConfirmAfter is the longest: beyond it the night shift would never be asked.
	MaxConfirmAfter = 12 * time.Hour
)

// The answers to a Silence's question.
const (
	AnswerYes = "yes"
	AnswerNo  = "no"
)

// Silence is a stretch in which a sensor said nothing, and the question that its return raised.
type Silence struct {
	ID      int64
	Sensor  string // SPIFFE id
	Patient string
	// Begin is the time of the last value before, End of the first one after.
	Begin, End time.Time
	Answer     string // AnswerYes, AnswerNo or empty: not answered yet
	Person     string // id of who answered
	Answered   time.Time
	// Until is when its readings stopped being in question; zero: they still are. With AnswerYes none is.
	Until time.Time

	disk int64 // µs of Begin on disk; a backlog moves it on in memory first
}

// Open reports whether a person must still answer, or do something about a "no".
func (x Silence) Open() bool { return x.Answer != AnswerYes && x.Until.IsZero() }

// covers reports whether the reading that the sensor took at that time is in question.
func (x Silence) covers(at time.Time) bool {
	return x.Answer != AnswerYes && !at.Before(x.End) && (x.Until.IsZero() || at.Before(x.Until))
}

const selectSilence = "SELECT id, sensor, patient, begins, ends, answer, person, answered, until FROM silences "

func scanSilence(r *sql.Rows) (x Silence, err error) {
	var begins, ends int64
	var answered, until *int64
	err = r.Scan(&x.ID, &x.Sensor, &x.Patient, &begins, &ends, &x.Answer, &x.Person, &answered, &until)
	x.disk = begins
	x.Begin, x.End, x.Answered, x.Until = sealdb.FromMicro(begins), sealdb.FromMicro(ends), sealdb.FromOptional(answered), sealdb.FromOptional(until)
	return x, err
}

// listening remembers when each sensor last had a value, and which of its silences are in question.
type listening struct {
	mu  sync.Mutex // guards all below
	gen uint64     // of the silences; rows of an older one are stale
	m   map[string]*voice
}

// voice is one sensor's.
type voice struct {
	mu    sync.Mutex // guards all below, and is held while the database is asked
	read  bool       // last is at least what is on disk
	last  int64      // µs of the newest value; 0: none is known
	noted int64      // what of it is on disk
	gen   uint64     // of rows
	has   bool       // rows were read
	rows  []Silence  // those that were never confirmed, as on disk: SensorHistory.bound says where each ends
}

func (l *listening) init() { l.m = map[string]*voice{} }

// changed makes what is remembered of silences stale.
func (l *listening) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
}

func (l *listening) of(sensor string) (v *voice, gen uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v = l.m[sensor]
	if v == nil {
		if len(l.m) >= sealdb.MaxCached {
			clear(l.m)
		}
		v = &voice{}
		l.m[sensor] = v
	}
	return v, l.gen
}

// speaks reports whether a bundle has a value of the patient: a probe that is off says why it has none, and a device's own
// temperature says nothing of a patient.
func speaks(b vitals.Bundle) bool {
	return slices.ContainsFunc(b.Numerics, func(n vitals.Numeric) bool { return n.Kind != vitals.DieTemperature && n.Quality.HasValue() })
}

// Listen notes that a sensor speaks, raises a question where it had been silent for long, and reports whether what it says is in
// question. What cannot be written is tried again with the next chunk; the reading is marked and goes on: a monitor must not
// fall silent for a question.
func (s *Attribution) Listen(ctx context.Context, h SensorHistory, sensor, subject string, c vitals.Chunk) (inQuestion bool) {
	if c.Signal != vitals.Numerics {
		return false
	}
	v, gen := s.voices.of(sensor)
	v.mu.Lock()
	defer v.mu.Unlock()
	err := s.hearVoice(ctx, h, v, gen, sensor, c)
	if err != nil {
		s.unnoted.Say(s.db.Log, s.db.Now(), 1, "whether a sensor was silent for long could not be noted; its readings are marked as not confirmed",
			"sensor", sensor, "err", s.db.Explain(err))
		return subject != sealdb.Unassigned
	}
	_, last := SampleSpan(c)
	return h.inQuestion(v.rows, sensor, subject, last)
}

// hearVoice is listen; v.mu is held.
func (s *Attribution) hearVoice(ctx context.Context, h SensorHistory, v *voice, gen uint64, sensor string, c vitals.Chunk) error {
	if !v.has || v.gen != gen || s.db.Deaf() {
		if err := s.readSilences(ctx, v, gen, sensor); err != nil {
			return err
		}
	}
	limit := s.confirmAfter.Microseconds()
	for _, b := range c.Bundles {
		if !speaks(b) {
			continue
		}
		at := sealdb.Micro(b.At)
		if v.last > at {
			if err := s.fillSilence(ctx, v, limit, at); err != nil {
				return err
			}
			continue
		}
		if !v.read || at-v.last > limit { // another hub may have heard it meanwhile
			var spoke *int64
			if err := s.db.QueryRowContext(ctx, "SELECT (SELECT spoke FROM devices WHERE id = ?)", sensor).Scan(&spoke); err != nil {
				return err
			}
			if v.read = true; spoke != nil && *spoke > v.last {
				v.last, v.noted = *spoke, *spoke
			}
		}
		if v.last > 0 && at-v.last > limit {
			// By the bed, not by whose the readings are: one who moves a span of readings says nothing of who is there since.
			if who, steady := h.stood.during(v.last, at); steady && who != sealdb.Unassigned {
				if err := s.raise(ctx, v, Silence{Sensor: sensor, Patient: who, Begin: sealdb.FromMicro(v.last), End: sealdb.FromMicro(at)}); err != nil {
					return err
				}
			}
		}
		v.last = max(v.last, at)
	}
	if every := min(limit/4, time.Minute.Microseconds()); v.last-v.noted >= every {
		if _, err := s.db.ExecContext(ctx, "UPDATE devices SET spoke = ?1 WHERE id = ?2 AND (spoke IS NULL OR spoke < ?1)", v.last, sensor); err != nil {
			return err
		}
		v.noted = v.last
	}
	return nil
}

// maxSilences bounds the silences of one sensor, or of one patient, that are looked at: the newest.
const maxSilences = 500

func (s *Attribution) readSilences(ctx context.Context, v *voice, gen uint64, sensor string) error {
	rows, err := sealdb.List(ctx, s.db.DB, scanSilence, selectSilence+"WHERE sensor = ? AND answer <> 'yes' ORDER BY ends DESC LIMIT ?", sensor, maxSilences)
	if err == nil {
		v.rows, v.gen, v.has = rows, gen, true
	}
	return err
}

// raise puts a question. v.mu is held.
func (s *Attribution) raise(ctx context.Context, v *voice, x Silence) error {
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		return insertSilence(ctx, tx, x)
	})
	if err != nil {
		return err
	}
	s.voices.changed()
	s.db.Log.Warn("a sensor speaks again after a long silence: is it still on the same patient? The bed asks", "sensor", x.Sensor, "silent", x.End.Sub(x.Begin).Round(time.Second))
	v.rows = append(v.rows, x) // until the next reading of the rows, which has the id
	return nil
}

func insertSilence(ctx context.Context, tx *sql.Tx, x Silence) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO silences (sensor, patient, begins, ends) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		x.Sensor, x.Patient, sealdb.Micro(x.Begin), sealdb.Micro(x.End))
	return err
}

// fillSilence takes in a value from within a silence that was not answered for: what is left of it on either side is asked about
// only if it is long by itself. v.mu is held.
func (s *Attribution) fillSilence(ctx context.Context, v *voice, limit, at int64) error {
	i := slices.IndexFunc(v.rows, func(x Silence) bool { return x.Answer == "" && sealdb.Micro(x.Begin) < at && at < sealdb.Micro(x.End) })
	if i < 0 {
		return nil
	}
	x := v.rows[i]
	begins, ends := sealdb.Micro(x.Begin), sealdb.Micro(x.End)
	before, after := at-begins > limit, ends-at > limit
	if !before && after {
		// A backlog comes in order: the silence shrinks with each of its chunks. Now and then is often enough for the disk.
		v.rows[i].Begin = sealdb.FromMicro(at)
		if at-x.disk < limit/4 {
			return nil
		}
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM silences WHERE sensor = ? AND ends = ? AND answer = ''", x.Sensor, ends); err != nil {
			return err
		}
		for _, part := range []struct {
			is         bool
			begin, end int64
		}{{before, begins, at}, {after, at, ends}} {
			if !part.is {
				continue
			}
			if err := insertSilence(ctx, tx, Silence{Sensor: x.Sensor, Patient: x.Patient, Begin: sealdb.FromMicro(part.begin), End: sealdb.FromMicro(part.end)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.voices.changed()
	if !before && !after {
		s.db.Log.Info("the question whether a sensor is still on the same patient is withdrawn: readings from that time have arrived", "sensor", x.Sensor)
	}
	_, gen := s.voices.of(x.Sensor)
	return s.readSilences(ctx, v, gen, x.Sensor)
}
