package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// Bounds on a recording: what is larger is refused.
const (
	maxRecordingBytes   = 128 << 20 // after decompression
	maxRecordingSamples = 8 << 20
	leastRecording      = 2.0 // seconds
	maxReplayRate       = 2000
)

// What the raw light of each device counts as: chosen so that a finger (or ear lobe) rests where
// the simulated patient's does. A recording without finger then stays as dark as it was.
const (
	fingerInfrared   = infraredLevel / 79000  // OxiWear's first prototype
	fingerRed        = redLevel / 100000      //
	earInfrared      = infraredLevel / 228000 // its second
	earRed           = redLevel / 276000      //
	emotibitInfrared = infraredLevel / 186000
	emotibitRed      = redLevel / 158000
	cameraRed        = infraredLevel / 255
)

// LoadRecording reads a recording, plain or gzipped, in any of the known forms; which one is told
// by its first lines, not by its name. The rate is for files that do not say theirs (a single
// column, assumed to be 100 Hz when rate is zero), and otherwise ignored. Errors wrap ErrRecording
// and name file, line and column.
func LoadRecording(path string, rate vitals.Hertz) (*Recording, error) {
	return LoadLog(path, rate, Columns{})
}

// LoadLog is LoadRecording for a log of two lights whose columns are named; with no columns it is
// LoadRecording.
func LoadLog(path string, rate vitals.Hertz, columns Columns) (*Recording, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	defer func() { _ = f.Close() }()
	return ReadLog(path, f, rate, columns)
}

// ReadRecording is LoadRecording from a reader; the name is for messages.
func ReadRecording(name string, r io.Reader, rate vitals.Hertz) (*Recording, error) {
	return ReadLog(name, r, rate, Columns{})
}

// ReadLog is LoadLog from a reader; the name is for messages.
func ReadLog(name string, r io.Reader, rate vitals.Hertz, columns Columns) (*Recording, error) {
	if err := columns.check(); err != nil {
		return nil, err
	}
	rec, err := readRecording(r, float64(rate), columns)
	if err != nil {
		return nil, fmt.Errorf("%w: %s:%w", ErrRecording, name, err)
	}
	return rec, nil
}

// place is an error at a line (1 is the first) and column (of the table, 1 is the first; 0 means
// the whole line).
func place(line, column int, format string, args ...any) error {
	if column == 0 {
		return fmt.Errorf("%d: "+format, append([]any{line}, args...)...)
	}
	return fmt.Errorf("%d: column %d: "+format, append([]any{line, column}, args...)...)
}

func readRecording(r io.Reader, rate float64, columns Columns) (*Recording, error) {
	if rate != 0 && !(rate >= 5 && rate <= maxReplayRate) {
		return nil, place(1, 0, "a sampling rate of %g Hz was asked for, allowed is 5 to %d Hz", rate, maxReplayRate)
	}
	br := bufio.NewReader(r)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, place(1, 0, "%w", err)
		}
		defer func() { _ = z.Close() }()
		br = bufio.NewReader(z)
	}
	b, err := io.ReadAll(io.LimitReader(br, maxRecordingBytes+1))
	if err != nil {
		return nil, place(1+bytes.Count(b, []byte{'\n'}), 0, "%w", err)
	}
	if len(b) > maxRecordingBytes {
		return nil, place(1+bytes.Count(b, []byte{'\n'}), 0, "more than %d MiB", maxRecordingBytes>>20)
	}
	lines := strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return nil, place(1, 0, "the file is empty")
	}
	if len(lines) > maxRecordingSamples {
		return nil, place(maxRecordingSamples, 0, "more than %d lines", maxRecordingSamples)
	}
	return parse(lines, rate, columns)
}

func parse(lines []string, rate float64, columns Columns) (*Recording, error) {
	first := fields(lines[0])
	if h, ok, err := logColumns(lines[0], columns); err != nil || ok {
		if err != nil {
			return nil, err
		}
		return parseLog(lines, h, rate)
	}
	for i, l := range lines[:min(len(lines), 40)] {
		if strings.HasPrefix(l, "timestamp,") {
			return parseOximeter(lines, i)
		}
	}
	switch {
	case strings.TrimSpace(lines[0]) == "1,2,3,4,5,6":
		return parseEar(lines)
	case len(first) >= 6 && isNumber(first[0]) && isNumber(first[1]) && first[3] != "" && !isNumber(first[3]):
		return parseEmotibit(lines)
	case slices.ContainsFunc(first, func(s string) bool { return s != "" && !isNumber(s) }):
		return parseTable(lines, rate)
	case len(first) == 1:
		return parseColumn(lines, rate)
	}
	return nil, place(1, 0, "not a known form of recording: %d columns without names", len(first))
}

