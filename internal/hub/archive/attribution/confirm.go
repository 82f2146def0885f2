package attribution

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// Marks are a patient's readings that were not confirmed to be the patient's, by sensor.
type Marks []Silence

// Cover reports whether what a sensor measured at that time is among them.
func (m Marks) Cover(sensor string, at time.Time) bool {
	return slices.ContainsFunc(m, func(x Silence) bool { return x.Sensor == sensor && x.covers(at) })
}

// inQuestion reports whether what the sensor of these silences measured at that time, of that patient, is in question. It decides
// for the live view by what decides for the store and the chart.
func (h SensorHistory) inQuestion(rows []Silence, sensor, patient string, at time.Time) bool {
	var m Marks
	for _, x := range rows {
		if x.Patient == patient {
			m = append(m, h.bound(x))
		}
	}
	return m.Cover(sensor, at)
}

// bound ends a silence's question with the stay or the placement in which it was raised, and not before that end was entered: what was
// stored as the patient's until then has no other word for it, whatever the time that was entered. It ends with the next time that the
// sensor is put to the patient's bed, or the patient into the sensor's, too: a person has said so anew. A span of readings that was moved
// to another patient ends nothing: it says whose those readings are, not who lies at the sensor since.
func (h SensorHistory) bound(x Silence) Silence {
	at := sealdb.Micro(x.End)
	until := at
	for _, in := range h.believed {
		if in.patient == x.Patient && at >= in.begins && at < in.ends {
			until = max(until, in.ends)
		}
	}
	for _, in := range h.stood {
		if in.patient == x.Patient && in.begins > at {
			until = min(until, in.begins)
		}
	}
	if until != math.MaxInt64 && (x.Until.IsZero() || sealdb.FromMicro(until).Before(x.Until)) {
		x.Until = sealdb.FromMicro(until)
	}
	return x
}

// MarksOf are those of a patient, with where each ends: a sensor that went to another bed and came back was put there by a person,
// as was a patient who was admitted anew.
func (s *Attribution) MarksOf(ctx context.Context, patient string) (Marks, error) {
	all, err := sealdb.List(ctx, s.db.DB, scanSilence, selectSilence+"WHERE patient = ? AND answer <> 'yes' ORDER BY ends DESC LIMIT ?", patient, maxSilences)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if err := s.bound(ctx, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// bound is SensorHistory.bound, by the history of the silence's sensor.
func (s *Attribution) bound(ctx context.Context, x *Silence) error {
	h, err := s.PlacesOf(ctx, x.Sensor)
	if err == nil {
		*x = h.bound(*x)
	}
	return err
}

// Questions are the silences of a patient's sensors that a person must still answer for, or that were answered "no" while the sensor
// is still at the patient's bed, newest first. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Attribution) Questions(ctx context.Context, g access.Grant, patient string) ([]Silence, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("questions", err)
	}
	all, err := s.MarksOf(ctx, patient)
	return slices.DeleteFunc(all, func(x Silence) bool { return !x.Open() }), sealdb.Named("questions", err)
}

// NotConfirmed are the silences of a patient's sensors after which readings of [from, to) were in question, and those that a person
// confirmed then, ascending: what a chart says of them. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Attribution) NotConfirmed(ctx context.Context, g access.Grant, patient string, from, to time.Time) ([]Silence, error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("not confirmed", err)
	}
	all, err := sealdb.List(ctx, s.db.DB, scanSilence, selectSilence+"WHERE patient = ? AND ends < ? ORDER BY ends DESC LIMIT ?", patient, sealdb.Micro(to), maxSilences)
	if err != nil {
		return nil, sealdb.Named("not confirmed", err)
	}
	var out []Silence
	for _, x := range slices.Backward(all) {
		if x.Answer != AnswerYes {
			if err := s.bound(ctx, &x); err != nil {
				return nil, sealdb.Named("not confirmed", err)
			}
		}
		over := x.Until
		if x.Answer == AnswerYes {
			over = x.Answered
		}
		if (over.IsZero() || over.After(from)) && (over.IsZero() || over.After(x.End)) {
			out = append(out, x)
		}
	}
	return out, nil
}

// Confirm answers questions of a patient, by their ids: with yes it is the patient on whom the sensors are, and their readings since
// are not in question any more; with no they stay so, until the sensor or the patient is elsewhere or a person says yes after all,
// which then counts from now on. It gives the questions as they were. The grant must allow access.ConfirmPatient on the patient.
// ErrConflict: one of them is not open any more, and none is answered.
func (s *Attribution) Confirm(ctx context.Context, g access.Grant, patient string, ids []int64, yes bool) ([]Silence, error) {
	if err := s.db.Allowed(g, access.ConfirmPatient, access.OnPatient(patient)); err != nil {
		return nil, sealdb.Named("confirm", err)
	}
	if len(ids) == 0 || len(ids) > maxSilences {
		return nil, sealdb.Named("confirm", fmt.Errorf("%w: questions: name 1 to %d", sealdb.ErrInvalid, maxSilences))
	}
	now, found := s.db.Now(), []Silence{}
	for _, id := range ids {
		rows, err := sealdb.List(ctx, s.db.DB, scanSilence, selectSilence+"WHERE id = ? AND patient = ?", id, patient)
		if err != nil {
			return nil, sealdb.Named("confirm", err)
		}
		if len(rows) == 0 {
			return nil, sealdb.Named("confirm", fmt.Errorf("%w: the question was withdrawn, because readings from that time have arrived", sealdb.ErrConflict))
		}
		if err := s.bound(ctx, &rows[0]); err != nil {
			return nil, sealdb.Named("confirm", err)
		}
		if !rows[0].Open() {
			return nil, sealdb.Named("confirm", fmt.Errorf("%w: the question was answered, or the sensor or the patient was moved, meanwhile", sealdb.ErrConflict))
		}
		found = append(found, rows[0])
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		for _, x := range found {
			query, args := "UPDATE silences SET answer = ?, person = ?, answered = ? WHERE id = ? AND answer = ?", []any{AnswerNo, g.Holder(), sealdb.Micro(now), x.ID, x.Answer}
			switch {
			case yes && x.Answer == AnswerNo:
				query, args = "UPDATE silences SET until = ?, person = ?, answered = ? WHERE id = ? AND answer = ? AND until IS NULL", []any{sealdb.Micro(now), g.Holder(), sealdb.Micro(now), x.ID, x.Answer}
			case yes:
				args[0] = AnswerYes
			case x.Answer == AnswerNo:
				continue // it is said already
			}
			r, err := tx.ExecContext(ctx, query, args...)
			if err != nil {
				return err
			}
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				return fmt.Errorf("%w: the question was answered meanwhile", sealdb.ErrConflict)
			}
		}
		return nil
	})
	s.voices.changed()
	return found, sealdb.Named("confirm", err)
}
