package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/way/delivery"
)

// silencesEnteredLate: a discharge and a move of the sensor that are entered later than they were do not take the mark from readings
// that were stored as the patient's before. No question is asked any more; whose they are is said by moving them. What is put there anew is
// not marked.
func silencesEnteredLate(t *testing.T, b *bench) {
	ctx, at, seq := t.Context(), b.now.Add(-5*time.Hour), uint64(0)
	beat := func(after time.Duration) {
		t.Helper()
		b.append(t, b.beat(at.Add(after), 60, 1, seq), delivery.Accepted)
		seq++
	}
	told := func(n int) {
		t.Helper()
		got, err := b.NotConfirmed(ctx, b.g, b.patient, at, b.now)
		must(t, err)
		if len(got) != n || got[n-1].Until.Before(b.now) {
			t.Errorf("what the chart says: %+v", got)
		}
	}
	beat(0)
	beat(time.Hour)
	beat(time.Hour + time.Minute)
	b.questions(t, b.patient, 1)
	b.marked(t, b.patient, false, true, true)
	// The sensor was taken away between the two, it is said now.
	must(t, b.PlaceDevice(ctx, b.sensor, "", at.Add(time.Hour+30*time.Second)))
	b.questions(t, b.patient, 0)
	b.marked(t, b.patient, false, true, true)
	told(1)
	// It is put to the bed again, which says who lies there, and is silent once more.
	must(t, b.PlaceDevice(ctx, b.sensor, "a-0", at.Add(2*time.Hour)))
	beat(2*time.Hour + time.Minute)
	beat(3 * time.Hour)
	b.marked(t, b.patient, false, true, true, false, true)
	// The patient had left before that silence ended.
	must(t, b.DischargeFrom(ctx, b.patient, at.Add(2*time.Hour+30*time.Minute)))
	b.questions(t, b.patient, 0)
	b.marked(t, b.patient, false, true, true, false, true)
	told(2)
	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	must(t, b.Admit(ctx, other, "a-0", at.Add(150*time.Minute)))
	beat(3*time.Hour + time.Minute) // late: the other one's
	b.marked(t, other, false)
	b.movedTo(t, b.mover(t), b.patient, other, at.Add(150*time.Minute), at.Add(4*time.Hour))
	b.marked(t, b.patient, false, true, true, false)
	b.marked(t, other, false, false)
}
