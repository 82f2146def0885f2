package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/signal"
)

const (
	cuffRate   vitals.Hertz = 100
	cuffPeriod              = 10 * time.Millisecond
	cuffIdle                = 50 * time.Millisecond // between readings while the cuff is empty
	// oversampled conversions make one sample while the cuff is inflated, idleSampled while it is empty.
	oversampled, idleSampled = 10, 2
	// A cuff counts as inflated from inflatedAt on, and as empty again after emptyAfter below emptyAt.
	inflatedAt vitals.MMHg = 10
	emptyAt    vitals.MMHg = 8
	emptyAfter             = 2 * time.Second
	quickAt    vitals.MMHg = 5 // from here on it may be about to be inflated: read at the full rate
	// bridged is the longest pause between two readings over which samples are taken from the straight line between them;
	// the heart moves the pressure with a few hertz. Longer ones are lost samples.
	bridged = 120 * time.Millisecond
	// zeroSamples are averaged for zero_at_start, about a quarter of a second.
	zeroSamples = 256
)

// cuff runs one MPS20N0040D behind a converter. All of it belongs to run's goroutine.
type cuff struct {
	s   Sensor
	adc *converter
	w   *writer
	log *slog.Logger

	dev    *sensor.MPS20N0040D
	fault  bool // reported
	zeroed bool
	bp     *signal.Cuff

	last     vitals.KPa // the last reading
	lastAt   time.Time  // its time; zero: none to go on from
	grid     time.Time  // of the next sample
	inflated bool
	low      time.Time // since when the pressure is below emptyAt; zero: it is not

	pressure []int32 // Pa, the chunk in the making
	start    time.Time
	gap      uint32

	why          vitals.Quality // why there is no reading, if lastAt is zero
	nextNumerics time.Time
}

func newCuff(s Sensor, adc *converter, w *writer, log *slog.Logger) *cuff {
	return &cuff{s: s, adc: adc, w: w, log: log.With("sensor", s.ID), bp: signal.NewCuff(cuffRate), why: vitals.Settling}
}

func (c *cuff) run(ctx context.Context) error {
	defer c.w.close()
	c.w.event(wall(), "started", c.s.Chip)
	dev, err := sensor.NewMPS20N0040D(c.adc, c.s.Channel, c.s.Calibration)
	if err != nil {
		return fmt.Errorf("gateway: sensor %s: %w", c.s.ID, err) // Validate lets no such configuration through
	}
	c.dev = dev
	if c.s.Calibration == (sensor.Calibration{}) {
		c.log.Warn("sensor is not calibrated and gives no pressure; add its calibration to the configuration")
	}
	<-c.adc.tried // before that, every reading would look like a fault
	every(ctx, func(time.Time) time.Duration {
		now := wall()
		c.read(ctx, now)
		if !now.Before(c.nextNumerics) || c.nextNumerics.Sub(now) > 2*second { // the second: the clock was set back
			c.nextNumerics = now.Truncate(second).Add(second)
			c.numerics(now)
		}
		if c.lastAt.IsZero() || !c.inflated && c.last.MMHg() < quickAt {
			return cuffIdle
		}
		return cuffPeriod
	})
	c.flush()
	return nil
}

// read takes one reading and makes samples of it.
func (c *cuff) read(ctx context.Context, now time.Time) {
	if c.s.ZeroAtStart && !c.zeroed && !c.adc.broken() {
		c.zeroed = true
		if err := c.dev.Zero(zeroSamples); err != nil {
			c.log.Warn("zero at start not taken; the configured one is used", "err", err)
		}
	}
	n := idleSampled
	if c.inflated || c.last.MMHg() >= quickAt {
		n = oversampled
	}
	p, err := c.dev.ReadAveraged(n)
	if err != nil {
		if ctx.Err() == nil { // at the end the converter may stop first, which is no fault
			c.failed(now, err)
		}
		return
	}
	c.worked(now)
	c.sample(now, p)
	c.last, c.lastAt = p, now
}

// qualityOf says what an error of the driver means for the reader of the number.
func qualityOf(err error) vitals.Quality {
	switch {
	case errors.Is(err, sensor.ErrNotCalibrated):
		return vitals.Unavailable
	case errors.Is(err, sensor.ErrOutOfRange):
		return vitals.OutOfRange
	}
	return vitals.DeviceFault
}

