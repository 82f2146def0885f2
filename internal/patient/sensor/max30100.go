package sensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"periph.io/x/conn/v3/i2c"

	"vitalseal/internal/measurement/vitals"
)

// A transaction that failed is tried again after a moment, so often in all.
const (
	tries      = 3
	retryAfter = time.Millisecond
)

// Optical is one sample of the MAX30100: light that came back at each wavelength, left-justified in
// 16 bits whatever the converter's resolution. Both fall while blood flows in. Red is zero in
// ModeHeartRate.
type Optical struct{ Infrared, Red uint16 }

// MAX30100Config is how the chip samples. The zero value is a good finger probe: 100 Hz, 16 bit, 50
// mA and 27.1 mA.
type MAX30100Config struct {
	// Mode is which LEDs are lit. Default both.
	Mode Mode
	// Rate is one of 50, 100, 167, 200, 400, 600, 800, 1000 Hz, as far as PulseWidth allows.
	// Default 100 Hz.
	Rate vitals.Hertz
	// PulseWidth is one of 200, 400, 800, 1600 us, for 13, 14, 15, 16 bits. Default 1600 us.
	PulseWidth time.Duration
	// Infrared and Red are the LED currents. Defaults 50 mA and 27.1 mA.
	Infrared, Red Current
	// TemperatureOffset and SelfHeating correct the die's temperature, which reads high by what the
	// LEDs heat it: SelfHeating is in C per mA of current that the LEDs draw on average. Both are
	// found on the device beside a thermometer; zero leaves the chip's reading as it is.
	TemperatureOffset vitals.Celsius
	SelfHeating       vitals.Celsius
	// Now is used to estimate how many samples were lost once the chip's counter is at its end.
	// Default time.Now.
	Now func() time.Time
	// Sleep waits between polls of the chip. Default time.Sleep.
	Sleep func(time.Duration)
}

// MAX30100 is a pulse oximeter and heart-rate sensor by Maxim Integrated: two LEDs (660 and 880
// nm), a photodiode, a 16-bit converter with ambient light cancellation and a FIFO of 16 samples;
// 1.8 V core, I2C address 0x57, 400 kHz. Its die temperature is accurate to +-1 C. Not safe for
// concurrent use.
//
// Errata of practice: when the FIFO is full new samples are lost, while its pointers look as if it
// were empty; the chip stores another rate than written when rate and pulse width do not go
// together; after a brown-out it stands still with power-on values; a burst from the FIFO that
// breaks off leaves the chip in the middle of a sample, so that infrared and red would change
// places. This driver notices all four. Read at least every 16 samples.
//
// A transaction that fails is tried again, three times in all, where that does no harm: not a burst
// from the FIFO.
//
// Datasheet: Maxim Integrated 19-7065, MAX30100.
type MAX30100 struct {
	dev    i2c.Dev
	config MAX30100Config
	led    byte // LED_CONFIG as it should be
	// pending collects status bits since the FIFO was last emptied. Reading the status clears it in
	// the chip, so a read that fails half way would otherwise forget that the FIFO was full.
	pending byte
	drained time.Time // when the FIFO was last emptied
	// doubt: reading the status failed once since then, and may have cleared bits that were never
	// read.
	doubt bool
	// torn: a burst from the FIFO failed, tornAt being the read pointer before it and tornLost what
	// was lost before that.
	torn     bool
	tornAt   byte
	tornLost int
	buf      [fifoDepth * fifoBytes]byte
}

// NewMAX30100 checks that a MAX30100 answers, resets it, configures it, reads the configuration
// back and starts sampling. It takes a few milliseconds. Errors wrap ErrBadConfig, ErrNotConnected,
// ErrWrongPart, ErrConfigRefused, ErrTimeout.
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

// Configure resets the chip and sets it up again, as NewMAX30100 does, with the LED currents set
// last. It is what to do after ErrBrownOut or when a chip that was gone is back. Samples waiting in
// the chip are lost.
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
	//defence:plausible another part is no MAX30100
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
		if err := d.tx(w, nil); err != nil {
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
		//defence:plausible the chip has the configuration that was written
		if got != c.want {
			if c.reg == regSpO2 {
				return fmt.Errorf("%w: %s is %#02x, written was %#02x: the chip samples at %s instead of %g Hz, %v", ErrConfigRefused, c.name, got, c.want,
					spo2Words(got), float64(d.config.Rate), d.config.PulseWidth)
			}
			return fmt.Errorf("%w: %s is %#02x, written was %#02x", ErrConfigRefused, c.name, got, c.want)
		}
	}
	d.led = led
	// The reset itself set PWR_RDY; reading it here means that whenever it is seen again, the
	// supply failed.
	status, err := d.readReg(regIntStatus)
	if err != nil {
		return err
	}
	d.pending = status & (statusAlmostFull | statusReady)
	d.drained = d.config.Now()
	d.doubt, d.torn = false, false
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

