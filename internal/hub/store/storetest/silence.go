package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// confirmer gives the grants of a nurse of ward "a" to say whether a sensor is still on a patient.
func (b *bench) confirmer(t *testing.T) func(patient string) access.Grant {
	t.Helper()
	id, err := b.CreatePerson(t.Context(), access.Person{Login: "nora", Role: access.RoleNurse, Wards: []string{"a"}}, "hash")
	must(t, err)
	return func(patient string) access.Grant {
		t.Helper()
		g, err := b.e.Decide(t.Context(), access.Subject{Person: access.Person{ID: id}, Workstation: "spiffe://test/workstation/w1", Session: "s",
			SessionStarted: time.Now(), Proven: time.Now()}, access.ConfirmPatient, access.OnPatient(patient))
		must(t, err)
		return g
	}
}

// questions are a patient's open ones, of which there must be so many.
func (b *bench) questions(t *testing.T, patient string, want int) []archive.Silence {
	t.Helper()
	all, err := b.Questions(t.Context(), b.g, patient)
	must(t, err)
	if len(all) != want {
		t.Fatalf("%d questions, want %d: %+v", len(all), want, all)
	}
	return all
}

// marked checks which of a patient's readings, in the order of time, are marked as not confirmed.
func (b *bench) marked(t *testing.T, patient string, want ...bool) {
	t.Helper()
	said, err := b.Said(t.Context(), b.g, patient, b.now.Add(-24*time.Hour), b.now.Add(time.Hour), 0)
	must(t, err)
	if len(said) != len(want) {
		t.Fatalf("%d readings, want %d", len(said), len(want))
	}
	for i, w := range want {
		if x := said[i]; x.NotConfirmed != w {
			t.Errorf("reading %d: not confirmed: %v, want %v", i, x.NotConfirmed, w)
		}
	}
}

// live gives the next update of the live view.
func (b *bench) live(t *testing.T) func() archive.Update {
	t.Helper()
	sub, err := b.Watch(t.Context(), []access.Grant{b.g}, vitals.Numerics)
	must(t, err)
	t.Cleanup(sub.Close)
	return func() archive.Update {
		t.Helper()
		u, err := sub.Next(t.Context())
		must(t, err)
		return u
	}
}

// off is a chunk that says that the probe is off, and how warm the sensor is.
func (b *bench) off(at time.Time, e, seq uint64) archive.Arrival {
	a := b.beat(at, 60, e, seq)
	a.Chunk.Bundles[0].Numerics = []vitals.Numeric{vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Checked(vitals.DieTemperature, 30, vitals.Good)}
	return a
}

