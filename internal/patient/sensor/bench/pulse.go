package bench

import "math"

// pulseShape is one beat of a finger's pulse wave, tabulated over its phase: 0 at the foot, 1 at
// the systolic peak.
type pulseShape struct {
	table     [pulseSteps + 1]float64
	mean, rms float64 // rms of the deviation from the mean
}

const pulseSteps = 1024

// newPulseShape adds up three bumps: the systolic wave, its first reflection, and after the
// dicrotic notch the diastolic wave (as in Rubins 2008, Med. Biol. Eng. Comput. 46:1271, with
// rounder numbers). The bumps wrap around, so one beat's runoff passes into the next beat's foot
// without a step.
func newPulseShape() *pulseShape {
	bumps := [...]struct{ at, width, height float64 }{{0.18, 0.070, 1}, {0.31, 0.090, 0.42}, {0.56, 0.110, 0.34}}
	value := func(x float64) (v float64) {
		for _, b := range bumps {
			for wrap := -1.0; wrap <= 1; wrap++ {
				d := (x - b.at + wrap) / b.width
				v += b.height * math.Exp(-d*d/2)
			}
		}
		return v
	}
	// The foot is the lowest point; it becomes phase 0.
	foot, low, high := 0.0, math.Inf(1), math.Inf(-1)
	for i := range pulseSteps {
		x := float64(i) / pulseSteps
		v := value(x)
		if v < low {
			foot, low = x, v
		}
		high = max(high, v)
	}
	p := &pulseShape{}
	var total, squares float64
	for i := range p.table {
		x := math.Mod(foot+float64(i)/pulseSteps, 1)
		p.table[i] = (value(x) - low) / (high - low)
		if i < pulseSteps {
			total += p.table[i]
			squares += p.table[i] * p.table[i]
		}
	}
	p.mean = total / pulseSteps
	p.rms = math.Sqrt(squares/pulseSteps - p.mean*p.mean)
	return p
}

// at is the wave at a phase in [0, 1).
func (p *pulseShape) at(fraction float64) float64 {
	x := fraction * pulseSteps
	i := min(max(int(x), 0), pulseSteps-1)
	return p.table[i] + (x-float64(i))*(p.table[i+1]-p.table[i])
}

// mix is splitmix64's output function: a good hash of a counter, so noise needs no state and any
// sample can be asked for in any order.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// word is a signed number's bits, as part of a hash's key.
func word(n int64) uint64 { return uint64(n) } // #nosec G115 -- every value is a good key

// stream yields a sequence of uniform numbers from a seed.
type stream struct{ seed, n uint64 }

// uniform is in [0, 1).
func (r *stream) uniform() float64 {
	r.n++
	return float64(mix(mix(r.seed)+r.n)>>11) / (1 << 53)
}

// gaussians are two independent normal deviates for a key. Each is a sum of four uniform numbers:
// exact enough to 3.4 standard deviations, where it ends, and several times cheaper than
// logarithms.
func gaussians(key uint64) (a, b float64) {
	x := mix(key)
	return irwinHall(x), irwinHall(mix(x))
}

func irwinHall(x uint64) float64 {
	total := float64(x&0xffff) + float64(x>>16&0xffff) + float64(x>>32&0xffff) + float64(x>>48)
	return (total/65536 - 2) * math.Sqrt(3)
}
