package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
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
func (b *bench) questions(t *testing.T, patient string, want int) []store.Silence {
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
	for i, x := range said {
		if x.NotConfirmed != want[i] {
			t.Errorf("reading %d: not confirmed: %v, want %v", i, x.NotConfirmed, want[i])
		}
	}
}

// off is a chunk that says that the probe is off, and how warm the sensor is.
func (b *bench) off(at time.Time, e, seq uint64) store.Arrival {
	a := b.beat(at, 60, e, seq)
	a.Chunk.Bundles[0].Numerics = []vitals.Numeric{vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Checked(vitals.DieTemperature, 30, vitals.Good)}
	return a
}

// silences: a sensor that was silent for longer than DefaultConfirmAfter is asked about, one that was so for less is not; its readings
// are marked, live and stored, until a nurse says yes.
func silences(t *testing.T, b *bench) {
	at := b.now.Add(-3 * time.Hour)
	sub, err := b.Watch(t.Context(), []access.Grant{b.g}, vitals.Numerics)
	must(t, err)
	defer sub.Close()
	live := func() store.Update {
		t.Helper()
		u, err := sub.Next(t.Context())
		must(t, err)
		return u
	}
	b.append(t, b.beat(at, 60, 1, 0), store.Accepted)
	b.append(t, b.beat(at.Add(store.DefaultConfirmAfter), 61, 1, 1), store.Accepted) // not longer
	b.questions(t, b.patient, 0)
	for i := range uint64(2) { // a probe that is off is as silent as a gateway that is away
		b.append(t, b.off(at.Add(time.Hour+time.Duration(i)*time.Minute), 1, 2+i), store.Accepted)
	}
	b.questions(t, b.patient, 0)
	for range 4 {
		if u := live(); u.NotConfirmed {
			t.Errorf("live reading of %v is marked", u.Chunk.Start)
		}
	}
	back := at.Add(time.Hour + 2*time.Minute)
	b.append(t, b.beat(back, 62, 1, 4), store.Accepted)
	b.append(t, b.beat(back, 62, 1, 4), store.Duplicate)
	if u := live(); !u.NotConfirmed || u.Patient != b.patient {
		t.Errorf("the first live reading after the silence: marked %v, of %q", u.NotConfirmed, u.Patient)
	}
	b.append(t, b.beat(back.Add(time.Second), 63, 1, 5), store.Accepted)
	if u := live(); !u.NotConfirmed {
		t.Error("the second live reading after the silence is not marked")
	}
	q := b.questions(t, b.patient, 1)[0]
	if !q.Begin.Equal(at.Add(store.DefaultConfirmAfter)) || !q.End.Equal(back) || q.Sensor != b.sensor {
		t.Errorf("question: %+v", q)
	}
	b.marked(t, b.patient, false, false, false, false, true, true)

	_, err = b.Confirm(t.Context(), b.g, b.patient, []int64{q.ID}, true)
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
	b.append(t, b.beat(back.Add(2*time.Second), 64, 1, 6), store.Accepted)
	if u := live(); u.NotConfirmed {
		t.Error("a reading after the answer is marked")
	}
	told, err := b.NotConfirmed(t.Context(), b.g, b.patient, at, b.now)
	must(t, err)
	if len(told) != 1 || told[0].Answer != store.AnswerYes || told[0].Person != g.Holder() || told[0].Answered.IsZero() {
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
		b.append(t, b.beat(at.Add(after), 60, 1, seq), store.Accepted)
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
		all[0].Begin.Before(at.Add(3*time.Hour+20*time.Minute-store.DefaultConfirmAfter/4)) || !all[1].End.Equal(at.Add(3*time.Hour)) {
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
	b.append(t, b.beat(at, 60, 1, 0), store.Accepted)
	b.append(t, b.beat(at.Add(time.Hour), 61, 1, 1), store.Accepted)
	q := b.questions(t, b.patient, 1)[0]
	_, err := b.Confirm(ctx, g, b.patient, []int64{q.ID}, false)
	must(t, err)
	if q := b.questions(t, b.patient, 1)[0]; q.Answer != store.AnswerNo || q.Person != g.Holder() {
		t.Errorf("after no: %+v", q)
	}
	b.append(t, b.beat(at.Add(time.Hour+time.Second), 62, 1, 2), store.Accepted)
	b.marked(t, b.patient, false, true, true)
	_, err = b.Confirm(ctx, g, b.patient, []int64{q.ID}, true)
	must(t, err)
	b.questions(t, b.patient, 0)
	b.append(t, b.beat(b.now.Add(time.Minute), 63, 1, 3), store.Accepted)
	b.marked(t, b.patient, false, true, true, true) // an hour and more later: a question of its own
	q = b.questions(t, b.patient, 1)[0]
	_, err = b.Confirm(ctx, g, b.patient, []int64{q.ID}, true)
	must(t, err)
	b.marked(t, b.patient, false, true, true, false)
}

// silencesElsewhere: who moves the sensor or admits another patient has said who lies there; what was in question stays so on the chart.
func silencesElsewhere(t *testing.T, b *bench) {
	ctx, at := t.Context(), b.now.Add(-6*time.Hour)
	b.append(t, b.beat(at, 60, 1, 0), store.Accepted)
	b.append(t, b.beat(at.Add(time.Hour), 61, 1, 1), store.Accepted)
	b.questions(t, b.patient, 1)
	must(t, b.PlaceDevice(ctx, b.sensor, "", at.Add(2*time.Hour)))
	b.questions(t, b.patient, 0)
	must(t, b.PlaceDevice(ctx, b.sensor, "a-0", at.Add(3*time.Hour)))
	b.append(t, b.beat(at.Add(3*time.Hour+time.Minute), 62, 1, 2), store.Accepted)
	b.questions(t, b.patient, 0)
	b.marked(t, b.patient, false, true, false)

	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	must(t, b.Discharge(ctx, b.patient, at.Add(4*time.Hour)))
	must(t, b.Admit(ctx, other, "a-0", at.Add(4*time.Hour)))
	b.append(t, b.beat(at.Add(5*time.Hour), 63, 1, 3), store.Accepted)
	b.questions(t, other, 0)
	b.marked(t, other, false)
	b.append(t, b.beat(at.Add(5*time.Hour+45*time.Minute), 64, 1, 4), store.Accepted)
	b.questions(t, other, 1)
	b.questions(t, b.patient, 0)
	b.marked(t, other, false, true)
	must(t, b.Discharge(ctx, other, b.now))
	must(t, b.Forget(ctx, other))
	b.append(t, b.beat(at.Add(5*time.Hour+46*time.Minute), 65, 1, 5), store.Accepted)
}
