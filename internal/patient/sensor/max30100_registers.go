package sensor

import (
	"fmt"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// Registers and bits of the MAX30100.
const (
	max30100Addr = 0x57

	regIntStatus = 0x00 // also 01 enable, 02 write pointer, 03 overflow counter, 04 read pointer
	regFIFOWrite = 0x02
	regFIFOData  = 0x05
	regMode      = 0x06
	regSpO2      = 0x07
	regLED       = 0x09
	regTemp      = 0x16
	regPartID    = 0xff

	statusAlmostFull = 0x80
	statusHRReady    = 0x20
	statusSpO2Ready  = 0x10
	statusPowerReady = 0x01
	statusReady      = statusHRReady | statusSpO2Ready

	modeShutdown    = 0x80
	modeReset       = 0x40
	modeTemperature = 0x08

	spo2HighResolution = 0x40

	partMAX30100 = 0x11
	fifoDepth    = 16
	fifoBytes    = 4 // a sample: infrared and red, big-endian
	overflowMax  = 15
)

// Mode is which LEDs the MAX30100 drives. The zero Mode is ModeSpO2.
type Mode uint8

// The chip's two sampling modes.
const (
	ModeSpO2      Mode = iota // infrared and red
	ModeHeartRate             // infrared only
)

func (m Mode) bits() byte {
	if m == ModeHeartRate {
		return 0x02
	}
	return 0x03
}

// Current is a LED current. The zero Current means the default of its LED.
type Current uint8

// The currents that the chip has, in milliamperes (datasheet table 7). CurrentOff leaves the LED
// dark.
const (
	CurrentDefault Current = iota
	CurrentOff
	Current4mA4
	Current7mA6
	Current11mA
	Current14mA2
	Current17mA4
	Current20mA8
	Current24mA
	Current27mA1
	Current30mA6
	Current33mA8
	Current37mA
	Current40mA2
	Current43mA6
	Current46mA8
	Current50mA
)

var milliAmps = [...]float64{0, 4.4, 7.6, 11, 14.2, 17.4, 20.8, 24, 27.1, 30.6, 33.8, 37, 40.2, 43.6, 46.8, 50}

// MilliAmps is the current in mA; zero for CurrentDefault.
func (c Current) MilliAmps() float64 {
	if c == CurrentDefault || c > Current50mA {
		return 0
	}
	return milliAmps[c-1]
}

// CurrentOf is the greatest of the chip's currents that is not above mA.
func CurrentOf(mA float64) Current {
	c := CurrentOff
	for i, v := range milliAmps {
		if v <= mA {
			c = Current(i + 1)
		}
	}
	return c
}

// code is the register's four bits.
func (c Current) code(fallback Current) (byte, error) {
	if c == CurrentDefault {
		c = fallback
	}
	if c > Current50mA {
		return 0, fmt.Errorf("%w: LED current code %d does not exist", ErrBadConfig, c)
	}
	return byte(c - CurrentOff), nil
}

var sampleRates = [...]vitals.Hertz{50, 100, 167, 200, 400, 600, 800, 1000}

// pulseWidths and the highest legal sampling rate for each with both LEDs (datasheet table 8).
// Infrared alone may go further (table 9), which nothing here needs, so the same limits hold for
// it. The converter's resolution follows from the width: 13, 14, 15, 16 bits.
var pulseWidths = [...]struct {
	width   time.Duration
	maxRate vitals.Hertz
}{
	{200 * time.Microsecond, 1000},
	{400 * time.Microsecond, 400},
	{800 * time.Microsecond, 200},
	{1600 * time.Microsecond, 100},
}

// spo2Config is the SPO2_CONFIG register for a rate and width, or an error that says what is
// allowed. The chip would quietly store the highest legal rate instead.
func spo2Config(rate vitals.Hertz, width time.Duration, mode Mode) (byte, error) {
	if mode > ModeHeartRate {
		return 0, fmt.Errorf("%w: mode %d does not exist", ErrBadConfig, mode)
	}
	r, w := -1, -1
	for i, v := range sampleRates {
		if v == rate {
			r = i
		}
	}
	for i, v := range pulseWidths {
		if v.width == width {
			w = i
		}
	}
	if r < 0 {
		return 0, fmt.Errorf("%w: rate %g Hz, allowed are %v", ErrBadConfig, rate, sampleRates)
	}
	if w < 0 {
		return 0, fmt.Errorf("%w: pulse width %s, allowed are 200us, 400us, 800us and 1600us", ErrBadConfig, width)
	}
	if highest := pulseWidths[w].maxRate; rate > highest {
		return 0, fmt.Errorf("%w: rate %g Hz with pulses of %s, allowed is up to %g Hz", ErrBadConfig, rate, width, highest)
	}
	return spo2HighResolution | byte(r)<<2 | byte(w), nil // #nosec G115 -- both are table indexes
}

// spo2Words says what an SPO2_CONFIG register means.
func spo2Words(b byte) string {
	return fmt.Sprintf("%g Hz, %v", float64(sampleRates[b>>2&7]), pulseWidths[b&3].width)
}
