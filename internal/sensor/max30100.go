package sensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"periph.io/x/conn/v3/i2c"

	"vitalseal/internal/vitals"
)

// Optical is one sample of the MAX30100: light that came back at each wavelength, left-justified in 16 bits whatever the
// converter's resolution. Both fall while blood flows in. Red is zero in ModeHeartRate.
type Optical struct{ Infrared, Red uint16 }

// MAX30100Config is how the chip samples. The zero value is a good finger probe: 100 Hz, 16 bit, 50 mA and 27.1 mA.
type MAX30100Config struct {
	// Mode is which LEDs are lit. Default both.
	Mode Mode
	// Rate is one of 50, 100, 167, 200, 400, 600, 800, 1000 Hz, as far as PulseWidth allows. Default 100 Hz.
	Rate vitals.Hertz
	// PulseWidth is one of 200, 400, 800, 1600 us, for 13, 14, 15, 16 bits. Default 1600 us.
	PulseWidth time.Duration
	// Infrared and Red are the LED currents. Defaults 50 mA and 27.1 mA.
	Infrared, Red Current
	// Now is used to estimate how many samples were lost once the chip's counter is at its end. Default time.Now.
	Now func() time.Time
	// Sleep waits between polls of the chip. Default time.Sleep.
	Sleep func(time.Duration)
}

// MAX30100 is a pulse oximeter and heart-rate sensor by Maxim Integrated: two LEDs (660 and 880 nm), a photodiode, a
// 16-bit converter with ambient light cancellation and a FIFO of 16 samples; 1.8 V core, I2C address 0x57, 400 kHz.
// Its die temperature is accurate to +-1 C. Not safe for concurrent use.
//
// Errata of practice: when the FIFO is full new samples are lost, while its pointers look as if it were empty; the chip
// stores another rate than written when rate and pulse width do not go together; after a brown-out it stands still with
// power-on values. This driver notices all three. Read at least every 16 samples.
//
// Datasheet: Maxim Integrated 19-7065, MAX30100.
type MAX30100 struct {
	dev    i2c.Dev
	config MAX30100Config
	led    byte // LED_CONFIG as it should be
	// pending collects status bits since the FIFO was last emptied. Reading the status clears it in the chip, so a read
	// that fails half way would otherwise forget that the FIFO was full.
	pending byte
	drained time.Time // when the FIFO was last emptied
	buf     [fifoDepth * fifoBytes]byte
}

// NewMAX30100 checks that a MAX30100 answers, resets it, configures it, reads the configuration back and starts sampling.
// It takes a few milliseconds. Errors wrap ErrBadConfig, ErrNotConnected, ErrWrongPart, ErrConfigRefused, ErrTimeout.
func NewMAX30100(bus i2c.Bus, c MAX30100Config) (*MAX30100, error) {
	if c.Rate == 0 {
		c.Rate = 100
	}
	if c.PulseWidth == 0 {
		c.PulseWidth = 1600 * time.Microsecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = time.Sleep
	}
	d := &MAX30100{dev: i2c.Dev{Bus: bus, Addr: max30100Addr}, config: c}
	if err := d.Configure(); err != nil {
		return nil, err
	}
	return d, nil
}

// Configure resets the chip and sets it up again, as NewMAX30100 does, with the LED currents set last. It is what to do
// after ErrBrownOut or when a chip that was gone is back. Samples waiting in the chip are lost.
func (d *MAX30100) Configure() error {
	if err := d.configure(); err != nil {
		return fmt.Errorf("sensor: max30100: configure: %w", err)
	}
	return nil
}

