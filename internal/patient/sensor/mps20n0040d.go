package sensor

import (
	"fmt"
	"math"

	"vitalseal/internal/measurement/vitals"
)

// Converter is what a bridge needs of its converter: single-ended codes of 10 bits. MCP3008 is one.
type Converter interface {
	Read(channel int) (uint16, error)
}

// Calibration turns codes into pressure: a straight line through two points. Codes are averages, so
// they have fractions. The zero Calibration is none: pressures are then ErrNotCalibrated.
type Calibration struct {
	// ZeroCode is the code at ambient pressure.
	ZeroCode float64 `yaml:"zero_code" json:"zero_code"`
	// SpanCode is the code at SpanPressure (kPa above ambient), usually measured near 40 kPa or 300
	// mmHg.
	SpanCode     float64    `yaml:"span_code" json:"span_code"`
	SpanPressure vitals.KPa `yaml:"span_pressure_kpa" json:"span_pressure_kpa"`
}

// Validate reports whether the line is steep and flat enough to be a bridge behind an amplifier.
func (c Calibration) Validate() error {
	if c == (Calibration{}) {
		return ErrNotCalibrated
	}
	for _, v := range []float64{c.ZeroCode, c.SpanCode} {
		if !(v >= -0.5 && v <= MaxCode+0.5) {
			return fmt.Errorf("%w: zero_code and span_code are %g and %g, allowed is 0 to %d", ErrBadConfig, c.ZeroCode, c.SpanCode, MaxCode)
		}
	}
	if !(c.SpanPressure >= 5 && c.SpanPressure <= FullScale) {
		return fmt.Errorf("%w: span_pressure_kpa is %g, allowed is 5 to %d", ErrBadConfig, c.SpanPressure, FullScale)
	}
	// Below 3 codes a kPa not even the heart's oscillations would be seen.
	if slope := (c.SpanCode - c.ZeroCode) / float64(c.SpanPressure); !(math.Abs(slope) >= 3) {
		return fmt.Errorf("%w: span_code - zero_code is %g over %g kPa, at least 3 codes a kPa are needed", ErrBadConfig, c.SpanCode-c.ZeroCode, c.SpanPressure)
	}
	return nil
}

// pressure is the line. Call Validate first.
func (c Calibration) pressure(code float64) vitals.KPa {
	return vitals.KPa((code - c.ZeroCode) / (c.SpanCode - c.ZeroCode) * float64(c.SpanPressure))
}

// Limits of the bridge in kPa relative to ambient, with a margin for calibration errors on either
// side.
const (
	FullScale     = 40 // kPa, nominal
	lowestReading = -4
	highestRead   = 44
)

// railCodes is how close to either end of the converter an amplifier is taken to be at its rail.
const railCodes = 2

// maxAverage bounds the time that one averaged reading holds the bus: about 0.3 s.
const maxAverage = 4096

// MPS20N0040D is a 0 to 40 kPa (300 mmHg) gauge pressure bridge behind an instrumentation amplifier
// on a converter's channel. Not safe for concurrent use.
//
// Linearity is +-0.3 % of full scale. Its offset may be +-25 mV of a full scale of 50 to 100 mV, so
// up to half the range: a bridge without zero and two-point calibration measures nothing.
// Sensitivity drifts -0.21 %/C, so take the zero before every use. With a 10-bit converter one code
// is 0.3 to 0.5 mmHg; averaging noisy codes resolves less than that, which oscillometry needs.
type MPS20N0040D struct {
	adc         Converter
	channel     int
	calibration Calibration
}

// NewMPS20N0040D is the bridge on a channel of a converter. The zero Calibration is allowed: Zero
// and Span then make one. Errors wrap ErrBadConfig.
func NewMPS20N0040D(adc Converter, channel int, c Calibration) (*MPS20N0040D, error) {
	if channel < 0 || channel > 7 {
		return nil, fmt.Errorf("sensor: mps20n0040d: %w: channel %d, allowed is 0 to 7", ErrBadConfig, channel)
	}
	if c != (Calibration{}) {
		if err := c.Validate(); err != nil {
			return nil, fmt.Errorf("sensor: mps20n0040d: calibration: %w", err)
		}
	}
	return &MPS20N0040D{adc: adc, channel: channel, calibration: c}, nil
}

