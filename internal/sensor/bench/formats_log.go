package bench

import (
	"math"
	"slices"
	"strings"
	"time"
)

// maxLogGap bounds a hole in a log, which is kept as one.
const maxLogGap = 10 * time.Minute

// logColumns are the columns of a user's own log of a MAX3010x: a time, red and infrared, in any order and with others beside them. ok is
// false for another header.
func logColumns(header string) (at, red, infrared int, ok bool) {
	names := fields(strings.ToLower(header))
	column := func(any ...string) int {
		return slices.IndexFunc(names, func(n string) bool { return slices.Contains(any, n) })
	}
	at, red, infrared = column("timestamp", "time", "t", "millis", "ms"), column("red"), column("ir", "infrared")
	return at, red, infrared, at >= 0 && red >= 0 && infrared >= 0
}

// parseLog reads such a log. Times are in seconds, milliseconds or microseconds, whichever makes a sampling rate, or written out; codes are
// of 16 bits, or of 18 if one needs them. Times jitter: samples are taken as even, and what is missing between them is a hole.
func parseLog(lines []string, at, red, infrared int) (*Recording, error) {
	var when, x, y []float64
	most := 0.0
	for i, l := range lines[1:] {
		f, line := fields(l), i+2
		t, err := number(f, at, line)
		if err != nil || math.IsNaN(t) {
			written, err2 := stamp(f, at, line)
			if err2 != nil {
				return nil, err2
			}
			t = float64(written.UnixMicro()) / 1e6
		}
		a, err := number(f, infrared, line)
		if err != nil {
			return nil, err
		}
		b, err := number(f, red, line)
		if err != nil {
			return nil, err
		}
		if a < 0 || b < 0 || a >= 1<<18 || b >= 1<<18 {
			return nil, place(line, 0, "a code is outside 0 to 262143")
		}
		if n := len(when); n > 0 && !(t > when[n-1]) {
			return nil, place(line, at+1, "the time is not after the one before it")
		}
		if most = max(most, a); b > most {
			most = b
		}
		when, x, y = append(when, t), append(x, a), append(y, b)
	}
	if len(when) < 3 {
		return nil, place(len(lines), 0, "no samples")
	}
	steps := make([]float64, len(when)-1)
	for i := range steps {
		steps[i] = when[i+1] - when[i]
	}
	usual := slices.Sorted(slices.Values(steps))[len(steps)/2]
	total, n := 0.0, 0
	for _, s := range steps {
		if s < 2*usual {
			total, n = total+s, n+1
		}
	}
	step, unit := total/float64(n), 1.0
	for unit < 1e6 && step/unit > 0.2 {
		unit *= 1000
	}
	rate := unit / step
	var infraredCodes, redCodes []float64
	for i := range when {
		if i > 0 {
			missing := int(math.Min(math.Round(steps[i-1]/step)-1, 1e9))
			if float64(missing) > rate*maxLogGap.Seconds() {
				return nil, place(i+2, at+1, "a hole of more than %v before it", maxLogGap)
			}
			for range missing {
				infraredCodes, redCodes = append(infraredCodes, math.NaN()), append(redCodes, math.NaN())
			}
			if len(infraredCodes) > maxRecordingSamples {
				return nil, place(i+2, 0, "more than %d samples, holes included", maxRecordingSamples)
			}
		}
		infraredCodes, redCodes = append(infraredCodes, x[i]), append(redCodes, y[i])
	}
	scale := 1.0 / (1 << 16)
	if most >= 1<<16 {
		scale = 1.0 / (1 << 18)
	}
	return finish("log", rate, scaled(infraredCodes, scale), scaled(redCodes, scale), len(lines))
}