func (d *MAX30100) configure() error {
	spo2, err := spo2Config(d.config.Rate, d.config.PulseWidth, d.config.Mode)
	if err != nil {
		return err
	}
	led, err := ledConfig(d.config.Infrared, d.config.Red)
	if err != nil {
		return err
	}
	part, err := d.readReg(regPartID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	if part != partMAX30100 {
		return fmt.Errorf("%w: part id is %#02x, a MAX30100 says %#02x", ErrWrongPart, part, partMAX30100)
	}
	if err := d.writeReg(regMode, modeReset); err != nil {
		return err
	}
	if _, err := d.waitClear(regMode, modeReset, 10); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	mode := d.config.Mode.bits()
	// The mode comes last: it starts sampling, into a FIFO whose pointers were just cleared.
	for _, w := range [][]byte{
		{regSpO2, spo2},
		{regLED, led},
		{regFIFOWrite, 0, 0, 0},
		{regMode, mode},
	} {
		if err := d.dev.Tx(w, nil); err != nil {
			return fmt.Errorf("write register %#02x: %w", w[0], err)
		}
	}
	for _, c := range []struct {
		name      string
		reg, want byte
	}{{"SPO2_CONFIG", regSpO2, spo2}, {"LED_CONFIG", regLED, led}, {"MODE_CONFIG", regMode, mode}} {
		got, err := d.readReg(c.reg)
		if err != nil {
			return err
		}
		if got != c.want {
			return fmt.Errorf("%w: %s is %#02x, written was %#02x", ErrConfigRefused, c.name, got, c.want)
		}
	}
	d.led = led
	// The reset itself set PWR_RDY; reading it here means that whenever it is seen again, the supply failed.
	status, err := d.readReg(regIntStatus)
	if err != nil {
		return err
	}
	d.pending = status & (statusAlmostFull | statusReady)
	d.drained = d.config.Now()
	return nil
}

func ledConfig(infrared, red Current) (byte, error) {
	ir, err := infrared.code(Current50mA)
	if err != nil {
		return 0, err
	}
	rd, err := red.code(Current27mA1)
	if err != nil {
		return 0, err
	}
	return rd<<4 | ir, nil
}

// Rate is the configured sampling rate. The chip's own oscillator keeps it to a few per cent only.
func (d *MAX30100) Rate() vitals.Hertz { return d.config.Rate }

// Read empties the FIFO into dst, oldest sample first, and says how many samples it wrote and how many were lost
// after those (or before the next ones) because the FIFO was full. What does not fit into dst stays in the chip;
// 16 samples always suffice. Up to 15 lost samples are counted exactly, more are estimated from the time since the last
// Read. Errors wrap ErrBrownOut or the bus's error; no sample is lost by an error.
func (d *MAX30100) Read(dst []Optical) (n, lost int, err error) {
	n, lost, err = d.read(dst)
	if err != nil {
		return 0, 0, fmt.Errorf("sensor: max30100: read: %w", err)
	}
	return n, lost, nil
}

func (d *MAX30100) read(dst []Optical) (n, lost int, err error) {
	// Status and pointers in one burst, so that they belong together.
	var head [5]byte
	if err := d.dev.Tx([]byte{regIntStatus}, head[:]); err != nil {
		return 0, 0, fmt.Errorf("status and pointers: %w", err)
	}
	if head[0]&statusPowerReady != 0 {
		return 0, 0, ErrBrownOut
	}
	d.pending |= head[0] & (statusAlmostFull | statusReady)
	overflow := int(head[3] & 0x0f)
	waiting := (int(head[2]) - int(head[4])) & (fifoDepth - 1)
	// Equal pointers mean empty or full. A full FIFO has lost samples, or else both was almost full and got a sample
	// since it was last emptied; an emptied one may have either bit left over, but not both.
	full := d.pending&statusAlmostFull != 0 && d.pending&statusReady != 0
	if waiting == 0 && (overflow > 0 || full) {
		waiting = fifoDepth
	}
	n = min(waiting, len(dst))
	if n == 0 {
		return 0, 0, nil
	}
	b := d.buf[:n*fifoBytes]
	if err := d.dev.Tx([]byte{regFIFOData}, b); err != nil {
		return 0, 0, fmt.Errorf("samples: %w", err)
	}
	for i := range n {
		s := b[i*fifoBytes:]
		dst[i] = Optical{Infrared: binary.BigEndian.Uint16(s), Red: binary.BigEndian.Uint16(s[2:])}
	}
	d.pending = 0
	now := d.config.Now()
	if overflow >= overflowMax {
		// The counter stands still at its end; the clock knows better, if it was not set back meanwhile.
		produced := int(math.Round(min(1e9, now.Sub(d.drained).Seconds()*float64(d.config.Rate))))
		lost = max(overflow, produced-waiting)
	} else {
		lost = overflow
	}
	d.drained = now
	return n, lost, nil
}

// SetCurrents changes the LED currents at once; samples already in the FIFO have the old ones.
func (d *MAX30100) SetCurrents(infrared, red Current) error {
	led, err := ledConfig(infrared, red)
	if err == nil {
		err = d.writeReg(regLED, led)
	}
	var got byte
	if err == nil {
		got, err = d.readReg(regLED)
	}
	if err == nil && got != led {
		err = fmt.Errorf("%w: LED_CONFIG is %#02x, written was %#02x", ErrConfigRefused, got, led)
	}
	if err != nil {
		return fmt.Errorf("sensor: max30100: set currents: %w", err)
	}
	d.config.Infrared, d.config.Red, d.led = infrared, red, led
	return nil
}

// Temperature measures the die's temperature, which takes about 29 ms; sampling goes on.
func (d *MAX30100) Temperature() (vitals.Celsius, error) {
	t, err := d.temperature()
	if err != nil {
		return 0, fmt.Errorf("sensor: max30100: temperature: %w", err)
	}
	return t, nil
}

func (d *MAX30100) temperature() (vitals.Celsius, error) {
	if err := d.writeReg(regMode, d.config.Mode.bits()|modeTemperature); err != nil {
		return 0, err
	}
	// The bit clears itself. Polling TEMP_RDY instead would clear the FIFO's flags with it.
	mode, err := d.waitClear(regMode, modeTemperature, 20)
	if err != nil {
		return 0, err
	}
	if mode != d.config.Mode.bits() { // the bit is also clear after a brown-out, and the registers then say 0 C
		return 0, ErrBrownOut
	}
	var b [2]byte
	if err := d.dev.Tx([]byte{regTemp}, b[:]); err != nil {
		return 0, err
	}
	return vitals.Celsius(float64(int8(b[0])) + float64(b[1]&0x0f)*0.0625), nil // #nosec G115 -- the register is signed
}

// Check reads the configuration back and compares. ErrBrownOut says that it is gone: call Configure.
func (d *MAX30100) Check() error {
	spo2, err := spo2Config(d.config.Rate, d.config.PulseWidth, d.config.Mode)
	if err != nil {
		return fmt.Errorf("sensor: max30100: check: %w", err)
	}
	var got [4]byte // 06 to 09
	if err := d.dev.Tx([]byte{regMode}, got[:]); err != nil {
		return fmt.Errorf("sensor: max30100: check: %w", err)
	}
	if got[0]&^modeTemperature != d.config.Mode.bits() || got[1] != spo2 || got[3] != d.led {
		return fmt.Errorf("sensor: max30100: check: %w", ErrBrownOut)
	}
	return nil
}

// Halt puts the chip into shutdown, LEDs dark, registers kept. Configure wakes it.
func (d *MAX30100) Halt() error {
	if err := d.writeReg(regMode, modeShutdown|d.config.Mode.bits()); err != nil {
		return fmt.Errorf("sensor: max30100: halt: %w", err)
	}
	return nil
}

// waitClear polls until the chip has cleared a bit itself, up to tries times 5 ms, and returns the register.
func (d *MAX30100) waitClear(reg, bit byte, tries int) (byte, error) {
	for range tries {
		v, err := d.readReg(reg)
		if err != nil {
			return 0, err
		}
		if v&bit == 0 {
			return v, nil
		}
		d.config.Sleep(5 * time.Millisecond)
	}
	return 0, ErrTimeout
}

func (d *MAX30100) readReg(reg byte) (byte, error) {
	var b [1]byte
	if err := d.dev.Tx([]byte{reg}, b[:]); err != nil {
		return 0, fmt.Errorf("read register %#02x: %w", reg, err)
	}
	return b[0], nil
}

func (d *MAX30100) writeReg(reg, value byte) error {
	if err := d.dev.Tx([]byte{reg, value}, nil); err != nil {
		return fmt.Errorf("write register %#02x: %w", reg, err)
	}
	return nil
}
