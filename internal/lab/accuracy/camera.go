package accuracy

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"

	"vitalseal/internal/measurement/recording"
)

const (
	cameraRate = 30.0
	holeAfter  = 0.25 // seconds between two frames that are a hole
	longest    = 86400.0
)

// frames are a camera's: times in seconds, strictly increasing, and the red level.
type frames struct{ times, red []float64 }

func readFrames(name string, r io.Reader) (frames, error) {
	tab, err := recording.ReadTable(name, r)
	if err != nil {
		return frames{}, err
	}
	ms, err := tab.Need(name, "time")
	if err != nil {
		return frames{}, err
	}
	red, err := tab.Need(name, "r")
	if err != nil {
		return frames{}, err
	}
	var f frames
	for i, v := range ms {
		at := v / 1000
		if math.IsNaN(at) || len(f.times) > 0 && (at <= f.times[len(f.times)-1] || at-f.times[0] > longest) {
			return f, fmt.Errorf("%w: %s:%d: column time: %g ms does not follow what comes before it", recording.ErrRecording, name, i+2, v)
		}
		if math.IsNaN(red[i]) {
			continue
		}
		f.times, f.red = append(f.times, at), append(f.red, red[i])
	}
	if len(f.times) < 2 || f.times[len(f.times)-1]-f.times[0] < 2 {
		return f, fmt.Errorf("%w: %s: less than two seconds", recording.ErrRecording, name)
	}
	return f, nil
}

// evenly brings irregular frames to a grid, by a monotone cubic (Fritsch and Carlson 1980), which does not overshoot as a plain
// one does. Long pauses become holes.
func (f frames) evenly(rate float64) []float64 {
	n := len(f.times)
	slope := make([]float64, n)
	chord := func(i int) float64 { return (f.red[i+1] - f.red[i]) / (f.times[i+1] - f.times[i]) }
	for i := 1; i < n-1; i++ {
		if a, b := chord(i-1), chord(i); a*b > 0 {
			slope[i] = 2 * a * b / (a + b)
		}
	}
	out := make([]float64, int((f.times[n-1]-f.times[0])*rate)+1)
	i := 0
	for k := range out {
		t := f.times[0] + float64(k)/rate
		for i < n-2 && f.times[i+1] <= t {
			i++
		}
		h := f.times[i+1] - f.times[i]
		if h > holeAfter {
			out[k] = math.NaN()
			continue
		}
		u := (t - f.times[i]) / h
		out[k] = f.red[i]*(1+2*u)*(1-u)*(1-u) + h*slope[i]*u*(1-u)*(1-u) +
			f.red[i+1]*u*u*(3-2*u) + h*slope[i+1]*u*u*(u-1)
	}
	return out
}

// readIntervals reads a chest strap's RR intervals in milliseconds, separated by blanks, commas or lines.
func readIntervals(name string, r io.Reader) ([]float64, error) {
	t := recording.NewText(name, r)
	var rr []float64
	for {
		line, ok := t.Next()
		if !ok {
			break
		}
		f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == ';' })
		for i := range f {
			v, err := t.Number(f, i)
			if err != nil {
				return nil, err
			}
			if !(v >= 150 && v <= 6000) {
				return nil, t.Bad(i+1, "an interval of %g ms, allowed is 150 to 6000", v)
			}
			if err := t.Room(len(rr)); err != nil {
				return nil, err
			}
			rr = append(rr, v/1000)
		}
	}
	if err := t.End(); err != nil {
		return nil, err
	}
	if len(rr) < 5 {
		t.Line = max(1, t.Line)
		return nil, t.Bad(0, "%d intervals are too few", len(rr))
	}
	return rr, nil
}

// oneCamera is the verdict on one subject.
type oneCamera struct {
	reference, heart  float64 // means over the recording
	answered, seconds int
	beats             matched
	told              bool // the meter tells beats
	aligned           errorsOf
	shift             float64
}

func judgeCamera(path string) (judged, error) {
	f, err := recording.Load(path, readFrames)
	if err != nil {
		return nil, err
	}
	strap, ok := beside(filepath.Join(filepath.Dir(path), "RR.txt"))
	if !ok {
		return nil, fmt.Errorf("%w: %s: no RR.txt beside it", recording.ErrRecording, path)
	}
	rr, err := recording.Load(strap, readIntervals)
	if err != nil {
		return nil, err
	}
	w := recording.Wave{Rate: cameraRate, A: relit(f.evenly(cameraRate), cameraRate, false)}
	m, err := newMoving(cameraRate) // a phone in the hand moves, and only this meter tells beats
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	out := feed(m, w, w.Seconds())
	span := 0.0
	for _, v := range rr {
		span += v
	}
	v := oneCamera{reference: 60 * float64(len(rr)) / span, seconds: len(out.readings)}
	total := 0.0
	for _, r := range out.readings {
		if r.heart.Quality.HasValue() {
			total += r.heart.Value
			v.answered++
		}
	}
	v.heart = total / float64(v.answered) // NaN without answers
	if _, v.told = m.(recording.Beater); v.told {
		v.beats, v.shift = align(out.beats, rr, float64(len(w.A))/w.Rate)
	}
	return v, nil
}

func (v oneCamera) f1() float64 {
	if !v.told {
		return math.NaN()
	}
	return v.beats.f1()
}

func (v oneCamera) figures() []Figure {
	return []Figure{{"reference_heart_rate_bpm", v.reference}, {"heart_rate_bpm", v.heart}, {"answered_percent", percent(v.answered, v.seconds)},
		{"beat_f1_percent", v.f1()}, {"beats_found", float64(v.beats.both)}, {"beats_missed", float64(v.beats.missed)}, {"beats_extra", float64(v.beats.extra)},
		{"strap_shift_seconds", v.shift}}
}

func (v oneCamera) note() string {
	if v.answered == 0 {
		return "no heart rate"
	}
	return ""
}

// sumCameras: the chest strap's intervals have no common clock with the camera, so only means over the recording compare.
func sumCameras(all []judged) []Figure {
	var heart errorsOf
	var beats matched
	answered, seconds, silent := 0, 0, 0
	told := false
	for _, j := range all {
		v := j.(oneCamera)
		if v.answered > 0 {
			heart.add(v.heart, v.reference)
		} else {
			silent++
		}
		told = told || v.told
		beats.both, beats.missed, beats.extra = beats.both+v.beats.both, beats.missed+v.beats.missed, beats.extra+v.beats.extra
		answered, seconds = answered+v.answered, seconds+v.seconds
	}
	f1 := math.NaN()
	if told {
		f1 = beats.f1()
	}
	return []Figure{{"heart_rate_mae_bpm", heart.mae()}, {"beat_f1_percent", f1}, {"answered_percent", percent(answered, seconds)},
		{"files_without_value", float64(silent)}}
}