// silences: a sensor that was silent for longer than DefaultConfirmAfter is asked about, one that was so for less is not; its readings
// are marked, live and stored, until a nurse says yes.
func silences(t *testing.T, b *bench) {
	at := b.now.Add(-3 * time.Hour)
	live := b.live(t)
	b.append(t, b.beat(at, 60, 1, 0), delivery.Accepted)
	b.append(t, b.beat(at.Add(archive.DefaultConfirmAfter), 61, 1, 1), delivery.Accepted) // not longer
	b.questions(t, b.patient, 0)
	for i := range uint64(2) { // a probe that is off is as silent as a gateway that is away
		b.append(t, b.off(at.Add(time.Hour+time.Duration(i)*time.Minute), 1, 2+i), delivery.Accepted)
	}
	b.questions(t, b.patient, 0)
	for range 4 {
		if u := live(); u.NotConfirmed {
			t.Errorf("live reading of %v is marked", u.Chunk.Start)
		}
	}
	back := at.Add(time.Hour + 2*time.Minute)
	b.append(t, b.beat(back, 62, 1, 4), delivery.Accepted)
	b.append(t, b.beat(back, 62, 1, 4), delivery.Duplicate)
	if u := live(); !u.NotConfirmed || u.Patient != b.patient {
		t.Errorf("the first live reading after the silence: marked %v, of %q", u.NotConfirmed, u.Patient)
	}
	b.append(t, b.beat(back.Add(time.Second), 63, 1, 5), delivery.Accepted)
	if u := live(); !u.NotConfirmed {
		t.Error("the second live reading after the silence is not marked")
	}
	q := b.questions(t, b.patient, 1)[0]
	if !q.Begin.Equal(at.Add(archive.DefaultConfirmAfter)) || !q.End.Equal(back) || q.Sensor != b.sensor {
		t.Errorf("question: %+v", q)
	}
	b.marked(t, b.patient, false, false, false, false, true, true)

	_, err := b.Confirm(t.Context(), b.g, b.patient, []int64{q.ID}, true)
	is(t, err, store.ErrNotAllowed) // not even by the hub's own engines
	g := b.confirmer(t)(b.patient)
	was, err := b.Confirm(t.Context(), g, b.patient, []int64{q.ID}, true)
	must(t, err)
	if len(was) != 1 || was[0].Answer != "" {
		t.Errorf("was: %+v", was)
	}
	_, err = b.Confirm(t.Context(), g, b.patient, []int64{q.ID}, true)
	is(t, err, store.ErrConflict)
	b.questions(t, b.patient, 0)
	b.marked(t, b.patient, false, false, false, false, false, false)
	b.append(t, b.beat(back.Add(2*time.Second), 64, 1, 6), delivery.Accepted)
	if u := live(); u.NotConfirmed {
		t.Error("a reading after the answer is marked")
	}
	told, err := b.NotConfirmed(t.Context(), b.g, b.patient, at, b.now)
	must(t, err)
	if len(told) != 1 || told[0].Answer != archive.AnswerYes || told[0].Person != g.Holder() || told[0].Answered.IsZero() {
		t.Errorf("what the chart says: %+v", told)
	}
}

// silencesFilled: what counts is when readings were measured. A backlog that arrives after a newer reading takes the question away,
// or leaves what of the silence was one.
func silencesFilled(t *testing.T, b *bench) {
	at, seq := b.now.Add(-5*time.Hour), uint64(0)
	beat := func(after time.Duration) {
		t.Helper()
		seq++
		b.append(t, b.beat(at.Add(after), 60, 1, seq), delivery.Accepted)
	}
	beat(0)
	beat(2 * time.Hour)
	b.questions(t, b.patient, 1)
	for m := time.Minute; m < 2*time.Hour; m += time.Minute {
		beat(m)
	}
	b.questions(t, b.patient, 0)

	// Of a long silence, half an hour in the middle was measured: two silences remain.
	beat(4 * time.Hour)
	for m := 3 * time.Hour; m <= 3*time.Hour+20*time.Minute; m += time.Minute {
		beat(m)
	}
	all := b.questions(t, b.patient, 2)
	if !all[0].End.Equal(at.Add(4*time.Hour)) || all[0].Begin.After(at.Add(3*time.Hour+20*time.Minute)) ||
		all[0].Begin.Before(at.Add(3*time.Hour+20*time.Minute-archive.DefaultConfirmAfter/4)) || !all[1].End.Equal(at.Add(3*time.Hour)) {
		t.Errorf("questions: %+v", all)
	}
	_, err := b.Confirm(t.Context(), b.confirmer(t)(b.patient), b.patient, []int64{all[0].ID, all[1].ID}, true)
	must(t, err)
	b.questions(t, b.patient, 0)
}

