package recording

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/signal"
)

// Point is one pair for a calibration: a ratio of ratios, and the SpO2 in percent that a reference said at that time.
type Point struct {
	Ratio  float64
	SpO2   vitals.Percent
	Source string // file and line, or recording
}

// maxPoints bounds a calibration.
const maxPoints = 100_000

// ReadPoints collects the pairs for a calibration from a file or a folder. A file is a CSV with the columns ratio and
// spo2_percent, or a recording of red and infrared light with its reference (the forms of the folders oximeter and
// emotibit): the ratio is then the one that the product's oximeter found. A folder is all CSV files in it; those that hold no
// pair are left out and named in skipped. Errors wrap ErrRecording and name file and line.
func ReadPoints(path string) (points []Point, skipped []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	if !info.IsDir() {
		points, err = pointsOf(path)
		return points, nil, err
	}
	files, err := FilesOf(".csv")(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	for _, f := range files {
		p, err := pointsOf(f)
		if err != nil {
			skipped = append(skipped, err.Error())
			continue
		}
		points = append(points, p...)
	}
	if len(points) == 0 {
		return nil, skipped, fmt.Errorf("%w: %s: no pair of ratio and SpO2 in its %d CSV files", ErrRecording, path, len(files))
	}
	return points, skipped, nil
}

// form is what a file of light or pairs is.
type form uint8

const (
	formPairs form = iota
	formTwoLights
	formEmotibit
)

func pointsOf(path string) ([]Point, error) {
	f, err := Load(path, formOf)
	if err != nil {
		return nil, err
	}
	switch f {
	case formTwoLights:
		return fingerPoints(path)
	case formEmotibit:
		return emotibitPoints(path)
	}
	return Load(path, readPairs)
}

// formOf tells the forms apart by their first lines.
func formOf(name string, r io.Reader) (form, error) {
	t := NewText(name, r)
	for range 40 {
		line, ok := t.Next()
		if !ok {
			break
		}
		f := Fields(line)
		switch {
		case strings.HasPrefix(line, "timestamp,"), t.Line == 1 && strings.HasPrefix(line, "1,2,3,4,5,6"):
			return formTwoLights, nil
		case t.Line == 1 && len(f) > 5 && IsNumber(f[0]) && IsNumber(f[1]) && !IsNumber(f[3]):
			return formEmotibit, nil
		}
	}
	return formPairs, t.End()
}

// readPairs reads a table with the columns ratio and spo2_percent.
func readPairs(name string, r io.Reader) ([]Point, error) {
	tab, err := ReadTable(name, r)
	if err != nil {
		return nil, err
	}
	ratio, err := tab.Need(name, "ratio", "r")
	if err != nil {
		return nil, err
	}
	oxygen, err := tab.Need(name, "spo2_percent", "spo2", "reference_spo2_percent")
	if err != nil {
		return nil, err
	}
	var out []Point
	for i := range ratio {
		p := Point{Ratio: ratio[i], SpO2: vitals.Percent(oxygen[i]), Source: fmt.Sprintf("%s:%d", filepath.Base(name), i+2)}
		switch {
		case math.IsNaN(p.Ratio) || math.IsNaN(oxygen[i]): // a refusal, or a reference that was not there
			continue
		case !(p.Ratio > 0 && p.Ratio < 5):
			return nil, fmt.Errorf("%w: %s:%d: a ratio of %g, allowed is more than 0 and less than 5", ErrRecording, name, i+2, p.Ratio)
		case !(oxygen[i] >= 40 && oxygen[i] <= 100):
			return nil, fmt.Errorf("%w: %s:%d: an SpO2 of %g %%, allowed is 40 to 100", ErrRecording, name, i+2, oxygen[i])
		case len(out) >= maxPoints:
			return nil, fmt.Errorf("%w: %s:%d: more than %d pairs", ErrRecording, name, i+2, maxPoints)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s: no pair of ratio and SpO2", ErrRecording, name)
	}
	return out, nil
}

// ratioAt runs an oximeter over a wave and tells its ratio at each moment, NaN where it gives none.
func ratioAt(w Wave, moments []float64) ([]float64, error) {
	p, err := signal.NewPulseOximeter(vitals.Hertz(w.Rate), signal.Options{})
	if err != nil {
		return nil, err
	}
	var out []float64
	note := func() {
		r, ok := p.Ratio()
		if !ok {
			r = math.NaN()
		}
		out = append(out, r)
	}
	feedEach(p, w, moments, note)
	return out, nil
}

// fingerPoints is the last ratio of a short recording with one reference in its name.
func fingerPoints(path string) ([]Point, error) {
	oxygen, _, attached, err := FingerReference(path)
	if err != nil {
		return nil, err
	}
	if !attached {
		return nil, fmt.Errorf("%w: %s: no finger was attached", ErrRecording, path)
	}
	x, err := Load(path, ReadTwoLights)
	if err != nil {
		return nil, err
	}
	w := x.Wave()
	ratios, err := ratioAt(w, w.Seconds())
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRecording, path, err)
	}
	for _, r := range slices.Backward(ratios) {
		if !math.IsNaN(r) {
			return []Point{{r, vitals.Percent(oxygen), filepath.Base(path)}}, nil
		}
	}
	return nil, fmt.Errorf("%w: %s: the oximeter gave no ratio", ErrRecording, path)
}

// emotibitPoints are the ratios at the times of the typed readings.
func emotibitPoints(path string) ([]Point, error) {
	e, err := Load(path, ReadEmotibit)
	if err != nil {
		return nil, err
	}
	w := e.Wave()
	ratios, err := ratioAt(w, w.Seconds())
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRecording, path, err)
	}
	var out []Point
	for _, n := range e.Notes {
		if i := n.Second(); i >= 0 && i < len(ratios) && !math.IsNaN(ratios[i]) {
			out = append(out, Point{ratios[i], vitals.Percent(n.Oxygen), filepath.Base(path)})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s: the oximeter gave no ratio at any reading", ErrRecording, path)
	}
	return out, nil
}
