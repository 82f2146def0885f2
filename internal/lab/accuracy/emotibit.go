package accuracy

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// emotibitRate is the rate of red, infrared and green (25 Hz nominal, as measured by its makers).
const emotibitRate = 24.95

const (
	usualEmotibitInfrared = 186000
	usualEmotibitRed      = 158000
)

// emotibit is a recording of red and infrared with SpO2 readings of another oximeter, typed in as they came.
type emotibit struct {
	infrared, red []float64
	notes         []typed
}

// typed is a reading after so many samples.
type typed struct {
	samples int
	oxygen  float64
}

// readEmotibit reads packets `ms,packet,count,TAG,version,reliability,value,...`: PI is infrared, PR red, UN a typed note
// `clock,SPO2`. What else there is, is left out, as are notes that hold no SpO2.
func readEmotibit(name string, r io.Reader) (emotibit, error) {
	t := newText(name, r)
	var e emotibit
	for {
		line, ok := t.next()
		if !ok {
			break
		}
		f := strings.Split(line, ",")
		if len(f) < 4 || !isNumber(f[0]) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return e, t.bad(0, "not a packet: milliseconds, number, count, tag, version, reliability, values")
		}
		if len(f) < 7 {
			continue
		}
		switch f[3] {
		case "PI", "PR":
			for c := 6; c < len(f); c++ {
				v, err := t.number(f, c)
				if err != nil {
					return e, err
				}
				if f[3] == "PI" {
					e.infrared = append(e.infrared, v)
				} else {
					e.red = append(e.red, v)
				}
			}
			if err := t.room(len(e.infrared) + len(e.red)); err != nil {
				return e, err
			}
		case "UN":
			if v := readings(strings.TrimSpace(f[len(f)-1]), 40, 100); v > 0 {
				e.notes = append(e.notes, typed{len(e.infrared), v})
			}
		}
	}
	if err := t.end(); err != nil {
		return e, err
	}
	n := min(len(e.infrared), len(e.red))
	if n < 50 {
		t.line = max(1, t.line)
		return e, t.bad(0, "%d samples of PI and PR are too few", n)
	}
	e.infrared, e.red = e.infrared[:n], e.red[:n]
	if len(e.notes) == 0 {
		return e, t.bad(0, "no note (UN) with an SpO2")
	}
	return e, nil
}

// second is the index of what the display showed when the reading was typed: the last full second's; -1 before the first.
func (n typed) second() int { return int(math.Floor(float64(n.samples)/emotibitRate)) - 1 }

func (e emotibit) wave() wave {
	return wave{rate: emotibitRate, a: absolute(e.infrared, usualEmotibitInfrared), b: absolute(e.red, usualEmotibitRed)}
}

// oneEmotibit is the verdict: each typed reading against what was shown then.
type oneEmotibit struct {
	errors       errorsOf
	notes        int
	heart, total int // seconds with a heart rate
	curve        string
}

func judgeEmotibit(path string) (judged, error) {
	e, err := load(path, readEmotibit)
	if err != nil {
		return nil, err
	}
	p, err := Curve{Name: emotibitModel}.oximeter(emotibitRate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRecording, path, err)
	}
	w := e.wave()
	out := feed(p, w, w.seconds())
	v := oneEmotibit{curve: p.Calibration(), total: len(out.readings)}
	for _, r := range out.readings {
		if r.heart.Quality.HasValue() {
			v.heart++
		}
	}
	for _, note := range e.notes {
		i := note.second()
		if i < 0 || i >= len(out.readings) {
			continue
		}
		v.notes++
		if o := out.readings[i].oxygen; o.Quality.HasValue() {
			v.errors.add(o.Value, note.oxygen)
		}
	}
	return v, nil
}

func (v oneEmotibit) figures() []Figure {
	return []Figure{{"arms_percent", v.errors.rms()}, {"refused_percent", percent(v.notes-len(v.errors), v.notes)}, {"mean_error_percent", v.errors.mean()},
		{"references", float64(v.notes)}, {"heart_rate_answered_percent", percent(v.heart, v.total)}}
}

func (v oneEmotibit) note() string { return "calibration " + v.curve }

func sumEmotibits(all []judged) []Figure {
	var sum oneEmotibit
	for _, j := range all {
		v := j.(oneEmotibit)
		sum.errors = append(sum.errors, v.errors...)
		sum.notes, sum.heart, sum.total = sum.notes+v.notes, sum.heart+v.heart, sum.total+v.total
	}
	return sum.figures()
}
