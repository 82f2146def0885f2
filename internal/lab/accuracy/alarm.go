package accuracy

import (
	"fmt"
	"math"
	"strings"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
)

// asystoleAfter is what monitors call asystole: no beat for so many seconds (PhysioNet challenge 2015).
const asystoleAfter = 4.0

// oneAlarm is the verdict on a recording around an asystole alarm.
type oneAlarm struct {
	called            bool
	longest           float64 // seconds without a beat while the pulse wave could be judged
	answered, seconds int
	labelled          string
}

func judgeFalseAlarm(path string) (judged, error) {
	m, err := recording.Load(path, readMonitor(rateIn(path, 250)))
	if err != nil {
		return nil, err
	}
	p, err := newPulse(m.rate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	w := recording.Wave{Rate: m.rate, A: relit(m.pleth, m.rate, true)}
	out := feed(p, w, w.Seconds())
	v := oneAlarm{seconds: len(out.readings)}
	name := strings.ToLower(path)
	switch {
	case strings.Contains(name, "_false"):
		v.labelled = "false"
	case strings.Contains(name, "_true"):
		v.labelled = "true"
	}
	// The pulse wave calls an asystole when it can be judged and shows no pulse: a light that reaches the chip, is not at the
	// converter's limit and is not moved, but has no pulse in it for so long. A reading that says motion, probe off or
	// settling calls nothing.
	silent := 0.0
	for i, r := range out.readings {
		step := r.at
		if i > 0 {
			step = r.at - out.readings[i-1].at
		}
		if r.heart.Quality.HasValue() {
			v.answered++
		}
		if r.heart.Quality == vitals.LowPerfusion {
			silent += step
		} else {
			silent = 0
		}
		v.longest = math.Max(v.longest, silent)
	}
	v.called = v.longest >= asystoleAfter
	return v, nil
}

func (v oneAlarm) figures() []Figure {
	called := 0.0
	if v.called {
		called = 1
	}
	return []Figure{{"asystole_called", called}, {"longest_without_pulse_seconds", v.longest}, {"heart_rate_answered_percent", percent(v.answered, v.seconds)}}
}

func (v oneAlarm) note() string {
	if v.labelled == "" {
		return ""
	}
	return "labelled a " + v.labelled + " alarm"
}

func sumFalseAlarms(all []judged) []Figure {
	called, answered, seconds := 0, 0, 0
	longest := 0.0
	for _, j := range all {
		v := j.(oneAlarm)
		if v.called {
			called++
		}
		longest = math.Max(longest, v.longest)
		answered, seconds = answered+v.answered, seconds+v.seconds
	}
	return []Figure{{"asystole_called", float64(called)}, {"longest_without_pulse_seconds", longest}, {"heart_rate_answered_percent", percent(answered, seconds)}}
}
