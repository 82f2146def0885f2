package accuracy

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"vitalseal/internal/vitals"
)

// What usual fingers and ear lobes send back, in counts of each device: it becomes restLevel.
const (
	usualFingerInfrared, usualFingerRed = 79000, 100000 // OxiWear's first prototype
	usualEarInfrared, usualEarRed       = 228000, 276000
	settling                            = 8 // first samples, while the LEDs settle
)

// twoLights is a recording of red and infrared light.
type twoLights struct {
	ear           bool
	rate          float64
	infrared, red []float64
}

// readTwoLights reads both forms of OxiWear's boards. The finger's has a head, 64 Hz by sample number and named columns; the
// ear's has 25 Hz and three columns, infrared, ambient, red.
func readTwoLights(name string, r io.Reader) (twoLights, error) {
	t := newText(name, r)
	for {
		line, ok := t.next()
		switch {
		case !ok:
			if err := t.end(); err != nil {
				return twoLights{}, err
			}
			t.line = max(1, t.line)
			return twoLights{}, t.bad(0, "no line begins with timestamp, nor is the first one 1,2,3,4,5,6")
		case strings.HasPrefix(line, "timestamp,"):
			return readFinger(t, fields(line))
		case t.line == 1 && strings.TrimRight(strings.TrimSpace(line), ",") == "1,2,3,4,5,6":
			return readEar(t)
		}
	}
}

func readFinger(t *text, names []string) (twoLights, error) {
	x := twoLights{rate: 64}
	num, ir, red := slices.Index(names, "sampleNum"), slices.Index(names, "LEDC1"), slices.Index(names, "LEDC2")
	if num < 0 || ir < 0 || red < 0 {
		return x, t.bad(0, "no columns sampleNum, LEDC1 and LEDC2")
	}
	last := math.NaN()
	for {
		line, ok := t.next()
		f := strings.Split(line, ",")
		if !ok || !isNumber(f[0]) { // "stop time" and what follows
			break
		}
		n, err := t.number(f, num)
		if err != nil {
			return x, err
		}
		if !(n > last-1) && !math.IsNaN(last) || n == last || n > last+6400 || math.IsNaN(n) {
			return x, t.bad(num+1, "sample number %g follows %g", n, last)
		}
		a, err := t.number(f, ir)
		if err != nil {
			return x, err
		}
		b, err := t.number(f, red)
		if err != nil {
			return x, err
		}
		for missing := last + 1; missing < n; missing++ {
			x.infrared, x.red = append(x.infrared, math.NaN()), append(x.red, math.NaN())
		}
		if err := t.room(len(x.red)); err != nil {
			return x, err
		}
		last = n
		x.infrared, x.red = append(x.infrared, a), append(x.red, b)
	}
	return x.settled(t)
}

func readEar(t *text) (twoLights, error) {
	x := twoLights{rate: 25, ear: true}
	for {
		line, ok := t.next()
		if !ok {
			break
		}
		if strings.Trim(line, ", ") == "" {
			continue
		}
		f := strings.Split(line, ",")
		a, err := t.number(f, 0)
		if err != nil {
			return x, err
		}
		b, err := t.number(f, 2)
		if err != nil {
			return x, err
		}
		if err := t.room(len(x.red)); err != nil {
			return x, err
		}
		x.infrared, x.red = append(x.infrared, a), append(x.red, b)
	}
	return x.settled(t)
}

func (x twoLights) settled(t *text) (twoLights, error) {
	if err := t.end(); err != nil {
		return x, err
	}
	if len(x.infrared) <= settling+int(x.rate/2) {
		return x, t.bad(0, "%d samples are too few: the first %d are the LEDs settling", len(x.infrared), settling)
	}
	x.infrared, x.red = x.infrared[settling:], x.red[settling:]
	return x, nil
}

func (x twoLights) wave() wave {
	if x.ear {
		return wave{rate: x.rate, a: absolute(x.infrared, usualEarInfrared), b: absolute(x.red, usualEarRed)}
	}
	return wave{rate: x.rate, a: absolute(x.infrared, usualFingerInfrared), b: absolute(x.red, usualFingerRed)}
}

