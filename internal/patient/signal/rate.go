package signal

import (
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/dsp/fourier"

	"vitalseal/internal/measurement/vitals"
)

// Constants of PulseRate. Frequencies are in hertz; those of the search were chosen on treadmill
// runs and phone cameras, and lie in the middle of wide ranges that do about as well.
const (
	rateOfBlocks   = 25 // about: samples are averaged to this rate
	spectrumPoints = 2048
	slowestRate    = 0.6 // 36 bpm
	fastestRate    = 3.7 // 222 bpm

	lightMemory = 8    // looks whose spectra say what the light is usually like
	shortShare  = 0.4  // of the Wiener filter that knows only this look
	shortStrict = 4    // and how much more that one believes of the motion
	swayTilt    = 0.8  // without acceleration: amplitudes are multiplied by this power of the frequency, against swaying
	harmonic    = 0.5  // how much a peak at twice the frequency speaks for a rate
	floor       = 0.1  // of the greatest peak: below it nothing is told apart
	usualStep   = 0.05 // change of a heart rate within a second, one standard deviation
	greatStep   = 0.2  // and at most
	fading      = 0.97 // of the past, a second
	rivalsFrom  = 0.25 // how far off another rate is a rival and not the same
	clearBy     = 1.0  // by how much (natural logarithm) the best course must beat its rivals,
	clearAlone  = 2.5  // and where no acceleration speaks against a sway

	beatDelay  = 3.0 // seconds after which a beat is sure enough to be told
	tightness  = 8.0 // how strongly intervals are held to the rate
	smallest   = 0.55
	greatest   = 1.7 // intervals looked at, in intervals of the rate
	mostBeats  = 64  // kept for Beats
	fewSeconds = 7.0 // until then there are no rivals to beat, so there is no value
)

// PulseRate finds heart rate and beats in light that moves with its wearer: one or two channels of
// the same light (a wrist, an ear, a camera) and, where there is one, acceleration. It gives no
// SpO2.
//
// Each second it looks at the last 8 s. The light's spectrum loses what the acceleration's spectra
// explain (Wiener filters in the frequency domain, as in WFPV, Temko 2017); without acceleration
// low frequencies count for less. A Viterbi search whose past fades keeps, for each rate, the best
// course of rates that ends there, so that a heart that was hidden for some seconds is found again.
// Its end is believed if no course that ends elsewhere explains nearly as much. Beats are laid over
// the steepest rises so that their intervals fit the rate (dynamic programming, as Ellis 2007
// follows the beat of music).
//
// It holds 8 s of signal and does nothing between calls. For one goroutine.
type PulseRate struct {
	sample, rate float64 // of samples, of blocks
	block        int     // samples in a block

	light      [2]blocks
	motion     [3]blocks
	two, moved bool
	bright     float64 // of the newest block, in codes
	seen       uint64  // blocks ever
	analysed   uint64
	samples    uint64 // ever pushed or lost
	fresh      time.Time

	fft           *fourier.FFT
	filter        *bandpass // of spectra
	wave, padded  []float64
	spectrum      []complex128
	lit, moving   []float64 // power by frequency, the greatest 1
	clean         []float64 // amplitude by frequency, without what motion explains
	past          [lightMemory][]float64
	looks         int
	from, to      int       // the frequencies of interest
	score, before []float64 // of the best course that ends at a frequency
	track         float64   // hertz; 0: none yet
	value         vitals.Numeric

	risesOf *bandpass // of beats
	misfit  []float64 // of an interval of so many blocks
	sum     []float64 // of the best row of beats that ends at a block
	prior   []int     // the beat before it, or -1
	row     []int
	beats   []float64
	last    float64 // seconds; the newest beat told
}

// blocks holds the newest averages of one channel.
type blocks struct {
	ring         []float64
	next, length int
	sum          float64
	in           int
}

