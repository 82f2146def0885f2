package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/signal"

	"periph.io/x/conn/v3/i2c"
)

// opticalPoll is how often a MAX30100's FIFO is emptied. It holds 16 samples, 160 ms at 100 Hz.
const opticalPoll = chunkLasting / 4

// oximeter runs one MAX30100. All of it belongs to run's goroutine.
type oximeter struct {
	s     Sensor
	curve signal.Options
	buses sensor.Buses
	w     *writer
	log   *slog.Logger

	bus    i2c.BusCloser
	dev    *sensor.MAX30100 // nil while it does not answer
	retry  backoff
	fault  bool // reported
	well   bool // reported
	clock  sampleClock
	oxi    *signal.PulseOximeter
	light  *lightKeeper
	lost   int       // samples missing before the next one read
	failed int       // reads in a row
	good   time.Time // of the last read that brought samples; zero: none since the start
	away   bool      // the chip did not work since then
	sample [16]sensor.Optical

	red, infrared []uint16  // the chunk in the making
	start         time.Time // of its first sample
	gap           uint32    // samples missing before it

	nextChunk, nextNumerics, nextHealth time.Time
	off                                 bool // the probe, as last reported
}

func newOximeter(s Sensor, curve signal.Options, buses sensor.Buses, w *writer, log *slog.Logger) *oximeter {
	return &oximeter{s: s, curve: curve, buses: buses, w: w, log: log.With("sensor", s.ID)}
}

func (o *oximeter) run(ctx context.Context) error {
	defer o.w.close()
	o.w.led.curve(o.s.ID, curveName(o.curve))
	o.w.event(wall(), "started", o.s.Chip+", SpO2 by "+curveName(o.curve))
	o.w.beat.run(ctx, opticalPoll, func() {
		now := wall()
		if o.dev == nil && o.retry.due(now) {
			if err := o.open(); err != nil {
				o.giveUp(now, err)
			}
		}
		if o.dev != nil {
			o.poll(now)
		}
		if !now.Before(o.nextNumerics) || o.nextNumerics.Sub(now) > 2*second { // the second: the clock was set back
			o.nextNumerics = o.w.beat.next(now, second)
			o.numerics(now)
		}
	})
	o.flush()
	if o.dev != nil {
		if err := o.dev.Halt(); err != nil {
			o.log.Warn("sensor not halted", "err", err)
		}
	}
	o.close()
	return nil
}

func (o *oximeter) open() error {
	bus, err := o.buses.I2C(o.s.Bus)
	if err != nil {
		return fmt.Errorf("open bus: %w", err)
	}
	o.bus = bus
	dev, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{TemperatureOffset: o.s.TemperatureOffset, SelfHeating: o.s.SelfHeating})
	if err != nil {
		return err
	}
	light := newLightKeeper(dev)
	if err := light.measure(wall()); err != nil {
		return err
	}
	oxi, err := signal.NewPulseOximeter(dev.Rate(), o.curve)
	if err != nil {
		return err
	}
	o.dev, o.oxi, o.light, o.clock, o.failed = dev, oxi, light, newSampleClock(dev.Rate()), 0
	return nil
}

func (o *oximeter) close() {
	if o.bus != nil {
		if err := o.bus.Close(); err != nil {
			o.log.Warn("bus not closed", "err", err)
		}
	}
	o.bus, o.dev = nil, nil
}

// giveUp reports a fault once, lets go of the chip and plans the next attempt.
func (o *oximeter) giveUp(now time.Time, err error) {
	o.flush()
	o.close()
	o.lost, o.away = 0, true
	o.retry.failed(now)
	o.state(sensor.StateOf(err))
	if !o.fault {
		o.fault = true
		o.log.Error("sensor does not work; trying again", "err", err)
		o.w.event(now, "device_fault", fmt.Sprintf("%s: %v", sensor.StateOf(err), err))
	}
}

// state reports the chip's.
func (o *oximeter) state(s sensor.State) {
	o.well = s == sensor.Working
	o.w.led.device(o.s.ID, s)
}

func (o *oximeter) worked(now time.Time) {
	if !o.well {
		o.state(sensor.Working)
	}
	o.retry.succeeded()
	if o.fault {
		o.fault = false
		o.log.Info("sensor works again")
		o.w.event(now, "device_ok", "")
	}
}

// readsBeforeFault is how many reads in a row may fail before the chip counts as broken. The FIFO holds two and a half polls' samples.
const readsBeforeFault = 3

// poll reads the chip. A single failure of the bus is passed over: the driver counts what it cost. A chip that lost its
// supply is set up again at once.
func (o *oximeter) poll(now time.Time) {
	err := o.read(now)
	switch {
	case err == nil:
		o.failed = 0
	case errors.Is(err, sensor.ErrBrownOut):
		o.brownOut(now, err)
	default:
		if o.failed++; o.failed >= readsBeforeFault {
			o.giveUp(now, err)
		}
	}
}

// brownOut sets the chip up again, with the currents that it had. Who looks at the events later sees how often it happens.
func (o *oximeter) brownOut(now time.Time, cause error) {
	if err := o.dev.Configure(); err != nil {
		o.giveUp(now, err)
		return
	}
	o.log.Warn("sensor lost its supply and was set up again", "err", cause)
	o.flush()
	o.state(sensor.StateOf(cause))
	o.w.event(now, "device_fault", fmt.Sprintf("%s: set up again", sensor.StateOf(cause)))
	o.w.event(now, "device_ok", "")
	o.oxi.Reset()
	o.light.control.Restart()
	o.lost, o.away, o.clock = 0, true, newSampleClock(o.dev.Rate())
}