// silencesRefused: after "no" the readings stay marked until the sensor is elsewhere, or until a nurse says yes after all.
func silencesRefused(t *testing.T, b *bench) {
	ctx, at := t.Context(), b.now.Add(-3*time.Hour)
	g := b.confirmer(t)(b.patient)
	b.append(t, b.beat(at, 60, 1, 0), delivery.Accepted)
	b.append(t, b.beat(at.Add(time.Hour), 61, 1, 1), delivery.Accepted)
	q := b.questions(t, b.patient, 1)[0]
	_, err := b.Confirm(ctx, g, b.patient, []int64{q.ID}, false)
	must(t, err)
	if q := b.questions(t, b.patient, 1)[0]; q.Answer != archive.AnswerNo || q.Person != g.Holder() {
		t.Errorf("after no: %+v", q)
	}
	b.append(t, b.beat(at.Add(time.Hour+time.Second), 62, 1, 2), delivery.Accepted)
	b.marked(t, b.patient, false, true, true)
	_, err = b.Confirm(ctx, g, b.patient, []int64{q.ID}, true)
	must(t, err)
	b.questions(t, b.patient, 0)
	b.append(t, b.beat(b.now.Add(time.Minute), 63, 1, 3), delivery.Accepted)
	b.marked(t, b.patient, false, true, true, true) // an hour and more later: a question of its own
	q = b.questions(t, b.patient, 1)[0]
	_, err = b.Confirm(ctx, g, b.patient, []int64{q.ID}, true)
	must(t, err)
	b.marked(t, b.patient, false, true, true, false)
}

// silencesElsewhere: who moves the sensor or admits another patient has said who lies there; what was in question stays so on the chart.
func silencesElsewhere(t *testing.T, b *bench) {
	ctx, at, next := t.Context(), b.now.Add(-6*time.Hour), b.live(t)
	live := func(patient string, want bool) { // as on the chart
		t.Helper()
		if u := next(); u.Patient != patient || u.NotConfirmed != want {
			t.Errorf("live: of %q, marked %v; want %q, %v", u.Patient, u.NotConfirmed, patient, want)
		}
	}
	b.append(t, b.beat(at, 60, 1, 0), delivery.Accepted)
	live(b.patient, false)
	b.append(t, b.beat(at.Add(time.Hour), 61, 1, 1), delivery.Accepted)
	live(b.patient, true)
	b.questions(t, b.patient, 1)
	must(t, b.PlaceDevice(ctx, b.sensor, "", at.Add(2*time.Hour)))
	b.questions(t, b.patient, 0)
	must(t, b.PlaceDevice(ctx, b.sensor, "a-0", at.Add(3*time.Hour)))
	b.append(t, b.beat(at.Add(3*time.Hour+time.Minute), 62, 1, 2), delivery.Accepted)
	live(b.patient, false)
	b.questions(t, b.patient, 0)
	b.marked(t, b.patient, false, true, false)

	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	must(t, b.Discharge(ctx, b.patient, at.Add(4*time.Hour)))
	must(t, b.Admit(ctx, other, "a-0", at.Add(4*time.Hour)))
	b.append(t, b.beat(at.Add(5*time.Hour), 63, 1, 3), delivery.Accepted)
	live(other, false)
	b.questions(t, other, 0)
	b.marked(t, other, false)
	b.append(t, b.beat(at.Add(5*time.Hour+45*time.Minute), 64, 1, 4), delivery.Accepted)
	live(other, true)
	b.questions(t, other, 1)
	b.questions(t, b.patient, 0)
	b.marked(t, other, false, true)
	must(t, b.Discharge(ctx, other, b.now))
	must(t, b.Forget(ctx, other))
	b.append(t, b.beat(at.Add(5*time.Hour+46*time.Minute), 65, 1, 5), delivery.Accepted)
}

// movedTo moves what was measured in [begin, end) from one patient to another.
func (b *bench) movedTo(t *testing.T, may func(string) access.Grant, from, to string, begin, end time.Time) {
	t.Helper()
	done, err := b.MoveReadings(t.Context(), may(from), may(to), archive.Move{From: from, To: to, Begin: begin, End: end, Person: "u-mover"})
	if err != nil || !done {
		t.Fatalf("move: %v, %v", done, err)
	}
}

