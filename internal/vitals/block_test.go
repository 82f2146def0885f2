package vitals_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vitalseal/internal/vitals"
)

// blocks are what a store would put together.
func blocks() map[string][]vitals.Chunk {
	ppg := func(n int) (list []vitals.Chunk) {
		for i := range n {
			c := vitals.Chunk{Signal: vitals.PPG, Start: start.Add(time.Duration(i) * 250 * time.Millisecond), Rate: 100}
			for j := range 25 {
				beat := math.Sin(float64(i*25+j) / 13)
				c.Infrared = append(c.Infrared, uint16(39000+300*beat))
				c.Red = append(c.Red, uint16(38000+150*beat))
			}
			list = append(list, c)
		}
		return list
	}
	odd := ppg(4)
	odd[1].Gap, odd[2].ClockError = math.MaxUint32, 7*time.Millisecond
	odd[2].Start = odd[2].Start.Add(3 * time.Second) // a hole
	odd[3].Start = start.Add(-time.Hour)             // and a clock that was set
	odd[3].Infrared, odd[3].Red = []uint16{65535}, []uint16{0}
	return map[string][]vitals.Chunk{
		"thirty seconds": ppg(120),
		"one chunk":      ppg(1),
		"odd":            odd,
		"one wavelength": {{Signal: vitals.PPG, Start: start, Rate: 24.95, Infrared: []uint16{1, 65535, 0}}},
		"pressure": {{Signal: vitals.Pressure, Start: start, Rate: 100, PressurePa: []int32{-5, math.MaxInt32, math.MinInt32, 4}},
			{Signal: vitals.Pressure, Start: start.Add(time.Second), Rate: 100, PressurePa: []int32{math.MaxInt32, math.MinInt32}}},
	}
}

func TestBlockRoundTrip(t *testing.T) {
	for name, chunks := range blocks() {
		b, err := vitals.EncodeBlock(chunks)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := vitals.DecodeBlock(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(chunks, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		for cut := range b {
			if _, err := vitals.DecodeBlock(b[:cut]); !errors.Is(err, vitals.ErrMalformed) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, cut, len(b), err)
			}
		}
		if _, err := vitals.DecodeBlock(append(b, 0)); !errors.Is(err, vitals.ErrMalformed) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		if _, err := vitals.Decode(b); !errors.Is(err, vitals.ErrMalformed) {
			t.Errorf("%s taken for a chunk: %v", name, err)
		}
	}
}

func TestBlockRefusesWhatDoesNotFit(t *testing.T) {
	one := blocks()["one chunk"][0]
	change := func(f func(c *vitals.Chunk)) vitals.Chunk { c := one; f(&c); return c }
	for name, chunks := range map[string][]vitals.Chunk{
		"none":         nil,
		"another rate": {one, change(func(c *vitals.Chunk) { c.Rate = 50 })},
		"no red":       {one, change(func(c *vitals.Chunk) { c.Red = nil })},
		"another kind": {one, {Signal: vitals.Pressure, Start: start, Rate: 100, PressurePa: []int32{1}}},
		"too many":     make([]vitals.Chunk, vitals.MaxBlockChunks+1),
		"too long":     {change(long), change(long), change(long)},
	} {
		if _, err := vitals.EncodeBlock(chunks); !errors.Is(err, vitals.ErrNoBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]vitals.Chunk{
		"numerics":    examples()["numerics"],
		"no samples":  {Signal: vitals.PPG, Start: start, Rate: 100},
		"no rate":     {Signal: vitals.PPG, Start: start, Infrared: []uint16{1}},
		"uneven":      {Signal: vitals.PPG, Start: start, Rate: 100, Infrared: []uint16{1, 2}, Red: []uint16{1}},
		"before 1970": {Signal: vitals.PPG, Start: time.Unix(-1, 0), Rate: 100, Infrared: []uint16{1}},
		"clock error": {Signal: vitals.PPG, Start: start, Rate: 100, ClockError: -1, Infrared: []uint16{1}},
	} {
		if _, err := vitals.EncodeBlock([]vitals.Chunk{c}); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

func long(c *vitals.Chunk) { c.Infrared, c.Red = make([]uint16, 16<<10), make([]uint16, 16<<10) }

func TestBlockRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pressure := rapid.Bool().Draw(t, "pressure")
		at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "start")).UTC()
		var chunks []vitals.Chunk
		for range rapid.IntRange(1, 6).Draw(t, "chunks") {
			n := rapid.IntRange(1, 90).Draw(t, "n")
			at = at.Add(time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "later")) * time.Microsecond)
			c := vitals.Chunk{Signal: vitals.PPG, Rate: 64, Start: at, Gap: rapid.Uint32().Draw(t, "gap"),
				ClockError: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "error")) * time.Microsecond}
			if pressure {
				c.Signal = vitals.Pressure
				c.PressurePa = rapid.SliceOfN(rapid.Int32(), n, n).Draw(t, "pressure")
			} else {
				c.Infrared = rapid.SliceOfN(rapid.Uint16(), n, n).Draw(t, "infrared")
				c.Red = rapid.SliceOfN(rapid.Uint16(), n, n).Draw(t, "red")
			}
			chunks = append(chunks, c)
		}
		b, err := vitals.EncodeBlock(chunks)
		if err != nil {
			t.Fatal(err)
		}
		got, err := vitals.DecodeBlock(b)
		if err != nil || cmp.Diff(chunks, got) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(chunks, got))
		}
	})
}

// FuzzDecodeBlock: foreign bytes give ErrMalformed or chunks that survive another round.
func FuzzDecodeBlock(f *testing.F) {
	for _, chunks := range blocks() {
		b, err := vitals.EncodeBlock(chunks)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		chunks, err := vitals.DecodeBlock(b)
		if err != nil {
			if !errors.Is(err, vitals.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := vitals.EncodeBlock(chunks)
		if err != nil {
			t.Fatalf("decoded but does not encode: %v", err)
		}
		got, err := vitals.DecodeBlock(again)
		if err != nil || cmp.Diff(chunks, got) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(chunks, got))
		}
	})
}
