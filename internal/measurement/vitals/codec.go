package vitals

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// MaxChunkBytes bounds an encoded chunk, and so what Decode may allocate.
const MaxChunkBytes = 64 << 10

// ErrMalformed says that bytes are no chunk.
var ErrMalformed = errors.New("vitals: malformed chunk")

const (
	codecVersion = 1
	// Bounds on what a chunk may hold; all far above what a gateway makes.
	maxSamples     = 16 << 10
	maxBundles     = 600
	maxEvents      = 256
	maxCodeBytes   = 32
	maxDetailBytes = 200
	maxRateMilli   = 10_000_000 // 10 kHz
	maxMicros      = 253402300799e6
)

// Encode turns a chunk into bytes (doc/formats/chunk.md). It is canonical: equal chunks give equal
// bytes. The error names the field that is out of its range. Times are kept to the microsecond,
// rates to the millihertz.
func Encode(c Chunk) ([]byte, error) {
	start, rate := c.Start.UnixMicro(), math.Round(float64(c.Rate)*1000)
	switch {
	case !c.Signal.Valid():
		return nil, fmt.Errorf("vitals: encode: signal: %s is not one", c.Signal)
	case start < 0 || start > maxMicros:
		return nil, errors.New("vitals: encode: start: not within 1970 to 9999")
	case c.ClockError < 0:
		return nil, errors.New("vitals: encode: clock error: negative")
	case !(rate >= 0 && rate <= maxRateMilli):
		return nil, errors.New("vitals: encode: rate: not within 0 to 10 kHz")
	}
	b := []byte{codecVersion, byte(c.Signal)}
	b = binary.AppendUvarint(b, uint64(start))                       // #nosec G115 -- checked above
	b = binary.AppendUvarint(b, uint64(c.ClockError.Microseconds())) // #nosec G115 -- checked above
	b = binary.AppendUvarint(b, uint64(rate))
	b = binary.AppendUvarint(b, uint64(c.Gap))
	var err error
	switch c.Signal {
	case PPG:
		b, err = encodePPG(b, c)
	case Pressure:
		b, err = encodePressure(b, c)
	case Numerics:
		b, err = encodeBundles(b, c)
	case Events:
		b, err = encodeEvents(b, c)
	}
	if err != nil {
		return nil, fmt.Errorf("vitals: encode: %w", err)
	}
	if len(b) > MaxChunkBytes {
		return nil, fmt.Errorf("vitals: encode: %d bytes, at most %d", len(b), MaxChunkBytes)
	}
	return b, nil
}

func encodePPG(b []byte, c Chunk) ([]byte, error) {
	switch {
	case c.Rate < 0.001: // less than the format's resolution
		return nil, errors.New("rate: missing")
	case len(c.Infrared) == 0 || len(c.Infrared) > maxSamples:
		return nil, fmt.Errorf("infrared: %d samples, want 1 to %d", len(c.Infrared), maxSamples)
	case c.Red != nil && len(c.Red) != len(c.Infrared):
		return nil, fmt.Errorf("red: %d samples, infrared has %d", len(c.Red), len(c.Infrared))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Infrared)))
	hasRed := byte(0)
	if c.Red != nil {
		hasRed = 1
	}
	b = append(b, hasRed)
	for _, channel := range [][]uint16{c.Infrared, c.Red} {
		last := int64(0)
		for _, v := range channel {
			b = binary.AppendVarint(b, int64(v)-last)
			last = int64(v)
		}
	}
	return b, nil
}

func encodePressure(b []byte, c Chunk) ([]byte, error) {
	switch {
	case c.Rate < 0.001: // less than the format's resolution
		return nil, errors.New("rate: missing")
	case len(c.PressurePa) == 0 || len(c.PressurePa) > maxSamples:
		return nil, fmt.Errorf("pressure: %d samples, want 1 to %d", len(c.PressurePa), maxSamples)
	}
	b = binary.AppendUvarint(b, uint64(len(c.PressurePa)))
	last := int64(0)
	for _, v := range c.PressurePa {
		b = binary.AppendVarint(b, int64(v)-last)
		last = int64(v)
	}
	return b, nil
}

