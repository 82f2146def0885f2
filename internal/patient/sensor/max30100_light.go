package sensor

// Levels of light as shares of the converter's full scale.
const (
	fullScaleLight = 65536
	lightAim       = 0.60 // what a change of current aims at, from below
	lightTooBright = 0.88 // above: the pulse's top or a deep breath may clip
	lightTooDim    = 0.30 // below: the converter's steps and noise count for more than need be
	lightDark      = 0.03 // below: no finger
	lightClips     = 65528
)

// How long a level must last before the current follows, in seconds. A converter at its limit shows
// nothing, so it is quick; a dim finger still gives values, and one that is just being put in is
// dim for a moment.
const (
	lightBlock   = 0.25
	brightBlocks = 2
	dimBlocks    = 10
	darkBlocks   = 4
)

// Light is what a CurrentControl thinks of the light that comes back.
type Light uint8

// The states of the light.
const (
	LightUnknown Light = iota // not enough samples yet
	LightGood                 // both channels within their range
	LightDark                 // no finger, or no LED
	LightDim                  // a finger, but little light even at the greatest current
	LightGlare                // the converter is at its limit even at the least current: light from outside
)

// String is the state's name as used in events.
func (l Light) String() string {
	return [...]string{"unknown", "good", "dark", "dim", "glare"}[min(l, LightGlare)]
}

// CurrentControl chooses LED currents that keep both channels of a MAX30100 within 30 to 88 % of
// full scale. It acts on quarter seconds, upwards after 2.5 s and downwards after half a second,
// and aims so far inside the range that no current leads back to where it came from: the chip's
// currents are at most a factor of 1.73 apart, the range's ends 2.9. In the dark it returns to the
// currents it began with, so that the next finger is seen. It does not touch the chip: see
// MAX30100.SetCurrents. Everything that was measured before a change says nothing about what comes
// after it.
//
// The zero value is not usable; not safe for concurrent use.
type CurrentControl struct {
	block       int // samples
	start, now  [2]Current
	single      bool // infrared only
	n           int
	sum         [2]float64
	clips       [2]bool
	bright, dim [2]int // blocks in a row
	dark        int
	state       Light
}

// NewCurrentControl is for samples at a rate, from the currents that the chip was configured with
// (the driver's defaults for CurrentDefault). red may be CurrentOff: only infrared is then looked
// after.
func NewCurrentControl(rate float64, infrared, red Current) *CurrentControl {
	if infrared == CurrentDefault {
		infrared = Current50mA
	}
	if red == CurrentDefault {
		red = Current27mA1
	}
	c := &CurrentControl{block: max(1, int(lightBlock*rate)), start: [2]Current{infrared, red}, single: red == CurrentOff}
	c.now = c.start
	return c
}

// Currents are the ones that should be set.
func (c *CurrentControl) Currents() (infrared, red Current) { return c.now[0], c.now[1] }

// State is what the light was like in the last quarter second.
func (c *CurrentControl) State() Light { return c.state }

// Observe looks at consecutive samples, as read with the currents last asked for, and reports
// whether other currents should be set now. The rest of the samples is then not looked at.
func (c *CurrentControl) Observe(samples []Optical) (change bool) {
	for _, s := range samples {
		for ch, v := range [2]uint16{s.Infrared, s.Red} {
			c.sum[ch] += float64(v)
			c.clips[ch] = c.clips[ch] || v >= lightClips
		}
		if c.n++; c.n < c.block {
			continue
		}
		if c.decide() {
			return true
		}
	}
	return false
}

// Restart forgets what was seen, for when samples were lost; the currents stay.
func (c *CurrentControl) Restart() {
	c.n, c.sum, c.clips = 0, [2]float64{}, [2]bool{}
	c.bright, c.dim, c.dark = [2]int{}, [2]int{}, 0
}

// decide ends a block.
func (c *CurrentControl) decide() (change bool) {
	level := [2]float64{c.sum[0] / float64(c.n) / fullScaleLight, c.sum[1] / float64(c.n) / fullScaleLight}
	clips := c.clips
	c.n, c.sum, c.clips = 0, [2]float64{}, [2]bool{}
	if level[0] < lightDark {
		c.state = LightDark
		c.bright, c.dim = [2]int{}, [2]int{}
		if c.dark++; c.dark >= darkBlocks && c.now != c.start {
			c.now = c.start
			c.Restart()
			return true
		}
		return false
	}
	c.dark, c.state = 0, LightGood
	wanted := c.now
	for ch := range wanted {
		if ch == 1 && c.single {
			break
		}
		if clips[ch] || level[ch] > lightTooBright {
			c.bright[ch]++
		} else {
			c.bright[ch] = 0
		}
		if level[ch] < lightTooDim {
			c.dim[ch]++
		} else {
			c.dim[ch] = 0
		}
		mA := c.now[ch].MilliAmps()
		switch {
		case c.bright[ch] > 0 && c.now[ch] <= Current4mA4:
			c.state = LightGlare
		case c.bright[ch] >= brightBlocks && clips[ch]: // how bright it is cannot be known
			wanted[ch] = max(Current4mA4, CurrentOf(mA/2))
		case c.bright[ch] >= brightBlocks:
			wanted[ch] = max(Current4mA4, min(c.now[ch]-1, CurrentOf(mA*lightAim/level[ch])))
		case c.dim[ch] > 0 && c.now[ch] >= Current50mA:
			if c.state == LightGood {
				c.state = LightDim
			}
		case c.dim[ch] >= dimBlocks:
			wanted[ch] = max(c.now[ch], CurrentOf(mA*lightAim/max(level[ch], lightDark/2)))
		}
	}
	if wanted == c.now {
		return false
	}
	c.now = wanted
	c.Restart()
	return true
}
