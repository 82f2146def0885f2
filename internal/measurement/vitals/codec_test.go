package vitals_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vitalseal/internal/measurement/vitals"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 250_000_000, time.UTC)

func numeric(k vitals.Kind, v float64) vitals.Numeric {
	return vitals.Numeric{Kind: k, Value: v, Quality: vitals.Good}
}

func examples() map[string]vitals.Chunk {
	return map[string]vitals.Chunk{
		"ppg": {Signal: vitals.PPG, Start: start, ClockError: 3 * time.Millisecond, Rate: 100, Gap: 2,
			Red: []uint16{40000, 40010, 0, 65535}, Infrared: []uint16{50000, 49990, 65535, 0}},
		"one wavelength": {Signal: vitals.PPG, Start: start, Rate: 24.95, Infrared: []uint16{1}},
		"pressure":       {Signal: vitals.Pressure, Start: start, Rate: 100, PressurePa: []int32{-5, 24000, math.MaxInt32, math.MinInt32}},
		"numerics": {Signal: vitals.Numerics, Start: start, Bundles: []vitals.Bundle{
			{At: start, Numerics: []vitals.Numeric{numeric(vitals.HeartRate, 71.5), vitals.Absent(vitals.SpO2, vitals.Motion)}},
			{At: start.Add(time.Second)},
		}},
		"events": {Signal: vitals.Events, Start: start, Events: []vitals.Event{{At: start.Add(-time.Second), Code: "gap", Detail: "12 samples"}}},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, c := range examples() {
		b, err := vitals.Encode(c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := vitals.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(c, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		for cut := range b {
			if _, err := vitals.Decode(b[:cut]); !errors.Is(err, vitals.ErrMalformed) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, cut, len(b), err)
			}
		}
		if _, err := vitals.Decode(append(b, 0)); !errors.Is(err, vitals.ErrMalformed) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

func TestEncodeNamesTheBadField(t *testing.T) {
	bundle := func(n ...vitals.Numeric) vitals.Chunk {
		return vitals.Chunk{Signal: vitals.Numerics, Start: start, Bundles: []vitals.Bundle{{At: start, Numerics: n}}}
	}
	for want, c := range map[string]vitals.Chunk{
		"signal":                     {Start: start},
		"start":                      {Signal: vitals.PPG, Rate: 100, Infrared: []uint16{1}, Start: time.Unix(-1, 0)},
		"rate":                       {Signal: vitals.PPG, Start: start, Infrared: []uint16{1}},
		"rate: missing":              {Signal: vitals.Pressure, Start: start, Rate: 0.0004, PressurePa: []int32{1}},
		"infrared":                   {Signal: vitals.PPG, Start: start, Rate: 100},
		"red: 1":                     {Signal: vitals.PPG, Start: start, Rate: 100, Infrared: []uint16{1, 2}, Red: []uint16{1}},
		"heart_rate_bpm: value":      bundle(numeric(vitals.HeartRate, 301)),
		"spo2_percent: value":        bundle(numeric(vitals.SpO2, math.NaN())),
		"systolic_mmhg twice":        bundle(numeric(vitals.Systolic, 100), numeric(vitals.Systolic, 101)),
		"kind(77)":                   bundle(numeric(77, 1)),
		"more than a day":            {Signal: vitals.Events, Start: start, Events: []vitals.Event{{At: start.AddDate(0, 0, 2), Code: "x"}}},
		"code":                       {Signal: vitals.Events, Start: start, Events: []vitals.Event{{At: start}}},
		"detail: 201 bytes, at most": {Signal: vitals.Events, Start: start, Events: []vitals.Event{{At: start, Code: "x", Detail: strings.Repeat("d", 201)}}},
	} {
		if b, err := vitals.Encode(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v (%d bytes)", want, err, len(b))
		}
	}
}

func TestAbsentValuesAreNotCarried(t *testing.T) {
	c := vitals.Chunk{Signal: vitals.Numerics, Start: start, Bundles: []vitals.Bundle{{At: start,
		Numerics: []vitals.Numeric{{Kind: vitals.SpO2, Value: 97, Quality: vitals.Motion}}}}}
	b, err := vitals.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := vitals.Decode(b)
	if err != nil || got.Bundles[0].Numerics[0] != vitals.Absent(vitals.SpO2, vitals.Motion) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWaveformRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		c := vitals.Chunk{Signal: vitals.PPG, Rate: 100,
			Start:    time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "start")).UTC(),
			Infrared: rapid.SliceOfN(rapid.Uint16(), n, n).Draw(t, "infrared"),
			Red:      rapid.SliceOfN(rapid.Uint16(), n, n).Draw(t, "red")}
		b, err := vitals.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := vitals.Decode(b)
		if err != nil || cmp.Diff(c, got) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(c, got))
		}
	})
}

func TestUnitsAndNames(t *testing.T) {
	if got := vitals.MMHg(120).KPa(); math.Abs(float64(got)-15.9987) > 1e-3 {
		t.Errorf("120 mmHg = %v kPa", got)
	}
	if got := vitals.KPa(16).MMHg().KPa(); math.Abs(float64(got)-16) > 1e-12 {
		t.Errorf("there and back: %v", got)
	}
	for k := vitals.Kind(1); k <= vitals.MaxKind; k++ {
		back, err := vitals.ParseKind(k.String())
		if low, high := k.Range(); err != nil || back != k || k.Unit() == "" || low >= high {
			t.Errorf("%v: %v, %v", k, back, err)
		}
	}
	if n := vitals.Checked(vitals.HeartRate, math.NaN(), vitals.Good); n.Quality != vitals.OutOfRange || n.Value != 0 {
		t.Errorf("NaN became %+v", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range examples() {
		b, err := vitals.Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := vitals.Decode(b)
		if err != nil {
			if !errors.Is(err, vitals.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := vitals.Encode(c)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("not canonical: %x decodes and encodes as %x, %v", b, again, err)
		}
	})
}

func TestPeek(t *testing.T) {
	for _, c := range examples() {
		b, err := vitals.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if signal, start, err := vitals.Peek(b); err != nil || signal != c.Signal || !start.Equal(c.Start) {
			t.Errorf("got %v, %v, %v; want %v, %v", signal, start, err, c.Signal, c.Start)
		}
	}
	for _, b := range [][]byte{nil, {1}, {99, 1, 1}} {
		if _, _, err := vitals.Peek(b); !errors.Is(err, vitals.ErrMalformed) {
			t.Errorf("%x: %v, want ErrMalformed", b, err)
		}
	}
}
