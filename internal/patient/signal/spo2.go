package signal

import (
	"math"

	"vitalseal/internal/measurement/vitals"
)

// How far red must go along with infrared.
const (
	goodAgreement, fairAgreement = 0.97, 0.93
	goodError, fairError         = 1.0, 2.0 // standard error of SpO2, percent
	mostNoise, mostNoiseRed      = 0.8, 0.5 // how much of the power may be left when noise is taken out
	leastStated                  = 70.0     // percent SpO2 below which no oximeter's accuracy is stated (ISO 80601-2-61: 70 to 100 %)
	noPulseShare                 = 0.15     // a red pulse this small beside the infrared one is none: R would be under any curve's range
)

// saturation is SpO2 by the ratio of ratios: the height of red beside that of infrared (the slope
// of their reduced major axis), each as a share of its mean, over all samples of the window, with
// white noise taken out of both.
func (p *PulseOximeter) saturation(b beats) vitals.Numeric {
	w := p.window
	if float64(w.sinceClipRed) <= float64(w.length) {
		return vitals.Absent(vitals.SpO2, vitals.Saturated)
	}
	n := w.length
	p.rawRed = w.newest(p.rawRed, w.red, n)
	if w.alike() { // one channel read twice: its ratio is 1 whatever the patient has
		return vitals.Absent(vitals.SpO2, vitals.Unavailable)
	}
	if normalise(p.rawRed) < darkBelow {
		return vitals.Absent(vitals.SpO2, vitals.Unavailable)
	}
	p.red = p.red[:n]
	p.filter.apply(p.red, p.rawRed)
	var xx, yy, xy float64
	for i, x := range p.infrared {
		y := p.red[i]
		xx += x * x
		yy += y * y
		xy += x * y
	}
	if xx <= 0 {
		return vitals.Absent(vitals.SpO2, vitals.LowPerfusion)
	}
	// White noise makes infrared seem more than it is, so the slope too small, and the two agree
	// less. It is looked for in what a first slope leaves over, where a fast pulse's harmonics
	// cancel, and taken to be equal in both. What agreement is missing beyond that is movement.
	slope := xy / xx
	for i, x := range p.rawInfrared {
		p.rawRed[i] -= slope * x
	}
	noise := p.gain * whiteNoise(p.rawRed) / (1 + slope*slope) * float64(n)
	cx, cy := max(mostNoise*xx, xx-noise), max(mostNoiseRed*yy, yy-noise)
	// The ratio of the heights, not the regression of red on infrared: what movement is left after
	// the checks below is in both, and a regression would read it as a weaker red.
	p.ratio = math.Copysign(math.Sqrt(cy/cx), xy)
	if math.Abs(p.ratio) < noPulseShare || yy <= 0 {
		return vitals.Absent(vitals.SpO2, vitals.Unavailable)
	}
	agreement := xy / math.Sqrt(cx*cy)
	// The standard error of the slope, from what a straight line leaves over; in percent SpO2 at
	// the curve's steepness.
	rest := max(0, yy-xy*xy/xx) / float64(n) / p.gain
	unsure := math.Sqrt(rest/xx) * p.curve.steepness(p.ratio)
	quality := b.quality
	switch {
	case agreement < fairAgreement:
		return vitals.Absent(vitals.SpO2, vitals.Motion)
	case unsure > fairError:
		return vitals.Absent(vitals.SpO2, vitals.LowPerfusion)
	case agreement < goodAgreement || unsure > goodError:
		quality = vitals.Questionable
	}
	value := p.curve.saturation(p.ratio)
	if value < leastStated && quality == vitals.Good { // also what exchanged channels give
		quality = vitals.Questionable
	}
	return vitals.Checked(vitals.SpO2, value, quality)
}