// fingerReference is what a name such as proto1_1520-95-79.csv or proto2_20201013-105611-9596-67-r.csv says: SpO2 and heart
// rate after one word and a time (and a date). Two readings in one, as 9596, are taken as their mean. attached is false for a
// recording without finger, which has no reference.
func fingerReference(path string) (oxygen, heart float64, attached bool, err error) {
	name, _ := stem(path, ".csv")
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' })
	if slices.ContainsFunc(parts, func(s string) bool { return strings.EqualFold(s, "unattached") }) {
		return 0, 0, false, nil
	}
	i := 0
	if i < len(parts) && !isNumber(parts[i]) {
		i++
	}
	if i < len(parts) && len(parts[i]) == 8 && isNumber(parts[i]) {
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

// oneFinger is the verdict on a recording of red and infrared.
type oneFinger struct {
	ear, attached            bool
	oxygen, heart            float64 // reference
	gotOxygen, gotHeart      vitals.Numeric
	curve                    string
	readings, withValue      int
	oxygenSeconds, refusedBy int
}

func judgeOximeter(path string) (judged, error) {
	oxygen, heart, attached, err := fingerReference(path)
	if err != nil {
		return nil, err
	}
	x, err := load(path, readTwoLights)
	if err != nil {
		return nil, err
	}
	p, err := Curve{Name: oxiWearModel(x.ear)}.oximeter(x.rate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRecording, path, err)
	}
	w := x.wave()
	v := oneFinger{ear: x.ear, attached: attached, oxygen: oxygen, heart: heart, curve: p.Calibration(),
		gotOxygen: vitals.Absent(vitals.SpO2, vitals.Settling), gotHeart: vitals.Absent(vitals.HeartRate, vitals.Settling)}
	// The value that was shown last counts: it rests on the most signal.
	for _, r := range feed(p, w, w.seconds()).readings {
		v.readings++
		if r.heart.Quality.HasValue() || r.oxygen.Quality.HasValue() {
			v.withValue++
		}
		if r.oxygen.Quality.HasValue() || !v.gotOxygen.Quality.HasValue() {
			v.gotOxygen = r.oxygen
		}
		if r.heart.Quality.HasValue() || !v.gotHeart.Quality.HasValue() {
			v.gotHeart = r.heart
		}
	}
	return v, nil
}

// value is a numeric's value, NaN if it has none.
func value(n vitals.Numeric) float64 {
	if !n.Quality.HasValue() {
		return math.NaN()
	}
	return n.Value
}

func (v oneFinger) figures() []Figure {
	oxygen, heart := v.oxygen, v.heart
	if !v.attached {
		oxygen, heart = math.NaN(), math.NaN()
	}
	return []Figure{{"reference_spo2_percent", oxygen}, {"spo2_percent", value(v.gotOxygen)}, {"reference_heart_rate_bpm", heart}, {"heart_rate_bpm", value(v.gotHeart)}}
}

func (v oneFinger) note() string {
	switch {
	case !v.attached && v.withValue > 0:
		return "a value without a finger"
	case !v.attached:
		return "no finger, no value: " + v.gotHeart.Quality.String()
	case !v.gotOxygen.Quality.HasValue():
		return "no SpO2: " + v.gotOxygen.Quality.String()
	}
	return "calibration " + v.curve
}

// sumOximeters judges the finger recordings; the ear's, another place with another sensor's light, count apart.
func sumOximeters(all []judged) []Figure {
	type group struct {
		errors errorsOf
		files  int
	}
	var finger, ear group
	var heart errorsOf
	open, shown := 0, 0
	for _, j := range all {
		v := j.(oneFinger)
		if !v.attached {
			open++
			shown += min(1, v.withValue)
			continue
		}
		g := &finger
		if v.ear {
			g = &ear
		}
		g.files++
		if v.gotOxygen.Quality.HasValue() {
			g.errors.add(v.gotOxygen.Value, v.oxygen)
		}
		if v.gotHeart.Quality.HasValue() && !math.IsNaN(v.heart) {
			heart.add(v.gotHeart.Value, v.heart)
		}
	}
	return []Figure{{"arms_percent", finger.errors.rms()}, {"refused_percent", percent(finger.files-len(finger.errors), finger.files)},
		{"mean_error_percent", finger.errors.mean()}, {"finger_files", float64(finger.files)},
		{"ear_arms_percent", ear.errors.rms()}, {"ear_refused_percent", percent(ear.files-len(ear.errors), ear.files)}, {"ear_files", float64(ear.files)},
		{"heart_rate_mae_bpm", heart.mae()}, {"unattached_files", float64(open)}, {"unattached_with_value", float64(shown)}}
}
