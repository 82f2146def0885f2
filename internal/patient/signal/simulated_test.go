package signal_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"periph.io/x/conn/v3/spi"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// The conditions that the package comment's accuracy statement names. Thresholds were tuned with
// seeds under 100; the tests of accuracy use others.
const (
	statedSNR       = 10  // dB, infrared pulse to white noise over 50 Hz (bench.Profile.SNR)
	statedPerfusion = 0.2 // percent
	firstSeed       = 7340000
	secondsOfTest   = 60
)

var testStart = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// finger is a MAX30100 driver on a simulated chip on a simulated finger, with the oximeter behind
// it.
type finger struct {
	t        *testing.T
	patient  *bench.Patient
	clock    *bench.ManualClock
	driver   *sensor.MAX30100
	oximeter *signal.PulseOximeter
	carry    int // lost after the last samples read
}

func newFinger(t *testing.T, p bench.Profile) *finger {
	t.Helper()
	p.Start = testStart
	return newFingerOf(t, bench.Ward(p))
}

func newFingerOf(t *testing.T, d bench.Description) *finger {
	t.Helper()
	clock := bench.NewManualClock(testStart)
	b, err := bench.New(d, bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := b.I2C("bed-1/i2c")
	if err != nil {
		t.Fatal(err)
	}
	driver, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{Now: clock.Now, Sleep: clock.Advance})
	if err != nil {
		t.Fatal(err)
	}
	oximeter, err := signal.NewPulseOximeter(driver.Rate(), signal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &finger{t: t, patient: b.Patient("bed-1"), clock: clock, driver: driver, oximeter: oximeter}
}

// second lets one second pass, read every poll.
func (f *finger) second(poll time.Duration) []vitals.Numeric {
	f.t.Helper()
	var buf [16]sensor.Optical
	var infrared, red [16]uint16
	for passed := time.Duration(0); passed < time.Second; passed += poll {
		f.clock.Advance(poll)
		n, lost, err := f.driver.Read(buf[:])
		if err != nil {
			f.t.Fatal(err)
		}
		for i, s := range buf[:n] {
			infrared[i], red[i] = s.Infrared, s.Red
		}
		f.oximeter.Push(infrared[:n], red[:n], f.carry)
		f.carry = lost
	}
	n := f.oximeter.Numerics(f.clock.Now())
	plausible(f.t, n)
	return n
}

// plausible fails the test for anything that Numerics must never return.
func plausible(t *testing.T, numerics []vitals.Numeric) {
	t.Helper()
	want := []vitals.Kind{vitals.HeartRate, vitals.SpO2, vitals.PerfusionIndex, vitals.RespiratoryRate}
	if len(numerics) != len(want) {
		t.Fatalf("%d numerics, want %d", len(numerics), len(want))
	}
	for i, n := range numerics {
		low, high := n.Kind.Range()
		switch {
		case n.Kind != want[i]:
			t.Fatalf("numeric %d is %v, want %v", i, n.Kind, want[i])
		case n.Quality == vitals.Unknown || n.Quality > vitals.MaxQuality:
			t.Fatalf("%v has quality %v", n.Kind, n.Quality)
		case n.Quality.HasValue() && !(n.Value >= low && n.Value <= high):
			t.Fatalf("%v is %g, outside %g to %g", n.Kind, n.Value, low, high)
		}
	}
}

// middle is how long ago, on average, the samples of a value were taken.
const middle = 4 * time.Second

func TestAccuracyOnSimulatedPatients(t *testing.T) {
	var worstRate, worstOxygen, firstValue float64
	leastAnswered := 1.0
	r := rand.New(rand.NewPCG(firstSeed, 1))
	const patients = 40
	for i := range uint64(patients) {
		p := bench.Profile{
			Seed:      firstSeed + i,
			HeartRate: vitals.BPM(40 + 160*r.Float64()), SpO2: vitals.Percent(72 + 27*r.Float64()),
			RespiratoryRate: vitals.BPM(8 + 22*r.Float64()), Perfusion: vitals.Percent(statedPerfusion * math.Exp(3*r.Float64())),
			SNR: statedSNR,
		}
		f := newFinger(t, p)
		var rate, oxygen, rates, oxygens float64
		for s := 1; s <= secondsOfTest; s++ {
			n := f.second(50 * time.Millisecond)
			truth := f.patient.Truth(f.clock.Now().Add(-middle))
			if n[0].Quality.HasValue() {
				if rates == 0 {
					firstValue = max(firstValue, float64(s))
				}
				rate += math.Abs(n[0].Value - float64(truth.HeartRate))
				rates++
			}
			if n[1].Quality.HasValue() {
				oxygen += math.Abs(n[1].Value - float64(truth.SpO2))
				oxygens++
			}
		}
		const seconds = secondsOfTest - 4 // before, there is not enough signal
		worstRate, worstOxygen = max(worstRate, rate/rates), max(worstOxygen, oxygen/oxygens)
		leastAnswered = min(leastAnswered, rates/seconds, oxygens/seconds)
		if !(rate/rates <= 2 && oxygen/oxygens <= 2) {
			t.Errorf("seed %d (%.0f bpm, %.0f %%, perfusion %.2f %%): mean absolute errors %.2f bpm and %.2f %%, want <= 2 and <= 2",
				p.Seed, p.HeartRate, p.SpO2, p.Perfusion, rate/rates, oxygen/oxygens)
		}
		if rates < 0.8*seconds || oxygens < 0.7*seconds {
			t.Errorf("seed %d (%.0f bpm, %.0f %%, perfusion %.2f %%): answered %.0f and %.0f of %d s", p.Seed, p.HeartRate, p.SpO2, p.Perfusion, rates, oxygens, seconds)
		}
	}
	t.Logf("%d patients, SNR %d dB, perfusion >= %g %%: worst patient's mean absolute error %.2f bpm, %.2f %%; least answered %.0f %%; first value after at most %.0f s",
		patients, statedSNR, statedPerfusion, worstRate, worstOxygen, 100*leastAnswered, firstValue)
}

func TestFirstValueOfCleanSignal(t *testing.T) {
	for i := range uint64(8) {
		f := newFinger(t, bench.Profile{Seed: firstSeed + 100 + i, HeartRate: vitals.BPM(60 + 8*i)})
		for s := 1; ; s++ {
			if n := f.second(50 * time.Millisecond); n[0].Quality.HasValue() && n[1].Quality.HasValue() {
				break
			}
			if s == 6 {
				t.Errorf("no value after %d s of clean signal at %d bpm", s, 60+8*i)
				break
			}
		}
	}
}

// TestMotion has movement as large as the pulse and larger, for 20 s of every minute: nearly
// nothing may be said during it, what is said must not be far off, and afterwards values come back.
func TestMotion(t *testing.T) {
	for _, amplitude := range []float64{1, 3, 6, 12} {
		during, shown, wrong, back, after := 0, 0, 0, 0, 0
		for i := range uint64(8) {
			f := newFinger(t, bench.Profile{Seed: firstSeed + 200 + i, HeartRate: vitals.BPM(50 + 15*i), SpO2: vitals.Percent(98 - i),
				MotionAmplitude: amplitude, Motion: bench.Windows{First: 20 * time.Second, Every: time.Minute, Lasting: 20 * time.Second}})
			for s := 1; s <= 120; s++ {
				n := f.second(50 * time.Millisecond)
				truth := f.patient.Truth(f.clock.Now().Add(-middle))
				switch into := s % 60; {
				case into >= 24 && into <= 40:
					during++
					if n[0].Quality.HasValue() {
						shown++
						if math.Abs(n[0].Value-float64(truth.HeartRate)) > 5 {
							wrong++
						}
					} else if n[0].Quality != vitals.Motion && n[0].Quality != vitals.Settling && n[0].Quality != vitals.OutOfRange {
						t.Errorf("amplitude %g: %v during movement", amplitude, n[0].Quality)
					}
				case into >= 54 || into > 10 && into < 20:
					after++
					if n[0].Quality.HasValue() {
						back++
					}
				}
			}
		}
		t.Logf("movement of %g times the pulse: shown %d, wrong by more than 5 bpm %d, of %d s; %d of %d s at rest", amplitude, shown, wrong, during, back, after)
		if 100*wrong > during || 20*shown > during || 10*back < 8*after {
			t.Errorf("movement of %g times the pulse: shown %d, wrong %d, of %d s; %d of %d s at rest", amplitude, shown, wrong, during, back, after)
		}
	}
}

func TestProbeOff(t *testing.T) {
	f := newFinger(t, bench.Profile{Seed: firstSeed + 300, ProbeOff: bench.Windows{First: 20 * time.Second, Lasting: 15 * time.Second}})
	var back int
	for s := 1; s <= 60; s++ {
		n := f.second(50 * time.Millisecond)
		switch {
		case s >= 22 && s <= 35:
			for _, v := range n {
				if v.Quality != vitals.ProbeOff {
					t.Fatalf("%v after %d s is %v, want probe_off", v.Kind, s, v.Quality)
				}
			}
		case s > 35 && back == 0 && n[0].Quality.HasValue():
			back = s - 35
		}
	}
	if back == 0 || back > 7 {
		t.Errorf("heart rate came back after %d s", back)
	}
}

// TestLostSamples polls so seldom that the chip's FIFO overflows all the time, then often again.
func TestLostSamples(t *testing.T) {
	f := newFinger(t, bench.Profile{Seed: firstSeed + 400, HeartRate: 80})
	for range 10 {
		f.second(50 * time.Millisecond)
	}
	for range 10 { // 16 of every 50 samples arrive: nothing can be said
		f.second(500 * time.Millisecond)
	}
	if n := f.second(500 * time.Millisecond); n[0].Quality != vitals.Settling {
		t.Errorf("heart rate is %v with two thirds of the samples lost, want settling", n[0])
	}
	for range 8 {
		f.second(50 * time.Millisecond)
	}
	if n := f.second(50 * time.Millisecond); !n[0].Quality.HasValue() || math.Abs(n[0].Value-80) > 5 {
		t.Errorf("heart rate is %v after samples came again, want about 80", n[0])
	}
}

// TestBloodPressureOnSimulatedCuffs goes through the 10-bit converter at 1 kHz, averaged to 100 Hz.
// The simulation has a law of its own for where in the envelope systolic and diastolic lie, so the
// test takes the simulation's ratios: what it shows is how well the envelope is recovered, not how
// true the law is of people.
func TestBloodPressureOnSimulatedCuffs(t *testing.T) {
	var s, d []float64
	for i := range uint64(6) {
		systolic := vitals.MMHg(95 + 12*i)
		p := bench.Profile{Seed: firstSeed + 500 + i, Systolic: systolic, Diastolic: systolic*0.5 + 18, HeartRate: vitals.BPM(55 + 9*i), Start: testStart}
		clock := bench.NewManualClock(testStart)
		b, err := bench.New(bench.Ward(p), bench.Options{Clock: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		bridge := newBridge(t, b)
		cuff := signal.NewCuffWith(100, signal.Ratios{Systolic: bench.SystolicRatio, Diastolic: bench.DiastolicRatio})
		done := false
		for ms := 0; ms < 110_000 && !done; ms += 10 {
			sum := vitals.KPa(0)
			for range 10 {
				clock.Advance(time.Millisecond)
				v, err := bridge.Read()
				if err != nil {
					t.Fatal(err)
				}
				sum += v
			}
			var bp signal.BloodPressure
			if bp, done = cuff.Push([]vitals.MMHg{(sum / 10).MMHg()}); done {
				truth := b.Patient("bed-1").Truth(clock.Now())
				t.Logf("%.0f/%.0f (%.0f): measured %.1f/%.1f (%.1f) %v %s", truth.Systolic, truth.Diastolic, truth.MeanArterial, bp.Systolic, bp.Diastolic, bp.Mean, bp.Quality, bp.Reason)
				if !bp.Quality.HasValue() {
					t.Errorf("refused: %s", bp.Reason)
					continue
				}
				s = append(s, float64(bp.Systolic-truth.Systolic))
				d = append(d, float64(bp.Diastolic-truth.Diastolic))
			}
		}
		if !done {
			t.Errorf("seed %d: no measurement", p.Seed)
		}
	}
	judgeCuff(t, s, d)
}

func newBridge(t *testing.T, b *bench.Bench) *sensor.MPS20N0040D {
	t.Helper()
	var port spi.PortCloser
	port, err := b.SPI("adc-1/spi")
	if err != nil {
		t.Fatal(err)
	}
	adc, err := sensor.NewMCP3008(port, sensor.MCP3008Config{})
	if err != nil {
		t.Fatal(err)
	}
	calibration, err := b.Calibration("adc-1/spi", 0)
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := sensor.NewMPS20N0040D(adc, 0, calibration)
	if err != nil {
		t.Fatal(err)
	}
	return bridge
}

// judgeCuff holds errors against the limits of ISO 81060-2's first criterion.
func judgeCuff(t *testing.T, systolic, diastolic []float64) {
	t.Helper()
	for name, errors := range map[string][]float64{"systolic": systolic, "diastolic": diastolic} {
		m, sd := 0.0, 0.0
		for _, e := range errors {
			m += e / float64(len(errors))
		}
		for _, e := range errors {
			sd += (e - m) * (e - m)
		}
		sd = math.Sqrt(sd / float64(len(errors)-1))
		t.Logf("%s: mean error %+.1f mmHg, SD %.1f, n %d", name, m, sd, len(errors))
		if !(math.Abs(m) <= 3 && sd <= 6.5) {
			t.Errorf("%s: mean error %+.1f mmHg, SD %.1f; want within +-3 and <= 6.5", name, m, sd)
		}
	}
}
