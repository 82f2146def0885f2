package storetest

import (
	"slices"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// mover gives an administrator's grants to move readings; an engine of the hub never may.
func (b *bench) mover(t *testing.T) func(patient string) access.Grant {
	t.Helper()
	id, err := b.CreatePerson(t.Context(), access.Person{Login: "mover", Role: access.RoleAdmin}, "hash")
	must(t, err)
	return func(patient string) access.Grant {
		t.Helper()
		r := access.OnPatient(patient)
		if patient == store.Unassigned {
			r = access.OnSystem()
		}
		g, err := b.e.Decide(t.Context(), access.Subject{Person: access.Person{ID: id}, Workstation: "spiffe://test/workstation/w1", Session: "s",
			SessionStarted: time.Now(), Proven: time.Now()}, access.MoveReadings, r)
		must(t, err)
		return g
	}
}

// rates are the heart rates that a patient has in the store, in the order of time.
func (b *bench) rates(t *testing.T, patient string) (all []float64) {
	t.Helper()
	got, err := b.Numerics(t.Context(), b.g, patient, b.now.Add(-24*time.Hour), b.now.Add(time.Hour), 0)
	must(t, err)
	for _, x := range got {
		for _, n := range x.Numerics {
			all = append(all, n.Value)
		}
	}
	return all
}

// sums checks that a patient's trends, of minutes and of hours, are those of the readings that the patient has.
func (b *bench) sums(t *testing.T, patient string) {
	t.Helper()
	var want float64
	for _, v := range b.rates(t, patient) {
		want += v
	}
	for _, step := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour} {
		points, err := b.Trends(t.Context(), b.g, patient, HeartRate, b.now.Add(-24*time.Hour), b.now.Add(time.Hour), step)
		must(t, err)
		n, sum := 0, 0.0
		for _, p := range points {
			n, sum = n+p.Count, sum+p.Mean*float64(p.Count)
		}
		if n != len(b.rates(t, patient)) || sum-want > 1e-6 || want-sum > 1e-6 {
			t.Errorf("steps of %v: %d values, %v in all; the readings are %d, %v", step, n, sum, len(b.rates(t, patient)), want)
		}
	}
}

// several is one chunk of heart rates, ten seconds apart.
func (b *bench) several(at time.Time, seq uint64, rates ...float64) archive.Arrival {
	a := b.beat(at, rates[0], 1, seq)
	for i, v := range rates[1:] {
		a.Chunk.Bundles = append(a.Chunk.Bundles, vitals.Bundle{At: a.Chunk.Start.Add(time.Duration(i+1) * 10 * time.Second),
			Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, v, vitals.Good)}})
	}
	return a
}

