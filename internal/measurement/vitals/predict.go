package vitals

import "math"

const (
	ownTaps   = 8 // differences of the channel itself
	otherTaps = 4 // differences of the other wavelength, the present one among them
	// coefShift is the weight of a coefficient's last bit: 1/2048, so that ±16 fits in 16 bits.
	coefShift = 11
)

// The predictors, by number in the format.
const (
	same   = 0 // the sample before
	steady = 1 // the sample before and its slope
	fitted = 2 // coefficients follow
)

// encodeChannel writes the predictor that suits the channel best, and what it got wrong. The second
// wavelength sees the same finger move, so other (which the reader has by then) helps; nil if there
// is none.
func encodeChannel(w *bitWriter, x, other []int64) {
	none := make([]int64, taps(other))
	slope := append([]int64{1 << coefShift}, none[1:]...)
	bestSize, best, bestCoefs, bestRest := uint64(math.MaxUint64), uint64(0), none, []int64(nil)
	for which, coefs := range [][]int64{same: none, steady: slope, fitted: fit(x, other)} {
		rest := make([]int64, len(x))
		for i := range x {
			rest[i] = x[i] - predict(x, other, coefs, i)
		}
		size := columnBits(rest)
		if which == fitted {
			size += uint64(len(coefs)) * 16 // #nosec G115 -- a length
		}
		if size < bestSize {
			bestSize, best, bestCoefs, bestRest = size, uint64(which), coefs, rest // #nosec G115 -- below 3
		}
	}
	w.put(best, 2)
	if best == fitted {
		for _, c := range bestCoefs {
			w.put(uint64(c)&math.MaxUint16, 16) // #nosec G115 -- two's complement on purpose
		}
	}
	encodeColumn(w, bestRest)
}

// decodeChannel is its inverse, with every sample within low and high.
func decodeChannel(r *bitReader, n int, other []int64, low, high int64) []int64 {
	if r.bad {
		return nil
	}
	coefs := make([]int64, taps(other))
	switch r.get(2) {
	case same:
	case steady:
		coefs[0] = 1 << coefShift
	case fitted:
		for i := range coefs {
			coefs[i] = int64(int16(r.get(16))) // #nosec G115 -- two's complement on purpose
		}
	default:
		r.bad = true
	}
	x := decodeColumn(r, n)
	if r.bad {
		return nil
	}
	for i, rest := range x {
		// What is added is at most 2^49 large (16 bits times 33 bits, 12 of them, less the shift),
		// and wrapping cannot hurt: the sum is checked either way.
		v := rest + predict(x, other, coefs, i)
		if v < low || v > high {
			r.bad = true
			return nil
		}
		x[i] = v
	}
	return x
}

func taps(other []int64) int {
	if other == nil {
		return ownTaps
	}
	return ownTaps + otherTaps
}

// diff is the difference from the sample before, 0 where there is none.
func diff(x []int64, i int) int64 {
	if i < 1 {
		return 0
	}
	return x[i] - x[i-1]
}

// predict is what sample i will be, from what is before it (and other up to i). Whole numbers only,
// so that every machine predicts the same.
func predict(x, other, coefs []int64, i int) int64 {
	if i == 0 {
		return 0
	}
	sum := int64(1) << (coefShift - 1)
	for j := range ownTaps {
		sum += coefs[j] * diff(x, i-1-j)
	}
	for j := range len(coefs) - ownTaps {
		sum += coefs[ownTaps+j] * diff(other, i-j)
	}
	return x[i-1] + sum>>coefShift
}

// fit are the coefficients with the least squared error, rounded. Only the writer needs them, so
// floating point is no harm.
func fit(x, other []int64) []int64 {
	const most = ownTaps + otherTaps
	n := taps(other)
	var m [most][most + 1]float64
	var row [most + 1]float64
	for i := 1; i < len(x); i++ {
		for j := range ownTaps {
			row[j] = float64(diff(x, i-1-j))
		}
		for j := range n - ownTaps {
			row[ownTaps+j] = float64(diff(other, i-j))
		}
		row[n] = float64(diff(x, i))
		for a := range n {
			for b := range n + 1 {
				m[a][b] += row[a] * row[b] // #nosec G602 -- n is at most most
			}
		}
	}
	coefs := make([]int64, n)
	for a := range n {
		m[a][a] = m[a][a]*(1+1e-9) + 1 // flat signals have no best answer: take a small one
	}
	for a := range n { // elimination; the matrix is symmetric and positive definite
		for b := a + 1; b < n; b++ {
			f := m[b][a] / m[a][a]
			for c := a; c <= n; c++ {
				m[b][c] -= f * m[a][c]
			}
		}
	}
	var solved [most]float64
	for a := n - 1; a >= 0; a-- {
		v := m[a][n]
		for b := a + 1; b < n; b++ {
			v -= m[a][b] * solved[b]
		}
		solved[a] = v / m[a][a]
		scaled := math.Round(solved[a] * (1 << coefShift))
		if !(math.Abs(scaled) <= math.MaxInt16) {
			return make([]int64, n) // cannot be written: as good as no prediction
		}
		coefs[a] = int64(scaled)
	}
	return coefs
}
