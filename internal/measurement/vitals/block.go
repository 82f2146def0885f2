package vitals

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds on a block, far above what half a minute of anything is.
const (
	// MaxBlockChunks is the most chunks that one block holds.
	MaxBlockChunks = 4096
	// MaxBlockBytes bounds an encoded block, and so what DecodeBlock may allocate: a small
	// multiple.
	MaxBlockBytes = 1 << 20

	blockVersion    = 1
	maxBlockSamples = 256 << 10
)

// ErrBlock says that chunks cannot be in one block.
var ErrBlock = errors.New("vitals: chunks do not make a block")

// EncodeBlock puts chunks of one stream, in any order and with any holes, into one piece, without
// loss: DecodeBlock gives back exactly these (doc/formats/block.md). A wave is predicted from its
// last samples, red from infrared as well, and what remains is Rice coded, as Robinson's Shorten
// (1994) and FLAC do. Every chunk must be one that Encode takes.
func EncodeBlock(chunks []Chunk) ([]byte, error) {
	if len(chunks) == 0 || len(chunks) > MaxBlockChunks {
		return nil, fmt.Errorf("%w: %d chunks, want 1 to %d", ErrBlock, len(chunks), MaxBlockChunks)
	}
	signal := chunks[0].Signal
	b := []byte{blockVersion, byte(signal)}
	b = binary.AppendUvarint(b, uint64(len(chunks)))
	if signal != PPG && signal != Pressure {
		for i, c := range chunks {
			one, err := Encode(c)
			if err != nil {
				return nil, fmt.Errorf("chunk %d: %w", i, err)
			}
			if c.Signal != signal {
				return nil, fmt.Errorf("%w: chunk %d is of %s, the first of %s", ErrBlock, i, c.Signal, signal)
			}
			b = binary.AppendUvarint(b, uint64(len(one)))
			b = append(b, one...)
		}
		return within(b)
	}
	var total int
	var last header
	var infrared, red, pressure []int64
	for i, c := range chunks {
		if _, err := Encode(c); err != nil { // the bounds are Encode's
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
		if c.Signal != signal {
			return nil, fmt.Errorf("%w: chunk %d is of %s, the first of %s", ErrBlock, i, c.Signal, signal)
		}
		h := headerOf(c)
		b = h.append(b, last)
		last = h
		total += int(h.samples)
		for k := range c.Infrared {
			infrared = append(infrared, int64(c.Infrared[k]))
		}
		for k := range c.Red {
			red = append(red, int64(c.Red[k]))
		}
		for k := range c.PressurePa {
			pressure = append(pressure, int64(c.PressurePa[k]))
		}
	}
	if total > maxBlockSamples {
		return nil, fmt.Errorf("%w: %d samples, at most %d", ErrBlock, total, maxBlockSamples)
	}
	w := &bitWriter{b: b}
	if signal == Pressure {
		encodeChannel(w, pressure, nil)
		return within(w.end())
	}
	encodeChannel(w, infrared, nil)
	if len(red) > 0 {
		encodeChannel(w, red, beside(infrared, len(red)))
	}
	return within(w.end())
}

// beside is the other wavelength where both have all samples.
func beside(infrared []int64, reds int) []int64 {
	if len(infrared) == reds {
		return infrared
	}
	return nil
}

func within(b []byte) ([]byte, error) {
	if len(b) > MaxBlockBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBlock, len(b), MaxBlockBytes)
	}
	return b, nil
}

// DecodeBlock is the inverse of EncodeBlock. The error wraps ErrMalformed; foreign bytes cannot
// make it panic or allocate more than a small multiple of MaxBlockBytes.
func DecodeBlock(b []byte) ([]Chunk, error) {
	if len(b) > MaxBlockBytes {
		return nil, fmt.Errorf("%w: block of %d bytes, at most %d", ErrMalformed, len(b), MaxBlockBytes)
	}
	r := &reader{b: b}
	if v := r.byte(); r.err == nil && v != blockVersion {
		r.fail("unknown version of a block")
	}
	signal := Signal(r.byte())
	n := int(r.uvarint(MaxBlockChunks)) // #nosec G115 -- bounded
	if r.err == nil && (n == 0 || n > len(r.b) || !signal.Valid()) {
		r.fail("block")
	}
	if r.err != nil {
		return nil, r.err
	}
	if signal != PPG && signal != Pressure {
		return r.whole(signal, n)
	}
	return r.waves(signal, n)
}

// whole are chunks each as Encode made it.
func (r *reader) whole(signal Signal, n int) ([]Chunk, error) {
	chunks := make([]Chunk, 0, n)
	for range n {
		size := int(r.uvarint(MaxChunkBytes)) // #nosec G115 -- bounded
		if size > len(r.b) {
			r.fail("truncated block")
		}
		if r.err != nil {
			return nil, r.err
		}
		c, err := Decode(r.b[:size])
		if err != nil {
			return nil, err
		}
		if c.Signal != signal {
			r.fail("another signal in a block")
			return nil, r.err
		}
		r.b = r.b[size:]
		chunks = append(chunks, c)
	}
	if len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	return chunks, r.err
}

