package storetest

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const secondSensor = "spiffe://test/sensor/s1"

// second puts another sensor to the bench's bed.
func (b *bench) second(t *testing.T) {
	t.Helper()
	must(t, b.CreateDevice(t.Context(), directory.Device{ID: secondSensor, Kind: "sensor", State: directory.DeviceActive}))
	must(t, b.PlaceDevice(t.Context(), secondSensor, "a-0", b.now.Add(-47*time.Hour)))
}

// says stores numbers of a sensor that were measured at one time.
func (b *bench) says(t *testing.T, sensor string, at time.Time, seq uint64, n ...vitals.Numeric) {
	t.Helper()
	c := vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}}
	b.append(t, archive.Arrival{Sensor: sensor, Chunk: c, Received: b.now,
		Header: seal.Header{Sensor: sensor, Signal: uint8(c.Signal), Epoch: epoch(1), Seq: seq, Start: at}}, delivery.Accepted)
}

func numeric(k vitals.Kind, v float64) vitals.Numeric { return vitals.Checked(k, v, vitals.Good) }

// trend compares a chart with what it must be.
func (b *bench) trend(t *testing.T, patient string, k vitals.Kind, from time.Time, step time.Duration, want ...archive.TrendPoint) {
	t.Helper()
	got, err := b.Trends(t.Context(), b.g, patient, k, from, from.Add(time.Hour), step)
	must(t, err)
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("%v in steps of %v (-want +got):\n%s", k, step, d)
	}
}

// trendsOfTwo: of two oximeters at one bed each point is of one, and says how many there are and
// what the other one measured. It is so before the compaction, halfway and after it, for minutes
// and for longer steps, and the check finds the sums to be those of the chunks.
func trendsOfTwo(t *testing.T, b *bench) {
	b.second(t)
	first, at := b.sensor, b.now.Add(-2*time.Hour).Truncate(time.Hour)
	// Minute 0: the first alone. 1: both. 2: the second alone. 3: one replaces the other. 4: both,
	// and they agree.
	said := []struct {
		minute        int
		first, second []float64
	}{{0, []float64{70, 72}, nil}, {1, []float64{70, 71}, []float64{104, 106}}, {2, nil, []float64{105, 107}},
		{3, []float64{75}, []float64{90, 90, 90}}, {4, []float64{80}, []float64{82}}}
	seq := uint64(0)
	for i, m := range said {
		for sensor, rates := range map[string][]float64{first: m.first, secondSensor: m.second} {
			for n, v := range rates {
				b.says(t, sensor, at.Add(time.Duration(m.minute)*time.Minute+time.Duration(n)*time.Second), seq, numeric(vitals.HeartRate, v))
				seq++
			}
		}
		if i == 1 {
			must(t, b.Compact(t.Context()))
		}
	}
	minute := func(i int) time.Time { return at.Add(time.Duration(i) * time.Minute) }
	wanted := func() {
		t.Helper()
		b.trend(t, b.patient, vitals.HeartRate, at, time.Minute,
			archive.TrendPoint{At: minute(0), Min: 70, Mean: 71, Max: 72, Count: 2, Sensor: first, Sensors: 1},
			archive.TrendPoint{At: minute(1), Min: 70, Mean: 70.5, Max: 71, Count: 2, Sensor: first, Sensors: 2,
				Others: []archive.TrendOther{{Sensor: secondSensor, Min: 104, Mean: 105, Max: 106, Count: 2, Disagree: true}}},
			archive.TrendPoint{At: minute(2), Min: 105, Mean: 106, Max: 107, Count: 2, Sensor: secondSensor, Sensors: 1},
			archive.TrendPoint{At: minute(3), Min: 90, Mean: 90, Max: 90, Count: 3, Sensor: secondSensor, Sensors: 2,
				Others: []archive.TrendOther{{Sensor: first, Min: 75, Mean: 75, Max: 75, Count: 1, Disagree: true}}},
			archive.TrendPoint{At: minute(4), Min: 80, Mean: 80, Max: 80, Count: 1, Sensor: first, Sensors: 2,
				Others: []archive.TrendOther{{Sensor: secondSensor, Min: 82, Mean: 82, Max: 82, Count: 1}}})
		for _, step := range []time.Duration{15 * time.Minute, time.Hour} {
			b.trend(t, b.patient, vitals.HeartRate, at, step,
				archive.TrendPoint{At: at, Min: 70, Mean: 73, Max: 80, Count: 6, Sensor: first, Sensors: 2,
					Others: []archive.TrendOther{{Sensor: secondSensor, Min: 82, Mean: 774. / 8, Max: 107, Count: 8, Disagree: true}}})
		}
	}
	wanted()
	must(t, b.Compact(t.Context()))
	wanted()
	if r, err := b.Check(t.Context(), func(string) {}); err != nil || len(r.Problems) > 0 {
		t.Error(err, r.Problems)
	}
}

