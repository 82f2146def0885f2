package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// light is what the simulated chip looks at. Patient is one.
type light interface {
	Light(t time.Time, rate vitals.Hertz) (infrared, red float64)
}

// The MAX30100's registers, from its datasheet and independent of the driver's table on purpose.
const (
	max30100Address = 0x57

	rIntStatus  = 0x00
	rIntEnable  = 0x01
	rFIFOWrite  = 0x02
	rOverflow   = 0x03
	rFIFORead   = 0x04
	rFIFOData   = 0x05
	rMode       = 0x06
	rSpO2       = 0x07
	rLED        = 0x09
	rTempInt    = 0x16
	rTempFrac   = 0x17
	rRevisionID = 0xfe
	rPartID     = 0xff

	sAlmostFull = 0x80
	sTempReady  = 0x40
	sHRReady    = 0x20
	sSpO2Ready  = 0x10
	sPowerReady = 0x01

	mShutdown    = 0x80
	mReset       = 0x40
	mTemperature = 0x08

	depth           = 16
	temperatureTime = 29 * time.Millisecond
)

var (
	ledMilliAmps = [16]float64{0, 4.4, 7.6, 11, 14.2, 17.4, 20.8, 24, 27.1, 30.6, 33.8, 37, 40.2, 43.6, 46.8, 50}
	chipRates    = [8]vitals.Hertz{50, 100, 167, 200, 400, 600, 800, 1000}
	// highestRate is the code of the highest legal rate for each pulse width code, bitsOf the
	// resolution.
	highestRate = [4]byte{7, 4, 3, 1}
	bitsOf      = [4]int{13, 14, 15, 16}
)

// MAX30100 is a simulated chip. It makes its samples when it is touched, for all the time since it
// was last touched. Safe for concurrent use.
type MAX30100 struct {
	clock func() time.Time
	light light

	mu      sync.Mutex
	absent  bool
	pointer byte // register address that the next read or write without an address uses

	status, enable, mode, spo2, led byte
	tempInt, tempFrac               byte
	tempDone                        time.Time // when the running temperature measurement ends; zero: none

	fifo               [depth][4]byte
	write, read, waits int // pointers, and how many samples wait: the pointers alone could not tell full from empty
	overflow           byte
	part               int // bytes of the oldest sample already read
	started            time.Time
	produced           int64 // samples converted since started
	dieCelsius         float64

	ambient float64 // light from outside, as a share of full scale
	highest [4]byte // code of the highest rate for each pulse width
	failing int     // transactions that will fail
	burst   bool    // the next one that reads FIFO_DATA will
	breakAt int     // bytes that still come through before one fails; negative: none, the address is not acknowledged
}

// NewMAX30100 is a chip that was just powered on and looks at the given light.
func NewMAX30100(l light, clock func() time.Time) *MAX30100 {
	c := &MAX30100{clock: clock, light: l, dieCelsius: 31.4375, ambient: ambientLevel, highest: highestRate}
	c.powerOn(clock())
	return c
}

// powerOn sets all registers to their power-on values.
func (c *MAX30100) powerOn(now time.Time) {
	c.status, c.enable, c.mode, c.spo2, c.led = sPowerReady, 0, 0, 0, 0
	c.tempInt, c.tempFrac, c.tempDone = 0, 0, time.Time{}
	c.pointer = 0
	c.clearFIFO()
	c.fifo = [depth][4]byte{}
	c.restart(now)
}

func (c *MAX30100) clearFIFO() {
	c.write, c.read, c.waits, c.overflow, c.part = 0, 0, 0, 0, 0
}

// restart begins the sampling grid anew.
func (c *MAX30100) restart(now time.Time) { c.started, c.produced = now, 0 }

// BrownOut lets the supply fail for a moment: the chip forgets everything and says PWR_RDY.
func (c *MAX30100) BrownOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.powerOn(c.clock())
}

// SetPresent unplugs the chip (false: its address does not answer) or plugs it in, which powers it
// on.
func (c *MAX30100) SetPresent(present bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.absent && present {
		c.powerOn(c.clock())
	}
	c.absent = !present
}

// SetDieTemperature is what the chip measures, in steps of 1/16 C.
func (c *MAX30100) SetDieTemperature(t vitals.Celsius) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dieCelsius = min(85, max(-40, float64(t)))
}

