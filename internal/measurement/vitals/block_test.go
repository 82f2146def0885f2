package vitals_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
)

var blockStart = time.Date(2026, 11, 23, 8, 0, 0, 123000, time.UTC)

// wave is n chunks of red and infrared as a gateway makes them: uneven lengths, a drifting rate,
// holes.
func wave(n int, noise uint16, r *rand.Rand) (chunks []vitals.Chunk) {
	at := blockStart
	for i := range n {
		c := vitals.Chunk{Signal: vitals.PPG, Start: at, Rate: 100 + vitals.Hertz(r.IntN(200))/1000}
		for range 20 + r.IntN(10) {
			c.Infrared = append(c.Infrared, 30000+uint16(i)+uint16(r.IntN(int(noise))))
			c.Red = append(c.Red, 20000+uint16(r.IntN(int(noise))))
		}
		if i%7 == 3 {
			c.Gap, c.ClockError = 12, 3*time.Millisecond
			c.Start = c.Start.Add(time.Second)
		}
		if i%11 == 5 {
			c.Red = nil
		}
		chunks = append(chunks, c)
		at = c.End().Truncate(time.Microsecond)
	}
	return chunks
}

func TestBlockGivesBackWhatItGot(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pressure := vitals.Chunk{Signal: vitals.Pressure, Start: blockStart, Rate: 100, PressurePa: []int32{-5, 1 << 30, -(1 << 31), 0, 12000}}
	numerics := vitals.Chunk{Signal: vitals.Numerics, Start: blockStart, Bundles: []vitals.Bundle{{At: blockStart, Numerics: []vitals.Numeric{
		vitals.Checked(vitals.HeartRate, 71.5, vitals.Good), vitals.Absent(vitals.SpO2, vitals.ProbeOff)}}}}
	extreme := vitals.Chunk{Signal: vitals.PPG, Start: blockStart, Rate: 50, Infrared: []uint16{0, 65535, 0, 65535, 1}}
	for name, chunks := range map[string][]vitals.Chunk{
		"quiet": wave(120, 8, r), "noisy": wave(120, 4000, r), "wild": wave(9, 35000, r), "one": wave(1, 8, r),
		"pressure": {pressure, pressure}, "numerics": {numerics, numerics, numerics}, "extreme": {extreme, extreme},
		"backwards": {wave(2, 8, r)[1], wave(2, 8, r)[0]},
	} {
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
		for i := range b { // cut anywhere, it is refused
			if _, err := vitals.DecodeBlock(b[:i]); !errors.Is(err, vitals.ErrMalformed) {
				t.Fatalf("%s: %d of %d bytes: %v", name, i, len(b), err)
			}
		}
	}
}

func TestBlockRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	numerics := vitals.Chunk{Signal: vitals.Numerics, Start: blockStart, Bundles: []vitals.Bundle{{At: blockStart}}}
	for name, chunks := range map[string][]vitals.Chunk{
		"none": nil, "two signals": append(wave(1, 8, r), numerics), "too many": make([]vitals.Chunk, vitals.MaxBlockChunks+1),
	} {
		if _, err := vitals.EncodeBlock(chunks); !errors.Is(err, vitals.ErrBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vitals.EncodeBlock([]vitals.Chunk{{Signal: vitals.PPG, Start: blockStart}}); err == nil {
		t.Error("a chunk that Encode refuses")
	}
}

// FuzzBlock: whatever the bytes are, they are refused, or what they hold survives another round.
func FuzzBlock(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, noise := range []uint16{4, 300} {
		b, err := vitals.EncodeBlock(wave(5, noise, r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{1, 2, 1, 3, 1, 2, 3})
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
			t.Fatal(err)
		}
		got, err := vitals.DecodeBlock(again)
		if err != nil {
			t.Fatal(err)
		}
		one, err1 := vitals.EncodeBlock(got)
		if err1 != nil || !bytes.Equal(one, again) {
			t.Fatal("another round gives something else")
		}
	})
}
