package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/api"
)

// moveAct is a move of readings that waits, or that one person may do alone.
type moveAct struct {
	From   string    `json:"from"`             // a patient, or store.Unassigned
	To     string    `json:"to"`               // a patient
	Sensor string    `json:"sensor,omitempty"` // SPIFFE id; empty: all that were at the patient's bed
	Begin  time.Time `json:"begin"`
	End    time.Time `json:"end"`
	// Numbers of From in the span, and Others of To's own, when it was asked for; at most store.MostFound.
	Numbers int `json:"numbers"`
	Others  int `json:"others"`
	// OthersOf says of which kinds Others are and by which sensors; empty: none, or an act of an older version.
	OthersOf string `json:"others_of,omitempty"`
}

// span says the first and the last second of it, both included; End itself is not.
func (m moveAct) span() string {
	return m.Begin.UTC().Format("2006-01-02 15:04:05") + " to " + m.End.Add(-time.Microsecond).UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// moved is the answer to a move that was done.
type moved struct {
	Done bool `json:"done"` // false: noted, and done within seconds
}

func (moved) Status() int { return http.StatusCreated }

// moveReadings says that what was measured in a span was another patient's. The policies are asked about both patients. Where both were in
// one ward it is one person's act. From one ward to another it widens who sees the readings: it waits for a second person or, where
// acts take one, is told as a security event.
func (h *handler) moveReadings(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		From   string    `json:"from"` // a patient, or "unassigned"
		To     string    `json:"to"`
		Sensor string    `json:"sensor"` // short name; empty: all that were at the patient's bed
		Begin  time.Time `json:"begin"`
		End    time.Time `json:"end"`
		Meant  bool      `json:"meant"` // what would be questioned is no mistake
	}](rq)
	if err != nil {
		return nil, err
	}
	purpose := "POST " + clipPath(rq.URL.Path)
	from, err := h.Access.DecideFor(ctx, rq.Subject, access.MoveReadings, sourceOf(in.From), purpose)
	if err != nil {
		return nil, err
	}
	decided := []allowed{{from, sourceOf(in.From)}}
	to, err := h.Access.DecideFor(ctx, rq.Subject, access.MoveReadings, access.OnPatient(in.To), purpose)
	if err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	decided = append(decided, allowed{to, access.OnPatient(in.To)})
	act := moveAct{From: in.From, To: in.To, Begin: in.Begin.UTC(), End: in.End.UTC()}
	if in.Sensor != "" {
		act.Sensor = h.spiffe(kindSensor, in.Sensor)
	}
	m := act.move(rq.Subject.Person.ID)
	if err := h.Store.CheckMove(m); err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	numbers, others, err := h.foundFor(ctx, from, to, m)
	if err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	act.Numbers, act.Others = numbers.Count, others.Count
	if act.Others > 0 {
		act.OthersOf = kindsBy(others)
	}
	if found := act.doubts(); !in.Meant && len(found) > 0 {
		return nil, h.notDone(ctx, rq, &question{found}, decided...)
	}
	within, err := h.Store.WithinWard(ctx, m)
	if err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	two, err := h.Access.NeedsTwo(ctx)
	if err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	if !within && two {
		raw, err := json.Marshal(act)
		if err != nil {
			return nil, h.notDone(ctx, rq, fmt.Errorf("admin: act: %w", err), decided...)
		}
		rq.Grant = from
		out, err := h.request(ctx, rq, actMove, access.OnPatient(act.To).String(), raw)
		if err != nil {
			return nil, h.notDone(ctx, rq, err, decided...)
		}
		return out, nil
	}
	out, err := h.move(ctx, from, to, act, m.Person, "")
	if !within && (err == nil || !notNoted(err)) {
		h.Access.Tell(access.Event{Kind: access.EventMoved, Person: m.Person, Where: rq.Subject.Workstation, Patient: act.To,
			Detail: "from " + act.From + " to " + act.To + ": " + act.span()})
	}
	return out, err
}

// allowed is a grant that a request took, for what.
type allowed struct {
	grant access.Grant
	on    access.Resource
}

