package accuracy

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"strconv"

	"vitalseal/internal/measurement/recording"
)

// monitor is a bedside monitor's recording: pleth, electrocardiogram and breathing; any but pleth may be nil.
type monitor struct {
	rate              float64
	pleth, ecg, chest []float64
}

// readMonitor reads a table that has at least a column pleth. Which lead is the electrocardiogram is told by the names that
// bedside monitors give: II first, it has the tallest R waves. rate is for tables that do not say theirs.
func readMonitor(rate float64) func(name string, r io.Reader) (monitor, error) {
	return func(name string, r io.Reader) (monitor, error) {
		tab, err := recording.ReadTable(name, r)
		if err != nil {
			return monitor{}, err
		}
		m := monitor{rate: rate}
		if m.pleth, err = tab.Need(name, "pleth", "ppg"); err != nil {
			return m, err
		}
		m.ecg = tab.Column("ii", "ecg_ii", "ecg", "mcl1", "i", "iii", "v", "ecg_v", "avr", "avl", "avf")
		m.chest = tab.Column("resp")
		if f := tab.Column("sampling freq"); f != nil && f[0] > 0 {
			m.rate = f[0]
		} else if at := tab.Column("time [s]", "time_s", "time"); len(at) > 1 {
			m.rate = float64(len(at)-1) / (at[len(at)-1] - at[0])
		}
		if err := checkRate(name, m.rate); err != nil {
			return m, err
		}
		if float64(len(m.pleth)) < 10*m.rate {
			return m, fmt.Errorf("%w: %s: %d samples at %g Hz, less than 10 s", recording.ErrRecording, name, len(m.pleth), m.rate)
		}
		return m, nil
	}
}

var namedRate = regexp.MustCompile(`(?i)(\d+)hz`)

// rateIn is the rate that a file's name tells, or the given one.
func rateIn(path string, otherwise float64) float64 {
	if m := namedRate.FindStringSubmatch(filepath.Base(path)); m != nil {
		if v, err := strconv.ParseFloat(m[1], 64); err == nil && v >= 20 && v <= 4000 {
			return v
		}
	}
	return otherwise
}

// oneICU is the verdict on a recording from intensive care, minute by minute.
type oneICU struct {
	heart, breathing     errorsOf
	minutes              int // with a reference heart rate
	heartless            int // of them without any value
	breaths, breathless  int // minutes with a reference respiratory rate, and of them without any value
	answered, seconds    int
	referenceHeart       float64
	worstMinute          int
	breathingAnsweredSec int
}

func judgeICU(path string) (judged, error) {
	m, err := recording.Load(path, readMonitor(rateIn(path, 125)))
	if err != nil {
		return nil, err
	}
	if m.ecg == nil {
		return nil, fmt.Errorf("%w: %s:1: no electrocardiogram: no column named II, V, AVR or ecg", recording.ErrRecording, path)
	}
	p, err := newPulse(m.rate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	w := recording.Wave{Rate: m.rate, A: relit(m.pleth, m.rate, true)}
	out := feed(p, w, w.Seconds())
	v := oneICU{seconds: len(out.readings)}
	hearts := rPeaks(m.ecg, m.rate)
	var breaths []float64
	if m.chest != nil {
		breaths = breathsIn(m.chest, m.rate)
	}
	length := float64(len(m.pleth)) / m.rate
	for from := 0.0; from+30 <= length; from += 60 { // half a minute at the end counts as one
		to := math.Min(from+60, length)
		heart, nh := meanOf(out.readings, from, to, func(r reading) float64 { return value(r.heart) })
		breathing, nb := meanOf(out.readings, from, to, func(r reading) float64 { return value(r.breathing) })
		v.answered += nh
		v.breathingAnsweredSec += nb
		if truth := meanRate(hearts, from, to); !math.IsNaN(truth) {
			v.minutes++
			if nh == 0 {
				v.heartless++
			} else {
				v.heart.add(heart, truth)
			}
		}
		if truth := meanRate(breaths, from, to); !math.IsNaN(truth) {
			v.breaths++
			if nb == 0 {
				v.breathless++
			} else {
				v.breathing.add(breathing, truth)
			}
		}
	}
	return v, nil
}

// meanOf is the mean of the values that were shown after from up to to, and how many they are.
func meanOf(readings []reading, from, to float64, f func(reading) float64) (mean float64, n int) {
	for _, r := range readings {
		if v := f(r); r.at > from && r.at <= to && !math.IsNaN(v) {
			mean += v
			n++
		}
	}
	return mean / float64(n), n
}

// meanRate is the rate per minute of the events in a stretch, NaN if they are less than three.
func meanRate(events []float64, from, to float64) float64 {
	var first, last float64
	n := 0
	for _, t := range events {
		if t >= from && t <= to {
			if n == 0 {
				first = t
			}
			last = t
			n++
		}
	}
	if n < 3 {
		return math.NaN()
	}
	return 60 * float64(n-1) / (last - first)
}

func (v oneICU) figures() []Figure {
	return []Figure{{"heart_rate_max_error_bpm", v.heart.worst()}, {"respiratory_rate_mae_per_min", v.breathing.mae()},
		{"heart_rate_mae_bpm", v.heart.mae()}, {"minutes", float64(v.minutes)}, {"minutes_without_heart_rate", float64(v.heartless)},
		{"minutes_with_breaths", float64(v.breaths)}, {"minutes_without_respiratory_rate", float64(v.breathless)},
		{"heart_rate_answered_percent", percent(v.answered, v.seconds)}, {"respiratory_rate_answered_percent", percent(v.breathingAnsweredSec, v.seconds)}}
}

func (v oneICU) note() string { return "" }

func sumICUs(all []judged) []Figure {
	var s oneICU
	for _, j := range all {
		v := j.(oneICU)
		s.heart, s.breathing = append(s.heart, v.heart...), append(s.breathing, v.breathing...)
		s.minutes, s.heartless, s.breaths, s.breathless = s.minutes+v.minutes, s.heartless+v.heartless, s.breaths+v.breaths, s.breathless+v.breathless
		s.answered, s.seconds, s.breathingAnsweredSec = s.answered+v.answered, s.seconds+v.seconds, s.breathingAnsweredSec+v.breathingAnsweredSec
	}
	return s.figures()
}
