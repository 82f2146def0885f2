package signal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"

	"vitalseal/internal/shared/form"
)

// Calibration is a curve from the ratio of ratios R to SpO2 in percent: Constant + Linear*R +
// Quadratic*R*R, at most 100. It is what a calibration file holds (doc/formats/calibration.md). The
// zero Calibration is none.
type Calibration struct {
	// Name is shown with every result; Model is the sensor that it belongs to.
	Name, Model string
	// The curve, in percent. Quadratic is at most 0: the curve falls, faster and faster.
	Constant, Linear, Quadratic float64
	// LowestRatio to HighestRatio is where the points lay.
	LowestRatio, HighestRatio float64
	// Points is how many there were, Arms their root mean square error in percent when each is
	// judged by a curve that did not see it.
	Points int
	Arms   float64
}

// ErrCalibration says that a calibration file cannot be used; the message names the key.
var ErrCalibration = errors.New("signal: bad calibration")

// calibrationVersion is the format that is written; calibrationLimit bounds a file.
const (
	calibrationVersion = 1
	calibrationLimit   = 64 << 10
)

// calibrationFile is the format.
type calibrationFile struct {
	Version   int     `json:"version"`
	Name      string  `json:"name"`
	Model     string  `json:"sensor_model"`
	Constant  float64 `json:"constant_percent"`
	Linear    float64 `json:"linear_percent"`
	Quadratic float64 `json:"quadratic_percent"`
	Lowest    float64 `json:"lowest_ratio"`
	Highest   float64 `json:"highest_ratio"`
	Points    int     `json:"points"`
	Arms      float64 `json:"leave_one_out_arms_percent"`
}

var calibrationName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// Validate reports the first key that is out of range.
func (c Calibration) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrCalibration, key, fmt.Sprintf(format, args...))
	}
	within := func(v, low, high float64) bool { return v >= low && v <= high }
	switch {
	case !calibrationName.MatchString(c.Name):
		return bad("name", "%q is not 1 to 64 of a-z, 0-9, dot, dash and underscore", c.Name)
	case !calibrationName.MatchString(c.Model):
		return bad("sensor_model", "%q is not 1 to 64 of a-z, 0-9, dot, dash and underscore", c.Model)
	case !within(c.Constant, 50, 200):
		return bad("constant_percent", "%g is not within 50 to 200", c.Constant)
	case !within(c.Linear, -200, 100):
		return bad("linear_percent", "%g is not within -200 to 100", c.Linear)
	case !within(c.Quadratic, -200, 0):
		return bad("quadratic_percent", "%g is not within -200 to 0", c.Quadratic)
	case !within(c.LowestRatio, 0, 5) || !within(c.HighestRatio, c.LowestRatio, 5):
		return bad("lowest_ratio, highest_ratio", "%g to %g is not within 0 to 5", c.LowestRatio, c.HighestRatio)
	case c.Points < 0 || !within(c.Arms, 0, 100):
		return bad("points, leave_one_out_arms_percent", "%d and %g are not possible", c.Points, c.Arms)
	}
	// A curve must fall where ratios are, and come from somewhere near 100 %.
	r := 1.0
	if slope := c.Linear + 2*c.Quadratic*r; slope > flattest {
		return bad("linear_percent", "the curve falls by %.1f %% per unit at a ratio of 1, at least %g is needed", -slope, -flattest)
	}
	if v := c.curve().saturation(0.5); !within(v, 75, 100) {
		return bad("constant_percent", "a ratio of 0.5 gives %.0f %%, it must be 75 to 100", v)
	}
	return nil
}

// curve is the calibration as the oximeter uses it.
func (c Calibration) curve() curve {
	k := curve{name: c.Name, square: c.Quadratic, linear: c.Linear, constant: c.Constant}
	if k.square < 0 {
		k.least = max(0, -k.linear/(2*k.square)) // its top
	}
	return k
}

// curve is the one that the options choose.
func (o Options) curve() (curve, error) {
	if o.Curve == nil {
		return findCurve(o.Calibration)
	}
	if err := o.Curve.Validate(); err != nil {
		return curve{}, err
	}
	return o.Curve.curve(), nil
}

// SpO2 is percent SpO2 for a ratio of ratios, at most 100.
func (c Calibration) SpO2(ratio float64) float64 { return c.curve().saturation(ratio) }

// LoadCalibration reads a calibration file. Errors wrap ErrCalibration and name the key.
func LoadCalibration(r io.Reader) (Calibration, error) {
	b, err := io.ReadAll(io.LimitReader(r, calibrationLimit+1))
	if err != nil {
		return Calibration{}, fmt.Errorf("%w: %w", ErrCalibration, err)
	}
	if len(b) > calibrationLimit {
		return Calibration{}, fmt.Errorf("%w: more than %d bytes", ErrCalibration, calibrationLimit)
	}
	if twice := form.Twice(b); twice != "" { // which of two coefficients counts would be chance
		return Calibration{}, fmt.Errorf("%w: %s", ErrCalibration, twice)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var f calibrationFile
	if err := d.Decode(&f); err != nil {
		return Calibration{}, fmt.Errorf("%w: %w", ErrCalibration, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Calibration{}, fmt.Errorf("%w: something follows after the first object", ErrCalibration)
	}
	if f.Version != calibrationVersion {
		return Calibration{}, fmt.Errorf("%w: version is %d, allowed is %d", ErrCalibration, f.Version, calibrationVersion)
	}
	c := Calibration{Name: f.Name, Model: f.Model, Constant: f.Constant, Linear: f.Linear, Quadratic: f.Quadratic,
		LowestRatio: f.Lowest, HighestRatio: f.Highest, Points: f.Points, Arms: f.Arms}
	return c, c.Validate()
}

// Write writes a calibration file that LoadCalibration reads. Errors wrap ErrCalibration, or are
// the writer's.
func (c Calibration) Write(w io.Writer) error {
	if err := c.Validate(); err != nil {
		return err
	}
	round := func(v float64) float64 { return math.Round(v*1e6) / 1e6 }
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(calibrationFile{calibrationVersion, c.Name, c.Model, round(c.Constant), round(c.Linear), round(c.Quadratic),
		round(c.LowestRatio), round(c.HighestRatio), c.Points, round(c.Arms)}); err != nil {
		return fmt.Errorf("signal: write calibration: %w", err)
	}
	return nil
}
