package signal

import (
	"errors"
	"fmt"
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// ErrOptions says that an option or the sampling rate is not usable; the message names it and what
// is allowed.
var ErrOptions = errors.New("signal: bad options")

// Options choose how a PulseOximeter works. The zero Options are the defaults.
type Options struct {
	// Calibration names the curve from the ratio of ratios to SpO2, see Calibrations. Empty:
	// DefaultCalibration.
	Calibration string
	// Curve is a calibration of its own, from a file; it goes before Calibration.
	Curve *Calibration
}

// The sampling rates that a PulseOximeter accepts.
const (
	MinRate vitals.Hertz = 20
	MaxRate vitals.Hertz = 4000
)

// What a pulse can be.
const (
	slowestBeat = 2.2  // seconds; 27 bpm
	fastestBeat = 0.24 // seconds; 250 bpm
	stale       = 3 * time.Second
)

// PulseOximeter derives heart rate, SpO2 and perfusion index from the light that a finger sends
// back. It holds 8 s of signal and does nothing between calls. For one goroutine.
type PulseOximeter struct {
	window *window
	curve  curve
	filter *bandpass
	gain   float64 // of white noise through filter
	finder *beatFinder

	rawInfrared, rawRed   []float64
	infrared, red         []float64 // band-passed, in percent of their mean, pulse upwards
	acf, gaps, scratch    []float64
	template              []float64
	peaks, troughs        []int
	seen                  uint64
	fresh                 time.Time
	heart, oxygen, perfus vitals.Numeric
	breathing             vitals.Numeric
	ratio                 float64

	last      beats
	height    float64 // of the pulse, as trusted lately; 0: not known
	steadyFor int     // looks in a row that agreed with the one before
	doubt     int     // looks in a row that must agree
}

// NewPulseOximeter makes one for samples at rate. ErrOptions if the rate is outside MinRate to
// MaxRate or the calibration is not known.
func NewPulseOximeter(rate vitals.Hertz, o Options) (*PulseOximeter, error) {
	if !(rate >= MinRate && rate <= MaxRate) {
		return nil, fmt.Errorf("%w: sampling rate is %g Hz, allowed is %g to %g", ErrOptions, float64(rate), float64(MinRate), float64(MaxRate))
	}
	c, err := o.curve()
	if err != nil {
		return nil, err
	}
	w := newWindow(float64(rate))
	n := len(w.infrared)
	scales := int(math.Ceil(slowestBeat / 2 * w.rate))
	p := &PulseOximeter{
		window: w, curve: c, filter: newBandpass(0.5, 5, w.rate, n), finder: newBeatFinder(scales, n),
		rawInfrared: make([]float64, n), rawRed: make([]float64, n), infrared: make([]float64, n), red: make([]float64, n),
		acf: make([]float64, int(slowestBeat*1.1*w.rate)+2), gaps: make([]float64, 0, n), scratch: make([]float64, 0, n),
		template: make([]float64, n), peaks: make([]int, 0, n), troughs: make([]int, 0, n),
	}
	p.gain = p.filter.noiseGain()
	p.absent(vitals.Settling)
	return p, nil
}

// Push adds samples, oldest first and of equal number (red may be nil: one wavelength),
// left-justified to 16 bits. lost is how many samples are missing before them. It does not keep the
// slices.
func (p *PulseOximeter) Push(infrared, red []uint16, lost int) { p.window.push(infrared, red, lost) }

// Lost says that so many samples are missing after those pushed so far. Push is told the same
// number with the samples that follow; this is for a Numerics that comes before them: after a hole
// that is too long to bridge, no value rests on what was before it.
func (p *PulseOximeter) Lost(n int) { p.window.lost(n) }

// Reset forgets all samples: for when the LED currents have changed.
func (p *PulseOximeter) Reset() {
	p.window.reset()
	p.forget()
	p.absent(vitals.Settling)
}

// Ratio is the ratio of ratios that the last SpO2 rests on; false without one.
func (p *PulseOximeter) Ratio() (float64, bool) { return p.ratio, p.oxygen.Quality.HasValue() }

// Calibration is the name of the curve in use.
func (p *PulseOximeter) Calibration() string { return p.curve.name }

// Numerics are HeartRate, SpO2, PerfusionIndex and RespiratoryRate at the end of the samples pushed
// so far, each with a value or the reason why not. Call it about once a second; at is then, and
// serves to notice that no samples come any more.
func (p *PulseOximeter) Numerics(at time.Time) []vitals.Numeric {
	switch {
	case p.window.seen != p.seen:
		p.seen, p.fresh = p.window.seen, at
		p.analyse()
	case !p.fresh.IsZero() && at.Sub(p.fresh) > stale:
		p.absent(vitals.DeviceFault)
	}
	return []vitals.Numeric{p.heart, p.oxygen, p.perfus, p.breathing}
}

// Intervals are the times between the beats of the last 8 s, in seconds, oldest first: those that
// the heart rate rests on. None without a heart rate.
func (p *PulseOximeter) Intervals() []float64 {
	if !p.heart.Quality.HasValue() {
		return nil
	}
	out := intervals(nil, p.infrared, p.peaks)
	for i := range out {
		out[i] /= p.window.rate
	}
	return out
}

// absent says that there is no value of any kind.
func (p *PulseOximeter) absent(why vitals.Quality) {
	p.heart = vitals.Absent(vitals.HeartRate, why)
	p.oxygen = vitals.Absent(vitals.SpO2, why)
	p.perfus = vitals.Absent(vitals.PerfusionIndex, why)
	p.breathing = vitals.Absent(vitals.RespiratoryRate, why)
}

// firstSeconds hold three quick beats; the first look needs them.
const firstSeconds = 2.4

func (p *PulseOximeter) analyse() {
	w := p.window
	switch {
	case float64(w.sinceClip) < saturatedLinger*w.rate:
		p.forget()
		p.absent(vitals.Saturated)
		return
	case w.off:
		p.forget()
		p.absent(vitals.ProbeOff)
		return
	case !w.has(firstSeconds):
		p.absent(vitals.Settling)
		return
	}
	n := w.length
	p.rawInfrared = w.newest(p.rawInfrared, w.infrared, n)
	normalise(p.rawInfrared)
	p.infrared = p.infrared[:n]
	p.filter.apply(p.infrared, p.rawInfrared)
	noise := p.gain * whiteNoise(p.rawInfrared)

	b := p.pulse(p.infrared)
	if b.quality == vitals.Unknown {
		p.steadyFor = 0
		if !w.has(surelySeconds) {
			p.absent(vitals.Settling)
			return
		}
		p.doubt = afterDoubt
		p.absent(p.blame(noise))
		return
	}
	if p.last.period == 0 && p.doubt == 0 && b.quality == vitals.Good {
		// A clip of three clean beats gets its answer from one look, of lesser quality.
		p.last, p.height, b.quality = b, b.height, vitals.Questionable
	} else if !p.trusted(b) {
		p.absent(vitals.Motion)
		if p.doubt == 0 {
			p.absent(vitals.Settling)
		}
		return
	}
	p.heart = vitals.Checked(vitals.HeartRate, 60*w.rate/b.period, b.quality)
	p.perfus = vitals.Checked(vitals.PerfusionIndex, b.height, b.quality)
	p.oxygen = p.saturation(b)
	p.window.breath.beats(p.infrared, p.peaks, n)
	p.breathing = p.window.breath.look()
}

// How many looks in a row must agree before a value is shown: at the start, and after a time
// without one.
const (
	atStart    = 1
	afterDoubt = 3
	newHeight  = 8 // when the pulse suddenly has another height
)

// trusted compares one look with the looks before: a pulse stays about as it was, movement does
// not.
func (p *PulseOximeter) trusted(b beats) bool {
	if math.Abs(b.period-p.last.period) <= 0.1*p.last.period && b.height < 1.5*p.last.height && p.last.height < 1.5*b.height {
		p.steadyFor++
	} else {
		p.steadyFor = 0
	}
	p.last = b
	need := max(atStart, p.doubt)
	if p.height > 0 && (b.height > 2*p.height || p.height > 2*b.height) {
		need = newHeight
	}
	if p.steadyFor < need {
		return false
	}
	p.doubt = 0
	if p.height == 0 || need == newHeight {
		p.height = b.height
	}
	p.height += 0.1 * (b.height - p.height)
	return true
}

// forget makes the next looks a new start.
func (p *PulseOximeter) forget() {
	p.last, p.height, p.steadyFor, p.doubt = beats{}, 0, 0, 0
}

// normalise turns light into percent of its mean, pulse upwards (light falls while blood flows in),
// and returns the mean.
func normalise(x []float64) (level float64) {
	level = mean(x)
	if level <= 0 {
		clear(x)
		return 0
	}
	for i, v := range x {
		x[i] = 100 * (1 - v/level)
	}
	return level
}

// beats is what the pulse wave says.
type beats struct {
	period  float64 // samples
	height  float64 // median peak to trough
	quality vitals.Quality
}

// Thresholds of belief, see the package comment for what they were chosen on.
const (
	goodPeriodicity, goodLikeness = 0.60, 0.90
	fairPeriodicity, fairLikeness = 0.40, 0.85
	irregularLikeness             = 0.95 // of an irregular rhythm, that autocorrelation does not see
	leastSteady, goodSteady       = 0.60, 0.80
	steepLikeness                 = 0.70
	evenHeights, unevenHeights    = 1.4, 2.0
	steep                         = 0.36
	racing                        = 0.36 // seconds; 167 bpm
	strictPeriodicity             = 0.85
	symmetric                     = 0.42 // greatest share of a period that the shorter flank of a pulse takes
)

// pulse finds the beats of x and believes them only if a second, independent look (autocorrelation)
// agrees.
func (p *PulseOximeter) pulse(x []float64) beats {
	p.peaks = p.finder.peaks(p.peaks[:0], x, 1)
	p.troughs = p.finder.peaks(p.troughs[:0], x, -1)
	if min(len(p.peaks), len(p.troughs)) < 2 || max(len(p.peaks), len(p.troughs)) < 3 {
		return beats{}
	}
	// Peaks or troughs, whichever come more evenly: the sharper end of the wave depends on how a
	// sensor is wired.
	period, share, marks := 0.0, 0.0, p.peaks
	middle := 0.0
	for _, m := range [][]int{p.peaks, p.troughs} {
		p.gaps = intervals(p.gaps[:0], x, m)
		mid := median(p.scratch, p.gaps)
		if avg, sh := steady(p.gaps, mid); sh > share {
			period, share, marks, middle = avg, sh, m, mid
		}
	}
	if period < fastestBeat*p.window.rate || period > slowestBeat*p.window.rate || middle <= 0 {
		return beats{}
	}
	r := p.acf[:min(len(p.acf), len(x)/2)]
	autocorrelation(r, x)
	here := peakNear(r, period, 0.12)
	// A stronger repetition at another period, or one as strong at a half or third of it, means
	// that the beats were counted wrongly.
	greatest := 0.0
	for i := int(fastestBeat * p.window.rate); i < len(r)-1; i++ {
		if i > 0 && r[i] >= r[i-1] && r[i] >= r[i+1] {
			greatest = max(greatest, r[i])
		}
	}
	stronger, doubtful := greatest-here > 0.15, false
	for _, d := range []float64{2, 3} {
		if part := period / d; part >= fastestBeat*p.window.rate && peakNear(r, part, 0.1) > max(0.9*here, 0.4) {
			doubtful = true
		}
	}
	alike := likeness(p.template, x, marks, period)
	height, uneven, rise := p.shape(x, period)
	b := beats{period: period, height: height}
	switch {
	case doubtful || uneven > unevenHeights || share < leastSteady:
	case rise > symmetric:
		// So fast a pulse has little shape left, movement rarely is so fast and so even.
		if period <= racing*p.window.rate && here >= strictPeriodicity && alike >= irregularLikeness && uneven <= evenHeights && share >= goodSteady {
			b.quality = vitals.Questionable
		}
	case here >= goodPeriodicity && alike >= goodLikeness && share >= goodSteady && !stronger:
		b.quality = vitals.Good
	case here >= fairPeriodicity && alike >= fairLikeness && share >= goodSteady && !stronger,
		alike >= irregularLikeness,
		// An irregular heart beats with alike heights and steep flanks.
		here >= fairPeriodicity && alike >= steepLikeness && share >= goodSteady && !stronger && uneven <= evenHeights && rise <= steep:
		b.quality = vitals.Questionable
	}
	return b
}

// shape is the median height of the beats from trough to peak, how many times that the greatest of
// them has, and which share of a period the shorter flank takes: blood comes in faster than it runs
// off, movement to and fro does not.
func (p *PulseOximeter) shape(x []float64, period float64) (height, uneven, rise float64) {
	h := p.gaps[:0]
	j := 0
	for _, k := range p.peaks {
		for j+1 < len(p.troughs) && p.troughs[j+1] < k {
			j++
		}
		if p.troughs[j] < k {
			h = append(h, x[k]-x[p.troughs[j]])
			rise += float64(k-p.troughs[j]) / period
		}
	}
	if len(h) == 0 {
		return 0, math.Inf(1), 1
	}
	rise /= float64(len(h))
	height = median(p.scratch, h)
	for _, v := range h {
		if height > 0 {
			uneven = max(uneven, v/height)
		}
	}
	return height, uneven, min(rise, 1-rise)
}

const (
	poorPerfusion = 0.15 // percent peak to peak; below, a failure to find the pulse is put down to that
	noisy         = 4.0  // power in the band over that of the noise in it
)

// blame says why there is no pulse to be found.
func (p *PulseOximeter) blame(noise float64) vitals.Quality {
	power := 0.0
	for _, v := range p.infrared {
		power += v * v
	}
	power /= float64(len(p.infrared))
	if power < noisy*noise || 2.83*math.Sqrt(power) < poorPerfusion {
		return vitals.LowPerfusion
	}
	return vitals.Motion
}