func encodeBundles(b []byte, c Chunk) ([]byte, error) {
	if len(c.Bundles) == 0 || len(c.Bundles) > maxBundles {
		return nil, fmt.Errorf("bundles: %d, want 1 to %d", len(c.Bundles), maxBundles)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Bundles)))
	for i, bundle := range c.Bundles {
		at, err := offset(c.Start, bundle.At)
		if err != nil {
			return nil, fmt.Errorf("bundle %d: %w", i, err)
		}
		b = binary.AppendVarint(b, at)
		if len(bundle.Numerics) > int(MaxKind) {
			return nil, fmt.Errorf("bundle %d: %d numerics, there are only %d kinds", i, len(bundle.Numerics), MaxKind)
		}
		sorted := slices.Clone(bundle.Numerics)
		slices.SortFunc(sorted, func(x, y Numeric) int { return int(x.Kind) - int(y.Kind) })
		b = append(b, byte(len(sorted))) // #nosec G115 -- checked above
		for j, n := range sorted {
			switch {
			case !n.Kind.Valid():
				return nil, fmt.Errorf("bundle %d: %s is no kind", i, n.Kind)
			case j > 0 && sorted[j-1].Kind == n.Kind:
				return nil, fmt.Errorf("bundle %d: %s twice", i, n.Kind)
			case n.Quality > MaxQuality:
				return nil, fmt.Errorf("bundle %d: %s: %s is none", i, n.Kind, n.Quality)
			}
			b = append(b, byte(n.Kind), byte(n.Quality))
			if n.Quality.HasValue() {
				//defence:plausible a value lies in its kind's range
				if low, high := n.Kind.Range(); !(n.Value >= low && n.Value <= high) {
					return nil, fmt.Errorf("bundle %d: %s: value out of range %g to %g", i, n.Kind, low, high)
				}
				b = binary.BigEndian.AppendUint64(b, math.Float64bits(n.Value))
			}
		}
	}
	return b, nil
}

func encodeEvents(b []byte, c Chunk) ([]byte, error) {
	if len(c.Events) == 0 || len(c.Events) > maxEvents {
		return nil, fmt.Errorf("events: %d, want 1 to %d", len(c.Events), maxEvents)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Events)))
	for i, e := range c.Events {
		at, err := offset(c.Start, e.At)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		if err := checkEvent(e); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		b = binary.AppendVarint(b, at)
		b = append(append(b, byte(len(e.Code))), e.Code...)     // #nosec G115 -- checked by checkEvent
		b = append(append(b, byte(len(e.Detail))), e.Detail...) // #nosec G115 -- checked by checkEvent
	}
	return b, nil
}

func checkEvent(e Event) error {
	switch {
	case e.Code == "" || len(e.Code) > maxCodeBytes:
		return fmt.Errorf("code: %d bytes, want 1 to %d", len(e.Code), maxCodeBytes)
	case len(e.Detail) > maxDetailBytes:
		return fmt.Errorf("detail: %d bytes, at most %d", len(e.Detail), maxDetailBytes)
	case !utf8.ValidString(e.Code) || !utf8.ValidString(e.Detail):
		return errors.New("text is not UTF-8")
	}
	return nil
}

// offset is t's distance from start in microseconds; a day either way is enough for any chunk.
func offset(start, t time.Time) (int64, error) {
	d := t.UnixMicro() - start.UnixMicro()
	if d < -maxOffset || d > maxOffset {
		return 0, errors.New("time is more than a day from the chunk's start")
	}
	return d, nil
}

const maxOffset = 24 * 3600 * 1e6

// Decode is the inverse of Encode. The error wraps ErrMalformed; foreign bytes cannot make it panic
// or allocate more than a small multiple of MaxChunkBytes. Only the canonical encoding is accepted.
func Decode(b []byte) (Chunk, error) {
	if len(b) > MaxChunkBytes {
		return Chunk{}, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxChunkBytes)
	}
	r := &reader{b: b}
	c := decode(r)
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return Chunk{}, r.err
	}
	return c, nil
}

// Peek reads which signal an encoded chunk is of and when it starts, without decoding the rest. The
// error wraps ErrMalformed.
func Peek(b []byte) (Signal, time.Time, error) {
	r := &reader{b: b}
	c := decodeStart(r)
	return c.Signal, c.Start, r.err
}

func decodeStart(r *reader) (c Chunk) {
	if v := r.byte(); r.err == nil && v != codecVersion {
		r.fail("unknown version")
	}
	c.Signal = Signal(r.byte())
	c.Start = time.UnixMicro(int64(r.uvarint(maxMicros))).UTC() // #nosec G115 -- bounded
	return c
}

