package accuracy

import (
	"fmt"

	"vitalseal/internal/measurement/recording"
)

// oneEmotibit is the verdict: each typed reading against what was shown then.
type oneEmotibit struct {
	errors       errorsOf
	notes        int
	heart, total int // seconds with a heart rate
	curve        string
}

func judgeEmotibit(path string) (judged, error) {
	e, err := recording.Load(path, recording.ReadEmotibit)
	if err != nil {
		return nil, err
	}
	p, err := Curve{Name: emotibitModel}.oximeter(recording.EmotibitRate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	w := e.Wave()
	out := feed(p, w, w.Seconds())
	v := oneEmotibit{curve: p.Calibration(), total: len(out.readings)}
	for _, r := range out.readings {
		if r.heart.Quality.HasValue() {
			v.heart++
		}
	}
	for _, note := range e.Notes {
		i := note.Second()
		if i < 0 || i >= len(out.readings) {
			continue
		}
		v.notes++
		if o := out.readings[i].oxygen; o.Quality.HasValue() {
			v.errors.add(o.Value, note.Oxygen)
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
