package bench_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

// sine is lines 0 to n of a file that samples a pulse of 1.2 Hz: f gets the time and a value from
// -1 to 1.
func sine(header string, n int, rate float64, f func(i int, v float64) string) string {
	var b strings.Builder
	b.WriteString(header)
	for i := range n {
		fmt.Fprintln(&b, f(i, math.Sin(2*math.Pi*1.2*float64(i)/rate)))
	}
	return b.String()
}

// forms is a small file of each known form, all with a pulse of 1.2 Hz.
func forms() map[string]string {
	m := map[string]string{}
	m["oximeter"] = sine("reg,reg,\n0x1,0x2,\nstart time,1\ntimestamp,sampleNum,tagLEDC1,LEDC1,LEDC2,LEDC3\n", 500, 64, func(i int, v float64) string {
		return fmt.Sprintf("%d.5,%d,0,%f,%f,1200.0,", 1596743748639+15*i, i+1, 79000-800*v, 100000-500*v)
	}) + "stop time,17\nelapsed capture time: 0h\n"
	m["ear"] = sine("1,2,3,4,5,6\n", 300, 25, func(_ int, v float64) string {
		return fmt.Sprintf("%f,270,%f", 228000-800*v, 276000-400*v)
	})
	m["emotibit"] = sine("114893,15914,1,RB,1,100,x\n", 150, 24.95/2, func(i int, v float64) string {
		w := math.Sin(2 * math.Pi * 1.2 * float64(2*i+1) / 24.95)
		return fmt.Sprintf("%d,1,2,PI,1,100,%f,%f\n%d,2,2,PR,1,100,%f,%f\n%d,3,1,AX,1,100,-0.1",
			i*80, 186000-900*v, 186000-900*w, i*80, 158000-500*v, 158000-500*w, i*80)
	})
	m["camera"] = sine("time,R,G,B\n", 400, 30, func(i int, _ float64) string {
		ms := i*33 + i%3*4
		return fmt.Sprintf("%d,%f,0.0,0.01", ms, 252-math.Sin(2*math.Pi*1.2*float64(ms)/1000))
	})
	m["monitor"] = sine("Sampling Freq,Time [s], RESP, PLETH, V\n125,0,0.3,0.4,0.5\n", 2000, 125, func(i int, v float64) string {
		return fmt.Sprintf(",%g,0.35,%f,0.5", float64(i+1)/125, 0.5+0.3*v)
	})
	m["treadmill"] = sine("ecg,ppg1,ppg2,acc_x,acc_y,acc_z\n", 2000, 125, func(_ int, v float64) string { return fmt.Sprintf("-1,%f,3,0,0,1", 80*v) })
	m["alarm"] = sine("ecg_ii,ecg_v,pleth\n", 4000, 250, func(_ int, v float64) string { return fmt.Sprintf("-1,4,%f", 6000+900*v) })
	m["column"] = sine("", 1500, 100, func(_ int, v float64) string { return fmt.Sprintf("%f", 500+30*v) })
	m["timer"] = sine("timer,hr\n", 1500, 117, func(i int, v float64) string { return fmt.Sprintf("%f,%f", float64(i)*1000/117, 500+30*v) })
	m["datetime"] = sine("datetime,hr\n", 1500, 100, func(i int, v float64) string {
		return t0.Add(time.Duration(i)*10*time.Millisecond).Format("2006-01-02 15:04:05.000000") + fmt.Sprintf(",%f", 500+30*v)
	})
	return m
}

// pulseOf is the rate of a recording's pulse in bpm, seen through the driver and a simulated chip.
func pulseOf(t *testing.T, r *bench.Recording, rate vitals.Hertz) (bpm float64, all []sensor.Optical) {
	t.Helper()
	pa, err := bench.NewReplay(bench.Profile{}, r)
	if err != nil {
		t.Fatal(err)
	}
	clock := bench.NewManualClock(t0)
	all = drive(t, bench.NewMAX30100(pa, clock.Now), clock, rate, 20*time.Second)
	x := make([]float64, len(all))
	for i, s := range all {
		x[i] = float64(s.Infrared)
	}
	return autocorrelate(x, float64(rate)), all
}