// silencesOfMoved: moving readings ends no question, whatever the span and also after "no" or when it is undone. What is moved is the
// other patient's by a person's word; what is moved back is marked again.
func silencesOfMoved(t *testing.T, b *bench) {
	ctx, at, next := t.Context(), b.now.Add(-3*time.Hour), b.live(t)
	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	may, seq := b.mover(t), uint64(0)
	beat := func(after time.Duration, patient string, marked bool) {
		t.Helper()
		b.append(t, b.beat(at.Add(after), 60, 1, seq), delivery.Accepted)
		seq++
		if u := next(); u.Patient != patient || u.NotConfirmed != marked {
			t.Errorf("live after %v: of %q, marked %v; want %q, %v", after, u.Patient, u.NotConfirmed, patient, marked)
		}
	}
	back := time.Hour // the first value after the silence
	beat(0, b.patient, false)
	for m := range time.Duration(4) {
		beat(back+m*time.Minute, b.patient, true)
	}
	q := b.questions(t, b.patient, 1)[0]
	asked := func(answer string) {
		t.Helper()
		if now := b.questions(t, b.patient, 1)[0]; now.ID != q.ID || now.Answer != answer || !now.Until.IsZero() {
			t.Errorf("question: %+v", now)
		}
		b.questions(t, other, 0)
		told, err := b.NotConfirmed(ctx, b.g, b.patient, at, b.now)
		must(t, err)
		if len(told) != 1 || !told[0].Until.IsZero() {
			t.Errorf("what the chart says: %+v", told)
		}
	}
	// Readings in the middle of what is in question.
	begin, end := at.Add(back+time.Minute), at.Add(back+2*time.Minute+time.Second)
	b.movedTo(t, may, b.patient, other, begin, end)
	asked("")
	b.marked(t, b.patient, false, true, true)
	b.marked(t, other, false, false)
	beat(back+4*time.Minute, b.patient, true)
	beat(back+90*time.Second, other, false) // late, in the span
	// Undone, it is as before.
	b.movedTo(t, may, other, b.patient, begin, end)
	asked("")
	b.marked(t, other)
	b.marked(t, b.patient, false, true, true, true, true, true, true)
	beat(back+5*time.Minute, b.patient, true)
	// After "no": the value that raised the question, and all since.
	g := b.confirmer(t)(b.patient)
	_, err = b.Confirm(ctx, g, b.patient, []int64{q.ID}, false)
	must(t, err)
	b.movedTo(t, may, b.patient, other, at.Add(-time.Minute), b.now)
	asked(archive.AnswerNo)
	b.marked(t, b.patient)
	b.append(t, b.beat(b.now.Add(time.Second), 61, 1, seq), delivery.Accepted)
	if u := next(); u.Patient != b.patient || !u.NotConfirmed {
		t.Errorf("the first value after what was moved: of %q, marked %v", u.Patient, u.NotConfirmed)
	}
	b.marked(t, b.patient, true)
	// That was a silence of its own, too. Only an answer ends both.
	all := b.questions(t, b.patient, 2)
	_, err = b.Confirm(ctx, g, b.patient, []int64{all[0].ID, all[1].ID}, true)
	must(t, err)
	b.questions(t, b.patient, 0)
}

// silencesMovedAway: readings that are moved during a silence, up to now, keep no question from being asked.
func silencesMovedAway(t *testing.T, b *bench) {
	at, next := b.now.Add(-time.Hour), b.live(t)
	other, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	may := b.mover(t)
	b.append(t, b.beat(at, 60, 1, 0), delivery.Accepted)
	b.append(t, b.beat(at.Add(time.Minute), 61, 1, 1), delivery.Accepted)
	for range 2 {
		if u := next(); u.NotConfirmed {
			t.Error("marked before any silence")
		}
	}
	b.movedTo(t, may, b.patient, other, at.Add(time.Second), b.now)
	b.append(t, b.beat(b.now.Add(time.Second), 62, 1, 2), delivery.Accepted)
	if u := next(); u.Patient != b.patient || !u.NotConfirmed {
		t.Errorf("the first value after the silence: of %q, marked %v", u.Patient, u.NotConfirmed)
	}
	if q := b.questions(t, b.patient, 1)[0]; !q.Begin.Equal(at.Add(time.Minute)) || !q.End.Equal(b.now.Add(time.Second)) {
		t.Errorf("question: %+v", q)
	}
	b.questions(t, other, 0)
	b.marked(t, b.patient, false, true)
	b.marked(t, other, false)
}