func (c *cuff) failed(now time.Time, err error) {
	c.flush()
	if !c.lastAt.IsZero() {
		c.interrupted(now, vitals.CauseSensorFailed, "the sensor failed")
	}
	c.lastAt, c.inflated, c.why = time.Time{}, false, qualityOf(err)
	c.w.led.device(c.s.ID, sensor.StateOf(err))
	if c.why == vitals.DeviceFault && !c.fault {
		c.fault = true
		c.log.Error("sensor does not work; trying again", "err", err)
		c.w.event(now, "device_fault", fmt.Sprintf("%s: %v", sensor.StateOf(err), err))
	}
}

func (c *cuff) worked(now time.Time) {
	c.w.led.device(c.s.ID, sensor.Working)
	if c.fault {
		c.fault = false
		c.log.Info("sensor works again")
		c.w.event(now, "device_ok", "")
	}
}

// sample brings readings, which come when the scheduler lets them, onto an even grid.
func (c *cuff) sample(now time.Time, p vitals.KPa) {
	pause := now.Sub(c.lastAt)
	if c.lastAt.IsZero() || pause <= 0 || pause > bridged {
		if !c.lastAt.IsZero() && c.inflated {
			c.flush()
			c.gap += uint32(min(max(pause/cuffPeriod, 0), 1<<20)) // #nosec G115 -- bounded just here
			c.interrupted(now, vitals.CauseSamplesLost, "samples were lost")
			c.w.event(now, "gap", fmt.Sprintf("%v", pause))
		}
		c.grid = now
	}
	var made [bridged/cuffPeriod + 2]vitals.MMHg
	n := 0
	for !c.grid.After(now) && n < len(made) {
		v := p
		if c.grid.Before(now) {
			part := float64(now.Sub(c.grid)) / float64(pause)
			v += vitals.KPa(part * float64(c.last-p))
		}
		made[n] = v.MMHg()
		c.keep(c.grid, v)
		c.grid = c.grid.Add(cuffPeriod)
		n++
	}
	if bp, done := c.bp.Push(made[:n]); done {
		c.ended(now, bp)
	}
}

// ended hands over what a measurement came to. One without a value is logged, once: its last number
// stands on the screens until another attempt.
func (c *cuff) ended(now time.Time, bp signal.BloodPressure) {
	c.w.numerics(now, bp.Numerics())
	if bp.Quality.HasValue() {
		c.log.Debug("cuff measurement ended", "quality", bp.Quality.String())
		return
	}
	c.log.Warn("a cuff measurement gave no value; look at the patient and the cuff, and measure again", "quality", bp.Quality.String(), "reason", bp.Reason)
}

// interrupted ends a measurement that lost its sensor or samples: it is an attempt without a value.
func (c *cuff) interrupted(now time.Time, why vitals.Cause, reason string) {
	if bp, busy := c.bp.Interrupt(why, reason); busy {
		c.ended(now, bp)
	}
}

// keep adds a sample to the waveform while the cuff is inflated.
func (c *cuff) keep(at time.Time, p vitals.KPa) {
	switch mmHg := p.MMHg(); {
	case mmHg >= inflatedAt:
		c.inflated, c.low = true, time.Time{}
	case mmHg >= emptyAt:
		c.low = time.Time{}
	case c.low.IsZero():
		c.low = at
	case at.Sub(c.low) > emptyAfter && c.inflated:
		c.inflated = false
		c.flush()
	}
	if !c.inflated {
		return
	}
	if len(c.pressure) == 0 {
		c.start = at
	}
	c.pressure = append(c.pressure, int32(math.Round(float64(p)*1000))) // #nosec G115 -- the driver keeps it within 44 kPa
	if len(c.pressure) >= int(chunkLasting/cuffPeriod) {
		c.flush()
	}
}

// flush hands over the chunk in the making.
func (c *cuff) flush() {
	if len(c.pressure) == 0 {
		return
	}
	c.w.put(vitals.Chunk{Signal: vitals.Pressure, Start: c.start, Rate: cuffRate, Gap: c.gap, PressurePa: c.pressure})
	c.pressure, c.gap = nil, 0 // the writer has it now
}

func (c *cuff) numerics(now time.Time) {
	n := vitals.Absent(vitals.CuffPressure, c.why)
	if !c.lastAt.IsZero() {
		n = vitals.Checked(vitals.CuffPressure, float64(c.last), vitals.Good)
	}
	c.w.numerics(now, []vitals.Numeric{n})
}