// Read empties the FIFO into dst, oldest sample first, and says how many samples it wrote and how
// many were lost after those (or before the next ones), because the FIFO was full or an earlier
// read broke off. What does not fit into dst stays in the chip; 16 samples always suffice. Up to 15
// lost samples are counted exactly, more are estimated from the time since the last Read. Errors
// wrap ErrBrownOut or the bus's error; samples that an error costs are counted as lost by the next
// Read.
func (d *MAX30100) Read(dst []Optical) (n, lost int, err error) {
	n, lost, err = d.read(dst)
	if err != nil {
		return 0, 0, fmt.Errorf("sensor: max30100: read: %w", err)
	}
	return n, lost, nil
}

func (d *MAX30100) read(dst []Optical) (n, lost int, err error) {
	h, err := d.head()
	if err != nil {
		return 0, 0, err
	}
	if d.torn {
		lost, err := d.mend(h)
		return 0, lost, err
	}
	n = min(h.waiting, len(dst))
	if n == 0 {
		return 0, 0, nil
	}
	now := d.config.Now()
	lost = h.overflow
	if lost >= overflowMax {
		lost = max(lost, d.produced(now)-h.waiting)
	}
	b := d.buf[:n*fifoBytes]
	if err := d.dev.Tx([]byte{regFIFOData}, b); err != nil {
		d.torn, d.tornAt, d.tornLost = true, h.readAt, lost
		return 0, 0, fmt.Errorf("samples: %w", err)
	}
	for i := range n {
		s := b[i*fifoBytes:]
		dst[i] = Optical{Infrared: binary.BigEndian.Uint16(s), Red: binary.BigEndian.Uint16(s[2:])}
	}
	d.pending, d.doubt, d.drained = 0, false, now
	return n, lost, nil
}

// head is the FIFO's state.
type head struct {
	waiting, overflow int
	readAt            byte
}

// head reads status and pointers in one burst, so that they belong together.
func (d *MAX30100) head() (h head, err error) {
	var b [5]byte
	for try := 1; ; try++ {
		if err = d.dev.Tx([]byte{regIntStatus}, b[:]); err == nil {
			break
		}
		d.doubt = true
		if try == tries {
			return h, fmt.Errorf("status and pointers: %w", err)
		}
		d.config.Sleep(retryAfter)
	}
	if b[0]&statusPowerReady != 0 {
		return h, ErrBrownOut
	}
	d.pending |= b[0] & (statusAlmostFull | statusReady)
	h.overflow, h.readAt = int(b[3]&0x0f), b[4]&(fifoDepth-1)
	h.waiting = (int(b[2]) - int(b[4])) & (fifoDepth - 1)
	if h.waiting != 0 {
		return h, nil
	}
	// Equal pointers mean empty or full. A full FIFO has lost samples, or else both was almost full
	// and got a sample since it was last emptied; an emptied one may have either bit left over, but
	// not both. Where the bits may have been cleared unseen, the time tells: none or all sixteen
	// were made meanwhile.
	full := d.pending&statusAlmostFull != 0 && d.pending&statusReady != 0
	if h.overflow > 0 || full || d.doubt && d.produced(d.config.Now()) >= fifoDepth/2 {
		h.waiting = fifoDepth
	}
	return h, nil
}

// produced is how many samples the chip made since the FIFO was last emptied, if the clock was not
// set back meanwhile.
func (d *MAX30100) produced(now time.Time) int {
	return int(math.Round(min(1e9, max(0, now.Sub(d.drained).Seconds()*float64(d.config.Rate)))))
}

