package bench

import (
	"fmt"
	"sync/atomic"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// i2cHandle is one opening of a simulated I2C bus with a MAX30100 on it. Several may be open, as
// with a device file.
type i2cHandle struct {
	name   string
	chip   *MAX30100
	closed atomic.Bool
}

var _ i2c.BusCloser = (*i2cHandle)(nil)

func (h *i2cHandle) String() string { return h.name }

// Tx is a transaction: only the chip is on the bus.
func (h *i2cHandle) Tx(addr uint16, w, r []byte) error {
	if h.closed.Load() {
		return fmt.Errorf("%w: %s is closed", ErrBus, h.name)
	}
	if addr != max30100Address {
		return fmt.Errorf("%w: no acknowledge from address %#02x", ErrBus, addr)
	}
	return h.chip.tx(w, r)
}

// SetSpeed accepts what the chip can: up to 400 kHz.
func (h *i2cHandle) SetSpeed(f physic.Frequency) error {
	if f <= 0 || f > 400*physic.KiloHertz {
		return fmt.Errorf("%w: %s: speed %s, allowed is up to 400 kHz", ErrBus, h.name, f)
	}
	return nil
}

func (h *i2cHandle) Close() error {
	h.closed.Store(true)
	return nil
}

// spiHandle is one opening of a simulated SPI port with an MCP3008 behind it.
type spiHandle struct {
	name   string
	adc    *MCP3008
	closed atomic.Bool
}

var _ spi.PortCloser = (*spiHandle)(nil)

func (h *spiHandle) String() string { return h.name }

// LimitSpeed accepts anything positive.
func (h *spiHandle) LimitSpeed(f physic.Frequency) error {
	if f <= 0 {
		return fmt.Errorf("%w: %s: speed %s, allowed is more than 0", ErrBus, h.name, f)
	}
	return nil
}

func (h *spiHandle) Close() error {
	h.closed.Store(true)
	return nil
}

// Connect accepts what the chip understands: SPI modes 0 and 3, 8 bits a word, 10 kHz to 3.6 MHz.
func (h *spiHandle) Connect(f physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	if mode != spi.Mode0 && mode != spi.Mode3 || bits != 8 {
		return nil, fmt.Errorf("%w: %s: mode %s with %d bits, allowed are modes 0 and 3 with 8", ErrBus, h.name, mode, bits)
	}
	if f != 0 && (f < 10*physic.KiloHertz || f > 3600*physic.KiloHertz) {
		return nil, fmt.Errorf("%w: %s: clock %s, allowed is 10 kHz to 3.6 MHz", ErrBus, h.name, f)
	}
	return &spiConn{handle: h}, nil
}

// spiConn is a configured connection. Like a device file it carries one transaction at a time.
type spiConn struct{ handle *spiHandle }

var _ spi.Conn = (*spiConn)(nil)

func (c *spiConn) String() string { return c.handle.name }

// Duplex is full: bits go both ways at once.
func (c *spiConn) Duplex() conn.Duplex { return conn.Full }

// Tx selects the chip, clocks the bytes and deselects it.
func (c *spiConn) Tx(w, r []byte) error { return c.TxPackets([]spi.Packet{{W: w, R: r}}) }

// TxPackets keeps the chip selected from a packet with KeepCS to the next one.
func (c *spiConn) TxPackets(packets []spi.Packet) error {
	if c.handle.closed.Load() {
		return fmt.Errorf("%w: %s is closed", ErrBus, c.handle.name)
	}
	var f frame
	for _, p := range packets {
		if len(p.W) != len(p.R) && len(p.W) != 0 && len(p.R) != 0 {
			return fmt.Errorf("%w: %s: %d bytes out and %d in, must be equal", ErrBus, c.handle.name, len(p.W), len(p.R))
		}
		if p.BitsPerWord != 0 && p.BitsPerWord != 8 {
			return fmt.Errorf("%w: %s: %d bits a word, allowed is 8", ErrBus, c.handle.name, p.BitsPerWord)
		}
		c.handle.adc.transfer(&f, p.W, p.R)
		if !p.KeepCS {
			f = frame{}
		}
	}
	return nil
}

// Bus is an I2C bus with only this chip on it.
func (c *MAX30100) Bus(name string) i2c.BusCloser { return &i2cHandle{name: name, chip: c} }

// Port is an SPI port with this converter behind it.
func (c *MCP3008) Port(name string) spi.PortCloser { return &spiHandle{name: name, adc: c} }
