package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"vitalseal/internal/sensor"
	"vitalseal/internal/signal"
	"vitalseal/internal/vitals"

	"periph.io/x/conn/v3/i2c"
)

// opticalPoll is how often a MAX30100's FIFO is emptied. It holds 16 samples, 160 ms at 100 Hz.
const opticalPoll = 50 * time.Millisecond

// oximeter runs one MAX30100. All of it belongs to run's goroutine.
type oximeter struct {
	s     Sensor
	buses sensor.Buses
	w     *writer
	log   *slog.Logger

	bus    i2c.BusCloser
	dev    *sensor.MAX30100 // nil while it does not answer
	retry  backoff
	fault  bool // reported
	clock  sampleClock
	oxi    *signal.PulseOximeter
	lost   int // samples missing before the next one read
	sample [16]sensor.Optical

	red, infrared []uint16  // the chunk in the making
	start         time.Time // of its first sample
	gap           uint32    // samples missing before it

	nextNumerics, nextHealth time.Time
	off                      bool // the probe, as last reported
}

func newOximeter(s Sensor, buses sensor.Buses, w *writer, log *slog.Logger) *oximeter {
	return &oximeter{s: s, buses: buses, w: w, log: log.With("sensor", s.ID)}
}

func (o *oximeter) run(ctx context.Context) error {
	defer o.w.close()
	o.w.event(wall(), "started", o.s.Chip)
	every(ctx, func(time.Time) time.Duration {
		now := wall()
		if o.dev == nil && o.retry.due(now) {
			if err := o.open(); err != nil {
				o.failed(now, err)
			}
		}
		if o.dev != nil {
			if err := o.read(now); err != nil {
				o.failed(now, err)
			}
		}
		if !now.Before(o.nextNumerics) || o.nextNumerics.Sub(now) > 2*second { // the second: the clock was set back
			o.nextNumerics = now.Truncate(second).Add(second)
			o.numerics(now)
		}
		return opticalPoll
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
	dev, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{})
	if err != nil {
		return err
	}
	oxi, err := signal.NewPulseOximeter(dev.Rate(), signal.Options{Calibration: o.s.SpO2Calibration})
	if err != nil {
		return err
	}
	o.dev, o.oxi, o.clock = dev, oxi, newSampleClock(dev.Rate())
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

// failed reports a fault once, lets go of the chip and plans the next attempt.
func (o *oximeter) failed(now time.Time, err error) {
	o.flush()
	o.close()
	o.lost = 0
	o.retry.failed(now)
	if !o.fault {
		o.fault = true
		o.log.Error("sensor does not work; trying again", "err", err)
		o.w.event(now, "device_fault", err.Error())
	}
}

func (o *oximeter) worked(now time.Time) {
	o.retry.succeeded()
	if o.fault {
		o.fault = false
		o.log.Info("sensor works again")
		o.w.event(now, "device_ok", "")
	}
}

// read empties the FIFO into the chunk in the making and into the signal processing.
func (o *oximeter) read(now time.Time) error {
	n, lostAfter, err := o.dev.Read(o.sample[:])
	if err != nil {
		return err
	}
	if n > 0 {
		o.worked(now)
		first := o.clock.take(n, o.lost, now)
		if o.lost > 0 {
			o.flush()
			o.gap += uint32(min(o.lost, 1<<30)) // #nosec G115 -- bounded just here
			o.w.event(first, "gap", fmt.Sprintf("%d samples", o.lost))
		}
		var infrared, red [len(o.sample)]uint16
		for i, s := range o.sample[:n] {
			infrared[i], red[i] = s.Infrared, s.Red
		}
		o.oxi.Push(infrared[:n], red[:n], o.lost)
		o.add(first, infrared[:n], red[:n])
		o.lost = 0
	}
	o.lost += lostAfter
	return nil
}

func (o *oximeter) add(first time.Time, infrared, red []uint16) {
	rate := o.clock.rate()
	full := int(float64(o.dev.Rate()) * chunkLasting.Seconds())
	for i := range infrared {
		if len(o.infrared) == 0 {
			o.start = first.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		}
		o.infrared, o.red = append(o.infrared, infrared[i]), append(o.red, red[i])
		if len(o.infrared) >= full {
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
			vitals.Absent(vitals.SpO2, vitals.DeviceFault), vitals.Absent(vitals.PerfusionIndex, vitals.DeviceFault)})
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
		o.failed(now, err)
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
