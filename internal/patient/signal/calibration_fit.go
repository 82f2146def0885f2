package signal

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/measurement/vitals"
)

// ErrFit says that points do not make a calibration; the message says why and what is needed.
var ErrFit = errors.New("signal: no calibration from these points")

// RatioPoint is a ratio of ratios beside the SpO2 that a reference said at that time.
type RatioPoint struct {
	Ratio float64
	SpO2  vitals.Percent
}

// Forms of a fitted curve.
const (
	FormOffset    = "offset"    // the usual slope of -25 % per unit of ratio; the points only say how high
	FormLine      = "line"      // slope and height from the points
	FormQuadratic = "quadratic" // bent downwards
)

// FitReport says how good a fitted calibration is, in percent SpO2.
type FitReport struct {
	Form   string
	Points int
	// Outliers are points further than three times the usual distance from the curve: they counted
	// for less.
	Outliers int
	// Arms is the root mean square error on the points themselves; LeaveOneOut the same with each
	// point judged by a curve that did not see it, which is nearer to what to expect.
	Arms, LeaveOneOut float64
	// Default is the root mean square error of DefaultCalibration on the same points.
	Default float64
	// Lowest and Highest SpO2 among the points. Below Lowest the curve is a guess.
	Lowest, Highest vitals.Percent
	// Warnings say in words what the points lack.
	Warnings []string
}

// What a fit needs.
const (
	leastPoints     = 5
	lineSpan        = 8.0  // percent SpO2 between the points, for a slope
	quadraticSpan   = 20.0 // for a bend
	quadraticPoints = 20
	bendWorth       = 0.95 // a bend must bring the error of unseen points under this share of the line's
	usualSlope      = -25.0
	steepest        = -120.0
	flattest        = -5.0
	robustRounds    = 30
)

// FitCalibration fits a curve for a sensor model: SpO2 over ratio, by least squares in which far
// points count for less (Huber's weights). The form is as simple as the points allow. The curve is
// named model + "-fitted" and falls over its whole range. Errors wrap ErrFit or ErrOptions (a bad
// name).
func FitCalibration(points []RatioPoint, model string) (Calibration, FitReport, error) {
	var report FitReport
	for i, p := range points {
		if !(p.Ratio > 0 && p.Ratio < 5 && p.SpO2 >= 40 && p.SpO2 <= 100) {
			return Calibration{}, report, fmt.Errorf("%w: point %d is a ratio of %g at %g %%, allowed are 0 to 5 and 40 to 100 %%", ErrFit, i+1, p.Ratio, float64(p.SpO2))
		}
	}
	if len(points) < leastPoints {
		return Calibration{}, report, fmt.Errorf("%w: %d points, at least %d are needed", ErrFit, len(points), leastPoints)
	}
	report.Points = len(points)
	report.Lowest, report.Highest = points[0].SpO2, points[0].SpO2
	low, high := points[0].Ratio, points[0].Ratio
	for _, p := range points {
		report.Lowest, report.Highest = min(report.Lowest, p.SpO2), max(report.Highest, p.SpO2)
		low, high = min(low, p.Ratio), max(high, p.Ratio)
	}
	span := float64(report.Highest - report.Lowest)
	best := fitted{}
	switch {
	case span < lineSpan:
		best = fit(points, FormOffset)
		report.Warnings = append(report.Warnings, fmt.Sprintf("the points span only %.0f %% SpO2: the slope is the usual one, only the height is fitted", span))
	default:
		best = fit(points, FormLine)
		if slope := best.curve.linear; !(slope <= flattest && slope >= steepest) {
			return Calibration{}, report, fmt.Errorf("%w: the best line has a slope of %.1f %% per unit of ratio, allowed is %g to %g: do the pairs belong together?", ErrFit, slope, steepest, flattest)
		}
		if span >= quadraticSpan && len(points) >= quadraticPoints {
			if bent := fit(points, FormQuadratic); bent.falls() && bent.leaveOneOut < bendWorth*best.leaveOneOut {
				best = bent
			}
		}
	}
	if report.Lowest > 80 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("no point below %.0f %%: lower values are extrapolated", float64(report.Lowest)))
	}
	if len(points) < quadraticPoints {
		report.Warnings = append(report.Warnings, fmt.Sprintf("%d points are few", len(points)))
	}
	if best.leaveOneOut > 3.5 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("%.1f %% on unseen points is more than the 3.5 %% that are asked of a reflecting oximeter", best.leaveOneOut))
	}
	usual, err := findCurve(DefaultCalibration)
	if err != nil {
		return Calibration{}, report, err
	}
	report.Form, report.Outliers, report.Arms, report.LeaveOneOut = best.form, best.outliers, best.arms, best.leaveOneOut
	report.Default = rmsOf(points, usual.saturation)
	c := Calibration{Name: model + "-fitted", Model: model, Constant: best.curve.constant, Linear: best.curve.linear, Quadratic: best.curve.square,
		LowestRatio: low, HighestRatio: high, Points: len(points), Arms: best.leaveOneOut}
	if err := c.Validate(); err != nil {
		return Calibration{}, report, err
	}
	return c, report, nil
}

