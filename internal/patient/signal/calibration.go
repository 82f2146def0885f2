package signal

import (
	"fmt"
	"math"
	"strings"
)

// DefaultCalibration is the curve that Maxim's own examples for this family of sensors use.
const DefaultCalibration = "max30100-maxim-quadratic"

// curve turns a ratio of ratios into percent SpO2. Each falls over its whole range: below least, R
// is taken as least.
type curve struct {
	name           string
	least          float64 // R where the curve has its top or passes 100
	square, linear float64
	constant       float64
}

// curves are uncalibrated textbook curves: none is a substitute for a calibration of the very
// sensor model on people.
func curves() []curve {
	return []curve{
		// Top at R = 30.354 / (2 * 45.060). SparkFun and Maxim example code for the MAX3010x.
		{DefaultCalibration, 0.33682, -45.060, 30.354, 94.845},
		// The common textbook line 110 - 25 R.
		{"linear-110-25", 0.4, 0, -25, 110},
		// Fitted lines, each for its sensor on few people. MAXM86161 on fingers: fitted to 13
		// recordings, SpO2 70 to 96 %, every other one by name; see the package comment for how
		// they and the others come out.
		{"maxm86161", 0.294, 0, -30.91, 109.08},
		// MAX30101 on one person between 94 and 98 %: only the height is fitted, on the first half
		// of eleven minutes.
		{"max30101", 0.327, 0, -25, 108.18},
	}
}

// Calibrations are the names that Options.Calibration accepts.
func Calibrations() []string {
	var names []string
	for _, c := range curves() {
		names = append(names, c.name)
	}
	return names
}

func findCurve(name string) (curve, error) {
	if name == "" {
		name = DefaultCalibration
	}
	for _, c := range curves() {
		if c.name == name {
			return c, nil
		}
	}
	return curve{}, fmt.Errorf("%w: calibration %q is not known, allowed is one of %s", ErrOptions, name, strings.Join(Calibrations(), ", "))
}

// saturation is percent SpO2 for a ratio of ratios, at most 100.
func (c curve) saturation(r float64) float64 {
	r = max(r, c.least)
	return min(100, c.square*r*r+c.linear*r+c.constant)
}

// steepness is how many percent SpO2 a change of R by 1 makes.
func (c curve) steepness(r float64) float64 {
	return math.Abs(2*c.square*max(r, c.least) + c.linear)
}
