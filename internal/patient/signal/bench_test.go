package signal_test

import (
	"testing"
	"time"

	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// BenchmarkPatientSecond is one second of one patient: 100 samples of red and infrared, and the
// numerics after them. Its inverse is how many patients one core keeps up with.
func BenchmarkPatientSecond(b *testing.B) {
	patient, err := bench.NewPatient(bench.Profile{Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	const seconds = 60
	var infrared, red [seconds * 100]uint16
	patient.Optical(testStart, 100, infrared[:], red[:])
	p, err := signal.NewPulseOximeter(100, signal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	at, values, i := testStart, 0, 0
	for b.Loop() {
		k := i % seconds * 100
		p.Push(infrared[k:k+100], red[k:k+100], 0)
		at = at.Add(time.Second)
		if p.Numerics(at)[0].Quality.HasValue() {
			values++
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "patients")
	if i > 100 && values < i/2 {
		b.Fatalf("a value in only %d of %d s", values, i)
	}
}

func BenchmarkPush(b *testing.B) {
	p, err := signal.NewPulseOximeter(100, signal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var infrared, red [100]uint16
	for i := range infrared {
		infrared[i], red[i] = uint16(40000+i), uint16(35000+i)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Push(infrared[:], red[:], 0)
	}
}