// SetAmbient is the light from outside that the chip's cancellation leaves, on both wavelengths and
// whatever the LEDs do, as a share of full scale. A covered probe has 0.0015.
func (c *MAX30100) SetAmbient(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ambient = min(4, max(0, share))
}

// SetHighestRate makes a chip that goes with fewer rates than the datasheet says: for pulses of
// 1600, 800, 400 and 200 us it stores at most the rate with this code (0 is 50 Hz, 1 is 100 Hz, up
// to 7).
func (c *MAX30100) SetHighestRate(us200, us400, us800, us1600 byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.highest = [4]byte{us200 & 7, us400 & 7, us800 & 7, us1600 & 7}
}

// FailBus makes the next n transactions fail after so many bytes were read; before the first one if
// that is negative: the address is not acknowledged. What was read before took effect in the chip.
func (c *MAX30100) FailBus(n, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing, c.breakAt = n, after
}

// FailBurst makes the next read of FIFO_DATA break off after so many bytes, which took effect in
// the chip.
func (c *MAX30100) FailBurst(after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.burst, c.breakAt = true, max(0, after)
}

// Interrupt is the INT pin: true means pulled low, because an enabled source has its status bit
// set.
func (c *MAX30100) Interrupt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp(c.clock())
	return c.status&c.enable&0xf0 != 0 || c.status&sPowerReady != 0
}

// tx is one I2C transaction at the chip's address: a write, then a read after a repeated start.
func (c *MAX30100) tx(w, r []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.absent {
		return fmt.Errorf("%w: no acknowledge from address %#02x", ErrBus, max30100Address)
	}
	now := c.clock()
	c.catchUp(now)
	bursts := c.burst && len(w) > 0 && w[0] == rFIFOData && len(r) > 0
	fails := c.failing > 0 || bursts
	if fails {
		c.failing = max(0, c.failing-1)
		c.burst = c.burst && !bursts
		if c.breakAt < 0 {
			return fmt.Errorf("%w: no acknowledge from address %#02x", ErrBus, max30100Address)
		}
		r = r[:min(len(r), c.breakAt)]
	}
	if len(w) > 0 {
		c.pointer = w[0]
		for _, b := range w[1:] {
			c.writeRegister(b, now)
			c.advance()
		}
	}
	for i := range r {
		r[i] = c.readRegister()
		c.advance()
	}
	if fails {
		return fmt.Errorf("%w: broke off after %d bytes", ErrBus, len(r))
	}
	return nil
}

// advance moves the register pointer on within a burst: not off FIFO_DATA, and not past the last
// register.
func (c *MAX30100) advance() {
	if c.pointer != rFIFOData && c.pointer != rPartID {
		c.pointer++
	}
}

func (c *MAX30100) readRegister() byte {
	switch c.pointer {
	case rIntStatus:
		s := c.status
		c.status = 0
		return s
	case rIntEnable:
		return c.enable
	case rFIFOWrite:
		return byte(c.write) // #nosec G115 -- 0 to 15
	case rOverflow:
		return c.overflow
	case rFIFORead:
		return byte(c.read) // #nosec G115 -- 0 to 15
	case rFIFOData:
		return c.readFIFO()
	case rMode:
		return c.mode
	case rSpO2:
		return c.spo2
	case rLED:
		return c.led
	case rTempInt:
		return c.tempInt
	case rTempFrac:
		return c.tempFrac
	case rRevisionID:
		return 0x05
	case rPartID:
		return 0x11
	}
	return 0
}

// readFIFO is the next byte of the oldest sample. An empty FIFO repeats what lies in its memory and
// its pointer stands.
func (c *MAX30100) readFIFO() byte {
	c.status &^= sHRReady | sSpO2Ready
	b := c.fifo[c.read][c.part]
	if c.part++; c.part == 4 {
		c.part = 0
		if c.waits > 0 {
			c.waits--
			c.read = (c.read + 1) % depth
			c.overflow = 0
		}
	}
	return b
}

