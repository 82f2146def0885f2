package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// maxLogGap bounds a hole in a log, which is kept as one.
const maxLogGap = 10 * time.Minute

// Columns are the names of a log's columns, for a log whose header does not say by itself which
// light is which. The zero value is none.
type Columns struct {
	Time     string `yaml:"time,omitempty"` // may be empty: found by its name, or the rate is given
	Red      string `yaml:"red,omitempty"`
	Infrared string `yaml:"infrared,omitempty"`
}

// ParseColumns reads "time=T,red=R,infrared=I", in any order, time left out or not. An empty text
// is no columns. Errors wrap ErrRecording.
func ParseColumns(text string) (c Columns, err error) {
	if text == "" {
		return c, nil
	}
	for _, part := range strings.Split(text, ",") {
		name, column, _ := strings.Cut(part, "=")
		column = strings.TrimSpace(column)
		to := map[string]*string{"time": &c.Time, "red": &c.Red, "infrared": &c.Infrared, "ir": &c.Infrared}[strings.ToLower(strings.TrimSpace(name))]
		if to == nil || *to != "" || column == "" {
			return Columns{}, fmt.Errorf("%w: columns %.200q: write red=NAME,infrared=NAME and, where the file has times, time=NAME", ErrRecording, text)
		}
		*to = column
	}
	return c, c.check()
}

func (c Columns) check() error {
	if c != (Columns{}) && (c.Red == "" || c.Infrared == "" || c.Red == c.Infrared || c.Time == c.Red || c.Time == c.Infrared) {
		return fmt.Errorf("%w: columns: red and infrared are wanted, each a column of its own", ErrRecording)
	}
	return nil
}

// logHeader is where a log's columns are; at is -1 where none has the time, and counts says that at
// has the samples' numbers instead.
type logHeader struct {
	at, red, infrared int
	counts            bool
}

// logColumns are the columns of a user's own log of a MAX3010x: red and infrared, and mostly a
// time, in any order and with others beside them. ok is false for another header. The error names a
// given column that is not there.
func logColumns(header string, given Columns) (h logHeader, ok bool, err error) {
	names := fields(strings.ToLower(header))
	column := func(any ...string) int {
		return slices.IndexFunc(names, func(n string) bool { return slices.Contains(any, n) })
	}
	h = logHeader{at: column("timestamp", "time", "t", "millis", "micros", "ms", "us"), red: column("red"), infrared: column("ir", "infrared")}
	if h.at < 0 {
		h.at = slices.IndexFunc(names, func(n string) bool {
			return strings.HasSuffix(n, "_s") || strings.HasSuffix(n, "_ms") || strings.HasSuffix(n, "_us")
		})
	}
	if given != (Columns{}) {
		for _, x := range []struct {
			at   *int
			name string
		}{{&h.at, given.Time}, {&h.red, given.Red}, {&h.infrared, given.Infrared}} {
			if x.name == "" {
				continue
			}
			if *x.at = column(strings.ToLower(x.name)); *x.at < 0 {
				return h, false, place(1, 0, "no column %.64q; there are %.200q", x.name, strings.Join(names, ", "))
			}
		}
		if h.at == h.red || h.at == h.infrared { // found by a name that is another's
			h.at = -1
		}
	}
	numbers := []string{"sample", "samplenum", "index", "n"}
	if h.at < 0 {
		h.at = column(numbers...)
	}
	h.counts = h.at >= 0 && slices.Contains(numbers, names[h.at])
	return h, h.red >= 0 && h.infrared >= 0, nil
}

// wordBits holds the bits above the 18 of a code. The chip's words have 24, of which the upper six
// mean nothing and stay as they are: who logs whole words logs them, too.
type wordBits struct {
	known bool
	upper float64
}

// code is a code without those bits.
func (w *wordBits) code(v float64, line, column int) (float64, error) {
	if math.IsNaN(v) {
		return v, nil
	}
	upper := math.Floor(v / (1 << 18))
	if !w.known {
		w.known, w.upper = true, upper
	}
	if upper != w.upper || v < 0 || v >= 1<<24 || upper > 0 && v != math.Trunc(v) {
		return 0, place(line, column+1, "a code is outside 0 to 262143 (18 bits), and the bits above those are not the same in every code")
	}
	return v - upper*(1<<18), nil
}

// parseLog reads such a log. Times are in seconds, milliseconds or microseconds, whichever makes a
// sampling rate, or written out; codes are of 16 bits, or of 18 if one needs them. Times jitter:
// samples are taken as even, and what is missing between them is a hole. A log without times needs
// its rate.
func parseLog(lines []string, h logHeader, rate float64) (*Recording, error) {
	at, red, infrared := h.at, h.red, h.infrared
	timed := at >= 0 && !h.counts
	if !timed && rate == 0 {
		return nil, place(1, 0, "no column has the time of a sample: name it (timestamp, or --columns time=NAME), or give the sampling rate (--rate)")
	}
	var when, x, y []float64
	var upper [2]wordBits
	most := 0.0
	for i, l := range lines[1:] {
		f, line := fields(l), i+2
		t, err := float64(i), error(nil)
		if at >= 0 {
			t, err = number(f, at, line)
		}
		switch {
		case err == nil && !math.IsNaN(t):
		case h.counts:
			return nil, place(line, at+1, "no sample number")
		default:
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
		if a, err = upper[0].code(a, line, infrared); err != nil {
			return nil, err
		}
		if b, err = upper[1].code(b, line, red); err != nil {
			return nil, err
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
	if timed {
		rate = unit / step
	} else {
		step = 1
	}
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
	words := upper[0].upper > 0 || upper[1].upper > 0
	if most >= 1<<16 || words {
		scale = 1.0 / (1 << 18)
	}
	r, err := finish("log", rate, scaled(infraredCodes, scale), scaled(redCodes, scale), len(lines))
	if err == nil && words {
		r.Note = "the codes are whole 24-bit words: the bits above the chip's 18, the same in every code, were left out"
	}
	return r, err
}