// read empties the FIFO into the chunk in the making and into the signal processing.
func (o *oximeter) read(now time.Time) error {
	n, lostAfter, err := o.dev.Read(o.sample[:])
	if err != nil {
		return err
	}
	if n == len(o.sample) && lostAfter > 0 && !o.good.IsZero() { // the driver's clock may have stood still, as in a suspended machine
		lostAfter = max(lostAfter, o.samplesIn(now.Sub(o.good))-n)
	}
	if n > 0 {
		// What was lost after these samples is newer than they are: they were made before the FIFO was full.
		made := now.Add(-time.Duration(float64(lostAfter) / float64(o.dev.Rate()) * float64(time.Second)))
		o.take(now, made, n)
		if err := o.keepLight(now, n); err != nil {
			return err
		}
	}
	if lostAfter > 0 {
		o.oxi.Lost(lostAfter) // now: a number may be due before the next samples are read
		o.lost += lostAfter
	}
	return nil
}

// samplesIn is how many samples the chip makes in a time.
func (o *oximeter) samplesIn(d time.Duration) int {
	return int(min(d.Seconds()*float64(o.dev.Rate()), 1<<30))
}

// take is given the n samples just read, the newest of which was made at made.
func (o *oximeter) take(now, made time.Time, n int) {
	o.worked(now)
	if o.away { // what the chip did not measure while it was away is missing, too
		o.away = false
		if missed := o.samplesIn(made.Sub(o.good)) - n; !o.good.IsZero() && missed >= 1 {
			o.lost += missed
		}
	}
	o.good = now
	first := o.clock.take(n, o.lost, made)
	if o.lost > 0 {
		o.flush()
		o.gap += uint32(min(o.lost, 1<<30)) // #nosec G115 -- bounded just here
		o.w.event(first, "gap", fmt.Sprintf("%d samples", o.lost))
	}
	var infrared, red, litInfrared, litRed [len(o.sample)]uint16
	for i, s := range o.sample[:n] {
		infrared[i], red[i] = s.Infrared, s.Red
		lit := o.light.lit(s)
		litInfrared[i], litRed[i] = lit.Infrared, lit.Red
	}
	o.oxi.Push(litInfrared[:n], litRed[:n], o.lost)
	o.add(first, infrared[:n], red[:n])
	o.lost = 0
	if !now.Before(o.nextChunk) || o.nextChunk.Sub(now) > 2*chunkLasting { // the second: the clock was set back
		o.nextChunk = o.w.beat.next(now, chunkLasting)
		o.flush()
	}
}

// keepLight looks after the light: other LED currents when the samples leave their range, and how much of the light comes from
// outside. After either has changed, what was measured before says nothing any more.
func (o *oximeter) keepLight(now time.Time, n int) error {
	what, paused, err := o.light.look(now, o.sample[:n])
	if paused {
		o.away = true // the time that it took is a gap
	}
	if err != nil || what == "" {
		return err
	}
	o.flush()
	o.w.event(now, "led_current", what)
	// The samples made meanwhile are of either light.
	if _, _, err := o.dev.Read(o.sample[:]); err != nil {
		return err
	}
	o.oxi.Reset()
	o.away = true
	return nil
}

func (o *oximeter) add(first time.Time, infrared, red []uint16) {
	rate := o.clock.rate()
	most := int(2 * float64(o.dev.Rate()) * chunkLasting.Seconds()) // after a late tick; else the beat ends a chunk
	for i := range infrared {
		if len(o.infrared) == 0 {
			o.start = first.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		}
		o.infrared, o.red = append(o.infrared, infrared[i]), append(o.red, red[i])
		if len(o.infrared) >= most {
			o.flush()
		}
	}
}

// flush hands over the chunk in the making.
func (o *oximeter) flush() {
	if len(o.infrared) == 0 {
		return
	}
	o.w.put(vitals.Chunk{Signal: vitals.PPG, Start: o.start, Rate: o.clock.rate(), Gap: o.gap, Red: o.red, Infrared: o.infrared})
	o.red, o.infrared, o.gap = nil, nil, 0 // the writer has them now
}

// numerics reports once a second, also why there is no value.
func (o *oximeter) numerics(now time.Time) {
	if o.dev == nil {
		o.w.numerics(now, []vitals.Numeric{vitals.Absent(vitals.HeartRate, vitals.DeviceFault),
			vitals.Absent(vitals.SpO2, vitals.DeviceFault), vitals.Absent(vitals.PerfusionIndex, vitals.DeviceFault),
			vitals.Absent(vitals.RespiratoryRate, vitals.DeviceFault)})
		return
	}
	n := o.oxi.Numerics(now)
	for _, v := range n {
		if v.Kind == vitals.HeartRate {
			o.probe(now, v.Quality)
		}
	}
	if !now.Before(o.nextHealth) || o.nextHealth.Sub(now) > 2*healthEvery {
		o.nextHealth = now.Add(healthEvery)
		n = append(n, o.temperature(now))
	}
	o.w.numerics(now, n)
}

// temperature also checks that the chip still has its configuration.
func (o *oximeter) temperature(now time.Time) vitals.Numeric {
	t, err := o.dev.Temperature()
	if err == nil {
		err = o.dev.Check()
	}
	if err != nil {
		o.giveUp(now, err)
		return vitals.Absent(vitals.DieTemperature, vitals.DeviceFault)
	}
	return vitals.Checked(vitals.DieTemperature, float64(t), vitals.Good)
}

// probe reports when the finger leaves the probe and when a value tells that it is back.
func (o *oximeter) probe(now time.Time, q vitals.Quality) {
	switch {
	case q == vitals.ProbeOff && !o.off:
		o.off = true
		o.w.event(now, "probe_off", "")
	case q.HasValue() && o.off:
		o.off = false
		o.w.event(now, "probe_on", "")
	}
}
