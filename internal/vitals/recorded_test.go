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

	"vitalseal/internal/vitals"
)

// restLevel is where a finger rests, of 65,536: 60 %, where the MAX30100's current control puts it (datasheet; see
// internal/accuracy/light.go). Recordings of other chips are brought there, each wavelength by itself.
const restLevel = 39321

// maxValueBytes bounds a stored red or infrared value: what a block has of it, plus rowBytes for each block.
const (
	maxValueBytes = 1.25
	rowBytes      = 150 // seal (28), row, index, stream and page slack; an estimate, since no store measures it yet
)

// TestRecordedBlocks measures blocks of 30 s on recordings of people, and that nothing is lost.
func TestRecordedBlocks(t *testing.T) {
	dir := os.Getenv("VITALSEAL_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recordings of people: %v", err)
	}
	red, infrared := emotibit(t, filepath.Join(dir, "emotibit"))
	pairs, size := measure(t, red, infrared, 24.95)
	report(t, "emotibit, 24.95 Hz", pairs, size, 1+pairs/(30*25))
	files, err := filepath.Glob(filepath.Join(dir, "oximeter", "proto1_*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	pairs, size = 0, 0
	for _, name := range files {
		red, infrared := oximeter(t, name)
		p, s := measure(t, red, infrared, 64)
		pairs, size = pairs+p, size+s
	}
	// These last seconds: a row each would say nothing about 30 s, so one is counted for 30 s of samples.
	report(t, "oximeter, 64 Hz, short", pairs, size, 1+pairs/(30*64))
}

func report(t *testing.T, name string, pairs, size, blocks int) {
	if pairs == 0 {
		t.Logf("%s: none here", name)
		return
	}
	if stored := float64(size+rowBytes*blocks) / float64(2*pairs); stored > maxValueBytes {
		t.Errorf("%s: %.3f bytes a value with its rows, want at most %g", name, stored, maxValueBytes)
	}
	each := float64(size) / float64(pairs)
	t.Logf("%s: %d pairs, %d bytes: %.3f bytes a pair of red and infrared, %.3f a value", name, pairs, size, each, each/2)
}

// measure encodes 30 s after 30 s, in chunks of 250 ms.
func measure(t *testing.T, red, infrared []float64, rate vitals.Hertz) (pairs, size int) {
	t.Helper()
	r, ir := codes(red), codes(infrared)
	n := min(len(r), len(ir))
	per := int(math.Round(float64(rate) / 4))
	var chunks []vitals.Chunk
	flush := func() {
		if len(chunks) == 0 {
			return
		}
		b, err := vitals.EncodeBlock(chunks)
		if err != nil {
			t.Fatal(err)
		}
		got, err := vitals.DecodeBlock(b)
		if err != nil || cmp.Diff(chunks, got) != "" {
			t.Fatalf("not the same: %v", err)
		}
		size += len(b)
		chunks = chunks[:0]
	}
	for at := 0; at < n; at += per {
		to := min(at+per, n)
		chunks = append(chunks, vitals.Chunk{Signal: vitals.PPG, Rate: rate, Red: r[at:to], Infrared: ir[at:to],
			Start: start.Add(time.Duration(float64(at)/float64(rate)*1e6) * time.Microsecond)})
		if len(chunks) == 120 {
			flush()
		}
	}
	flush()
	return n, size
}

func codes(light []float64) []uint16 {
	if len(light) == 0 {
		return nil
	}
	sorted := slices.Clone(light)
	slices.Sort(sorted)
	scale := restLevel / sorted[len(sorted)/2]
	list := make([]uint16, len(light))
	for i, v := range light {
		list[i] = uint16(min(max(v*scale, 0), math.MaxUint16))
	}
	return list
}

func oximeter(t *testing.T, name string) (red, infrared []float64) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begun, settling := false, 8
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Split(s.Text(), ",")
		if !begun {
			begun = fields[0] == "timestamp"
			continue
		}
		if len(fields) < 7 {
			continue
		}
		ir, err1 := strconv.ParseFloat(fields[5], 64)
		r, err2 := strconv.ParseFloat(fields[6], 64)
		if err1 != nil || err2 != nil {
			continue
		}
		if settling > 0 {
			settling--
			continue
		}
		red, infrared = append(red, r), append(infrared, ir)
	}
	return red, infrared
}

func emotibit(t *testing.T, dir string) (red, infrared []float64) {
	files, err := filepath.Glob(filepath.Join(dir, "*.csv.gz"))
	if err != nil || len(files) == 0 {
		return nil, nil
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(io.LimitReader(z, 1<<28)); s.Scan(); {
		fields := strings.Split(s.Text(), ",")
		if len(fields) < 7 || fields[3] != "PR" && fields[3] != "PI" {
			continue
		}
		for _, text := range fields[6:] {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
			if fields[3] == "PR" {
				red = append(red, v)
			} else {
				infrared = append(infrared, v)
			}
		}
	}
	return red, infrared
}
