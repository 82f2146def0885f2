package bench_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
)

// TestOwnLog: a user's own log of a MAX3010x is a recording of both wavelengths, whatever unit its
// times have, and its holes stay holes.
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

// TestNamedColumns: a log whose header does not say which light is red is refused, with what to
// write; with its columns named, each light is where it belongs, and the bits above a word's 18 are
// left out. Without times it needs a rate.
func TestNamedColumns(t *testing.T) {
	const infrared, red = 0.55, 0.45
	log := func(header string, row func(i int, ir, red int) string) string {
		var b strings.Builder
		b.WriteString(header + "\n")
		for i := range 600 {
			s := 0.001 * math.Sin(2*math.Pi*1.2*float64(i)/100)
			b.WriteString(row(i, int((infrared+s)*(1<<18)), int((red+s)*(1<<18))) + "\n")
		}
		return b.String()
	}
	words := log("device_us,led1,led2", func(i, ir, red int) string { return fmt.Sprintf("%d,%d,%d", 33_000_000+i*10_000, 9<<18+red, 11<<18+ir) })
	numbered := log("sample,red,infrared", func(i, ir, red int) string { return fmt.Sprintf("%d,%d,%d", i, red, ir) })
	neither := log("red,infrared", func(_, ir, red int) string { return fmt.Sprintf("%d,%d", red, ir) })
	columns := bench.Columns{Red: "LED1", Infrared: "led2"}
	for name, c := range map[string]struct {
		text    string
		rate    vitals.Hertz
		columns bench.Columns
		swapped bool
		note    string
		refused string
	}{
		"not named":           {text: words, refused: "--columns red=led1,infrared=led2"},
		"named":               {text: words, columns: columns, note: "24-bit words"},
		"named with time":     {text: words, columns: bench.Columns{Time: "device_us", Red: "led1", Infrared: "led2"}, note: "24-bit words"},
		"the other way":       {text: words, columns: bench.Columns{Red: "led2", Infrared: "led1"}, swapped: true, note: "24-bit words"},
		"no such column":      {text: words, columns: bench.Columns{Red: "led3", Infrared: "led2"}, refused: `no column "led3"`},
		"one column twice":    {text: words, columns: bench.Columns{Red: "led1", Infrared: "led1"}, refused: "a column of its own"},
		"numbers, no rate":    {text: numbered, refused: "--rate"},
		"numbers":             {text: numbered, rate: 100},
		"neither, no rate":    {text: neither, refused: "--rate"},
		"neither":             {text: neither, rate: 100},
		"upper bits change":   {text: strings.Replace(words, "\n33010000,", "\n33010000,1", 1), columns: columns, refused: ":3: column 2: a code is outside"},
		"more than 24 bits":   {text: "t,red,ir\n1,16777216,5\n", refused: "a code is outside"},
		"number of no sample": {text: "sample,red,ir\nx,5,5\n", rate: 100, refused: "no sample number"},
	} {
		r, err := bench.ReadLog("own.csv", strings.NewReader(c.text), c.rate, c.columns)
		if c.refused != "" {
			if !errors.Is(err, bench.ErrRecording) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, want an error about %q", name, err, c.refused)
			}
			continue
		}
		if err != nil || r.Form != "log" || math.Abs(r.Rate-100) > 0.1 || !strings.Contains(r.Note, c.note) || c.note == "" && r.Note != "" {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		pa, err := bench.NewReplay(bench.Profile{Start: t0}, r.Once())
		if err != nil {
			t.Fatal(err)
		}
		gotInfrared, gotRed := pa.Light(t0.Add(2*time.Second), 100)
		if c.swapped {
			gotInfrared, gotRed = gotRed, gotInfrared
		}
		if math.Abs(gotInfrared-infrared) > 0.01 || math.Abs(gotRed-red) > 0.01 {
			t.Errorf("%s: infrared %.3f and red %.3f, want %.3f and %.3f", name, gotInfrared, gotRed, infrared, red)
		}
	}
	for text, want := range map[string]bench.Columns{
		"":                         {},
		"red=led1,infrared=led2":   {Red: "led1", Infrared: "led2"},
		"ir = b, time = t, red=a":  {Time: "t", Red: "a", Infrared: "b"},
		"red=led1":                 {},
		"red=a,red=b,infrared=c":   {},
		"green=a,red=b,infrared=c": {},
		"led1,led2":                {},
		"red=a,infrared=b,time=a":  {},
	} {
		got, err := bench.ParseColumns(text)
		if refused := want == (bench.Columns{}) && text != ""; refused != errors.Is(err, bench.ErrRecording) || !refused && got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestTwoSites: two chips on one hand, of which neither runs at the rate that it is set to, show
// the same heart.
func TestTwoSites(t *testing.T) {
	root := dataRoot(t)
	for name, want := range map[string]float64{"hand_100sps_finger": 79.9, "hand_100sps_palm": 79.9} {
		path := filepath.Join(root, "max30102-raw", name+".csv.gz")
		if !exists(path) {
			t.Skip("no recordings of a MAX30102")
		}
		r, err := bench.LoadLog(path, 0, bench.Columns{Red: "led1", Infrared: "led2"})
		if err != nil {
			t.Fatal(err)
		}
		if bpm, _ := pulseOf(t, r, 100); math.Abs(bpm-want) > 3 {
			t.Errorf("%s: %.1f bpm at %.2f Hz, want %.1f", name, bpm, r.Rate, want)
		}
	}
}
