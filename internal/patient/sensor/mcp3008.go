package sensor

import (
	"fmt"
	"math/bits"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// MCP3008Config is how the converter is driven. The zero value suits every supply voltage.
type MCP3008Config struct {
	// Clock is the SPI clock: at most 1.35 MHz at 2.7 V and 3.6 MHz at 5 V, at least 10 kHz.
	// Default 1 MHz.
	Clock physic.Frequency
}

// MCP3008 is an 8-channel 10-bit successive-approximation converter by Microchip: code = 1024 * Vin
// / Vref, +-1 LSB integral and differential, up to 75,000 conversions a second at 2.7 V. Not safe
// for concurrent use.
//
// It has no identification register. What tells a converter from a line that no chip drives is the
// form of its answer: a zero before the result, and, when it is clocked on, the same result once
// more in the opposite order of bits and zeros behind that (figure 5-2 of the datasheet). All 17 of
// these bits are checked on every conversion, so that noise on the line passes once in about
// 130,000 of them, and an average of ten conversions never. A line that is held low reads as zero
// volts and cannot be told from them here; the bridge behind it can (ErrShortedBridge).
//
// Datasheet: Microchip DS21295D.
type MCP3008 struct {
	conn spi.Conn
	tx   [5]byte
	rx   [5]byte
}

// MaxCode is the greatest code of the MCP3008.
const MaxCode = 1023

// NewMCP3008 opens the converter on its port and makes one conversion to see whether it answers.
// Errors wrap ErrBadConfig, ErrNotConnected or the port's error.
func NewMCP3008(port spi.Port, c MCP3008Config) (*MCP3008, error) {
	if c.Clock == 0 {
		c.Clock = physic.MegaHertz
	}
	if c.Clock < 10*physic.KiloHertz || c.Clock > 3600*physic.KiloHertz {
		return nil, fmt.Errorf("sensor: mcp3008: open: %w: clock %s, allowed is 10 kHz to 3.6 MHz", ErrBadConfig, c.Clock)
	}
	conn, err := port.Connect(c.Clock, spi.Mode0, 8)
	if err != nil {
		return nil, fmt.Errorf("sensor: mcp3008: open: %w", err)
	}
	d := &MCP3008{conn: conn}
	if _, err := d.Read(0); err != nil {
		return nil, err
	}
	return d, nil
}

// Read converts one channel, 0 to 7, against ground. Errors wrap ErrBadConfig, ErrNotConnected or
// the port's error.
func (d *MCP3008) Read(channel int) (uint16, error) {
	code, err := d.convert(0x08, channel)
	if err != nil {
		return 0, fmt.Errorf("sensor: mcp3008: channel %d: %w", channel, err)
	}
	return code, nil
}

// ReadDifferential converts the difference of two neighbouring channels: pair 0 is CH0 - CH1, 1 is
// CH1 - CH0, 2 is CH2 - CH3, and so on to 7. A negative difference reads as zero; the negative
// input must stay within 100 mV of ground.
func (d *MCP3008) ReadDifferential(pair int) (uint16, error) {
	code, err := d.convert(0x00, pair)
	if err != nil {
		return 0, fmt.Errorf("sensor: mcp3008: differential pair %d: %w", pair, err)
	}
	return code, nil
}

// convert makes a conversion, and up to two more where one fails: a bad contact corrupts single
// frames. The first failure is the one reported.
func (d *MCP3008) convert(single byte, channel int) (uint16, error) {
	if channel < 0 || channel > 7 {
		return 0, fmt.Errorf("%w: allowed is 0 to 7", ErrBadConfig)
	}
	code, err := d.frame(single, channel)
	for try := 1; err != nil && try < tries; try++ {
		again, err2 := d.frame(single, channel)
		if err2 == nil {
			return again, nil
		}
	}
	return code, err
}

// frame sends the start bit in the last place of the first byte, so that the result ends with the
// third byte. The two bytes behind it clock out the result again, from its second bit on, and then
// zeros.
func (d *MCP3008) frame(single byte, channel int) (uint16, error) {
	d.tx = [5]byte{0x01, (single | byte(channel)) << 4} // #nosec G115 -- 0 to 7
	if err := d.conn.Tx(d.tx[:], d.rx[:]); err != nil {
		return 0, err
	}
	code := uint16(d.rx[1]&0x03)<<8 | uint16(d.rx[2])
	//defence:plausible what no converter can answer is no reading
	if err := d.implausible(code); err != nil {
		return 0, err
	}
	return code, nil
}

// implausible says why the frame is no converter's answer with this code in it; nil: it may be one.
func (d *MCP3008) implausible(code uint16) error {
	again := uint32(bits.Reverse16(uint16(d.rx[3])<<8|uint16(d.rx[4]))) << 1 // its bit 0 was sent once, as the last of code
	switch {
	case d.rx[1]&0x04 != 0 && code == MaxCode:
		return fmt.Errorf("%w: the line is high all the time", ErrNotConnected)
	case d.rx[1]&0x04 != 0:
		return fmt.Errorf("%w: the null bit is set (frame % x)", ErrNotConnected, d.rx[:])
	case again != uint32(code&^1):
		return fmt.Errorf("%w: the result does not come again in the opposite order (frame % x): noise on a line that nothing drives, or another part", ErrNotConnected, d.rx[:])
	}
	return nil
}