func (r *reader) waves(signal Signal, n int) ([]Chunk, error) {
	headers := make([]header, 0, n)
	var last header
	var total, reds int64
	for range n {
		h := r.header(last)
		if r.err != nil {
			return nil, r.err
		}
		if total += h.samples; total > maxBlockSamples || h.red && signal != PPG {
			r.fail("samples of a block")
			return nil, r.err
		}
		if h.red {
			reds += h.samples
		}
		headers, last = append(headers, h), h
	}
	// A sample takes a bit at least, so a lying count costs little.
	if total+reds > int64(len(r.b))*8 {
		r.fail("samples of a block")
		return nil, r.err
	}
	low, high := int64(0), int64(math.MaxUint16)
	if signal == Pressure {
		low, high = math.MinInt32, math.MaxInt32
	}
	in := &bitReader{b: r.b}
	first := decodeChannel(in, int(total), nil, low, high)
	var red []int64
	if reds > 0 {
		red = decodeChannel(in, int(reds), beside(first, int(reds)), low, high)
	}
	if !in.end() {
		return nil, fmt.Errorf("%w: samples of a block", ErrMalformed)
	}
	chunks := make([]Chunk, n)
	for i, h := range headers {
		c := Chunk{Signal: signal, Start: time.UnixMicro(h.start).UTC(), ClockError: time.Duration(h.clockError) * time.Microsecond,
			Rate: Hertz(float64(h.rate) / 1000), Gap: uint32(h.gap)} // #nosec G115 -- checked by header
		if signal == Pressure {
			c.PressurePa = make([]int32, h.samples)
			for k := range c.PressurePa {
				c.PressurePa[k] = int32(first[k]) // #nosec G115 -- within low and high
			}
		} else {
			c.Infrared = codes(first[:h.samples])
			if h.red {
				c.Red = codes(red[:h.samples])
				red = red[h.samples:]
			}
		}
		first = first[h.samples:]
		chunks[i] = c
	}
	return chunks, nil
}

func codes(v []int64) []uint16 {
	c := make([]uint16, len(v))
	for i := range v {
		c[i] = uint16(v[i]) // #nosec G115 -- within low and high
	}
	return c
}

// header is what a wave's chunk has beside its samples: microseconds and millihertz.
type header struct {
	start, clockError, rate, gap, samples int64
	red                                   bool
}

func headerOf(c Chunk) header {
	return header{start: c.Start.UnixMicro(), clockError: c.ClockError.Microseconds(), rate: int64(math.Round(float64(c.Rate) * 1000)),
		gap: int64(c.Gap), samples: int64(len(c.Infrared) + len(c.PressurePa)), red: c.Red != nil}
}

// next is where the following chunk begins if nothing is missing.
func (h header) next() int64 {
	if h.rate == 0 {
		return 0
	}
	return h.start + (h.samples*1e9+h.rate/2)/h.rate
}

// append writes a header as its differences from the one before it.
func (h header) append(b []byte, last header) []byte {
	flags := byte(0)
	if h.red {
		flags |= 1
	}
	if h.gap != 0 {
		flags |= 2
	}
	if h.clockError != last.clockError {
		flags |= 4
	}
	if h.samples != last.samples {
		flags |= 8
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, h.start-last.next())
	b = binary.AppendVarint(b, h.rate-last.rate)
	if h.gap != 0 {
		b = binary.AppendUvarint(b, uint64(h.gap)) // #nosec G115 -- not negative
	}
	if h.clockError != last.clockError {
		b = binary.AppendVarint(b, h.clockError-last.clockError)
	}
	if h.samples != last.samples {
		b = binary.AppendVarint(b, h.samples-last.samples)
	}
	return b
}

func (r *reader) header(last header) (h header) {
	flags := r.byte()
	h.red = flags&1 != 0
	h.start = last.next() + r.varint(-maxMicros, maxMicros)
	h.rate = last.rate + r.varint(-maxRateMilli, maxRateMilli)
	h.clockError, h.samples = last.clockError, last.samples
	if flags&2 != 0 {
		h.gap = int64(r.uvarint(math.MaxUint32)) // #nosec G115 -- bounded
	}
	if flags&4 != 0 {
		h.clockError += r.varint(-math.MaxInt64/2000, math.MaxInt64/2000)
	}
	if flags&8 != 0 {
		h.samples += r.varint(-maxSamples, maxSamples)
	}
	if r.err == nil && (flags > 15 || flags&2 != 0 && h.gap == 0 || h.start < 0 || h.start > maxMicros || h.rate < 1 || h.rate > maxRateMilli ||
		h.clockError < 0 || h.clockError > math.MaxInt64/2000 || h.samples < 1 || h.samples > maxSamples) {
		r.fail("header in a block")
	}
	return h
}