// fields splits a line at commas, without quotes and blanks.
func fields(line string) []string {
	f := strings.Split(line, ",")
	for i := range f {
		f[i] = strings.Trim(f[i], " \t\"")
	}
	return f
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// number is a field's value. Empty fields, "-" and NaN are holes.
func number(f []string, column, line int) (float64, error) {
	if column >= len(f) {
		return 0, place(line, column+1, "missing, the line has %d columns", len(f))
	}
	s := f[column]
	if s == "" || s == "-" || strings.EqualFold(s, "nan") {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(v) > 1e15 {
		return 0, place(line, column+1, "%.40q is not a number", s)
	}
	return v, nil
}

// finish checks length and content, and makes the recording.
func finish(form string, rate float64, infrared, red []float64, line int) (*Recording, error) {
	if !(rate >= 5 && rate <= maxReplayRate) {
		return nil, place(line, 0, "the sampling rate comes out as %g Hz, allowed is 5 to %d Hz", rate, maxReplayRate)
	}
	if float64(len(infrared)) < max(16*lobes, leastRecording*rate) && float64(len(infrared)) < 6*rate {
		return nil, place(line, 0, "%d samples at %g Hz are too short, at least %g s are needed", len(infrared), rate, leastRecording)
	}
	if !slices.ContainsFunc(infrared, func(v float64) bool { return !math.IsNaN(v) }) {
		return nil, place(line, 0, "no sample has a value")
	}
	r := newRecording(form, rate, infrared, red)
	// At the slowest chip rate the kernel must still fit.
	if float64(len(r.infrared)) < 2*lobes*max(1, rate/50)+2 {
		return nil, place(line, 0, "%d samples at %g Hz are too short", len(infrared), rate)
	}
	return r, nil
}

// parseOximeter reads OxiWear's first prototype: 64 Hz by sample number (its time stamps come in
// bursts), the first eight samples are the LEDs settling. Missing sample numbers are holes.
func parseOximeter(lines []string, header int) (*Recording, error) {
	names := fields(lines[header])
	column := func(name string) int { return slices.Index(names, name) }
	num, ir, red := column("sampleNum"), column("LEDC1"), column("LEDC2")
	if num < 0 || ir < 0 || red < 0 {
		return nil, place(header+1, 0, "no columns sampleNum, LEDC1 and LEDC2")
	}
	var x, y []float64
	last := math.NaN()
	for i, l := range lines[header+1:] {
		line := header + 2 + i
		f := fields(l)
		if !isNumber(f[0]) { // "stop time" and what follows
			break
		}
		n, err := number(f, num, line)
		if err != nil {
			return nil, err
		}
		a, err := number(f, ir, line)
		if err != nil {
			return nil, err
		}
		b, err := number(f, red, line)
		if err != nil {
			return nil, err
		}
		if n <= last || n > last+6400 {
			return nil, place(line, num+1, "sample number %g follows %g", n, last)
		}
		for missing := last + 1; missing < n; missing++ {
			x, y = append(x, math.NaN()), append(y, math.NaN())
		}
		last = n
		x, y = append(x, a), append(y, b)
	}
	return finishRaw("oximeter", 64, x, y, fingerInfrared, fingerRed, len(lines))
}

// finishRaw drops the eight settling samples of OxiWear's boards.
func finishRaw(form string, rate float64, x, y []float64, kx, ky float64, line int) (*Recording, error) {
	const settling = 8
	if len(x) < settling {
		return nil, place(line, 0, "%d samples are too short", len(x))
	}
	return finish(form, rate, scaled(x[settling:], kx), scaled(y[settling:], ky), line)
}

// parseEar reads OxiWear's second prototype: 25 Hz, infrared, ambient, red, headed by numbers.
func parseEar(lines []string) (*Recording, error) {
	var x, y []float64
	for i, l := range lines[1:] {
		f := fields(l)
		a, err := number(f, 0, i+2)
		if err != nil {
			return nil, err
		}
		b, err := number(f, 2, i+2)
		if err != nil {
			return nil, err
		}
		x, y = append(x, a), append(y, b)
	}
	return finishRaw("oximeter", 25, x, y, earInfrared, earRed, len(lines))
}

// parseEmotibit reads packets: milliseconds, number, count, tag, version, reliability, values. PI
// is infrared, PR red.
func parseEmotibit(lines []string) (*Recording, error) {
	const rate = 24.95
	var x, y []float64
	for i, l := range lines {
		f := fields(l)
		if len(f) < 7 || f[3] != "PI" && f[3] != "PR" {
			continue
		}
		for c := 6; c < len(f); c++ {
			v, err := number(f, c, i+1)
			if err != nil {
				return nil, err
			}
			if f[3] == "PI" {
				x = append(x, v)
			} else {
				y = append(y, v)
			}
		}
	}
	n := min(len(x), len(y))
	if n == 0 {
		return nil, place(len(lines), 0, "no packets PI and PR")
	}
	return finish("emotibit", rate, scaled(x[:n], emotibitInfrared), scaled(y[:n], emotibitRed), len(lines))
}

// parseColumn reads one number a line.
func parseColumn(lines []string, rate float64) (*Recording, error) {
	if rate == 0 {
		rate = 100
	}
	x := make([]float64, 0, len(lines))
	for i, l := range lines {
		f := fields(l)
		if len(f) != 1 {
			return nil, place(i+1, 0, "%d columns, all lines before have one", len(f))
		}
		v, err := number(f, 0, i+1)
		if err != nil {
			return nil, err
		}
		x = append(x, v)
	}
	return finish("column", rate, relit(x, rate), nil, len(lines))
}

// parseTable reads a table with named columns: bedside monitors (PLETH), treadmill (ppg1), HeartPy
// (hr), phone camera (R).
func parseTable(lines []string, rate float64) (*Recording, error) {
	names := fields(strings.ToLower(lines[0]))
	column := func(any ...string) int {
		for _, n := range any {
			if i := slices.Index(names, n); i >= 0 {
				return i
			}
		}
		return -1
	}
	signal := column("pleth", "ppg", "ppg1", "hr")
	camera := false
	if signal < 0 && column("time") >= 0 && column("r") >= 0 {
		signal, camera = column("r"), true
	}
	if signal < 0 {
		return nil, place(1, 0, "no column named PLETH, ppg, ppg1 or hr, nor time and R, nor red and ir; there are %.200q. Codes of two LEDs do not say "+
			"which is which: name the columns red and ir in this line, or with --columns (of a MAX30102, LED1 is red and LED2 infrared: "+
			"--columns red=led1,infrared=led2)", strings.Join(names, ", "))
	}
	if len(lines) < 3 {
		return nil, place(len(lines), 0, "no samples")
	}
	x := make([]float64, 0, len(lines))
	for i, l := range lines[1:] {
		v, err := number(fields(l), signal, i+2)
		if err != nil {
			return nil, err
		}
		x = append(x, v)
	}
	if camera {
		return cameraRecording(lines, column("time"), x)
	}
	rate, err := tableRate(lines, names, column, rate)
	if err != nil {
		return nil, err
	}
	return finish("table", rate, relit(x, rate), nil, len(lines))
}

// cameraRecording evens out a camera's frames: raw light, so it points down with the pulse as the
// chip's does.
func cameraRecording(lines []string, timeColumn int, x []float64) (*Recording, error) {
	times := make([]float64, 0, len(x))
	for i, l := range lines[1:] {
		ms, err := number(fields(l), timeColumn, i+2)
		if err != nil {
			return nil, err
		}
		t := ms / 1000
		if math.IsNaN(t) || i > 0 && !(t > times[i-1]) {
			return nil, place(i+2, timeColumn+1, "time must increase from line to line")
		}
		if i > 0 && t-times[0] > 86400 {
			return nil, place(i+2, timeColumn+1, "longer than a day")
		}
		times = append(times, t)
	}
	const rate = 30
	return finish("camera", rate, scaled(evenly(times, x, rate), cameraRed), nil, len(lines))
}

// tableRate finds a table's sampling rate: it says so, or has a time column, or is of a kind with a
// known rate.
func tableRate(lines, names []string, column func(...string) int, given float64) (float64, error) {
	if c := column("sampling freq"); c >= 0 {
		v, err := number(fields(lines[1]), c, 2)
		if err == nil && !(v > 0) {
			err = place(2, c+1, "the sampling rate must be positive")
		}
		return v, err
	}
	first, last, n := fields(lines[1]), fields(lines[len(lines)-1]), float64(len(lines)-2)
	if c := column("datetime"); c >= 0 {
		a, err := stamp(first, c, 2)
		if err != nil {
			return 0, err
		}
		b, err := stamp(last, c, len(lines))
		return n / b.Sub(a).Seconds(), err
	}
	for _, t := range []struct {
		name  string
		units float64 // a second
	}{{"timer", 1000}, {"time [s]", 1}, {"time", 1}, {"time_s", 1}, {"time_ms", 1000}} {
		if c := column(t.name); c >= 0 {
			a, err := number(first, c, 2)
			if err != nil {
				return 0, err
			}
			b, err := number(last, c, len(lines))
			return n / (b - a) * t.units, err
		}
	}
	switch {
	case given != 0:
		return given, nil
	case column("ppg1") >= 0 && column("ecg") >= 0: // IEEE Signal Processing Cup 2015
		return 125, nil
	case column("pleth") >= 0 && strings.HasPrefix(names[0], "ecg"): // PhysioNet challenge 2015
		return 250, nil
	}
	return 100, nil
}

func stamp(f []string, column, line int) (time.Time, error) {
	if column >= len(f) {
		return time.Time{}, place(line, column+1, "missing, the line has %d columns", len(f))
	}
	t, err := time.Parse("2006-01-02 15:04:05.999999999", f[column])
	if err != nil {
		return time.Time{}, place(line, column+1, "%.40q is not a date and time", f[column])
	}
	return t, nil
}
