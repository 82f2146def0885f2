package vitals

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxBlockBytes bounds an encoded block, and so what DecodeBlock may allocate.
const MaxBlockBytes = 256 << 10

// MaxBlockChunks is how many chunks a block may hold: 30 s of 250 ms chunks are 120.
const MaxBlockChunks = 1024

// ErrNoBlock says that chunks cannot share a block: another signal, rate or set of wavelengths, or too many.
var ErrNoBlock = errors.New("vitals: chunks do not fit one block")

const (
	// blockVersion is the first byte. A chunk begins with 1, so that one can never be taken for the other.
	blockVersion = 0x81
	// maxBlockSamples is 30 s at 1 kHz, rounded up.
	maxBlockSamples = 32 << 10
)

// EncodeBlock turns consecutive waveform chunks of one stream into fewer bytes than they have one by one, without loss
// (doc/formats/block.md): DecodeBlock gives the same chunks back. They must share Signal, Rate and the presence of Red,
// otherwise the error wraps ErrNoBlock. Where one chunk ends, when it began, its gap and its clock error are kept.
func EncodeBlock(chunks []Chunk) ([]byte, error) {
	if len(chunks) == 0 || len(chunks) > MaxBlockChunks {
		return nil, fmt.Errorf("%w: %d chunks, want 1 to %d", ErrNoBlock, len(chunks), MaxBlockChunks)
	}
	first, total := chunks[0], 0
	milli := math.Round(float64(first.Rate) * 1000)
	for i, c := range chunks {
		if err := checkWaveform(c); err != nil {
			return nil, fmt.Errorf("vitals: encode block: chunk %d: %w", i, err)
		}
		if c.Signal != first.Signal || (c.Red != nil) != (first.Red != nil) || math.Round(float64(c.Rate)*1000) != milli {
			return nil, fmt.Errorf("%w: chunk %d differs from the first in signal, rate or wavelengths", ErrNoBlock, i)
		}
		total += c.samples()
	}
	if total > maxBlockSamples {
		return nil, fmt.Errorf("%w: %d samples, at most %d", ErrNoBlock, total, maxBlockSamples)
	}
	shape := byte(0)
	if first.Red != nil {
		shape = 1
	}
	b := []byte{blockVersion, byte(first.Signal), shape}
	b = binary.AppendUvarint(b, uint64(milli))
	b = binary.AppendUvarint(b, uint64(len(chunks)))
	b = binary.AppendUvarint(b, uint64(first.Start.UnixMicro())) // #nosec G115 -- checkWaveform
	b = binary.AppendUvarint(b, uint64(total))
	w := &bitWriter{b: b}
	encodeHeads(w, chunks, int64(milli))
	switch first.Signal {
	case PPG:
		infrared, red := make([]int64, 0, total), make([]int64, 0, total)
		for _, c := range chunks {
			infrared, red = appendInts(infrared, c.Infrared), appendInts(red, c.Red)
		}
		encodeChannel(w, infrared, nil)
		if first.Red != nil {
			encodeChannel(w, red, infrared)
		}
	case Pressure:
		pressure := make([]int64, 0, total)
		for _, c := range chunks {
			pressure = appendInts(pressure, c.PressurePa)
		}
		encodeChannel(w, pressure, nil)
	}
	b = w.end()
	if len(b) > MaxBlockBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrNoBlock, len(b), MaxBlockBytes)
	}
	return b, nil
}

// checkWaveform holds c against the bounds that Encode has, so that what comes out of a block is a chunk again.
func checkWaveform(c Chunk) error {
	if c.Signal != PPG && c.Signal != Pressure {
		return fmt.Errorf("signal: %s is no waveform", c.Signal)
	}
	if start := c.Start.UnixMicro(); start < 0 || start > maxMicros {
		return errors.New("start: not within 1970 to 9999")
	}
	if c.ClockError < 0 {
		return errors.New("clock error: negative")
	}
	if rate := float64(c.Rate) * 1000; !(rate >= 1 && rate <= maxRateMilli) {
		return errors.New("rate: not within 1 mHz to 10 kHz")
	}
	if n := c.samples(); n == 0 || n > maxSamples {
		return fmt.Errorf("%d samples, want 1 to %d", n, maxSamples)
	}
	if c.Red != nil && len(c.Red) != len(c.Infrared) {
		return fmt.Errorf("red: %d samples, infrared has %d", len(c.Red), len(c.Infrared))
	}
	return nil
}

func (c Chunk) samples() int {
	if c.Signal == PPG {
		return len(c.Infrared)
	}
	return len(c.PressurePa)
}

func appendInts[T uint16 | int32](to []int64, from []T) []int64 {
	for _, v := range from {
		to = append(to, int64(v))
	}
	return to
}

// lasts is how long n samples last at milli mHz, in microseconds.
func lasts(n, milli int64) int64 { return n * 1_000_000_000 / milli }