// autocorrelate is the rate whose period repeats a wave best, from 40 to 180 a minute.
func autocorrelate(x []float64, rate float64) float64 {
	// High-pass: without the mean over 1.2 s.
	half := int(0.6 * rate)
	y := make([]float64, 0, len(x))
	for i := half; i+half < len(x); i++ {
		m := 0.0
		for _, v := range x[i-half : i+half] {
			m += v
		}
		y = append(y, x[i]-m/float64(2*half))
	}
	best, at := 0.0, 0
	score := func(lag int) (s float64) {
		for i := lag; i < len(y); i++ {
			s += y[i] * y[i-lag]
		}
		return s / float64(len(y)-lag)
	}
	var scores []float64
	from, to := int(rate*60/180), int(rate*60/40)
	for lag := from; lag <= to; lag++ {
		scores = append(scores, score(lag))
		best = max(best, scores[len(scores)-1])
	}
	for i := 1; i < len(scores)-1; i++ { // the first peak that comes near the best
		if scores[i] >= scores[i-1] && scores[i] >= scores[i+1] && scores[i] > 0.8*best {
			at = from + i
			break
		}
	}
	if at == 0 {
		return 0
	}
	return 60 * rate / float64(at)
}

func TestEveryFormLoadsWithItsPulse(t *testing.T) {
	for name, text := range forms() {
		t.Run(name, func(t *testing.T) {
			r, err := bench.ReadRecording(name, strings.NewReader(text), 0)
			if err != nil {
				t.Fatal(err)
			}
			two := name == "oximeter" || name == "ear" || name == "emotibit"
			if r.OneWavelength() == two {
				t.Errorf("one wavelength: %v", r.OneWavelength())
			}
			for _, rate := range []vitals.Hertz{50, 100} {
				bpm, all := pulseOf(t, r, rate)
				if math.Abs(bpm-72) > 2 {
					t.Errorf("at %g Hz the pulse is %.1f bpm, want 72", rate, bpm)
				}
				for _, s := range all {
					if s.Infrared < 10000 || s.Infrared > 60000 || (s.Red > 10000) != two {
						t.Fatalf("%v is not where a finger's light should be", s)
					}
				}
			}
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			if _, err := w.Write([]byte(text)); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
			if g, err := bench.ReadRecording(name, &z, 0); err != nil || g.Duration() != r.Duration() {
				t.Errorf("gzipped: %v", err)
			}
		})
	}
}