func (b *blocks) add(v float64, block int) (whole bool) {
	b.sum += v
	if b.in++; b.in < block {
		return false
	}
	b.ring[b.next] = b.sum / float64(block)
	b.next = (b.next + 1) % len(b.ring)
	b.length = min(b.length+1, len(b.ring))
	b.sum, b.in = 0, 0
	return true
}

func (b *blocks) clear() { b.next, b.length, b.sum, b.in = 0, 0, 0, 0 }

// newest copies what there is to dst, oldest first, less its mean.
func (b *blocks) newest(dst []float64) []float64 {
	dst = dst[:b.length]
	first := (b.next - b.length + len(b.ring)) % len(b.ring)
	n := copy(dst, b.ring[first:min(len(b.ring), first+b.length)])
	copy(dst[n:], b.ring[:b.length-n])
	m := mean(dst)
	for i := range dst {
		dst[i] -= m
	}
	return dst
}

// NewPulseRate makes one for samples at rate; ErrOptions if that is outside MinRate to MaxRate.
func NewPulseRate(rate vitals.Hertz) (*PulseRate, error) {
	if !(rate >= MinRate && rate <= MaxRate) {
		return nil, fmt.Errorf("%w: sampling rate is %g Hz, allowed is %g to %g", ErrOptions, float64(rate), float64(MinRate), float64(MaxRate))
	}
	p := &PulseRate{sample: float64(rate), block: max(1, int(rate/rateOfBlocks)), fft: fourier.NewFFT(spectrumPoints)}
	p.rate = p.sample / float64(p.block)
	n := int(math.Ceil(windowSeconds * p.rate))
	for i := range p.light {
		p.light[i].ring = make([]float64, n)
	}
	for i := range p.motion {
		p.motion[i].ring = make([]float64, n)
	}
	p.filter, p.risesOf = newBandpass(0.4, 4, p.rate, n), newBandpass(0.5, 3.5, p.rate, n)
	p.wave, p.padded, p.spectrum = make([]float64, n), make([]float64, spectrumPoints), make([]complex128, spectrumPoints/2+1)
	p.from, p.to = p.bin(slowestRate), p.bin(fastestRate)
	for _, x := range []*[]float64{&p.lit, &p.moving, &p.clean, &p.score, &p.before} {
		*x = make([]float64, p.to+1)
	}
	for i := range p.past {
		p.past[i] = make([]float64, p.to+1)
	}
	p.misfit, p.sum, p.prior, p.row = make([]float64, n), make([]float64, n), make([]int, n), make([]int, 0, n)
	p.beats = make([]float64, 0, mostBeats)
	p.value = vitals.Absent(vitals.HeartRate, vitals.Settling)
	return p, nil
}

func (p *PulseRate) bin(hertz float64) int     { return int(math.Round(hertz * spectrumPoints / p.rate)) }
func (p *PulseRate) hertz(bin float64) float64 { return bin * p.rate / spectrumPoints }

// PushMotion adds acceleration, in any unit, of the same times as the samples of the following
// Push. The slices have equal lengths and are not kept.
func (p *PulseRate) PushMotion(x, y, z []float64) {
	p.moved = true
	for i := range min(len(x), len(y), len(z)) {
		p.motion[0].add(x[i], p.block)
		p.motion[1].add(y[i], p.block)
		p.motion[2].add(z[i], p.block)
	}
}

// Push adds samples, oldest first, left-justified to 16 bits; b is a second channel of the same
// light, of equal length, or nil. lost is how many samples are missing before them. It does not
// keep the slices.
func (p *PulseRate) Push(a, b []uint16, lost int) {
	if lost > 0 {
		// A hole: the spectra start anew. The course of rates stays, because hearts go on.
		p.samples += uint64(lost)
		for i := range p.light {
			p.light[i].clear()
		}
		for i := range p.motion {
			p.motion[i].clear()
		}
	}
	p.two = len(b) == len(a) && len(b) > 0
	for i, v := range a {
		if p.two {
			p.light[1].add(float64(b[i]), p.block)
		}
		if p.light[0].add(float64(v), p.block) {
			p.seen++
			p.bright = float64(v)
		}
	}
	p.samples += uint64(len(a))
}

