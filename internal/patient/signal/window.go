package signal

import "math"

// Levels, in codes of the converter, left-justified to 16 bits.
const (
	// probeOffBelow: with the LEDs at working currents a finger sends back a third to two thirds of
	// full scale; without one the MAX30100 shows well under one hundredth.
	probeOffBelow = 0.03 * 65536
	// darkBelow: no light from the red LED at all, only what ambient light cancellation leaves.
	darkBelow = 0.01 * 65536
	// saturatedFrom: the greatest code at 13 bits, left-justified.
	saturatedFrom = 0xFFF8
)

// Times, in seconds.
const (
	windowSeconds   = 8.0
	enoughSeconds   = 3.0  // a PulseRate looks from here on
	surelySeconds   = 6.0  // by then a slow pulse must have shown itself
	bridgeSeconds   = 0.25 // a hole up to this is bridged by a line
	bridgedShare    = 0.1  // of a window that may be bridged
	offSeconds      = 0.1  // darkness that counts as probe off
	onSeconds       = 0.4  // light that counts as probe on
	saturatedLinger = 0.5
)

// stepShare is a change of the infrared level within one block that no pulse makes: the finger
// moved in or out, or the LED current changed. What was before says nothing about what comes.
const stepShare = 0.12

// window holds the last seconds of both channels, averaged in blocks to about 32 Hz (which keeps 95
// % of a beat's shape and costs a third of 100 Hz), and what is wrong with them. Bounded, and no
// allocation after newWindow.
type window struct {
	rate   float64 // of blocks
	block  int     // samples in a block
	sample float64 // rate of samples

	infrared, red []float64 // rings
	next, length  int

	sumInfrared, sumRed   float64
	inBlock               int
	clipped, clippedRed   bool
	lastInfrared, lastRed float64
	any                   bool

	off          bool
	offRun       int
	onRun        int
	sinceClip    int // blocks since the converter was at its limit, per channel
	sinceClipRed int
	bridged      float64 // blocks
	seen         uint64  // blocks ever
	breath       *respiration
}

func newWindow(rate float64) *window {
	w := &window{block: max(1, int(rate/32)), sample: rate}
	w.rate = rate / float64(w.block)
	n := int(math.Ceil(windowSeconds * w.rate))
	w.infrared, w.red = make([]float64, n), make([]float64, n)
	w.breath = newRespiration(w.rate)
	w.reset()
	return w
}

// reset forgets everything.
func (w *window) reset() {
	w.restart()
	w.any, w.off, w.offRun, w.onRun = false, false, 0, 0
	w.sinceClip, w.sinceClipRed = math.MaxInt32, math.MaxInt32
}

// restart forgets the samples but not the state of the probe.
func (w *window) restart() {
	w.next, w.length, w.bridged = 0, 0, 0
	w.breath.reset()
	w.sumInfrared, w.sumRed, w.inBlock = 0, 0, 0
	w.clipped, w.clippedRed = false, false
}

func (w *window) push(infrared, red []uint16, lost int) {
	if lost > 0 && len(infrared) > 0 {
		w.hole(lost, infrared[0], first(red))
	} else if lost > 0 {
		w.restart()
		w.any = false
	}
	for i, v := range infrared {
		var r uint16
		if i < len(red) {
			r = red[i]
		}
		w.clipped = w.clipped || v >= saturatedFrom
		w.clippedRed = w.clippedRed || r >= saturatedFrom
		w.add(float64(v), float64(r))
	}
}

// lost is told of a hole before the samples after it are there: one that hole would not bridge
// starts anew at once.
func (w *window) lost(n int) {
	if float64(n) > bridgeSeconds*w.sample {
		w.restart()
		w.any = false
	}
}

func first(x []uint16) uint16 {
	if len(x) == 0 {
		return 0
	}
	return x[0]
}

// hole bridges a short loss by a line, which keeps the time between beats right, and starts anew
// after a long one.
func (w *window) hole(lost int, infrared, red uint16) {
	w.bridged += float64(min(lost, 1<<20)) / float64(w.block)
	if !w.any || float64(lost) > bridgeSeconds*w.sample || w.bridged > bridgedShare*windowSeconds*w.rate {
		w.restart()
		return
	}
	i0, r0 := w.lastInfrared, w.lastRed
	for k := 1; k <= lost; k++ {
		share := float64(k) / float64(lost+1)
		w.add(i0+share*(float64(infrared)-i0), r0+share*(float64(red)-r0))
	}
}

func (w *window) add(infrared, red float64) {
	w.any, w.lastInfrared, w.lastRed = true, infrared, red
	w.sumInfrared += infrared
	w.sumRed += red
	if w.inBlock++; w.inBlock == w.block {
		i, r := w.sumInfrared/float64(w.block), w.sumRed/float64(w.block)
		w.sumInfrared, w.sumRed, w.inBlock = 0, 0, 0
		w.keep(i, r)
	}
}

func (w *window) keep(infrared, red float64) {
	w.seen++
	w.bridged = max(0, w.bridged-bridgedShare/2)
	w.sinceClip, w.sinceClipRed = min(w.sinceClip, math.MaxInt32-1)+1, min(w.sinceClipRed, math.MaxInt32-1)+1
	clipped := w.clipped
	if clipped {
		w.sinceClip = 0
	}
	if w.clippedRed {
		w.sinceClipRed = 0
	}
	w.clipped, w.clippedRed = false, false
	if w.probe(infrared); w.off {
		return
	}
	if clipped { // a flattened pulse is worse than none
		w.restart()
		return
	}
	w.breath.push(infrared)
	if w.length > 0 {
		last := w.infrared[(w.next+len(w.infrared)-1)%len(w.infrared)]
		if math.Abs(infrared-last) > stepShare*last {
			w.restart()
			return
		}
	}
	w.infrared[w.next], w.red[w.next] = infrared, red
	w.next = (w.next + 1) % len(w.infrared)
	w.length = min(w.length+1, len(w.infrared))
}

// probe follows whether there is a finger.
func (w *window) probe(infrared float64) {
	switch dark := infrared < probeOffBelow; {
	case !w.off && dark:
		if w.offRun++; float64(w.offRun) >= offSeconds*w.rate {
			w.off = true
			w.restart()
		}
	case !w.off:
		w.offRun = 0
	case w.off && dark:
		w.onRun = 0
	default:
		if w.onRun++; float64(w.onRun) >= onSeconds*w.rate {
			w.off, w.offRun, w.onRun = false, 0, 0
			w.restart()
		}
	}
}

// newest copies the newest n blocks of a ring to dst, oldest first.
func (w *window) newest(dst, ring []float64, n int) []float64 {
	dst = dst[:n]
	from := w.next - n
	if from < 0 {
		k := copy(dst, ring[from+len(ring):])
		copy(dst[k:], ring[:n-k])
		return dst
	}
	copy(dst, ring[from:w.next])
	return dst
}

// alike reports whether both channels have the same codes, block for block. Two lights are never so
// equal: their noise alone differs.
func (w *window) alike() bool {
	for i := 1; i <= w.length; i++ {
		k := (w.next - i + len(w.infrared)) % len(w.infrared)
		if w.infrared[k] != w.red[k] {
			return false
		}
	}
	return w.length > 0
}

// has reports whether the newest blocks cover so many seconds.
func (w *window) has(seconds float64) bool { return float64(w.length) >= seconds*w.rate-0.5 }
