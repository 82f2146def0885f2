package bench

import (
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// Light levels as shares of the converter's full scale at 50 mA of LED current, for a Transmission
// of 1. With the driver's default currents (50 mA infrared, 27.1 mA red) both channels then rest
// near the middle.
const (
	infraredLevel = 0.60
	redLevel      = 0.83
	ambientLevel  = 0.0015 // what the chip's ambient light cancellation leaves, with the LEDs off
	openLevel     = 0.006  // LED light that comes back without a finger
	fullCurrent   = 50.0   // mA, what the levels refer to
)

// How strongly breathing shows in the pulse wave.
const (
	breathAmplitude = 0.06 // of the pulse's height
	breathBaseline  = 0.25 // baseline wander as a share of the pulse's height
	slowBaseline    = 0.20 // vasomotion at about 0.03 Hz, likewise
	beatAmplitude   = 0.03 // standard deviation of the height from beat to beat
)

// wave is one sinusoid of absolute time. All slow changes are sums of waves, so that they and their
// integrals are closed-form: the truth at any time is known without the time before.
type wave struct{ amplitude, omega, phase float64 }

func (w wave) at(t float64) float64 { return w.amplitude * math.Sin(w.omega*t+w.phase) }

// integral is an antiderivative of at; the constant is lost in the starting phase.
func (w wave) integral(t float64) float64 {
	if w.amplitude == 0 {
		return 0
	}
	return -w.amplitude / w.omega * math.Cos(w.omega*t+w.phase)
}

func sum(ws []wave, t float64) (v float64) {
	for _, w := range ws {
		v += w.at(t)
	}
	return v
}

// Patient is a simulated patient, or a recording in a patient's place. It is a pure function of
// time: immutable, safe for concurrent use, and about a microsecond a sample.
type Patient struct {
	profile    Profile
	origin     time.Time // where t = 0 lies
	pulse      *pulseShape
	rateSlow   []wave // of the heart rate, seen in Truth
	rateFast   []wave // of the heart rate, from beat to beat
	oxygen     []wave
	breath     wave
	vasomotion wave
	startPhase float64
	noise      float64 // standard deviation of ln(light) at 100 Hz
	recording  *Recording
	deflation  *Deflation
}

// NewPatient makes a simulated patient. The error wraps ErrProfile.
func NewPatient(p Profile) (*Patient, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	p = p.withDefaults()
	origin := p.Start
	if origin.IsZero() {
		origin = time.Unix(0, 0)
	}
	pa := &Patient{profile: p, origin: origin.Round(0), pulse: newPulseShape()}

	r := stream{seed: p.Seed}
	period := func(amplitude, seconds float64) wave {
		return wave{amplitude, 2 * math.Pi / (seconds * (0.9 + 0.2*r.uniform())), 2 * math.Pi * r.uniform()}
	}
	drift := positive(p.HeartRateDrift)
	pa.rateSlow = []wave{period(0.6*drift, 420), period(0.4*drift, 190)}
	pa.breath = wave{1, 2 * math.Pi * float64(p.RespiratoryRate) / 60, 2 * math.Pi * r.uniform()}
	fast := positive(p.Variability)
	sinusArrhythmia := pa.breath
	sinusArrhythmia.amplitude = 0.7 * fast
	pa.rateFast = []wave{sinusArrhythmia, period(0.3*fast, 10)}
	oxygen := positive(p.SpO2Drift)
	pa.oxygen = []wave{period(0.6*oxygen, 500), period(0.4*oxygen, 230)}
	pa.vasomotion = period(1, 33)
	pa.startPhase = r.uniform()
	if p.SNR > 0 {
		pa.noise = float64(p.Perfusion) / 100 * pa.pulse.rms / math.Pow(10, p.SNR/20)
	}
	return pa, nil
}

// NewReplay makes a patient whose light comes from a recording, looped from p.Start on; the cuff is
// still simulated. Nothing optical in p has an effect but Transmission and ProbeOff. The error
// wraps ErrProfile.
func NewReplay(p Profile, r *Recording) (*Patient, error) {
	pa, err := NewPatient(p)
	if err != nil {
		return nil, err
	}
	pa.recording = r
	return pa, nil
}

// Profile is the profile with its defaults filled in.
func (pa *Patient) Profile() Profile { return pa.profile }

// seconds is t on the patient's own axis.
func (pa *Patient) seconds(t time.Time) float64 { return t.Sub(pa.origin).Seconds() }

// Truth is what a perfect instrument would show at t.
func (pa *Patient) Truth(t time.Time) Truth {
	s := pa.seconds(t)
	_, off := pa.profile.ProbeOff.within(s)
	tr := Truth{ProbeOn: !off}
	c := pa.cycle(s)
	tr.Systolic, tr.Diastolic = vitals.MMHg(c.systolic), vitals.MMHg(c.diastolic)
	tr.MeanArterial = vitals.MMHg(c.mean())
	if pa.recording != nil {
		return tr
	}
	tr.Known = true
	tr.HeartRate = pa.profile.HeartRate + vitals.BPM(sum(pa.rateSlow, s))
	tr.SpO2 = vitals.Percent(pa.saturation(s))
	tr.RespiratoryRate = pa.profile.RespiratoryRate
	_, tr.Motion = pa.profile.Motion.within(s)
	if !off {
		tr.Perfusion = pa.profile.Perfusion
	}
	return tr
}

// saturation is the true SpO2 in percent.
func (pa *Patient) saturation(s float64) float64 {
	return min(99.9, float64(pa.profile.SpO2)+sum(pa.oxygen, s))
}

// beat is the cardiac phase in beats since some beginning: its fraction is the place within a beat.
func (pa *Patient) beat(s float64) (number int64, fraction float64) {
	phase := float64(pa.profile.HeartRate) * s
	for _, w := range pa.rateSlow {
		phase += w.integral(s)
	}
	for _, w := range pa.rateFast {
		phase += w.integral(s)
	}
	whole, fraction := math.Modf(phase/60 + pa.startPhase)
	if fraction < 0 {
		whole, fraction = whole-1, fraction+1
	}
	return int64(whole), fraction
}

// Light is what reaches the photodiode at t from each LED at 50 mA, as a share of the converter's
// full scale; it may exceed 1, the chip then saturates. Raw light falls while blood flows in: a
// pulse points down. The rate is the chip's sampling rate and sets the noise (white, so it grows
// with the square root of the rate) and, for a recording, the bandwidth. Red of a one-wavelength
// recording is zero, as without a red LED.
func (pa *Patient) Light(t time.Time, rate vitals.Hertz) (infrared, red float64) {
	s := pa.seconds(t)
	n := pa.noise * math.Sqrt(float64(rate)/100)
	if _, off := pa.profile.ProbeOff.within(s); off {
		n1, n2 := gaussians(pa.profile.Seed ^ word(t.UnixNano()))
		return openLevel * (1 + n*n1), openLevel * (1 + n*n2)
	}
	k := pa.profile.Transmission
	if pa.recording != nil {
		infrared, red = pa.recording.at(s, float64(rate))
		return k * infrared, k * red
	}
	number, fraction := pa.beat(s)
	breath := pa.breath.at(s)
	height, _ := gaussians(pa.profile.Seed ^ word(number)*0x9e3779b97f4a7c15)
	height = 1 + beatAmplitude*height + breathAmplitude*breath
	pulse := height * pa.pulse.at(fraction)
	drift := breathBaseline*breath + slowBaseline*pa.vasomotion.at(s) + pa.motion(s)

	// Beer-Lambert: what arterial blood absorbs adds up in the logarithm, and red's share of it is
	// R by definition. Veins and movement change both wavelengths about alike.
	pi := float64(pa.profile.Perfusion) / 100
	r := RatioOfRatios(vitals.Percent(pa.saturation(s)))
	n1, n2 := gaussians(pa.profile.Seed ^ word(t.UnixNano()))
	infrared = k * infraredLevel * math.Exp(-pi*(pulse+drift)+n*n1)
	red = k * redLevel * math.Exp(-pi*(r*pulse+drift)+n*n2)
	return infrared, red
}

// motion is the artefact as a multiple of the pulse's height: several swings between 0.6 and 4 Hz,
// other ones in each window, faded in and out over 0.3 s.
func (pa *Patient) motion(s float64) float64 {
	into, ok := pa.profile.Motion.within(s)
	if !ok {
		return 0
	}
	left := pa.profile.Motion.Lasting.Seconds() - into
	fade := min(1, into/0.3, left/0.3)
	r := stream{seed: pa.profile.Seed ^ word(int64(math.Round((s-into)*1000)))}
	v := 0.0
	for range 4 {
		v += math.Sin(2*math.Pi*((0.6+3.4*r.uniform())*into+r.uniform())) * (0.3 + 0.7*r.uniform())
	}
	return pa.profile.MotionAmplitude * fade * v / 2
}

// Optical fills infrared and red, of equal length, with consecutive samples as a MAX30100 stores
// them in the driver's default configuration (SpO2 mode, 16 bit, 50 and 27.1 mA) at the given rate,
// the first at from.
func (pa *Patient) Optical(from time.Time, rate vitals.Hertz, infrared, red []uint16) {
	step := float64(time.Second) / float64(rate)
	for i := range infrared {
		ir, rd := pa.Light(from.Add(time.Duration(math.Round(float64(i)*step))), rate)
		infrared[i] = convert(ir*ledMilliAmps[15]/fullCurrent+ambientLevel, 16)
		red[i] = convert(rd*ledMilliAmps[8]/fullCurrent+ambientLevel, 16)
	}
}

// RatioOfRatios is the inverse of the calibration curve that the simulation and package signal
// share: Maxim's SpO2 = -45.060 R^2 + 30.354 R + 94.845 (used by SparkFun's and Maxim's own
// examples for this family), on its falling branch. Above its top (99.96 %) it returns R at the
// top.
func RatioOfRatios(s vitals.Percent) float64 {
	const a, b, c = -45.060, 30.354, 94.845
	d := b*b - 4*a*(c-float64(s))
	return (-b - math.Sqrt(max(0, d))) / (2 * a)
}
