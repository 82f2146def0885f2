package bench

import (
	"fmt"
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// Profile says how a simulated patient behaves. Together with the wall clock it decides everything:
// two processes that hold the same Profile compute the same Truth and the same waveforms. A zero
// field means the default named beside it; Off (any negative number) means really none where none
// is possible.
type Profile struct {
	// Seed chooses phases, noise and beat-to-beat variation. Zero is a seed like any other.
	Seed uint64 `yaml:"seed"`
	// Start is when the first cuff cycle is counted from; zero is the Unix epoch (so a cuff may be
	// half way).
	Start time.Time `yaml:"start,omitempty"`

	// HeartRate is the mean; Truth wanders around it by up to HeartRateDrift. Default 72.
	HeartRate vitals.BPM `yaml:"heart_rate_bpm,omitempty"`
	// HeartRateDrift is the greatest slow deviation. Default 3 bpm; negative: none.
	HeartRateDrift vitals.BPM `yaml:"heart_rate_drift_bpm,omitempty"`
	// Variability is the greatest beat-to-beat deviation (breathing and 0.1 Hz waves). Default 2
	// bpm; negative: none.
	Variability vitals.BPM `yaml:"variability_bpm,omitempty"`
	// SpO2 is the mean; Truth wanders around it by up to SpO2Drift and never exceeds 99.9. Default
	// 97.
	SpO2 vitals.Percent `yaml:"spo2_percent,omitempty"`
	// SpO2Drift is the greatest slow deviation. Default 0.5 %; negative: none.
	SpO2Drift vitals.Percent `yaml:"spo2_drift_percent,omitempty"`
	// RespiratoryRate is constant. Default 15 breaths a minute.
	RespiratoryRate vitals.BPM `yaml:"respiratory_rate_per_min,omitempty"`
	// Perfusion is the infrared pulse, peak to peak, as a share of its mean. Default 2 %; below
	// about 0.3 % is poor.
	Perfusion vitals.Percent `yaml:"perfusion_percent,omitempty"`
	// Transmission scales the light that reaches the photodiode; above about 1.6 the default LED
	// currents saturate the converter. Default 1.
	Transmission float64 `yaml:"transmission,omitempty"`
	// SNR is 20*log10(RMS of the infrared pulse / RMS of white noise), over the whole band of the
	// sampling rate, at 100 Hz. The red channel gets the same absolute noise, so its own ratio is
	// lower by 20*log10(1/R). Default 30 dB; negative: no noise.
	SNR float64 `yaml:"snr_db,omitempty"`
	// Motion is when the finger moves; zero: never.
	Motion Windows `yaml:"motion,omitempty"`
	// MotionAmplitude is the size of a motion artefact as a multiple of the pulse. Default 6.
	MotionAmplitude float64 `yaml:"motion_amplitude,omitempty"`
	// ProbeOff is when the finger is out of the probe; zero: never.
	ProbeOff Windows `yaml:"probe_off,omitempty"`

	// Systolic and Diastolic are means over cuff cycles; defaults 122 and 78.
	Systolic  vitals.MMHg `yaml:"systolic_mmhg,omitempty"`
	Diastolic vitals.MMHg `yaml:"diastolic_mmhg,omitempty"`
	// PressureDrift is the greatest deviation of one cuff cycle from the mean. Default 4 mmHg;
	// negative: none.
	PressureDrift vitals.MMHg `yaml:"pressure_drift_mmhg,omitempty"`
	// CuffFirst is the time from Start to the first inflation, default 6 s; CuffEvery from one
	// inflation to the next, default 2 min, at least CuffLasting; negative CuffEvery: no cuff.
	CuffFirst time.Duration `yaml:"cuff_first,omitempty"`
	CuffEvery time.Duration `yaml:"cuff_every,omitempty"`
	// CuffRate is how fast the cuff deflates, per second. Default 3 mmHg.
	CuffRate vitals.MMHg `yaml:"cuff_rate_mmhg_per_s,omitempty"`
	// Oscillation is the greatest oscillation in the cuff, peak to peak. Default 2.5 mmHg.
	Oscillation vitals.MMHg `yaml:"oscillation_mmhg,omitempty"`

	// Bridge is the pressure sensor and amplifier behind the cuff.
	Bridge Bridge `yaml:"bridge,omitempty"`
}

// Off switches off what a Profile otherwise has by default.
const Off = -1

// Windows are stretches of time that repeat: the first begins at the Profile's Start plus First,
// each lasts Lasting, the next begins Every later. Every zero means only the first; Lasting zero
// means never.
type Windows struct {
	First   time.Duration `yaml:"first,omitempty"`
	Every   time.Duration `yaml:"every,omitempty"`
	Lasting time.Duration `yaml:"lasting,omitempty"`
}

// within reports whether t, in seconds since the Profile's Start, lies in a window, and how far
// into it.
func (w Windows) within(t float64) (into float64, ok bool) {
	if w.Lasting <= 0 {
		return 0, false
	}
	t -= w.First.Seconds()
	if t < 0 {
		return 0, false
	}
	if w.Every > 0 {
		t = math.Mod(t, w.Every.Seconds())
	}
	return t, t < w.Lasting.Seconds()
}

// Truth is what a perfect instrument would show at one moment.
type Truth struct {
	// Known is false for a recording: then nothing else is.
	Known bool
	// HeartRate is the slow mean: it leaves out the beat-to-beat part (Profile.Variability), as a
	// monitor's does.
	HeartRate vitals.BPM
	SpO2      vitals.Percent
	// RespiratoryRate is in breaths a minute.
	RespiratoryRate vitals.BPM
	// Perfusion is the infrared perfusion index, zero while the probe is off.
	Perfusion vitals.Percent
	// Systolic, Diastolic and MeanArterial belong to the cuff cycle that began last.
	Systolic, Diastolic, MeanArterial vitals.MMHg
	// ProbeOn is false in a ProbeOff window, Motion true in a Motion window.
	ProbeOn, Motion bool
}

// withDefaults fills zero fields. Negative values stay and mean none.
func (p Profile) withDefaults() Profile {
	def(&p.HeartRate, 72)
	def(&p.HeartRateDrift, 3)
	def(&p.Variability, 2)
	def(&p.SpO2, 97)
	def(&p.SpO2Drift, 0.5)
	def(&p.RespiratoryRate, 15)
	def(&p.Perfusion, 2)
	def(&p.Transmission, 1)
	def(&p.SNR, 30)
	def(&p.MotionAmplitude, 6)
	def(&p.Systolic, 122)
	def(&p.Diastolic, 78)
	def(&p.PressureDrift, 4)
	def(&p.CuffFirst, 6*time.Second)
	def(&p.CuffEvery, 2*time.Minute)
	def(&p.CuffRate, 3)
	def(&p.Oscillation, 2.5)
	p.Bridge = p.Bridge.withDefaults(p.Seed)
	return p
}

// def sets *v to d if it is zero.
func def[T ~float64 | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// positive is v, or zero for a negative v, which says none.
func positive[T ~float64](v T) float64 { return max(0, float64(v)) }

// Validate reports the first field that is out of its range, by its name in the YAML file.
func (p Profile) Validate() error {
	p = p.withDefaults()
	for _, f := range []struct {
		name           string
		value, low, up float64
	}{
		{"heart_rate_bpm", float64(p.HeartRate), 25, 250},
		{"heart_rate_drift_bpm", positive(p.HeartRateDrift), 0, 20},
		{"variability_bpm", positive(p.Variability), 0, 15},
		{"spo2_percent", float64(p.SpO2), 60, 100},
		{"spo2_drift_percent", positive(p.SpO2Drift), 0, 5},
		{"respiratory_rate_per_min", float64(p.RespiratoryRate), 4, 60},
		{"perfusion_percent", float64(p.Perfusion), 0.02, 20},
		{"transmission", p.Transmission, 0.05, 20},
		{"snr_db", positive(p.SNR), 0, 90},
		{"motion_amplitude", p.MotionAmplitude, 0, 50},
		{"systolic_mmhg", float64(p.Systolic), 60, 250},
		{"diastolic_mmhg", float64(p.Diastolic), 30, 160},
		{"systolic_mmhg - diastolic_mmhg", float64(p.Systolic - p.Diastolic), 15, 150},
		{"pressure_drift_mmhg", positive(p.PressureDrift), 0, 7},
		{"cuff_first (seconds)", p.CuffFirst.Seconds(), 0, 86400},
		{"cuff_rate_mmhg_per_s", float64(p.CuffRate), 1.5, 10},
		{"oscillation_mmhg", float64(p.Oscillation), 0.2, 6},
	} {
		if !(f.value >= f.low && f.value <= f.up) {
			return fmt.Errorf("%w: %s is %g, allowed is %g to %g", ErrProfile, f.name, f.value, f.low, f.up)
		}
	}
	if least := (&Patient{profile: p}).CuffLasting(); p.CuffEvery > 0 && p.CuffEvery < least {
		return fmt.Errorf("%w: cuff_every is %s, but one measurement takes up to %s; negative is no cuff", ErrProfile, p.CuffEvery, least.Round(time.Second))
	}
	for name, w := range map[string]Windows{"motion": p.Motion, "probe_off": p.ProbeOff} {
		if w.First < 0 || w.Every < 0 || w.Lasting < 0 || w.Every > 0 && w.Lasting > w.Every {
			return fmt.Errorf("%w: %s: first, every and lasting may not be negative, nor lasting longer than every", ErrProfile, name)
		}
	}
	return p.Bridge.validate()
}

// demoProfiles vary what a ward varies: rate, oxygen, pressure, how warm the finger is.
var demoProfiles = [...]Profile{
	{HeartRate: 72, SpO2: 98, Systolic: 121, Diastolic: 78, RespiratoryRate: 14, Perfusion: 2.4},
	{HeartRate: 58, SpO2: 96, Systolic: 134, Diastolic: 84, RespiratoryRate: 12, Perfusion: 1.6},
	{HeartRate: 104, SpO2: 91, Systolic: 108, Diastolic: 66, RespiratoryRate: 24, Perfusion: 1.2},
	{HeartRate: 85, SpO2: 94, Systolic: 146, Diastolic: 92, RespiratoryRate: 18, Perfusion: 1.8},
	{HeartRate: 66, SpO2: 99, Systolic: 117, Diastolic: 73, RespiratoryRate: 13, Perfusion: 3.2},
	{HeartRate: 92, SpO2: 88, Systolic: 128, Diastolic: 70, RespiratoryRate: 22, Perfusion: 0.9},
	{HeartRate: 78, SpO2: 97, Systolic: 152, Diastolic: 95, RespiratoryRate: 16, Perfusion: 2},
	{HeartRate: 117, SpO2: 93, Systolic: 99, Diastolic: 61, RespiratoryRate: 26, Perfusion: 1.4},
}

// DemoProfile is the i-th patient of the demonstration ward, i = 0 and up: plausible, varied, the
// same every time. Past the first eight they repeat with other seeds and slightly other numbers.
// Start is left zero.
func DemoProfile(i int) Profile {
	if i < 0 {
		i = -i
	}
	p := demoProfiles[i%len(demoProfiles)]
	round := i / len(demoProfiles)
	p.Seed = 0x5eed0000 + word(int64(i))
	p.HeartRate += vitals.BPM(round % 7)
	p.Systolic += vitals.MMHg(round % 5)
	// Not all cuffs of a ward at once.
	p.CuffFirst = 6*time.Second + time.Duration(i%4)*4*time.Second
	return p
}
