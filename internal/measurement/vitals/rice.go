package vitals

import (
	"math"
	"math/bits"
)

const (
	// subBlock is how many numbers share one Rice parameter: short enough to follow a pulse's
	// noise, long enough for 5 bits.
	subBlock = 64
	maxRice  = 31
	// escape is so many ones that the number itself follows, in 64 bits: one jump must not cost
	// thousands of bits.
	escape = 20
)

// encodeColumn is Rice coding of the zigzag of each number, with the best parameter for each
// sub-block.
func encodeColumn(w *bitWriter, column []int64) {
	for len(column) > 0 {
		part := column[:min(subBlock, len(column))]
		column = column[len(part):]
		k, _ := bestRice(part)
		w.put(uint64(k), 5)
		for _, v := range part {
			u := zigzag(v)
			if q := u >> k; q < escape {
				w.put(1<<(q+1)-2, uint(q)+1) // q ones, a zero
				w.put(u&(1<<k-1), k)
			} else {
				w.put(1<<escape-1, escape)
				w.put(u, 64)
			}
		}
	}
}

// columnBits is what encodeColumn writes.
func columnBits(column []int64) (n uint64) {
	for len(column) > 0 {
		part := column[:min(subBlock, len(column))]
		column = column[len(part):]
		_, size := bestRice(part)
		n += size + 5
	}
	return n
}

func bestRice(part []int64) (k uint, size uint64) {
	var sum float64
	for _, v := range part {
		sum += float64(zigzag(v))
	}
	// The best parameter is near the logarithm of the mean; the neighbours are tried.
	near := 0
	if mean := sum / float64(len(part)); mean > 1 {
		near = int(math.Log2(mean))
	}
	size = math.MaxUint64
	for c := max(near-2, 0); c <= min(near+1, maxRice) || size == math.MaxUint64; c++ {
		try := min(c, maxRice)
		n := uint64(0)
		for _, v := range part {
			if q := zigzag(v) >> try; q < escape {
				n += q + 1 + uint64(try) // #nosec G115 -- at most maxRice
			} else {
				n += escape + 64
			}
		}
		if n < size {
			k, size = uint(try), n // #nosec G115 -- at most maxRice
		}
	}
	return k, size
}

// decodeColumn is its inverse; it fails r rather than allocate for numbers that are not there.
func decodeColumn(r *bitReader, n int) []int64 {
	if n > r.left() { // a number has at least one bit
		r.bad = true
		return nil
	}
	column := make([]int64, 0, n)
	for len(column) < n && !r.bad {
		k := uint(r.get(5))
		for range min(subBlock, n-len(column)) {
			q := uint64(0)
			for q < escape && r.get(1) == 1 {
				q++
			}
			u := uint64(0)
			if q == escape {
				u = r.get(64)
			} else {
				u = q<<k | r.get(k)
			}
			column = append(column, int64(u>>1)^-int64(u&1)) // #nosec G115 -- zigzag
		}
	}
	return column
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) } // #nosec G115 -- two's complement on purpose

// bitWriter appends bits, the most significant first.
type bitWriter struct {
	b    []byte
	last uint64 // bits not yet in b, right-justified
	have uint
}

func (w *bitWriter) put(v uint64, n uint) {
	if n > 32 {
		w.put(v>>32, n-32)
		v, n = v&math.MaxUint32, 32
	}
	w.last, w.have = w.last<<n|v, w.have+n
	for w.have >= 8 {
		w.have -= 8
		w.b = append(w.b, byte(w.last>>w.have)) // #nosec G115 -- the byte that is full
	}
	w.last &= 1<<w.have - 1
}

// end fills the last byte with zeros.
func (w *bitWriter) end() []byte {
	if w.have > 0 {
		w.put(0, 8-w.have)
	}
	return w.b
}

// bitReader reads what bitWriter wrote. Beyond the end it gives zeros and becomes bad.
type bitReader struct {
	b   []byte
	at  int // in bits
	bad bool
}

func (r *bitReader) left() int { return len(r.b)*8 - r.at }

func (r *bitReader) get(n uint) (v uint64) {
	if int(n) > r.left() { // #nosec G115 -- at most 64
		r.bad, r.at = true, len(r.b)*8
		return 0
	}
	for n > 0 {
		off := uint(r.at) & 7 // #nosec G115 -- never negative
		take := min(8-off, n)
		v = v<<take | uint64(r.b[r.at>>3]<<off>>(8-take))
		r.at += int(take) // #nosec G115 -- at most 8
		n -= take
	}
	return v
}

// end reports whether all was read and was good: less than a byte is left, of zeros.
func (r *bitReader) end() bool {
	n := r.left()
	return !r.bad && n < 8 && bits.Len64(r.get(uint(n))) == 0 // #nosec G115 -- below 8
}