// notDone writes down that a request was allowed and then not done, for each grant that it took: none of them may stand in the audit
// log as a thing done. It returns err, the reason, and what the log could not take.
func (h *handler) notDone(ctx context.Context, rq *api.Request, err error, decided ...allowed) error {
	status, problem := h.fail(rq.Request, err)
	why := problem.Error
	switch asked := (*question)(nil); {
	case errors.As(err, &asked):
		why = askedWhetherMeant
	case errors.Is(err, access.ErrDenied):
		why = "another part of it was refused"
	}
	all := []error{err}
	for _, d := range decided {
		if rerr := api.Undone(h.Access, status, err)(ctx, d.grant, d.on, why); rerr != nil {
			all = append(all, rerr)
		}
	}
	if len(all) == 1 {
		return err
	}
	return errors.Join(all...)
}

// notNoted is true for what MoveReadings refuses before it has noted the move.
func notNoted(err error) bool {
	return errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrHeld) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrNotAllowed)
}

// sourceOf is what the policies are asked about for those whose readings go.
func sourceOf(from string) access.Resource {
	if from == store.Unassigned {
		return access.OnSystem()
	}
	return access.OnPatient(from)
}

func (m moveAct) move(person string) archive.Move {
	return archive.Move{From: m.From, To: m.To, Sensor: m.Sensor, Begin: m.Begin.UTC(), End: m.End.UTC(), Person: person}
}

// move does it. by says in the audit log who else had a part in it.
func (h *handler) move(ctx context.Context, from, to access.Grant, act moveAct, person, by string) (any, error) {
	// First the intention, durably: the readings must not be elsewhere than any entry says.
	source := sourceOf(act.From)
	span := act.Begin.Format(time.RFC3339) + " to " + act.End.Format(time.RFC3339)
	for _, x := range []struct {
		grant access.Grant
		on    access.Resource
		what  string
	}{{from, source, "readings of " + span + " go to patient " + act.To}, {to, access.OnPatient(act.To), "readings of " + span + " come from patient " + act.From}} {
		if err := h.record(ctx, x.grant, x.on, x.what, by, act.patients()...); err != nil {
			return nil, err
		}
	}
	done, err := h.Store.MoveReadings(ctx, from, to, act.move(person))
	if err != nil {
		return nil, errors.Join(err, h.Access.Record(ctx, from, source, "readings of "+span+": not moved", act.patients()...))
	}
	return moved{done}, h.record(ctx, from, source, "readings of "+span+": moved", by, act.patients()...)
}

// patients are the ids of the one or two patients concerned: what is said of a move is found under each.
func (m moveAct) patients() []string {
	if m.From == store.Unassigned {
		return []string{m.To}
	}
	return []string{m.From, m.To}
}

// doMove is a move that a second person has approved. The rules are asked again about the one who asked for it: what they permitted then
// may be refused now.
func (h *handler) doMove(ctx context.Context, d doing, raw []byte) (any, error) {
	act, err := read[moveAct](raw)
	if err != nil {
		return nil, err
	}
	from, err := h.Access.GrantApproved(ctx, d.approval, access.MoveReadings, sourceOf(act.From))
	if err != nil {
		return nil, err
	}
	to, err := h.Access.GrantApproved(ctx, d.approval, access.MoveReadings, access.OnPatient(act.To))
	if err != nil {
		return nil, err
	}
	if err := h.Store.CheckMove(act.move(d.requester)); err != nil { // time has passed
		return nil, err
	}
	return h.move(ctx, from, to, act, d.requester, d.words())
}

// whatMove names both by id, ward and bed: who approves may be a person who sees no patient's name.
func (h *handler) whatMove(ctx context.Context, raw []byte) ([]string, error) {
	act, err := read[moveAct](raw)
	if err != nil {
		return nil, err
	}
	sensors := "what every sensor measured"
	if act.Sensor != "" {
		sensors = fmt.Sprintf("what the sensor %q measured", shortID(act.Sensor))
	}
	source := fmt.Sprintf("from the patient %q", act.From)
	if act.From == store.Unassigned {
		source = "from no patient"
	}
	out := []string{fmt.Sprintf("moves %s from %s %s to the patient %q: %s", sensors, act.span(), source, act.To, countOf(act.Numbers))}
	if act.Others > 0 {
		out = append(out, fmt.Sprintf("%q has %s of their own of that time%s: the chart would hold those of two people", act.To, countOf(act.Others), paren(plainly(act.OthersOf))))
	}
	out = append(out, fmt.Sprintf("who sees %q sees them from then on, who sees their old patient alone does not any more; both charts say so", act.To))
	var wards, patients []string
	for _, id := range []string{act.From, act.To} {
		if id == store.Unassigned {
			continue
		}
		patients = append(patients, id)
		p, err := h.Store.Patient(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return out, err
		}
		if err != nil || p.Ward == "" {
			continue
		}
		out = append(out, fmt.Sprintf("%q lies on the ward %s now", id, p.Ward))
		if !slices.Contains(wards, p.Ward) {
			wards = append(wards, p.Ward)
		}
	}
	legend, err := h.legend(ctx, wards, patients)
	return append(out, legend...), err
}

