package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
)

// A sensor that was silent for long and speaks again may be on another patient: the bed asks (store.Silence). The numbers are shown
// on, with the question.

// question is one that a bed asks: is this still the right patient?
type question struct {
	ID     string `json:"id"`
	Sensor string `json:"sensor"` // short name
	// Silent is the time of the last value before the silence, Spoke of the first one after.
	Silent time.Time `json:"silent"`
	Spoke  time.Time `json:"spoke"`
	No     bool      `json:"no,omitempty"` // a person said that it is not; the sensor is still at the bed
	By     string    `json:"by,omitempty"` // who said so
}

// questioned is what an answer about a patient says of questions.
type questioned struct {
	Questions []question `json:"questions,omitempty"`
	MayAnswer bool       `json:"may_answer,omitempty"` // the reader is one who may
}

// questions are those of a patient. Whether the reader may answer is asked without an entry in the audit log: the answer itself has one.
func (h *Handler) questions(ctx context.Context, s access.Subject, g access.Grant, p access.PatientRef) (q questioned, err error) {
	all, err := h.cfg.Store.Questions(ctx, g, p.ID)
	if err != nil || len(all) == 0 {
		return q, err
	}
	for _, x := range all {
		one := question{ID: strconv.FormatInt(x.ID, 10), Sensor: shortName(x.Sensor), Silent: x.Begin.UTC(), Spoke: x.End.UTC(), No: x.Answer == archive.AnswerNo}
		if one.No {
			one.By = h.nameOf(ctx, x.Person)
		}
		q.Questions = append(q.Questions, one)
	}
	may, err := h.cfg.Access.Filter(ctx, s, access.ConfirmPatient, []access.PatientRef{p})
	q.MayAnswer = len(may) > 0
	return q, err
}

func shortName(sensor string) string { return sensor[strings.LastIndexByte(sensor, '/')+1:] }

// nameOf is a person's name, or the id of one who is gone.
func (h *Handler) nameOf(ctx context.Context, person string) string {
	if p, err := h.cfg.Store.Person(ctx, person); err == nil && p.DisplayName != "" {
		return p.DisplayName
	}
	return person
}

// confirm answers questions of a bed: {"questions": ["7"], "answer": "yes"}.
func (h *Handler) confirm(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	ctx, id := r.Context(), r.PathValue("id")
	on := access.OnPatient(id)
	g, err := h.cfg.Access.DecideFor(ctx, s, access.ConfirmPatient, on, "is this still the right patient?")
	if err != nil {
		return err
	}
	var in struct {
		Questions []string `json:"questions"`
		Answer    string   `json:"answer"` // yes or no
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if in.Answer != archive.AnswerYes && in.Answer != archive.AnswerNo {
		return badRequest("answer: yes or no.")
	}
	var ids []int64
	for _, text := range in.Questions {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return badRequest("questions: their ids, as the list of beds has them.")
		}
		ids = append(ids, n)
	}
	was, err := h.cfg.Store.Confirm(ctx, g, id, ids, in.Answer == archive.AnswerYes)
	switch {
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("%w: %w", errNotOpen, err)
	case errors.Is(err, store.ErrInvalid):
		return badRequest("questions: name 1 to 500.")
	case err != nil:
		return err
	}
	for _, x := range was {
		before := x.Answer
		if before == "" {
			before = "not answered"
		}
		what := shortName(x.Sensor) + " silent from " + x.Begin.UTC().Format(time.RFC3339) + " to " + x.End.UTC().Format(time.RFC3339) +
			": still the right patient: " + before + " -> " + in.Answer
		if err := h.cfg.Access.Record(ctx, g, on, what); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// trendQuestion is a stretch of a sensor's readings of which a person had to say, or still has to, that they are this patient's.
type trendQuestion struct {
	Sensor string     `json:"sensor"`
	From   time.Time  `json:"from"`
	To     *time.Time `json:"to,omitempty"` // absent: it goes on
	// Answer is empty (there is none yet), yes or no.
	Answer string     `json:"answer,omitempty"`
	By     string     `json:"by,omitempty"`
	At     *time.Time `json:"at,omitempty"`
}

// notConfirmed are a patient's, in words that a chart can show.
func (h *Handler) notConfirmed(ctx context.Context, g access.Grant, id string, from, to time.Time) ([]trendQuestion, error) {
	all, err := h.cfg.Store.NotConfirmed(ctx, g, id, from, to)
	out := []trendQuestion{}
	for _, x := range all {
		q := trendQuestion{Sensor: shortName(x.Sensor), From: x.End.UTC(), Answer: x.Answer}
		if x.Answer != "" {
			q.By, q.At = h.nameOf(ctx, x.Person), &x.Answered
		}
		switch {
		case x.Answer == archive.AnswerYes:
			q.To = &x.Answered
		case !x.Until.IsZero():
			q.To = &x.Until
		}
		out = append(out, q)
	}
	return out, err
}