func decode(r *reader) Chunk {
	c := decodeStart(r)
	c.ClockError = time.Duration(r.uvarint(math.MaxInt64/1000)) * time.Microsecond // #nosec G115 -- bounded
	c.Rate = Hertz(float64(r.uvarint(maxRateMilli)) / 1000)
	c.Gap = uint32(r.uvarint(math.MaxUint32)) // #nosec G115 -- bounded
	if r.err != nil {
		return c
	}
	switch c.Signal {
	case PPG:
		n := r.samples(c)
		hasRed := r.byte()
		if hasRed > 1 {
			r.fail("red flag")
		}
		c.Infrared = r.deltas16(n)
		if hasRed == 1 {
			c.Red = r.deltas16(n)
		}
	case Pressure:
		c.PressurePa = r.deltas32(r.samples(c))
	case Numerics:
		c.Bundles = r.bundles(c.Start)
	case Events:
		c.Events = r.events(c.Start)
	default:
		r.fail("unknown signal")
	}
	return c
}

// reader takes fields off the front; after the first failure it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("truncated")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	// A last byte of zero is a longer spelling of the same number; there is only one.
	if n <= 0 || n > 1 && r.b[n-1] == 0 || v > most {
		r.fail("number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint(low, high int64) int64 {
	u := r.uvarint(math.MaxUint64)
	v := int64(u >> 1) // #nosec G115 -- zigzag
	if u&1 != 0 {
		v = ^v
	}
	if v < low || v > high {
		r.fail("number")
		return 0
	}
	return v
}

// samples is the length of a waveform; every sample takes a byte at least, so a lying length costs
// nothing.
func (r *reader) samples(c Chunk) int {
	n := int(r.uvarint(maxSamples)) // #nosec G115 -- bounded
	if c.Rate <= 0 || n == 0 || n > len(r.b) {
		r.fail("samples")
		return 0
	}
	return n
}

func (r *reader) deltas16(n int) []uint16 {
	if n > len(r.b) {
		r.fail("truncated")
		return nil
	}
	s, last := make([]uint16, n), int64(0)
	for i := range s {
		last += r.varint(-last, math.MaxUint16-last)
		s[i] = uint16(last) // #nosec G115 -- bounded
	}
	return s
}

func (r *reader) deltas32(n int) []int32 {
	if n > len(r.b) {
		r.fail("truncated")
		return nil
	}
	s, last := make([]int32, n), int64(0)
	for i := range s {
		last += r.varint(math.MinInt32-last, math.MaxInt32-last)
		s[i] = int32(last) // #nosec G115 -- bounded
	}
	return s
}

func (r *reader) bundles(start time.Time) []Bundle {
	n := int(r.uvarint(maxBundles)) // #nosec G115 -- bounded
	if n == 0 || n > len(r.b) {
		r.fail("bundles")
		return nil
	}
	list := make([]Bundle, 0, n)
	for range n {
		bundle := Bundle{At: r.time(start)}
		count, last := int(r.byte()), Kind(0)
		if count > int(MaxKind) {
			r.fail("numerics")
			return nil
		}
		for range count {
			k, q := Kind(r.byte()), Quality(r.byte())
			if r.err != nil || !k.Valid() || k <= last || q > MaxQuality {
				r.fail("numeric")
				return nil
			}
			last = k
			m := Numeric{Kind: k, Quality: q}
			if q.HasValue() {
				if len(r.b) < 8 {
					r.fail("truncated")
					return nil
				}
				m.Value = math.Float64frombits(binary.BigEndian.Uint64(r.b))
				r.b = r.b[8:]
				//defence:plausible a value lies in its kind's range
				if low, high := k.Range(); !(m.Value >= low && m.Value <= high) {
					r.fail("value out of range")
					return nil
				}
			}
			bundle.Numerics = append(bundle.Numerics, m)
		}
		list = append(list, bundle)
	}
	return list
}

func (r *reader) events(start time.Time) []Event {
	n := int(r.uvarint(maxEvents)) // #nosec G115 -- bounded
	if n == 0 || n > len(r.b) {
		r.fail("events")
		return nil
	}
	list := make([]Event, 0, n)
	for range n {
		e := Event{At: r.time(start), Code: r.text(), Detail: r.text()}
		if r.err == nil && checkEvent(e) != nil {
			r.fail("event")
		}
		list = append(list, e)
	}
	return list
}

func (r *reader) time(start time.Time) time.Time {
	t := start.UnixMicro() + r.varint(-maxOffset, maxOffset)
	return time.UnixMicro(t).UTC()
}

func (r *reader) text() string {
	n := int(r.byte())
	if n > len(r.b) {
		r.fail("truncated")
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