// Numerics is HeartRate at the end of the samples pushed so far, with a value or the reason why
// not. Call it about once a second; at is then, and serves to notice that no samples come any more.
func (p *PulseRate) Numerics(at time.Time) []vitals.Numeric {
	switch {
	case p.seen != p.analysed:
		p.analysed, p.fresh = p.seen, at
		p.analyse()
	case !p.fresh.IsZero() && at.Sub(p.fresh) > stale:
		p.value = vitals.Absent(vitals.HeartRate, vitals.DeviceFault)
	}
	return []vitals.Numeric{p.value}
}

// Beats are the beats found since the last call, in seconds since the first sample, each told about
// three seconds after it was. Only the newest 64 are kept.
func (p *PulseRate) Beats() []float64 {
	out := slices.Clone(p.beats)
	p.beats = p.beats[:0]
	return out
}

func (p *PulseRate) analyse() {
	switch {
	case p.bright < probeOffBelow:
		p.value = vitals.Absent(vitals.HeartRate, vitals.ProbeOff)
		return
	case float64(p.light[0].length) < enoughSeconds*p.rate-0.5:
		p.value = vitals.Absent(vitals.HeartRate, vitals.Settling)
		return
	}
	p.spectra()
	p.denoise()
	best, lead := p.follow()
	p.track = p.hertz(refine(p.score, best))
	switch {
	case float64(p.looks) < fewSeconds:
		p.value = vitals.Absent(vitals.HeartRate, vitals.Settling)
	case lead < clearBy, !p.moved && lead < clearAlone:
		p.value = vitals.Absent(vitals.HeartRate, vitals.Motion)
	default:
		p.value = vitals.Checked(vitals.HeartRate, 60*p.track, vitals.Good)
	}
	p.findBeats()
}

// spectra are those of the light, both channels together, and of the motion, its three axes
// together.
func (p *PulseRate) spectra() {
	tilt := swayTilt
	if p.moved {
		tilt = 0 // the acceleration says what is sway
	}
	p.power(p.lit, &p.light[0], tilt)
	toOne(p.lit[p.from:])
	if p.two {
		p.power(p.moving, &p.light[1], tilt)
		toOne(p.moving[p.from:])
		for k := range p.lit {
			p.lit[k] += p.moving[k]
		}
		toOne(p.lit[p.from:])
	}
	clear(p.moving)
	if p.motion[0].length >= p.light[0].length {
		for i := range p.motion {
			p.power(p.clean, &p.motion[i], 0)
			for k := range p.moving {
				p.moving[k] += p.clean[k]
			}
		}
		toOne(p.moving[p.from:]) // together: an axis on which nothing happens must not count like one that swings
	}
	copy(p.past[p.looks%lightMemory], p.lit)
	p.looks++
}

// power is the spectrum of a channel's newest 8 s.
func (p *PulseRate) power(dst []float64, b *blocks, tilt float64) {
	x := b.newest(p.wave)
	p.filter.apply(x, x)
	clear(p.padded)
	for i, v := range x { // Hann: the leakage of strong steps must not hide a weak pulse
		p.padded[i] = v * (0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/float64(len(x))))
	}
	p.fft.Coefficients(p.spectrum, p.padded)
	for k := range dst {
		re, im := real(p.spectrum[k]), imag(p.spectrum[k])
		dst[k] = re*re + im*im
		if tilt != 0 {
			dst[k] *= math.Pow(float64(k), 2*tilt)
		}
	}
}

func toOne(x []float64) {
	if top := slices.Max(x); top > 0 {
		for i := range x {
			x[i] /= top
		}
	}
}

