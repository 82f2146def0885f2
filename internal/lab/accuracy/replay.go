package accuracy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// Moment is one second of a replay: what the gateway would have shown, and what the reference says. NaN is no reference.
type Moment struct {
	At                                             time.Duration
	HeartRate, SpO2, RespiratoryRate, Perfusion    vitals.Numeric
	ReferenceHeartRate, ReferenceSpO2, ReferenceRR float64
	// Pressure is the cuff's in mmHg, NaN for a recording of light.
	Pressure float64
}

// Waveform is what the chip delivered: samples with their times in seconds.
type Waveform struct{ Times, Values []float64 }

// Trace is a replayed recording.
type Trace struct {
	File string
	// Form of the recording: "cuff", or a form of package bench.
	Form string
	// Calibration is the curve that SpO2 rests on; empty for a cuff.
	Calibration string
	Moments     []Moment
	Wave        Waveform
	// Lost samples and changes of the LED currents on the way through the chip.
	Lost, CurrentChanges int

	// Pressure is the cuff's measurement; its references are NaN if the name does not tell.
	Pressure                               signal.BloodPressure
	Ended                                  bool // a measurement ended
	ReferenceSystolic, ReferenceDiastolic  float64
	referenceNote                          string
	note                                   string  // of the recording itself
	begins                                 float64 // seconds, of a deflation
	heartErrors, oxygenErrors, breatheErrs errorsOf
}

// ReplayOptions of Replay. The zero value is right for most recordings.
type ReplayOptions struct {
	// Calibration chooses the curve for SpO2 instead of the sensor model's own.
	Calibration Curve
	// Rate in Hz of a recording that does not say its own.
	Rate vitals.Hertz
	// Columns names the columns of a log of two lights whose header does not say which is which.
	Columns bench.Columns
	// Limit is how much of the recording to replay; zero is all of it.
	Limit time.Duration
}

// Replay runs one recording of any known form through simulated chip, driver and algorithms, as a gateway would, second by
// second. The reference comes from the recording itself, its name, or the file beside it, where there is one. Errors wrap
// ErrRecording or bench.ErrRecording and name file and line.
func Replay(ctx context.Context, path string, o ReplayOptions) (*Trace, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: %w", recording.ErrRecording, err)
	}
	if _, ok := recording.Stem(path, ".dat"); ok {
		return replayCuff(ctx, path, o)
	}
	return replayLight(ctx, path, o)
}

func newTrace(path, form string) *Trace {
	return &Trace{File: path, Form: form, ReferenceSystolic: math.NaN(), ReferenceDiastolic: math.NaN()}
}

func replayCuff(ctx context.Context, path string, o ReplayOptions) (*Trace, error) {
	d, err := recording.Load(path, readDeflation)
	if err != nil {
		return nil, err
	}
	t := newTrace(path, "cuff")
	t.ReferenceSystolic, t.ReferenceDiastolic, err = cuffReference(path)
	if err != nil {
		t.ReferenceSystolic, t.ReferenceDiastolic = math.NaN(), math.NaN()
		t.referenceNote = "no reference: the name does not end in SYSTOLIC-DIASTOLIC"
	}
	chain, err := newCuffChain(path, d)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	t.begins = chain.begins.Seconds()
	next := time.Second
	for {
		at, p, bp, done, err := chain.step()
		if errors.Is(err, errCuffEnd) || o.Limit > 0 && at > o.Limit {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("accuracy: replay: %w", ctx.Err())
		}
		t.Wave.Times, t.Wave.Values = append(t.Wave.Times, at.Seconds()), append(t.Wave.Values, float64(p))
		if done && (!t.Ended || !t.Pressure.Quality.HasValue()) {
			t.Pressure, t.Ended = bp, true
		}
		if at >= next {
			m := emptyMoment(next)
			m.Pressure = float64(p)
			t.Moments = append(t.Moments, m)
			next += time.Second
		}
	}
	if !t.Ended {
		t.Pressure.Reason = "no measurement was recognised"
	}
	return t, nil
}

