// Package sensor drives the chips at the patient: the MAX30100 pulse oximeter (I2C), the MCP3008
// analogue-to-digital converter (SPI) and the MPS20N0040D pressure bridge behind one of its
// channels.
//
// It hides registers, frames and calibration. It guarantees that samples come out in order, that
// every sample known to be lost is counted, that a chip that is missing, was reset, or did not take
// its configuration is an error and never a plausible number, and that each driver can be used from
// one goroutine at a time without waiting longer than its documented bound. It does not compute
// vital signs (package signal does), and it cannot notice a probe on the wrong patient, nor someone
// who drives the same chip from another program.
//
// The drivers need nothing but periph's i2c.Bus and spi.Port, so simulated chips (package
// sensor/bench) and recorded bus transcripts take the hardware's place.
package sensor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/host/v3/sysfs"
)

// What can be wrong with a sensor. Everything that a driver returns wraps one of these or the bus's
// own error.
var (
	// ErrBadConfig says that the configuration asked for is not possible; the message names field
	// and allowed values.
	ErrBadConfig = errors.New("bad configuration")
	// ErrWrongPart says that another chip than expected answers.
	ErrWrongPart = errors.New("wrong part")
	// ErrNotConnected says that nothing answers, or that the answer cannot come from the chip.
	ErrNotConnected = errors.New("not connected")
	// ErrConfigRefused says that the chip stored something else than was written.
	ErrConfigRefused = errors.New("configuration refused by the chip")
	// ErrBrownOut says that the chip lost its supply and with it its configuration: call Configure.
	ErrBrownOut = errors.New("supply was lost, configuration gone")
	// ErrTimeout says that the chip did not finish in the time that its datasheet gives it.
	ErrTimeout = errors.New("chip did not finish in time")
	// ErrNotCalibrated says that a pressure was asked of a bridge without a calibration.
	ErrNotCalibrated = errors.New("not calibrated")
	// ErrOpenBridge says that the amplifier is at its upper rail: a broken wire or a missing
	// bridge.
	ErrOpenBridge = errors.New("bridge open")
	// ErrShortedBridge says that the amplifier is at its lower rail: a short circuit.
	ErrShortedBridge = errors.New("bridge shorted")
	// ErrOutOfRange says that the pressure is outside what the bridge can measure.
	ErrOutOfRange = errors.New("out of range")
)

// Buses gives out buses by name. Host and bench.Bench implement it.
type Buses interface {
	// I2C opens the named bus. The caller closes it.
	I2C(name string) (i2c.BusCloser, error)
	// SPI opens the named port. The caller closes it.
	SPI(name string) (spi.PortCloser, error)
}

// Host is the machine's own buses through the Linux kernel's device files, named by their paths:
// "/dev/i2c-1", "/dev/spidev0.0". It uses no memory-mapped register access, so it works the same on
// every Raspberry Pi, including 5.
type Host struct{}

var _ Buses = Host{}

// I2C opens "/dev/i2c-N".
func (Host) I2C(name string) (i2c.BusCloser, error) {
	number, ok := strings.CutPrefix(name, "/dev/i2c-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 {
		return nil, fmt.Errorf("sensor: open I2C bus %q: %w: the name must look like /dev/i2c-1", name, ErrBadConfig)
	}
	bus, err := sysfs.NewI2C(n)
	if err != nil {
		return nil, fmt.Errorf("sensor: open I2C bus %q: %w", name, err)
	}
	return bus, nil
}

// SPI opens "/dev/spidevN.M".
func (Host) SPI(name string) (spi.PortCloser, error) {
	rest, ok := strings.CutPrefix(name, "/dev/spidev")
	bus, sel, ok2 := strings.Cut(rest, ".")
	n, err := strconv.Atoi(bus)
	m, err2 := strconv.Atoi(sel)
	if !ok || !ok2 || err != nil || err2 != nil || n < 0 || m < 0 {
		return nil, fmt.Errorf("sensor: open SPI port %q: %w: the name must look like /dev/spidev0.0", name, ErrBadConfig)
	}
	port, err := sysfs.NewSPI(n, m)
	if err != nil {
		return nil, fmt.Errorf("sensor: open SPI port %q: %w", name, err)
	}
	return port, nil
}