// TestLoopHasNoStep: over the seam of a loop nothing moves faster than within it.
func TestLoopHasNoStep(t *testing.T) {
	for name, text := range forms() {
		r, err := bench.ReadRecording(name, strings.NewReader(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		pa, err := bench.NewReplay(bench.Profile{Start: t0}, r)
		if err != nil {
			t.Fatal(err)
		}
		greatest, seam := 0.0, 0.0
		last, _ := pa.Light(t0, 100)
		n := int(r.Duration().Seconds() * 100)
		for k := 1; k < n+200; k++ {
			ir, _ := pa.Light(t0.Add(time.Duration(k)*10*time.Millisecond), 100)
			if d := math.Abs(ir - last); k > 150 && k < n-100 {
				greatest = max(greatest, d)
			} else if k >= n-100 {
				seam = max(seam, d)
			}
			last = ir
		}
		if seam > 1.5*greatest {
			t.Errorf("%s: a step of %.5f at the seam, %.5f elsewhere", name, seam, greatest)
		}
	}
}

func TestHolesAreDark(t *testing.T) {
	text := sine("ecg,ppg1\n", 2000, 125, func(i int, v float64) string {
		if i >= 900 && i < 1100 {
			return `1,""`
		}
		return fmt.Sprintf("1,%f", 80*v)
	})
	r, err := bench.ReadRecording("holes", strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	pa, err := bench.NewReplay(bench.Profile{Start: t0}, r)
	if err != nil {
		t.Fatal(err)
	}
	if tr := pa.Truth(t0); tr.Known || tr.HeartRate != 0 {
		t.Errorf("truth of a recording: %+v", tr)
	}
	for at, dark := range map[time.Duration]bool{5 * time.Second: false, 8 * time.Second: true, 10 * time.Second: false} {
		if ir, _ := pa.Light(t0.Add(at), 100); (ir < 0.02) != dark {
			t.Errorf("at %s: %g", at, ir)
		}
	}
}

func TestBadRecordingsAreLocated(t *testing.T) {
	good := forms()
	for _, c := range []struct{ text, want string }{
		{"", "f.csv:1: the file is empty"},
		{"1,2,3\n4,5,6\n", "f.csv:1: not a known form"},
		{"a,b\n1,2\n3,4\n", "f.csv:1: no column named PLETH"},
		{"ecg,ppg1\n1,2\n1,x\n", `f.csv:3: column 2: "x" is not a number`},
		{"ecg,ppg1\n1,2\n1\n", "f.csv:3: column 2: missing, the line has 1 columns"},
		{"ecg,ppg1\n1,2\n1,3\n", "too short"},
		{"ecg,ppg1\n" + strings.Repeat("1,\n", 2000), "no sample has a value"},
		{"1\n2\nthree\n", `f.csv:3: column 1: "three" is not a number`},
		{"1\n2\n3,4\n", "f.csv:3: 2 columns"},
		{"time,R,G,B\n10,1,1,1\n10,2,2,2\n", "f.csv:3: column 1: time must increase"},
		{"datetime,hr\n2016,1\n2017,2\n", "f.csv:2: column 1"},
		{"timestamp,sampleNum,LEDC1\n", "f.csv:1: no columns sampleNum, LEDC1 and LEDC2"},
		{"1,2,3,4,5,6\n1,2\n", "f.csv:2: column 3: missing"},
		{"1,2,1,AX,1,100,5\n", "no packets PI and PR"},
		{"\x1f\x8bnonsense", "f.csv:1: "},
		{strings.Replace(good["oximeter"], ",40,0,", ",2,0,", 1), "sample number 2 follows 39"},
		{strings.Replace(good["monitor"], "125,", "-4,", 1), "must be positive"},
	} {
		_, err := bench.ReadRecording("f.csv", strings.NewReader(c.text), 0)
		if !errors.Is(err, bench.ErrRecording) || !contains(err, c.want) {
			t.Errorf("%.30q: %v\nwant %q in it", c.text, err, c.want)
		}
	}
	if _, err := bench.ReadRecording("f.csv", strings.NewReader(good["column"]), 1e6); !errors.Is(err, bench.ErrRecording) {
		t.Errorf("%v", err)
	}
	if r, err := bench.ReadRecording("f.csv", strings.NewReader(good["column"]), 50); err != nil || r.Rate != 50 {
		t.Errorf("rate given: %v", err)
	}
}

func FuzzReadRecording(f *testing.F) {
	for _, text := range forms() {
		f.Add([]byte(text[:min(len(text), 600)]), 5.0)
	}
	f.Add([]byte("time,R\n1,5\n86400000,6\n"), 100.0)
	short := func(header string, line func(i int) string) {
		f.Add([]byte(sine(header, 90, 10, func(i int, _ float64) string { return line(i) })), 10.0)
	}
	short("", func(i int) string { return strconv.Itoa(i % 9) })
	short("pleth\n", func(i int) string { return strconv.Itoa(i % 9) })
	short("time,R\n", func(i int) string { return fmt.Sprintf("%d,%d", i*40, i%9) })
	short("timer,hr\n", func(i int) string { return fmt.Sprintf("%d,%d", i*20, i%9) })
	short("1,2,3,4,5,6\n", func(i int) string { return fmt.Sprintf("%d,1,%d", i%9, i%5) })
	short("timestamp,sampleNum,LEDC1,LEDC2\n", func(i int) string { return fmt.Sprintf("1,%d,%d,%d", i, i%9, i%5) })
	short("sample,red,ir\n", func(i int) string { return fmt.Sprintf("%d,%d,%d", i, i%9, i%5) })
	short("device_us,led1,led2\n", func(i int) string { return fmt.Sprintf("%d,%d,%d", i*10_000, 9<<18+i%9, 11<<18+i%5) })
	f.Fuzz(func(t *testing.T, text []byte, rate float64) {
		columns := bench.Columns{}
		if bytes.Contains(text, []byte("led1,led2")) {
			columns = bench.Columns{Red: "led1", Infrared: "led2"}
		}
		r, err := bench.ReadLog("f", bytes.NewReader(text), vitals.Hertz(rate), columns)
		if err != nil {
			if !errors.Is(err, bench.ErrRecording) {
				t.Errorf("%v", err)
			}
			return
		}
		pa, err := bench.NewReplay(bench.Profile{}, r)
		if err != nil {
			t.Fatal(err)
		}
		for k := range 50 {
			for _, chip := range []vitals.Hertz{50, 1000} {
				ir, red := pa.Light(t0.Add(time.Duration(k)*77*time.Millisecond), chip)
				if !(ir >= 0) || !(red >= 0) {
					t.Fatalf("light %g, %g", ir, red)
				}
			}
		}
	})
}

// dataRoot is where recordings of real people lie, or the test is skipped.
func dataRoot(t *testing.T) string {
	t.Helper()
	root := os.Getenv("VITALSEAL_DATA")
	if root == "" {
		_, file, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(file), "..", "..", "..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no recordings: neither VITALSEAL_DATA nor ../shared/data beside the checkout: %v", err)
	}
	return root
}

func TestRecordingsOfRealPeopleLoad(t *testing.T) {
	root := dataRoot(t)
	count := 0
	for _, pattern := range []string{"icu-bidmc/*.csv.gz", "oximeter/*.csv", "emotibit/*.csv.gz", "camera-ppg/*/PPG.csv",
		"troika/*_TYPE0?.csv.gz", "heartpy/*.csv.gz", "false-alarm/*.csv.gz"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			count++
			r, err := bench.LoadRecording(f, 0)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(f), err)
				continue
			}
			if two := strings.HasPrefix(pattern, "oximeter") || strings.HasPrefix(pattern, "emotibit"); r.OneWavelength() == two {
				t.Errorf("%s: one wavelength: %v", filepath.Base(f), r.OneWavelength())
			}
			if d := r.Duration(); d < time.Second || d > 24*time.Hour {
				t.Errorf("%s: %s at %g Hz", filepath.Base(f), d, r.Rate)
			}
		}
	}
	if count == 0 {
		t.Skip("the data folder has none of the known recordings")
	}
	t.Logf("%d recordings", count)
}