func emptyMoment(at time.Duration) Moment {
	nan := math.NaN()
	return Moment{At: at, HeartRate: vitals.Absent(vitals.HeartRate, vitals.Unavailable), SpO2: vitals.Absent(vitals.SpO2, vitals.Unavailable),
		RespiratoryRate: vitals.Absent(vitals.RespiratoryRate, vitals.Unavailable), Perfusion: vitals.Absent(vitals.PerfusionIndex, vitals.Unavailable),
		ReferenceHeartRate: nan, ReferenceSpO2: nan, ReferenceRR: nan, Pressure: nan}
}

// replayLight lets a recording shine on a simulated MAX30100.
func replayLight(ctx context.Context, path string, o ReplayOptions) (*Trace, error) {
	rec, err := bench.LoadLog(path, o.Rate, o.Columns)
	if err != nil {
		return nil, err
	}
	rec = rec.Once()
	t := newTrace(path, rec.Form)
	t.note = rec.Note
	ref, err := referencesOf(path, rec)
	if err != nil {
		return nil, err
	}
	t.referenceNote = ref.note
	clock := bench.NewManualClock(recording.Start)
	patient, err := bench.NewReplay(bench.Profile{Start: recording.Start}, rec)
	if err != nil {
		return nil, err
	}
	chip, err := sensor.NewMAX30100(bench.NewMAX30100(patient, clock.Now).Bus(path), sensor.MAX30100Config{Now: clock.Now, Sleep: clock.Advance})
	if err != nil {
		return nil, err
	}
	curve := o.Calibration
	if curve == (Curve{}) {
		curve.Name = modelOf(rec)
	}
	oximeter, err := curve.oximeter(float64(chip.Rate()))
	if err != nil {
		return nil, err
	}
	t.Calibration = oximeter.Calibration()
	var m recording.Meter = oximeter
	if ref.motion != nil { // a person who runs: the meter that takes acceleration into account
		if m, err = newMoving(float64(chip.Rate())); err != nil {
			return nil, err
		}
	}
	lasting := rec.Duration()
	if o.Limit > 0 {
		lasting = min(lasting, o.Limit)
	}
	red := sensor.CurrentDefault
	if rec.OneWavelength() { // no current makes up for a light that is not there
		red = sensor.CurrentOff
	}
	r := lightReplay{trace: t, clock: clock, chip: chip, meter: m, motion: ref.motion,
		control: sensor.NewCurrentControl(float64(chip.Rate()), sensor.CurrentDefault, red)}
	for at := time.Second; at <= lasting; at += time.Second {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("accuracy: replay: %w", ctx.Err())
		}
		m, err := r.second(at)
		if err != nil {
			return nil, err
		}
		m.ReferenceHeartRate, m.ReferenceSpO2, m.ReferenceRR = ref.heart(at.Seconds()), ref.oxygen(at.Seconds()), ref.breathing(at.Seconds())
		t.compare(m)
		t.Moments = append(t.Moments, m)
	}
	if len(t.Moments) == 0 {
		return nil, fmt.Errorf("%w: %s: less than a second", recording.ErrRecording, path)
	}
	return t, nil
}

// lightReplay is a replay under way.
type lightReplay struct {
	trace   *Trace
	clock   *bench.ManualClock
	chip    *sensor.MAX30100
	meter   recording.Meter
	control *sensor.CurrentControl
	motion  *acceleration
	samples int // read and lost
	lost    int // before the next one
}