// mend begins anew after a burst that broke off: where in a sample the chip stands is unknown. All
// that waits is given up and counted with what the burst took.
func (d *MAX30100) mend(h head) (lost int, err error) {
	if err := d.tx([]byte{regFIFOWrite, 0, 0, 0}, nil); err != nil {
		return 0, fmt.Errorf("clear the FIFO: %w", err)
	}
	now := d.config.Now()
	taken := int(h.readAt-d.tornAt) & (fifoDepth - 1)
	lost = max(taken+h.waiting+max(h.overflow, d.tornLost), d.produced(now))
	d.torn, d.doubt, d.pending, d.drained = false, false, 0, now
	return lost, nil
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

// Temperature measures the die's temperature, which takes about 29 ms; sampling goes on. It is
// corrected as the configuration says, is the device's and not the patient's, and serves to notice
// a device that is too hot or too cold to trust.
func (d *MAX30100) Temperature() (vitals.Celsius, error) {
	t, err := d.temperature()
	if err != nil {
		return 0, fmt.Errorf("sensor: max30100: temperature: %w", err)
	}
	return t + d.config.TemperatureOffset - d.config.SelfHeating*vitals.Celsius(d.meanCurrent()), nil
}

// meanCurrent is what the LEDs draw on average, in mA: each is lit once a sample for a pulse's
// width.
func (d *MAX30100) meanCurrent() float64 {
	mA := milliAmps[d.led&15]
	if d.config.Mode == ModeSpO2 {
		mA += milliAmps[d.led>>4]
	}
	return mA * d.config.PulseWidth.Seconds() * float64(d.config.Rate)
}

// Ambient switches the LEDs off for a few samples, reads what light is left, and switches them on
// again: light from outside that the chip's own cancellation did not remove, or a probe without
// LEDs. It takes about 12 samples' time, which are lost, as is what waited in the FIFO; the next
// Read does not count them.
func (d *MAX30100) Ambient() (Optical, error) {
	o, err := d.ambient()
	if err != nil {
		return Optical{}, fmt.Errorf("sensor: max30100: ambient light: %w", err)
	}
	return o, nil
}

func (d *MAX30100) ambient() (Optical, error) {
	led := d.led
	period := time.Duration(float64(time.Second) / float64(d.config.Rate))
	if err := d.writeReg(regLED, 0); err != nil {
		return Optical{}, err
	}
	o, err := d.darkMean(period)
	// Whatever happened, the LEDs must not stay dark.
	if err2 := d.writeReg(regLED, led); err == nil {
		err = err2
	}
	if err != nil {
		return Optical{}, err
	}
	d.config.Sleep(2 * period)
	if err := d.tx([]byte{regFIFOWrite, 0, 0, 0}, nil); err != nil {
		return Optical{}, err
	}
	d.pending, d.drained = 0, d.config.Now()
	return o, nil
}

// darkMean is the mean of what comes after the LEDs went out.
func (d *MAX30100) darkMean(period time.Duration) (Optical, error) {
	d.config.Sleep(2 * period) // the sample in the making is half lit
	if err := d.tx([]byte{regFIFOWrite, 0, 0, 0}, nil); err != nil {
		return Optical{}, err
	}
	d.pending, d.torn = 0, false
	d.config.Sleep(8*period + period/2)
	var dark [fifoDepth]Optical
	n, _, err := d.read(dark[:])
	if err != nil {
		return Optical{}, err
	}
	if n == 0 {
		return Optical{}, ErrTimeout
	}
	infrared, red := 0, 0
	for _, s := range dark[:n] {
		infrared, red = infrared+int(s.Infrared), red+int(s.Red)
	}
	return Optical{Infrared: uint16(infrared / n), Red: uint16(red / n)}, nil // #nosec G115 -- a mean of 16 bits
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
	if err := d.tx([]byte{regTemp}, b[:]); err != nil {
		return 0, err
	}
	return vitals.Celsius(float64(int8(b[0])) + float64(b[1]&0x0f)*0.0625), nil // #nosec G115 -- the register is signed
}

// Check reads the configuration back and compares. ErrBrownOut says that it is gone: call
// Configure.
func (d *MAX30100) Check() error {
	spo2, err := spo2Config(d.config.Rate, d.config.PulseWidth, d.config.Mode)
	if err != nil {
		return fmt.Errorf("sensor: max30100: check: %w", err)
	}
	var got [4]byte // 06 to 09
	if err := d.tx([]byte{regMode}, got[:]); err != nil {
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

// waitClear polls until the chip has cleared a bit itself, up to polls times 5 ms, and returns the
// register.
func (d *MAX30100) waitClear(reg, bit byte, polls int) (byte, error) {
	for range polls {
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
	if err := d.tx([]byte{reg}, b[:]); err != nil {
		return 0, fmt.Errorf("read register %#02x: %w", reg, err)
	}
	return b[0], nil
}

func (d *MAX30100) writeReg(reg, value byte) error {
	if err := d.tx([]byte{reg, value}, nil); err != nil {
		return fmt.Errorf("write register %#02x: %w", reg, err)
	}
	return nil
}

// tx is a transaction that may be made twice: a bus with a bad contact fails now and then, and
// works a moment later.
func (d *MAX30100) tx(w, r []byte) error {
	for try := 1; ; try++ {
		err := d.dev.Tx(w, r)
		if err == nil || try == tries {
			return err
		}
		d.config.Sleep(retryAfter)
	}
}