func moves(t *testing.T, b *bench) {
	ctx := t.Context()
	other, err := b.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	may := b.mover(t)
	begin := b.now.Add(-2 * time.Hour).Truncate(time.Hour).Add(50 * time.Minute) // over the turn of an hour
	var want []float64
	for i := range 20 {
		b.append(t, b.beat(begin.Add(time.Duration(i)*time.Minute), float64(60+i), 1, uint64(i)), delivery.Accepted) // #nosec G115 -- below 20
		want = append(want, float64(60+i))
		if i == 8 {
			must(t, b.Compact(ctx)) // half of it is in blocks, with its sums
		}
	}
	// A wave of each side of the beginning.
	for i, at := range []time.Duration{5*time.Minute - time.Second, 5*time.Minute + time.Second} {
		at := begin.Add(at)
		c := vitals.Chunk{Signal: vitals.PPG, Start: at, Rate: 100, Infrared: []uint16{1, 2, 3}}
		b.append(t, archive.Arrival{Sensor: b.sensor, Chunk: c, Received: b.now,
			Header: seal.Header{Sensor: b.sensor, Signal: uint8(c.Signal), Epoch: epoch(2), Seq: uint64(i), Start: at}}, delivery.Accepted) // #nosec G115 -- 0 or 1
	}
	m := archive.Move{From: b.patient, To: other, Begin: begin.Add(5 * time.Minute), End: begin.Add(12 * time.Minute), Person: "u-nurse"}

	for name, bad := range map[string]archive.Move{
		"the same":  {From: b.patient, To: b.patient, Begin: m.Begin, End: m.End},
		"backwards": {From: b.patient, To: other, Begin: m.End, End: m.Begin},
		"future":    {From: b.patient, To: other, Begin: m.Begin, End: b.now.Add(time.Hour)},
		"too long":  {From: b.patient, To: other, Begin: m.End.Add(-25 * time.Hour), End: m.End},
		"too old":   {From: b.patient, To: other, Begin: b.now.Add(-32 * 24 * time.Hour), End: b.now.Add(-32*24*time.Hour + time.Minute)},
		"no sensor": {From: store.Unassigned, To: other, Begin: m.Begin, End: m.End},
	} {
		if _, err := b.MoveReadings(ctx, may(bad.From), may(bad.To), bad); err == nil {
			t.Errorf("%s: moved", name)
		} else {
			is(t, err, store.ErrInvalid)
		}
	}
	_, err = b.MoveReadings(ctx, b.g, b.g, m) // which opens everything
	is(t, err, store.ErrNotAllowed)
	_, err = b.MoveReadings(ctx, may(m.To), may(m.From), m)
	is(t, err, store.ErrNotAllowed)
	_, err = b.MoveReadings(ctx, access.Grant{}, may(m.To), m)
	is(t, err, store.ErrNotAllowed)
	_, err = b.MoveReadings(ctx, may(m.From), access.Grant{}, m)
	is(t, err, store.ErrNotAllowed)
	must(t, b.PlaceHold(ctx, b.patient, "u", "a case"))
	_, err = b.MoveReadings(ctx, may(m.From), may(m.To), m)
	is(t, err, store.ErrHeld)
	must(t, b.ReleaseHold(ctx, b.patient))
	if got := b.rates(t, b.patient); !slices.Equal(got, want) {
		t.Fatalf("refused, and yet %v", got)
	}

	done, err := b.MoveReadings(ctx, may(m.From), may(m.To), m)
	if err != nil || !done {
		t.Fatal(done, err)
	}
	check := func(one, two []float64) {
		t.Helper()
		if got := b.rates(t, b.patient); !slices.Equal(got, one) {
			t.Errorf("stayed %v, want %v", got, one)
		}
		if got := b.rates(t, other); !slices.Equal(got, two) {
			t.Errorf("moved %v, want %v", got, two)
		}
		b.sums(t, b.patient)
		b.sums(t, other)
		d, err := b.Delivery(ctx)
		must(t, err)
		for _, st := range d.Streams {
			if st.Doubled != 0 || st.Missing != 0 {
				t.Errorf("delivery: %+v", st)
			}
		}
	}
	check(slices.Concat(want[:5], want[12:]), want[5:12])
	for patient, n := range map[string]int{b.patient: 1, other: 1} {
		waves, err := b.Waveform(ctx, b.g, patient, vitals.PPG, begin, begin.Add(time.Hour))
		if err != nil || len(waves) != n {
			t.Errorf("%d waves, %v", len(waves), err)
		}
	}
	// What was there is there still, and what comes late for the span is of whom it is now.
	b.append(t, b.beat(begin.Add(6*time.Minute), 66, 1, 6), delivery.Duplicate)
	b.append(t, b.beat(begin.Add(6*time.Minute+30*time.Second), 166, 1, 20), delivery.Accepted)
	check(slices.Concat(want[:5], want[12:]), []float64{65, 66, 166, 67, 68, 69, 70, 71})
	for _, patient := range []string{b.patient, other} {
		notes, err := b.MovesOf(ctx, b.g, patient, begin, begin.Add(time.Hour))
		if err != nil || len(notes) != 1 || notes[0].Person != "u-nurse" || !notes[0].Begin.Equal(m.Begin) || notes[0].Done.IsZero() {
			t.Errorf("notes: %+v, %v", notes, err)
		}
	}
	_, err = b.MovesOf(ctx, access.Grant{}, other, begin, b.now)
	is(t, err, store.ErrNotAllowed)
	// And back.
	m.From, m.To = m.To, m.From
	if done, err := b.MoveReadings(ctx, may(m.From), may(m.To), m); err != nil || !done {
		t.Fatal(done, err)
	}
	check([]float64{60, 61, 62, 63, 64, 65, 66, 166, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79}, nil)
	// A chunk over the end of a span is parted sample by sample.
	at := begin.Add(30 * time.Minute)
	b.append(t, b.several(at, 21, 101, 102, 103, 104), delivery.Accepted)
	if _, err := b.MoveReadings(ctx, may(b.patient), may(other), archive.Move{From: b.patient, To: other, Begin: at.Add(15 * time.Second), End: at.Add(25 * time.Second), Person: "u"}); err != nil {
		t.Fatal(err)
	}
	if got := b.rates(t, other); !slices.Equal(got, []float64{103}) {
		t.Errorf("of a chunk over both ends: %v", got)
	}
	if got := b.rates(t, b.patient); !slices.Equal(got[len(got)-3:], []float64{101, 102, 104}) {
		t.Errorf("left of it: %v", got)
	}
}