// second polls the chip for a second, as a gateway does.
func (r *lightReplay) second(at time.Duration) (Moment, error) {
	const poll = 50 * time.Millisecond
	var sample [16]sensor.Optical
	var infrared, red [16]uint16
	rate := float64(r.chip.Rate())
	for r.clock.Now().Sub(recording.Start) < at {
		r.clock.Advance(min(poll, at-r.clock.Now().Sub(recording.Start)))
		n, lost, err := r.chip.Read(sample[:])
		if err != nil {
			return Moment{}, err
		}
		for i, s := range sample[:n] {
			infrared[i], red[i] = s.Infrared, s.Red
			r.trace.Wave.Times = append(r.trace.Wave.Times, float64(r.samples+r.lost+i+1)/rate)
			r.trace.Wave.Values = append(r.trace.Wave.Values, float64(s.Infrared))
		}
		if n > 0 {
			r.samples += r.lost
			r.motion.push(r.meter, float64(r.samples)/rate, rate, n)
			r.meter.Push(infrared[:n], red[:n], r.lost)
			r.samples += n
			r.trace.Lost += r.lost
			r.lost = 0
			if r.control.Observe(sample[:n]) {
				if err := r.chip.SetCurrents(r.control.Currents()); err != nil {
					return Moment{}, err
				}
				r.trace.CurrentChanges++
				if o, ok := r.meter.(interface{ Reset() }); ok {
					o.Reset()
				}
			}
		}
		r.lost += lost
	}
	m := emptyMoment(at)
	for _, n := range r.meter.Numerics(r.clock.Now()) {
		switch n.Kind {
		case vitals.HeartRate:
			m.HeartRate = n
		case vitals.SpO2:
			m.SpO2 = n
		case vitals.RespiratoryRate:
			m.RespiratoryRate = n
		case vitals.PerfusionIndex:
			m.Perfusion = n
		}
	}
	return m, nil
}

func (t *Trace) compare(m Moment) {
	for _, c := range []struct {
		n         vitals.Numeric
		reference float64
		e         *errorsOf
	}{{m.HeartRate, m.ReferenceHeartRate, &t.heartErrors}, {m.SpO2, m.ReferenceSpO2, &t.oxygenErrors}, {m.RespiratoryRate, m.ReferenceRR, &t.breatheErrs}} {
		if c.n.Quality.HasValue() && !math.IsNaN(c.reference) {
			c.e.add(c.n.Value, c.reference)
		}
	}
}

// Summary are the replay's figures: how much was answered, and how near it came to the reference.
func (t *Trace) Summary() []Figure {
	if t.Form == "cuff" {
		s, d, m := math.NaN(), math.NaN(), math.NaN()
		if t.Pressure.Quality.HasValue() {
			s, d, m = float64(t.Pressure.Systolic), float64(t.Pressure.Diastolic), float64(t.Pressure.Mean)
		}
		return []Figure{{"systolic_mmhg", s}, {"diastolic_mmhg", d}, {"mean_arterial_mmhg", m},
			{"reference_systolic_mmhg", t.ReferenceSystolic}, {"reference_diastolic_mmhg", t.ReferenceDiastolic}}
	}
	answered := func(f func(Moment) vitals.Numeric) float64 {
		n := 0
		for _, m := range t.Moments {
			if f(m).Quality.HasValue() {
				n++
			}
		}
		return percent(n, len(t.Moments))
	}
	return []Figure{
		{"seconds", float64(len(t.Moments))},
		{"heart_rate_answered_percent", answered(func(m Moment) vitals.Numeric { return m.HeartRate })}, {"heart_rate_mae_bpm", t.heartErrors.mae()},
		{"spo2_answered_percent", answered(func(m Moment) vitals.Numeric { return m.SpO2 })}, {"spo2_arms_percent", t.oxygenErrors.rms()},
		{"respiratory_rate_answered_percent", answered(func(m Moment) vitals.Numeric { return m.RespiratoryRate })}, {"respiratory_rate_mae_per_min", t.breatheErrs.mae()},
		{"lost_samples", float64(t.Lost)}, {"led_current_changes", float64(t.CurrentChanges)},
	}
}

// modelOf is the name of the curve that belongs to a recording's sensor.
func modelOf(rec *bench.Recording) string {
	switch rec.Form {
	case "oximeter":
		return oxiWearModel(rec.Rate < 30)
	case "emotibit":
		return emotibitModel
	}
	return ""
}

// acceleration of a recording, at its own rate. A nil one is none.
type acceleration struct {
	rate    float64
	x, y, z []float64
}

// push gives the acceleration of the next n samples to a meter that takes it.
func (a *acceleration) push(m any, from, rate float64, n int) {
	mv, ok := m.(recording.Mover)
	if a == nil || !ok {
		return
	}
	at := func(v []float64, s float64) float64 {
		p := min(max(s*a.rate, 0), float64(len(v)-1))
		i := min(int(p), len(v)-2)
		return v[i] + (p-float64(i))*(v[i+1]-v[i])
	}
	var x, y, z [16]float64
	for i := range min(n, 16) {
		s := from + float64(i)/rate
		x[i], y[i], z[i] = at(a.x, s), at(a.y, s), at(a.z, s)
	}
	mv.PushMotion(x[:n], y[:n], z[:n])
}

