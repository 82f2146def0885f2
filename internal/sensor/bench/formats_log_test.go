package bench_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"vitalseal/internal/sensor/bench"
)

// TestOwnLog: a user's own log of a MAX3010x is a recording of both wavelengths, whatever unit its times have, and its holes stay holes.
func TestOwnLog(t *testing.T) {
	log := func(header string, rate, unit float64, bits int) string {
		var b strings.Builder
		b.WriteString(header + "\n")
		for i := range 1000 {
			if i >= 400 && i < 420 {
				continue // a hole
			}
			s := math.Sin(2 * math.Pi * 1.2 * float64(i) / rate)
			row := fmt.Sprintf("%d,%.0f,%.0f", int64(float64(i)*unit/rate), math.Exp2(float64(bits))*0.4*(1-0.01*s), math.Exp2(float64(bits))*0.5*(1-0.02*s))
			if strings.HasPrefix(header, "ir") {
				f := strings.Split(row, ",")
				row = f[2] + "," + f[0] + "," + f[1]
			}
			b.WriteString(row + "\r\n")
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		text string
		rate float64
	}{
		"milliseconds":              {log("timestamp,red,ir", 60, 1000, 16), 60},
		"microseconds, another way": {log("ir,millis,red", 100, 1e6, 16), 100},
		"18 bits":                   {log("Time,Red,Infrared", 100, 1000, 18), 100},
	} {
		r, err := bench.ReadRecording("own.csv", strings.NewReader(c.text), 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if seconds := r.Once().Duration().Seconds(); r.Form != "log" || r.OneWavelength() || math.Abs(r.Rate-c.rate) > 0.005*c.rate || seconds < 7 {
			t.Errorf("%s: %s, %.2f Hz, one wavelength %t, %.1f s", name, r.Form, r.Rate, r.OneWavelength(), seconds)
		}
	}
	for text, want := range map[string]string{
		"timestamp,red,ir\n1,2,3\n1,2,3\n3,4,5\n":                       "own.csv:3: column 1: the time is not after",
		"timestamp,red,ir\n1,2,3\nx,2,3\n":                              "own.csv:3:",
		"timestamp,red,ir\n1,2,high\n":                                  "own.csv:2: column 3",
		"timestamp,red,ir\n1,2,300000\n2,3,4\n":                         "outside 0 to 262143",
		"timestamp,red,ir\n0,1,1\n10,1,1\n99999999999,1,1\n20e10,1,1\n": "",
	} {
		if _, err := bench.ReadRecording("own.csv", strings.NewReader(text), 0); !errors.Is(err, bench.ErrRecording) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