func (c *MAX30100) writeRegister(b byte, now time.Time) {
	switch c.pointer {
	case rIntEnable:
		c.enable = b & 0xf0
	case rFIFOWrite:
		c.write = int(b & 0x0f)
		c.pointersWritten()
	case rOverflow:
		c.overflow = b & 0x0f
	case rFIFORead:
		c.read = int(b & 0x0f)
		c.pointersWritten()
	case rFIFOData:
		c.fifo[c.write][c.part] = b // the memory can be written, the pointers do not follow
	case rMode:
		c.writeMode(b, now)
	case rSpO2:
		b &^= 0x20
		rate, width := b>>2&7, b&3
		rate = min(rate, c.highest[width])
		b = b&0x40 | rate<<2 | width
		if b != c.spo2 {
			c.restart(now)
		}
		c.spo2 = b
	case rLED:
		c.led = b
	}
}

// pointersWritten makes the count agree with pointers set from outside: equal ones mean empty.
func (c *MAX30100) pointersWritten() {
	c.waits = (c.write - c.read + depth) % depth
	c.part = 0
}

func (c *MAX30100) writeMode(b byte, now time.Time) {
	if b&mReset != 0 {
		pointer := c.pointer
		c.powerOn(now)
		c.pointer = pointer
		return
	}
	if b&mTemperature != 0 && c.tempDone.IsZero() && b&mShutdown == 0 {
		c.tempDone = now.Add(temperatureTime)
	}
	if b&mShutdown != 0 {
		c.status = 0
		c.tempDone = time.Time{}
	}
	b &= mShutdown | 0x07
	if b != c.mode&(mShutdown|0x07) {
		c.restart(now)
	}
	c.mode = b
	if !c.tempDone.IsZero() {
		c.mode |= mTemperature
	}
}

// sampling is which status bit the mode sets; zero when the chip does not sample.
func (c *MAX30100) sampling() byte {
	switch {
	case c.mode&mShutdown != 0:
		return 0
	case c.mode&7 == 2:
		return sHRReady
	case c.mode&7 == 3:
		return sSpO2Ready
	}
	return 0
}

// catchUp does what the chip did on its own until now. However long that was, at most one FIFO's
// depth is computed.
func (c *MAX30100) catchUp(now time.Time) {
	if !c.tempDone.IsZero() && !now.Before(c.tempDone) {
		c.tempDone = time.Time{}
		c.mode &^= mTemperature
		sixteenths := int(math.Floor(c.dieCelsius * 16))
		c.tempInt, c.tempFrac = byte(sixteenths>>4), byte(sixteenths&15) // #nosec G115 -- two's complement is meant
		c.status |= sTempReady
	}
	ready := c.sampling()
	if ready == 0 {
		return
	}
	rate := chipRates[c.spo2>>2&7]
	elapsed, hertz := now.Sub(c.started), time.Duration(rate)
	// Whole seconds first: the product would overflow, and fractions would round some samples away.
	due := int64(elapsed/time.Second*hertz + elapsed%time.Second*hertz/time.Second)
	fresh := due - c.produced
	if fresh <= 0 {
		return
	}
	c.status |= ready
	stored := min(fresh, int64(depth-c.waits))
	for range stored {
		c.produced++
		c.store(rate)
	}
	lost := fresh - stored
	c.produced += lost
	c.overflow = byte(min(15, int64(c.overflow)+lost)) // #nosec G115 -- at most 15
}

// store converts one sample into the FIFO.
func (c *MAX30100) store(rate vitals.Hertz) {
	n, hertz := time.Duration(c.produced), time.Duration(rate)
	at := c.started.Add(n/hertz*time.Second + n%hertz*time.Second/hertz)
	infrared, red := c.light.Light(at, rate)
	bits := bitsOf[c.spo2&3]
	ir := convert(infrared*ledMilliAmps[c.led&15]/fullCurrent+c.ambient, bits)
	rd := uint16(0)
	if c.mode&7 == 3 {
		rd = convert(red*ledMilliAmps[c.led>>4]/fullCurrent+c.ambient, bits)
	}
	slot := &c.fifo[c.write]
	binary.BigEndian.PutUint16(slot[:2], ir)
	binary.BigEndian.PutUint16(slot[2:], rd)
	c.write = (c.write + 1) % depth
	c.waits++
	if c.waits == depth-1 {
		c.status |= sAlmostFull
	}
}

// convert is the chip's converter: clipped at full scale, rounded down to its bits and
// left-justified in 16.
func convert(share float64, bits int) uint16 {
	steps := float64(int(1) << bits)
	v := min(steps-1, max(0, math.Floor(share*steps)))
	return uint16(v) << (16 - bits)
}
