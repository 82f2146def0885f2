package recording

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// What usual fingers and ear lobes send back, in counts of each device: it becomes RestLevel.
const (
	usualFingerInfrared, usualFingerRed = 79000, 100000 // OxiWear's first prototype
	usualEarInfrared, usualEarRed       = 228000, 276000
	settling                            = 8 // first samples, while the LEDs settle
)

// TwoLights is a recording of red and infrared light.
type TwoLights struct {
	Ear           bool
	Rate          float64
	Infrared, Red []float64
}

// ReadTwoLights reads both forms of OxiWear's boards. The finger's has a head, 64 Hz by sample number and named columns; the
// ear's has 25 Hz and three columns, infrared, ambient, red.
func ReadTwoLights(name string, r io.Reader) (TwoLights, error) {
	t := NewText(name, r)
	for {
		line, ok := t.Next()
		switch {
		case !ok:
			if err := t.End(); err != nil {
				return TwoLights{}, err
			}
			t.Line = max(1, t.Line)
			return TwoLights{}, t.Bad(0, "no line begins with timestamp, nor is the first one 1,2,3,4,5,6")
		case strings.HasPrefix(line, "timestamp,"):
			return readFinger(t, Fields(line))
		case t.Line == 1 && strings.TrimRight(strings.TrimSpace(line), ",") == "1,2,3,4,5,6":
			return readEar(t)
		}
	}
}

func readFinger(t *Text, names []string) (TwoLights, error) {
	x := TwoLights{Rate: 64}
	num, ir, red := slices.Index(names, "sampleNum"), slices.Index(names, "LEDC1"), slices.Index(names, "LEDC2")
	if num < 0 || ir < 0 || red < 0 {
		return x, t.Bad(0, "no columns sampleNum, LEDC1 and LEDC2")
	}
	last := math.NaN()
	for {
		line, ok := t.Next()
		f := strings.Split(line, ",")
		if !ok || !IsNumber(f[0]) { // "stop time" and what follows
			break
		}
		n, err := t.Number(f, num)
		if err != nil {
			return x, err
		}
		if !(n > last-1) && !math.IsNaN(last) || n == last || n > last+6400 || math.IsNaN(n) {
			return x, t.Bad(num+1, "sample number %g follows %g", n, last)
		}
		a, err := t.Number(f, ir)
		if err != nil {
			return x, err
		}
		b, err := t.Number(f, red)
		if err != nil {
			return x, err
		}
		for missing := last + 1; missing < n; missing++ {
			x.Infrared, x.Red = append(x.Infrared, math.NaN()), append(x.Red, math.NaN())
		}
		if err := t.Room(len(x.Red)); err != nil {
			return x, err
		}
		last = n
		x.Infrared, x.Red = append(x.Infrared, a), append(x.Red, b)
	}
	return x.settled(t)
}

func readEar(t *Text) (TwoLights, error) {
	x := TwoLights{Rate: 25, Ear: true}
	for {
		line, ok := t.Next()
		if !ok {
			break
		}
		if strings.Trim(line, ", ") == "" {
			continue
		}
		f := strings.Split(line, ",")
		a, err := t.Number(f, 0)
		if err != nil {
			return x, err
		}
		b, err := t.Number(f, 2)
		if err != nil {
			return x, err
		}
		if err := t.Room(len(x.Red)); err != nil {
			return x, err
		}
		x.Infrared, x.Red = append(x.Infrared, a), append(x.Red, b)
	}
	return x.settled(t)
}

func (x TwoLights) settled(t *Text) (TwoLights, error) {
	if err := t.End(); err != nil {
		return x, err
	}
	if len(x.Infrared) <= settling+int(x.Rate/2) {
		return x, t.Bad(0, "%d samples are too few: the first %d are the LEDs settling", len(x.Infrared), settling)
	}
	x.Infrared, x.Red = x.Infrared[settling:], x.Red[settling:]
	return x, nil
}

// Wave is the recording as a meter takes it.
func (x TwoLights) Wave() Wave {
	if x.Ear {
		return Wave{Rate: x.Rate, A: absolute(x.Infrared, usualEarInfrared), B: absolute(x.Red, usualEarRed)}
	}
	return Wave{Rate: x.Rate, A: absolute(x.Infrared, usualFingerInfrared), B: absolute(x.Red, usualFingerRed)}
}

// FingerReference is what a name such as proto1_1520-95-79.csv or proto2_20201013-105611-9596-67-r.csv says: SpO2 and heart
// rate after one word and a time (and a date). Two readings in one, as 9596, are taken as their mean. attached is false for a
// recording without finger, which has no reference.
func FingerReference(path string) (oxygen, heart float64, attached bool, err error) {
	name, _ := Stem(path, ".csv")
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' })
	if slices.ContainsFunc(parts, func(s string) bool { return strings.EqualFold(s, "unattached") }) {
		return 0, 0, false, nil
	}
	i := 0
	if i < len(parts) && !IsNumber(parts[i]) {
		i++
	}
	if i < len(parts) && len(parts[i]) == 8 && IsNumber(parts[i]) {
		i++ // a date
	}
	i++ // the time
	if i < len(parts) {
		oxygen = readings(parts[i], 40, 100)
	}
	if oxygen == 0 {
		return 0, 0, false, fmt.Errorf("%w: %s: the name holds no SpO2, want NAME_TIME-SPO2-HEARTRATE", ErrRecording, path)
	}
	heart = math.NaN()
	if i+1 < len(parts) {
		if v := readings(parts[i+1], 25, 250); v > 0 {
			heart = v
		}
	}
	return oxygen, heart, true, nil
}

// readings is the mean of one or two numbers without anything between them, each in the range; 0 if there are none.
func readings(s string, low, high float64) float64 {
	in := func(s string) float64 {
		v, err := strconv.ParseUint(s, 10, 16)
		if err != nil || float64(v) < low || float64(v) > high {
			return 0
		}
		return float64(v)
	}
	if v := in(s); v > 0 {
		return v
	}
	for cut := 2; cut <= 3 && cut < len(s); cut++ {
		if a, b := in(s[:cut]), in(s[cut:]); a > 0 && b > 0 {
			return (a + b) / 2
		}
	}
	return 0
}