// references are functions of time in seconds; NaN where they say nothing.
type references struct {
	heart, oxygen, breathing func(s float64) float64
	motion                   *acceleration
	note                     string
}

func nothing(float64) float64 { return math.NaN() }

func constant(v float64) func(float64) float64 { return func(float64) float64 { return v } }

// referencesOf finds what a recording is to be compared with.
func referencesOf(path string, rec *bench.Recording) (references, error) {
	r := references{heart: nothing, oxygen: nothing, breathing: nothing}
	switch rec.Form {
	case "oximeter":
		oxygen, heart, attached, err := recording.FingerReference(path)
		if err != nil || !attached {
			r.note = "no reference: the name tells none"
			return r, nil
		}
		r.oxygen, r.heart = constant(oxygen), constant(heart)
		r.note = "reference: from the file's name, for the whole recording"
	case "emotibit":
		e, err := recording.Load(path, recording.ReadEmotibit)
		if err != nil {
			return r, nil // light without typed notes is a recording all the same
		}
		r.oxygen = func(s float64) float64 {
			for _, n := range e.Notes {
				if int(float64(n.Samples)/recording.EmotibitRate) == int(s) {
					return n.Oxygen
				}
			}
			return math.NaN()
		}
		r.note = "reference: another oximeter's readings, typed in as they came"
	case "camera":
		strap, ok := beside(filepath.Join(filepath.Dir(path), "RR.txt"))
		if !ok {
			r.note = "no reference: no RR.txt beside it"
			return r, nil
		}
		rr, err := recording.Load(strap, readIntervals)
		if err != nil {
			return r, err
		}
		total := 0.0
		for _, v := range rr {
			total += v
		}
		r.heart = constant(60 * float64(len(rr)) / total)
		r.note = "reference: the chest strap's mean, its intervals have no common clock with the camera"
	default:
		return tableReferences(path, r)
	}
	return r, nil
}

// tableReferences: windows beside a treadmill run, or an electrocardiogram and breathing in the table itself.
func tableReferences(path string, r references) (references, error) {
	tab, err := recording.Load(path, recording.ReadTable)
	if err != nil {
		return r, nil // a form without a table's names: bench has read it, and there is nothing to compare with
	}
	name, _ := recording.Stem(path, ".csv")
	if truth, ok := beside(filepath.Join(filepath.Dir(path), name+"_bpm.csv")); ok {
		windows, err := recording.Load(truth, readWindows)
		if err != nil {
			return r, err
		}
		if x, y, z := tab.Column("acc_x"), tab.Column("acc_y"), tab.Column("acc_z"); len(x) > 1 && y != nil && z != nil {
			r.motion = &acceleration{troikaRate, x, y, z}
		}
		r.heart = func(s float64) float64 {
			for _, w := range windows {
				if math.Abs(w.start+troikaWindow-s) <= 0.5 {
					return w.bpm
				}
			}
			return math.NaN()
		}
		r.note = "reference: the electrocardiogram, means over 8 s"
		return r, nil
	}
	m, err := recording.Load(path, readMonitor(rateIn(path, 250)))
	if err != nil || m.ecg == nil {
		r.note = "no reference: no electrocardiogram in it"
		return r, nil
	}
	beats := rPeaks(m.ecg, m.rate)
	r.heart = func(s float64) float64 { return meanRate(beats, s-8, s) }
	r.note = "reference: the electrocardiogram, means over 8 s"
	if m.chest != nil {
		breaths := breathsIn(m.chest, m.rate)
		r.breathing = func(s float64) float64 {
			if s < 32 {
				return math.NaN()
			}
			return meanRate(breaths, s-32, s)
		}
		r.note += "; breaths counted from the chest's impedance, over 32 s"
	}
	return r, nil
}

// title is the recording's name with its folder.
func (t *Trace) title() string {
	return strings.TrimPrefix(filepath.ToSlash(filepath.Join(filepath.Base(filepath.Dir(t.File)), filepath.Base(t.File))), "./")
}