// fitted is a curve and how it does.
type fitted struct {
	form              string
	curve             curve
	arms, leaveOneOut float64
	outliers          int
}

func (f fitted) falls() bool { return f.curve.square <= 0 && 2*f.curve.square*0.4+f.curve.linear < 20 }

// fit solves for a form: ordinary least squares, then with Huber's weights until they stand.
func fit(points []RatioPoint, form string) fitted {
	weights := make([]float64, len(points))
	for i := range weights {
		weights[i] = 1
	}
	var x [3]float64
	var inverse [3][3]float64
	distances := make([]float64, len(points))
	scale := 0.0
	for range robustRounds {
		x, inverse = solve(points, weights, form)
		for i, p := range points {
			distances[i] = math.Abs(float64(p.SpO2) - value3(x, p.Ratio))
		}
		sorted := slices.Clone(distances)
		slices.Sort(sorted)
		scale = max(0.25, 1.4826*sorted[len(sorted)/2]) // of a normal distribution; references are whole percents
		for i, d := range distances {
			weights[i] = min(1, 1.345*scale/max(d, 1e-9))
		}
	}
	f := fitted{form: form, curve: curve{name: form, constant: x[0], linear: x[1], square: x[2]}}
	var squares, unseen float64
	for i, p := range points {
		d := float64(p.SpO2) - value3(x, p.Ratio)
		squares += d * d
		// A point pulls the curve towards itself by its leverage; without it the error would be
		// larger by that.
		u := d / max(0.05, 1-weights[i]*leverage(inverse, p.Ratio, form))
		unseen += u * u
		if distances[i] > 3*scale {
			f.outliers++
		}
	}
	n := float64(len(points))
	f.arms, f.leaveOneOut = math.Sqrt(squares/n), math.Sqrt(unseen/n)
	return f
}

func value3(x [3]float64, r float64) float64 { return x[0] + x[1]*r + x[2]*r*r }

// terms are how many of constant, slope and bend a form solves for.
func terms(form string) int {
	switch form {
	case FormOffset:
		return 1
	case FormLine:
		return 2
	}
	return 3
}

// solve is weighted least squares by the normal equations, at most three by three, and their
// inverse.
func solve(points []RatioPoint, weights []float64, form string) (x [3]float64, inverse [3][3]float64) {
	n := terms(form)
	var a [3][6]float64
	var b [3]float64
	for i, p := range points {
		y := float64(p.SpO2)
		if form == FormOffset {
			y -= usualSlope * p.Ratio
		}
		basis := [3]float64{1, p.Ratio, p.Ratio * p.Ratio}
		for j := range n {
			for k := range n {
				a[j][k] += weights[i] * basis[j] * basis[k]
			}
			b[j] += weights[i] * basis[j] * y
		}
	}
	for j := range n {
		a[j][3+j] = 1
	}
	for j := range n { // Gauss and Jordan, with pivots
		top := j
		for k := j + 1; k < n; k++ {
			if math.Abs(a[k][j]) > math.Abs(a[top][j]) {
				top = k
			}
		}
		a[j], a[top] = a[top], a[j]
		d := a[j][j]
		if math.Abs(d) < 1e-12 { // all ratios alike: no slope can be told; the caller sees it in the slope
			d = 1e-12
		}
		for k := range a[j] {
			a[j][k] /= d
		}
		for k := range n {
			if k == j {
				continue
			}
			f := a[k][j]
			for l := range a[k] {
				a[k][l] -= f * a[j][l]
			}
		}
	}
	for j := range n {
		for k := range n {
			inverse[j][k] = a[j][3+k]
			x[j] += inverse[j][k] * b[k]
		}
	}
	if form == FormOffset {
		x[1] = usualSlope
	}
	return x, inverse
}

// leverage is how much a point of weight one moves the curve at its own place.
func leverage(inverse [3][3]float64, r float64, form string) (h float64) {
	n := terms(form)
	basis := [3]float64{1, r, r * r}
	for j := range n {
		for k := range n {
			h += basis[j] * inverse[j][k] * basis[k]
		}
	}
	return h
}

func rmsOf(points []RatioPoint, f func(float64) float64) float64 {
	total := 0.0
	for _, p := range points {
		d := f(p.Ratio) - float64(p.SpO2)
		total += d * d
	}
	return math.Sqrt(total / float64(len(points)))
}