// movesOfNobody: what a sensor said before it was known at which bed it is becomes the patient's, of that sensor alone.
func movesOfNobody(t *testing.T, b *bench) {
	ctx := t.Context()
	may := b.mover(t)
	second := "spiffe://test/sensor/s1"
	must(t, b.CreateDevice(ctx, directory.Device{ID: second, Kind: "sensor", State: directory.DeviceActive}))
	first := b.sensor
	must(t, b.PlaceDevice(ctx, first, "", b.now.Add(-time.Hour)))
	begin := b.now.Add(-30 * time.Minute)
	for i := range uint64(10) {
		for _, s := range []string{first, second} {
			b.sensor = s
			b.append(t, b.beat(begin.Add(time.Duration(i)*time.Minute), 60+float64(i), 1, i), delivery.Accepted) // #nosec G115 -- below 10
		}
	}
	m := archive.Move{From: store.Unassigned, To: b.patient, Sensor: first, Begin: begin, End: begin.Add(5 * time.Minute), Person: "u"}
	if done, err := b.MoveReadings(ctx, may(m.From), may(m.To), m); err != nil || !done {
		t.Fatal(done, err)
	}
	if got := b.rates(t, b.patient); !slices.Equal(got, []float64{60, 61, 62, 63, 64}) {
		t.Errorf("%v", got)
	}
	b.sums(t, b.patient)
	b.sensor = first
	b.append(t, b.beat(begin.Add(90*time.Second), 99, 1, 20), delivery.Accepted)
	b.append(t, b.beat(begin.Add(9*time.Minute), 98, 1, 21), delivery.Accepted)
	if got := b.rates(t, b.patient); !slices.Equal(got, []float64{60, 61, 99, 62, 63, 64}) {
		t.Errorf("with what came late: %v", got)
	}
}

// correctedStays: an admission that was entered late is moved back, a conflict says who lay there when.
func correctedStays(t *testing.T, b *bench) {
	ctx := t.Context()
	must(t, b.CreateBed(ctx, directory.Bed{ID: "a-1", Ward: "a", Name: "Other"}))
	late, err := b.CreatePatient(ctx, "Late")
	must(t, err)
	must(t, b.DischargeFrom(ctx, b.patient, b.now.Add(-time.Hour)))
	must(t, b.AdmitFrom(ctx, late, "a-0", b.now.Add(-10*time.Minute)))
	must(t, b.AdmitFrom(ctx, late, "a-0", b.now.Add(-50*time.Minute))) // moved back
	b.append(t, b.beat(b.now.Add(-45*time.Minute), 71, 1, 0), delivery.Accepted)
	if got := b.rates(t, late); !slices.Equal(got, []float64{71}) {
		t.Errorf("%v", got)
	}
	is(t, b.AdmitFrom(ctx, late, "a-0", b.now.Add(-90*time.Minute)), store.ErrOccupied) // the first lay there
	is(t, b.AdmitFrom(ctx, b.patient, "a-1", b.now.Add(-2*time.Hour)), store.ErrConflict)
	is(t, b.AdmitFrom(ctx, b.patient, "a-0", b.now.Add(-20*time.Minute)), store.ErrOccupied)
	is(t, b.AdmitFrom(ctx, b.patient, "a-1", b.now.Add(-32*24*time.Hour)), store.ErrInvalid)
	is(t, b.DischargeFrom(ctx, late, b.now.Add(-32*24*time.Hour)), store.ErrInvalid)
	is(t, b.AdmitFrom(ctx, b.patient, "a-1", b.now.Add(time.Hour)), store.ErrInvalid)
	must(t, b.AdmitFrom(ctx, late, "a-1", b.now.Add(-5*time.Minute))) // a transfer in the past
	p, err := b.Patient(ctx, late)
	if err != nil || p.Bed != "a-1" {
		t.Errorf("%+v, %v", p, err)
	}
}