// plainKinds are the names of kinds for people.
var plainKinds = strings.NewReplacer(
	vitals.HeartRate.String(), "heart rate", vitals.SpO2.String(), "SpO2", vitals.PerfusionIndex.String(), "perfusion index",
	vitals.CuffPressure.String(), "cuff pressure", vitals.Systolic.String(), "systolic pressure", vitals.Diastolic.String(), "diastolic pressure",
	vitals.MeanArterial.String(), "mean pressure", vitals.RespiratoryRate.String(), "breathing rate", vitals.DieTemperature.String(), "sensor temperature")

// plainly says what kindsBy found with the names of kinds that people use.
func plainly(kinds string) string { return plainKinds.Replace(kinds) }

// paren is a text in parentheses after a space, or nothing.
func paren(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func quietMove(raw []byte) string {
	act, _ := read[moveAct](raw)
	return fmt.Sprintf("readings of %s to %s go from %s to %s", act.Begin.Format(time.RFC3339), act.End.Format(time.RFC3339), act.From, act.To)
}

func countOf(n int) string {
	switch {
	case n == 1:
		return "1 number"
	case n >= archive.MostFound:
		return fmt.Sprintf("%d numbers or more", n)
	}
	return fmt.Sprintf("%d numbers", n)
}

// foundFor finds what numbers of the source a move concerns, and what numbers of the same kinds the target has of that time by another
// sensor: the patient's own cuff does not stand in the way of an oximeter's readings. Of a source without any, or with more than are
// counted, the kinds are not known, and all of the target's are compared.
func (h *handler) foundFor(ctx context.Context, from, to access.Grant, m archive.Move) (numbers, others archive.Found, err error) {
	if numbers, err = h.Store.MeasuredIn(ctx, from, m.From, m.Sensor, false, nil, m.Begin, m.End, archive.MostFound); err != nil {
		return numbers, others, err
	}
	kinds := numbers.Kinds
	if numbers.More {
		kinds = nil
	}
	others, err = h.Store.MeasuredIn(ctx, to, m.To, m.Sensor, true, kinds, m.Begin, m.End, archive.MostFound)
	return numbers, others, err
}

// kindsBy says what was found, and by which sensors: "heart_rate_bpm by oxi-1".
func kindsBy(f archive.Found) string {
	var kinds []string
	for _, k := range f.Kinds {
		kinds = append(kinds, k.String())
	}
	return strings.TrimSpace(strings.Join(kinds, ", ") + " by " + strings.Join(sensorNames(f), ", "))
}

// sensorNames are the short names of the sensors.
func sensorNames(f archive.Found) []string {
	out := []string{}
	for _, s := range f.Sensors {
		_, name, _ := strings.Cut(shortID(s), "/")
		out = append(out, name)
	}
	return out
}

// doubts asks about a span of which nothing is stored, as a mistyped hour makes one, and about one in which the other patient has
// numbers of their own: their chart would then hold those of two people.
func (m moveAct) doubts() (found []string) {
	if m.Numbers == 0 {
		found = append(found, "no number of "+m.span()+" is stored for "+m.From+": only what arrives later would be moved")
	}
	if m.Others > 0 {
		found = append(found, fmt.Sprintf("%s has %d numbers of their own of %s%s: their chart would hold those of two people; move those away first if they are not theirs", m.To, m.Others, m.span(), paren(plainly(m.OthersOf))))
	}
	return found
}