// denoise takes from the light what the motion explains: the mean of a Wiener filter that knows the
// light of the last looks and of one that knows this look alone.
func (p *PulseRate) denoise() {
	known := min(p.looks, lightMemory)
	for k := p.from; k <= p.to; k++ {
		usual := 0.0
		for _, s := range p.past[:known] {
			usual += s[k] / float64(known)
		}
		long, short := 1.0, 0.0
		if usual > 0 {
			long = max(0, 1-p.moving[k]/usual)
		}
		if all := p.lit[k] + shortStrict*p.moving[k]; all > 0 {
			short = p.lit[k] / all
		}
		p.clean[k] = math.Sqrt(p.lit[k]) * ((1-shortShare)*long + shortShare*short)
	}
	toOne(p.clean[p.from:])
}

// follow goes on with the search by one look. lead is by how much the best end beats those that are
// another rate.
func (p *PulseRate) follow() (best int, lead float64) {
	reach, unit := p.bin(greatStep), p.rate/spectrumPoints/usualStep
	copy(p.before, p.score)
	best = p.from
	for k := p.from; k <= p.to; k++ {
		most := math.Inf(-1)
		for j := max(p.from, k-reach); j <= min(p.to, k+reach); j++ {
			d := float64(k-j) * unit
			most = max(most, p.before[j]-d*d/2)
		}
		second := 0.0
		if 2*k <= p.to {
			second = p.clean[2*k]
		}
		p.score[k] = fading*most + math.Log(p.clean[k]*(1+harmonic*second)+floor)
		if p.score[k] > p.score[best] {
			best = k
		}
	}
	rival, apart := math.Inf(-1), p.bin(rivalsFrom)
	for k := p.from; k <= p.to; k++ {
		if k < best-apart || k > best+apart {
			rival = max(rival, p.score[k])
		}
	}
	return best, p.score[best] - rival
}

// findBeats tells the beats between the last one told and three seconds before now.
func (p *PulseRate) findBeats() {
	x := p.light[0].newest(p.wave)
	for i := range x {
		x[i] = -x[i] // less light is more blood
	}
	p.risesOf.apply(x, x)
	spread := 0.0
	for i := range x { // a rise is sharper in time than a top, and a drift hardly shows in it
		if i+2 < len(x) {
			x[i] = max(0, x[i+2]-x[i])
		} else {
			x[i] = 0
		}
		spread += x[i] * x[i]
	}
	if spread = math.Sqrt(spread / float64(len(x))); spread == 0 {
		return
	}
	interval := p.rate / p.track
	from, to := int(math.Ceil(smallest*interval)), min(len(x)-1, int(greatest*interval))
	for gap := from; gap <= to; gap++ {
		d := math.Log(float64(gap) / interval)
		p.misfit[gap] = tightness * d * d
	}
	best := -1
	for i := range x {
		rise := min(3, x[i]/spread) // a step of the finger is no better than a pulse
		p.sum[i], p.prior[i] = rise, -1
		for gap := from; gap <= min(to, i); gap++ {
			if v := p.sum[i-gap] + rise - p.misfit[gap]; v > p.sum[i] {
				p.sum[i], p.prior[i] = v, i-gap
			}
		}
		if float64(i) >= float64(len(x))-interval && (best < 0 || p.sum[i] > p.sum[best]) {
			best = i
		}
	}
	p.row = p.row[:0]
	for i := best; i >= 0; i = p.prior[i] {
		p.row = append(p.row, i)
	}
	end := float64(p.samples) / p.sample
	begin := end - float64(len(x))/p.rate
	for _, i := range slices.Backward(p.row) {
		t := begin + (refine(x, i)+1.5)/p.rate
		if x[i] == 0 || t <= p.last+smallest/p.track || t >= end-beatDelay {
			continue
		}
		if len(p.beats) == mostBeats {
			p.beats = slices.Delete(p.beats, 0, 1)
		}
		p.beats, p.last = append(p.beats, t), t
	}
}
