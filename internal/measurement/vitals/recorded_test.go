package vitals_test

import (
	"bufio"
	"compress/gzip"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
)

// restCode is where the MAX30100's current control keeps a finger, 60 % of full scale, as in
// internal/lab/accuracy/light.go: recordings of other chips are brought there, each wavelength by
// itself.
const restCode = 39321

// TestRecordedBlocks prints what blocks of 30 s make of recordings of people, and holds the bare
// block (no seal, row or index) to 1.5 bytes a red or infrared value. Nothing may be lost.
func TestRecordedBlocks(t *testing.T) {
	dir := os.Getenv("VITALSEAL_DATA")
	if dir == "" {
		dir = "../../../../shared/data"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recordings of real people: %v (set VITALSEAL_DATA)", err)
	}
	for _, set := range []struct {
		name, files string
		rate        vitals.Hertz
		read        func(line string) (red, infrared []float64)
	}{
		{"emotibit", "emotibit/*.csv.gz", 24.95, emotibit},
		{"oximeter", "oximeter/proto1_*.csv", 64, oximeter},
	} {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(set.files)))
		if err != nil || len(files) == 0 {
			t.Logf("%s: no recordings in %s: %v", set.name, dir, err)
			continue
		}
		pairs, size := 0, 0
		for _, name := range files {
			red, infrared := recorded(t, name, set.read)
			p, s := blockSize(t, red, infrared, set.rate)
			pairs, size = pairs+p, size+s
		}
		if pairs == 0 {
			t.Errorf("%s: no samples in %d files", set.name, len(files))
			continue
		}
		each := float64(size) / float64(2*pairs)
		t.Logf("%s, %v Hz: %d pairs: %.3f bytes a value, %.3f a pair of red and infrared", set.name, float64(set.rate), pairs, each, 2*each)
		if each > 1.5 {
			t.Errorf("%s: %.3f bytes a value, want at most 1.5", set.name, each)
		}
	}
}

// blockSize is what blocks of 120 chunks of 250 ms take.
func blockSize(t *testing.T, red, infrared []float64, rate vitals.Hertz) (pairs, size int) {
	t.Helper()
	r, ir := codes(red), codes(infrared)
	pairs = min(len(r), len(ir))
	each := int(math.Round(float64(rate) / 4))
	var chunks []vitals.Chunk
	for at := 0; at < pairs; at += each {
		to := min(at+each, pairs)
		chunks = append(chunks, vitals.Chunk{Signal: vitals.PPG, Rate: rate, Red: r[at:to], Infrared: ir[at:to],
			Start: blockStart.Add(time.Duration(float64(at)/float64(rate)*1e6) * time.Microsecond)})
	}
	for block := range slices.Chunk(chunks, 120) {
		b, err := vitals.EncodeBlock(block)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := vitals.DecodeBlock(b); err != nil || cmp.Diff(block, got) != "" {
			t.Fatalf("not the same again: %v", err)
		}
		size += len(b)
	}
	return pairs, size
}

func codes(light []float64) []uint16 {
	if len(light) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(light))
	scale := restCode / sorted[len(sorted)/2]
	list := make([]uint16, len(light))
	for i, v := range light {
		list[i] = uint16(min(max(v*scale, 0), math.MaxUint16))
	}
	return list
}

func recorded(t *testing.T, name string, read func(string) (red, infrared []float64)) (red, infrared []float64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		a, b := read(lines.Text())
		red, infrared = append(red, a...), append(infrared, b...)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return red, infrared
}

// oximeter reads a sample of OxiWear's first board; the first 8 are the LEDs settling.
func oximeter(line string) (red, infrared []float64) {
	f := strings.Split(line, ",")
	if len(f) < 12 {
		return nil, nil
	}
	n, err := strconv.Atoi(f[1])
	a, err1 := strconv.ParseFloat(f[6], 64)
	b, err2 := strconv.ParseFloat(f[5], 64)
	if err != nil || err1 != nil || err2 != nil || n <= 8 {
		return nil, nil
	}
	return []float64{a}, []float64{b}
}

// emotibit reads a packet of one wavelength.
func emotibit(line string) (red, infrared []float64) {
	f := strings.Split(line, ",")
	if len(f) < 7 || f[3] != "PR" && f[3] != "PI" {
		return nil, nil
	}
	var values []float64
	for _, text := range f[6:] {
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values = append(values, v)
		}
	}
	if f[3] == "PR" {
		return values, nil
	}
	return nil, values
}
