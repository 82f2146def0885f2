package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"vitalseal/internal/patient/sensor"

	"periph.io/x/conn/v3/spi"
)

// converter runs one MCP3008, which several bridges share. It implements sensor.Converter for them.
type converter struct {
	s     Sensor
	buses sensor.Buses
	w     *writer
	log   *slog.Logger
	tried chan struct{} // closed after the first attempt to open the chip

	mu   sync.Mutex // guards the chip: one conversion at a time; and the fields below
	port spi.PortCloser
	dev  *sensor.MCP3008 // nil while it does not answer
}

var _ sensor.Converter = (*converter)(nil)

func newConverter(s Sensor, buses sensor.Buses, w *writer, log *slog.Logger) *converter {
	return &converter{s: s, buses: buses, w: w, log: log.With("sensor", s.ID), tried: make(chan struct{})}
}

// Read is one conversion; sensor.ErrNotConnected while the converter does not work.
func (c *converter) Read(channel int) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dev == nil {
		return 0, fmt.Errorf("gateway: converter %s: %w", c.s.ID, sensor.ErrNotConnected)
	}
	return c.dev.Read(channel)
}

// run opens the chip, looks each second whether it still answers, and reports its health: on every change, and once a
// minute so that silence means something.
func (c *converter) run(ctx context.Context) error {
	defer c.w.close()
	c.w.event(wall(), "started", c.s.Chip)
	var retry backoff
	var reported time.Time
	fault := false
	first := sync.OnceFunc(func() { close(c.tried) })
	defer first()
	every(ctx, func(time.Time) time.Duration {
		now := wall()
		if c.broken() && !retry.due(now) {
			return firstPause / 2
		}
		err := c.check()
		first()
		if err != nil {
			retry.failed(now)
			c.w.led.device(c.s.ID, sensor.StateOf(err))
			if !fault {
				fault = true
				c.log.Error("converter does not work; trying again", "err", err)
				c.w.event(now, "device_fault", fmt.Sprintf("%s: %v", sensor.StateOf(err), err))
			}
			return firstPause / 2
		}
		retry.succeeded()
		c.w.led.device(c.s.ID, sensor.Working)
		if fault || now.Sub(reported) >= healthEvery || now.Before(reported) {
			if fault {
				c.log.Info("converter works again")
			}
			fault, reported = false, now
			c.w.event(now, "device_ok", "")
		}
		return second
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
	return nil
}

func (c *converter) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dev == nil
}

// check opens the chip if need be and makes one conversion.
func (c *converter) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dev == nil {
		port, err := c.buses.SPI(c.s.Bus)
		if err != nil {
			return fmt.Errorf("open bus: %w", err)
		}
		c.port = port
		dev, err := sensor.NewMCP3008(port, sensor.MCP3008Config{})
		if err != nil {
			c.close()
			return err
		}
		c.dev = dev
		return nil
	}
	if _, err := c.dev.Read(0); err != nil {
		c.close()
		return err
	}
	return nil
}

// close lets go of the chip. The caller holds mu.
func (c *converter) close() {
	if c.port != nil {
		if err := c.port.Close(); err != nil {
			c.log.Warn("bus not closed", "err", err)
		}
	}
	c.port, c.dev = nil, nil
}