// heads are what chunks say about themselves, a column each, as differences that are mostly zero.
func encodeHeads(w *bitWriter, chunks []Chunk, milli int64) {
	var counts, starts, gaps, clocks []int64
	due, count, clock := chunks[0].Start.UnixMicro(), int64(0), int64(0)
	for _, c := range chunks {
		n, at, off := int64(c.samples()), c.Start.UnixMicro(), c.ClockError.Microseconds()
		counts = append(counts, n-count)
		starts = append(starts, at-due)
		gaps = append(gaps, int64(c.Gap))
		clocks = append(clocks, off-clock)
		due, count, clock = at+lasts(n, milli), n, off
	}
	for _, column := range [][]int64{counts, starts, gaps, clocks} {
		encodeColumn(w, column)
	}
}

// DecodeBlock is the inverse of EncodeBlock. The error wraps ErrMalformed; foreign bytes cannot make it panic or allocate
// more than a small multiple of MaxBlockBytes.
func DecodeBlock(b []byte) ([]Chunk, error) {
	if len(b) > MaxBlockBytes {
		return nil, fmt.Errorf("%w: block of %d bytes, at most %d", ErrMalformed, len(b), MaxBlockBytes)
	}
	r := &reader{b: b}
	if v := r.byte(); r.err == nil && v != blockVersion {
		r.fail("unknown block version")
	}
	signal, shape := Signal(r.byte()), r.byte()
	milli := int64(r.uvarint(maxRateMilli)) // #nosec G115 -- bounded
	n := int(r.uvarint(MaxBlockChunks))     // #nosec G115 -- bounded
	start := int64(r.uvarint(maxMicros))    // #nosec G115 -- bounded
	total := int(r.uvarint(maxBlockSamples))
	if r.err != nil {
		return nil, r.err
	}
	if signal != PPG && signal != Pressure || shape > 1 || shape == 1 && signal != PPG || milli == 0 || n == 0 || total < n {
		return nil, fmt.Errorf("%w: block header", ErrMalformed)
	}
	bits := &bitReader{b: r.b}
	chunks, ends := decodeHeads(bits, signal, milli, start, n, total)
	low, high := int64(0), int64(math.MaxUint16)
	if signal == Pressure {
		low, high = math.MinInt32, math.MaxInt32
	}
	main := decodeChannel(bits, total, nil, low, high)
	var red []int64
	if shape == 1 {
		red = decodeChannel(bits, total, main, low, high)
	}
	if !bits.end() {
		return nil, fmt.Errorf("%w: block body", ErrMalformed)
	}
	from := 0
	for i, to := range ends {
		c := &chunks[i]
		if signal == Pressure {
			c.PressurePa = narrow[int32](main[from:to])
		} else {
			c.Infrared = narrow[uint16](main[from:to])
			if shape == 1 {
				c.Red = narrow[uint16](red[from:to])
			}
		}
		from = to
	}
	return chunks, nil
}

func narrow[T uint16 | int32](from []int64) []T {
	to := make([]T, len(from))
	for i, v := range from {
		to[i] = T(v) // #nosec G115 -- decodeChannel bounded it
	}
	return to
}

// decodeHeads are the chunks without samples, and where in the channel each ends. What does not fit fails r.
func decodeHeads(r *bitReader, signal Signal, milli, start int64, n, total int) (chunks []Chunk, ends []int) {
	var columns [4][]int64
	for i := range columns {
		columns[i] = decodeColumn(r, n)
	}
	if r.bad {
		return nil, nil
	}
	due, count, clock, end := start, int64(0), int64(0), int64(0)
	const maxClock = math.MaxInt64 / 1000
	for i := range n {
		// Each is bounded before it is added to: none of the sums can wrap.
		if !bounded(columns[0][i], maxSamples) || !bounded(columns[1][i], maxMicros) || !bounded(columns[3][i], maxClock) {
			r.bad = true
			return nil, nil
		}
		at, gap := due+columns[1][i], columns[2][i]
		count += columns[0][i]
		clock += columns[3][i]
		end += count
		if count < 1 || count > maxSamples || end > int64(total) || at < 0 || at > maxMicros ||
			gap < 0 || gap > math.MaxUint32 || clock < 0 || clock > maxClock {
			r.bad = true
			return nil, nil
		}
		chunks = append(chunks, Chunk{Signal: signal, Start: time.UnixMicro(at).UTC(), Gap: uint32(gap),
			ClockError: time.Duration(clock) * time.Microsecond, Rate: Hertz(float64(milli) / 1000)})
		ends = append(ends, int(end))
		due = at + lasts(count, milli)
	}
	if end != int64(total) {
		r.bad = true
	}
	return chunks, ends
}

func bounded(v, most int64) bool { return v >= -most && v <= most }