// trendsOfCuffs: the systolic and the diastolic pressure of a point are of one cuff, and no mean of
// two.
func trendsOfCuffs(t *testing.T, b *bench) {
	b.second(t)
	first, at := b.sensor, b.now.Add(-2*time.Hour).Truncate(time.Hour)
	for i := range uint64(2) {
		b.says(t, first, at.Add(time.Duration(i)*5*time.Minute), i, numeric(vitals.Systolic, 109+float64(i)), numeric(vitals.Diastolic, 66+float64(i)))
		b.says(t, secondSensor, at.Add(time.Duration(i)*5*time.Minute+time.Minute), i, numeric(vitals.Systolic, 123+float64(i)), numeric(vitals.Diastolic, 77+float64(i)))
	}
	must(t, b.Compact(t.Context()))
	b.trend(t, b.patient, vitals.Systolic, at, time.Hour, archive.TrendPoint{At: at, Min: 109, Mean: 109.5, Max: 110, Count: 2, Sensor: first, Sensors: 2,
		Others: []archive.TrendOther{{Sensor: secondSensor, Min: 123, Mean: 123.5, Max: 124, Count: 2}}})
	b.trend(t, b.patient, vitals.Diastolic, at, time.Hour, archive.TrendPoint{At: at, Min: 66, Mean: 66.5, Max: 67, Count: 2, Sensor: first, Sensors: 2,
		Others: []archive.TrendOther{{Sensor: secondSensor, Min: 77, Mean: 77.5, Max: 78, Count: 2}}})
}

// trendsOfMoved: a move of one sensor's readings takes that sensor off the one chart and onto the
// other, and leaves no mean of two.
func trendsOfMoved(t *testing.T, b *bench) {
	b.second(t)
	first, at := b.sensor, b.now.Add(-2*time.Hour).Truncate(time.Hour)
	for i := range uint64(2) {
		b.says(t, first, at.Add(time.Duration(i)*time.Second), i, numeric(vitals.HeartRate, 70))
		b.says(t, secondSensor, at.Add(time.Duration(i)*time.Second), i, numeric(vitals.HeartRate, 105))
	}
	must(t, b.Compact(t.Context()))
	other, err := b.CreatePatient(t.Context(), "Grace Hopper")
	must(t, err)
	may := b.mover(t)
	done, err := b.MoveReadings(t.Context(), may(b.patient), may(other), archive.Move{From: b.patient, To: other, Sensor: secondSensor, Begin: at, End: at.Add(time.Minute), Person: "u-nurse"})
	if err != nil || !done {
		t.Fatal(done, err)
	}
	for _, step := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour} {
		b.trend(t, b.patient, vitals.HeartRate, at, step, archive.TrendPoint{At: at, Min: 70, Mean: 70, Max: 70, Count: 2, Sensor: first, Sensors: 1})
		b.trend(t, other, vitals.HeartRate, at, step, archive.TrendPoint{At: at, Min: 105, Mean: 105, Max: 105, Count: 2, Sensor: secondSensor, Sensors: 1})
	}
}

// wavesOfTwo: the wave of one sensor is there without the other's.
func wavesOfTwo(t *testing.T, b *bench) {
	b.second(t)
	at := b.now.Add(-time.Minute)
	for i, sensor := range []string{b.sensor, secondSensor} {
		c := vitals.Chunk{Signal: vitals.PPG, Start: at, Rate: 100, Infrared: []uint16{uint16(i), 2, 3}} // #nosec G115 -- 0 or 1
		b.append(t, archive.Arrival{Sensor: sensor, Chunk: c, Received: b.now,
			Header: seal.Header{Sensor: sensor, Signal: uint8(c.Signal), Epoch: epoch(2), Seq: 1, Start: at}}, delivery.Accepted)
	}
	for ask, want := range map[string]string{b.sensor: b.sensor, secondSensor: secondSensor, "": b.sensor} {
		of, got, err := b.WaveformOf(t.Context(), b.g, b.patient, ask, vitals.PPG, b.now.Add(-time.Hour), b.now)
		must(t, err)
		if of != want || len(got) != 1 || got[0].Infrared[0] != map[string]uint16{b.sensor: 0, secondSensor: 1}[want] {
			t.Errorf("the wave of %q is of %q: %+v", ask, of, got)
		}
	}
	if of, got, err := b.WaveformOf(t.Context(), b.g, b.patient, "spiffe://test/sensor/none", vitals.PPG, b.now.Add(-time.Hour), b.now); of != "" || got != nil || err != nil {
		t.Error("of a sensor without a wave:", of, got, err)
	}
	_, _, err := b.WaveformOf(t.Context(), access.Grant{}, b.patient, b.sensor, vitals.PPG, b.now.Add(-time.Hour), b.now)
	is(t, err, store.ErrNotAllowed)
}
