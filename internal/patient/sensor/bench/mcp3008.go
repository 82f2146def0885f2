package bench

import (
	"sync"
	"time"
)

// MCP3008 is a simulated converter that answers bit by bit: it looks for the start bit wherever it
// comes, samples, sends the null bit and then the result, most significant bit first, followed by
// the same bits in reverse. Safe for concurrent use.
type MCP3008 struct {
	clock func() time.Time

	mu          sync.Mutex
	absent      bool
	line        Line
	glitches    int
	inputs      [8]input
	conversions uint64 // makes each conversion's noise its own
}

// input is what is wired to a channel. A channel without patient floats; it reads near zero here.
type input struct{ patient *Patient }

// NewMCP3008 is a converter with the patients' bridges on the given channels.
func NewMCP3008(channels map[int]*Patient, clock func() time.Time) *MCP3008 {
	c := &MCP3008{clock: clock}
	for ch, p := range channels {
		if ch >= 0 && ch < len(c.inputs) {
			c.inputs[ch].patient = p
		}
	}
	return c
}

// SetPresent unplugs the converter (false: its line floats high) or plugs it in.
func (c *MCP3008) SetPresent(present bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent = !present
}

// Line is what is wrong with the wire from the converter's DOUT.
type Line uint8

// Faults of the wire.
const (
	LineGood Line = iota
	LineHigh      // pulled up: all ones, as without a converter
	LineLow       // shorted to ground: all zeros
)

// SetLine breaks or mends the wire.
func (c *MCP3008) SetLine(l Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = l
}

// Glitch spoils the null bit of the next n conversions, as a bad contact does.
func (c *MCP3008) Glitch(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.glitches = n
}

// frame is the converter's state while it is selected.
type frame struct {
	started bool
	command byte // SGL/DIFF, D2, D1, D0 as they come in
	clocks  int  // since the start bit
	code    uint16
}

// transfer clocks bytes through a selected converter.
func (c *MCP3008) transfer(f *frame, w, r []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range max(len(w), len(r)) {
		var in, out byte
		if i < len(w) {
			in = w[i]
		}
		for bit := 7; bit >= 0; bit-- {
			b := c.clockBit(f, in>>bit&1)
			switch c.line {
			case LineHigh:
				b = 1
			case LineLow:
				b = 0
			}
			out = out<<1 | b
		}
		if i < len(r) {
			r[i] = out
		}
	}
}

// clockBit is one SPI clock: DIN in, DOUT out. Before the null bit DOUT is high-impedance, which
// reads as zero here; an absent converter's line is pulled up.
func (c *MCP3008) clockBit(f *frame, in byte) byte {
	if c.absent {
		return 1
	}
	if !f.started {
		f.started = in == 1
		return 0
	}
	f.clocks++
	switch n := f.clocks; {
	case n <= 4:
		f.command = f.command<<1 | in
		return 0
	case n == 5: // sampling ends
		f.code = c.convert(f.command)
		return 0
	case n == 6: // the null bit
		if c.glitches > 0 {
			c.glitches--
			return 1
		}
		return 0
	case n <= 16:
		return bit(f.code, 16-n)
	case n <= 25: // the least significant bit is not repeated
		return bit(f.code, n-16)
	}
	return 0
}

// bit is one bit of a code.
func bit(code uint16, n int) byte {
	if code>>n&1 == 1 {
		return 1
	}
	return 0
}

// convert is 1024 * V / Vref of a single channel or of a difference, rounded down and clipped.
func (c *MCP3008) convert(command byte) uint16 {
	now := c.clock()
	ch := int(command & 7)
	var millivolts, supply float64
	if command&8 != 0 {
		millivolts, supply = c.volts(ch, now)
	} else {
		plus, s := c.volts(ch, now)
		minus, s2 := c.volts(ch^1, now)
		millivolts, supply = plus-minus, max(s, s2)
	}
	if supply <= 0 {
		return 0
	}
	return uint16(min(1023, max(0, 1024*millivolts/supply)))
}

// volts is a channel's input in mV and its reference.
func (c *MCP3008) volts(channel int, now time.Time) (millivolts, supply float64) {
	p := c.inputs[channel].patient
	if p == nil {
		return 0, 0
	}
	c.conversions++
	key := p.profile.Seed ^ mix(word(now.UnixNano())+c.conversions<<20)
	b := &p.profile.Bridge
	return b.output(p.Pressure(now).KPa(), now, key), b.Supply
}