// TestReplayedPatientsHaveTheirHeartRate sees known pulses through the whole chip.
func TestReplayedPatientsHaveTheirHeartRate(t *testing.T) {
	root := dataRoot(t)
	if path := filepath.Join(root, "icu-bidmc/bidmc_01_125hz.csv.gz"); exists(path) {
		r, err := bench.LoadRecording(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		// That patient's ECG has 93 beats in its first minute.
		if bpm, _ := pulseOf(t, r, 100); bpm < 88 || bpm > 98 {
			t.Errorf("bidmc_01: %.1f bpm", bpm)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "oximeter/proto1_*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	near := 0
	for _, f := range files {
		r, err := bench.LoadRecording(f, 0)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(strings.TrimSuffix(filepath.Base(f), ".csv"), "-") // proto1_TIME-SPO2-HR
		want, err := strconv.ParseFloat(strings.Trim(parts[2], "_"), 64)
		if err != nil {
			t.Fatal(err)
		}
		bpm, _ := pulseOf(t, r, 100)
		if math.Abs(bpm-want) <= 6 {
			near++
		}
		t.Logf("%s: %.1f", filepath.Base(f), bpm)
	}
	// A few seconds, and a reference read off a screen at about that time: not all can agree.
	if near < len(files)*2/3 {
		t.Errorf("%d of %d recordings have their heart rate", near, len(files))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestOnce: not looped, a recording is whole, and dark before and after.
func TestOnce(t *testing.T) {
	text := "ppg,time_s\n"
	for i := range 600 {
		text += fmt.Sprintf("%g,%g\n", math.Sin(float64(i)/15), float64(i)/100)
	}
	rec, err := bench.ReadRecording("x", strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	once := rec.Once()
	if rec.Duration() >= 5900*time.Millisecond || once.Duration().Round(50*time.Millisecond) != 6*time.Second {
		t.Errorf("loop of %v, whole %v", rec.Duration(), once.Duration())
	}
	start := time.Unix(1e9, 0)
	p, err := bench.NewReplay(bench.Profile{Start: start}, once)
	if err != nil {
		t.Fatal(err)
	}
	for at, lit := range map[time.Duration]bool{-time.Second: false, 0: true, time.Second: true, 5990 * time.Millisecond: true, 6100 * time.Millisecond: false, time.Hour: false} {
		if light, _ := p.Light(start.Add(at), 100); (light > 0.3) != lit {
			t.Errorf("light %.3f at %v", light, at)
		}
	}
}