// Read is the pressure relative to ambient from one conversion.
func (d *MPS20N0040D) Read() (vitals.KPa, error) { return d.ReadAveraged(1) }

// ReadMMHg is Read in mmHg.
func (d *MPS20N0040D) ReadMMHg() (vitals.MMHg, error) {
	p, err := d.Read()
	return p.MMHg(), err
}

// ReadAveraged is the mean of n conversions made one after another, n from 1 to 4096. It lowers
// white noise by the square root of n, and resolves fractions of a code as long as there is noise
// of about half a code; ten of them 100 times a second make 1 kHz of conversions. Errors wrap
// ErrNotCalibrated, ErrOpenBridge, ErrShortedBridge, ErrOutOfRange, or are the converter's.
func (d *MPS20N0040D) ReadAveraged(n int) (vitals.KPa, error) {
	p, err := d.readAveraged(n)
	if err != nil {
		return 0, fmt.Errorf("sensor: mps20n0040d: channel %d: read: %w", d.channel, err)
	}
	return p, nil
}

func (d *MPS20N0040D) readAveraged(n int) (vitals.KPa, error) {
	if d.calibration.SpanPressure == 0 { // none, or only a zero
		return 0, ErrNotCalibrated
	}
	code, err := d.average(n)
	if err != nil {
		return 0, err
	}
	p := d.calibration.pressure(code)
	if !(p >= lowestReading && p <= highestRead) {
		return 0, fmt.Errorf("%w: allowed is %d to %d kPa", ErrOutOfRange, lowestReading, highestRead)
	}
	return p, nil
}

// average is the mean code. A single code at a rail is enough to refuse: a mean over clipped codes
// would be wrong.
func (d *MPS20N0040D) average(n int) (float64, error) {
	if n < 1 || n > maxAverage {
		return 0, fmt.Errorf("%w: %d conversions, allowed is 1 to %d", ErrBadConfig, n, maxAverage)
	}
	total := 0
	for range n {
		code, err := d.adc.Read(d.channel)
		if err != nil {
			return 0, err
		}
		switch {
		case code > MaxCode-railCodes:
			return 0, ErrOpenBridge
		case code < railCodes:
			return 0, ErrShortedBridge
		}
		total += int(code)
	}
	return float64(total) / float64(n), nil
}

// Zero takes the mean of n conversions as ambient pressure, keeping the slope. The cuff must be
// open. If there was a calibration and the new zero is further from it than 5 kPa, that is refused
// with ErrOutOfRange: the cuff is not empty, or the bridge is damaged.
func (d *MPS20N0040D) Zero(n int) error {
	code, err := d.average(n)
	if err != nil {
		return fmt.Errorf("sensor: mps20n0040d: channel %d: zero: %w", d.channel, err)
	}
	c := d.calibration
	if c == (Calibration{}) {
		d.calibration = Calibration{ZeroCode: code}
		return nil
	}
	if c.SpanPressure != 0 {
		if p := c.pressure(code); math.Abs(float64(p)) > 5 {
			return fmt.Errorf("sensor: mps20n0040d: channel %d: zero: %w: more than 5 kPa from the zero so far", d.channel, ErrOutOfRange)
		}
		c.SpanCode += code - c.ZeroCode
	}
	c.ZeroCode = code
	d.calibration = c
	return nil
}

// Span is the second point of a calibration: it takes the mean of n conversions as the given
// pressure, 5 to 40 kPa above ambient, shown by a reference manometer. Zero comes first. Errors
// wrap ErrNotCalibrated without a zero, ErrBadConfig.
func (d *MPS20N0040D) Span(n int, at vitals.KPa) error {
	if d.calibration == (Calibration{}) {
		return fmt.Errorf("sensor: mps20n0040d: channel %d: span: %w: take the zero first", d.channel, ErrNotCalibrated)
	}
	code, err := d.average(n)
	if err == nil {
		c := Calibration{ZeroCode: d.calibration.ZeroCode, SpanCode: code, SpanPressure: at}
		if err = c.Validate(); err == nil {
			d.calibration = c
			return nil
		}
	}
	return fmt.Errorf("sensor: mps20n0040d: channel %d: span: %w", d.channel, err)
}

// Calibration is the calibration in use, to be kept.
func (d *MPS20N0040D) Calibration() Calibration { return d.calibration }
