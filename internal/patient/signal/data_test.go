package signal_test

import (
	"bufio"
	"compress/gzip"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// dataDir is a folder of the recordings of real people, which are not part of the project. The test
// skips without it.
func dataDir(t *testing.T, folder string) string {
	t.Helper()
	root := os.Getenv("VITALSEAL_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	dir := filepath.Join(root, folder)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recordings of real people: %v (set VITALSEAL_DATA)", err)
	}
	return dir
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Skipf("no %s among the recordings", pattern)
	}
	return names
}

// rows calls f with the fields of each line of a text file, plain or gzipped.
func rows(t *testing.T, name, separator string, f func(fields []string)) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		f(strings.Split(strings.TrimSpace(s.Text()), separator))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func number(s string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v, err == nil
}

// codes scales a recording to what a converter would give for it: mean at 40,000, and its greatest
// excursion 5 % of that.
func codes(x []float64) []uint16 {
	m, top := 0.0, 0.0
	for _, v := range x {
		m += v / float64(len(x))
	}
	for _, v := range x {
		top = math.Max(top, math.Abs(v-m))
	}
	out := make([]uint16, len(x))
	for i, v := range x {
		out[i] = uint16(math.Round(40000 + 2000*(v-m)/top))
	}
	return out
}

// reading is what an oximeter says at one moment of a recording.
type reading struct {
	at                     float64 // seconds
	heart, oxygen, perfuse vitals.Numeric
}

// run pushes a whole recording and reads once a second.
func run(t *testing.T, rate vitals.Hertz, o signal.Options, infrared, red []uint16) []reading {
	t.Helper()
	p, err := signal.NewPulseOximeter(rate, o)
	if err != nil {
		t.Fatal(err)
	}
	var out []reading
	start := time.Unix(1700000000, 0)
	step := int(math.Round(float64(rate)))
	for i := step; i <= len(infrared); i += step {
		var r []uint16
		if red != nil {
			r = red[i-step : i]
		}
		p.Push(infrared[i-step:i], r, 0)
		s := float64(i) / float64(rate)
		n := p.Numerics(start.Add(time.Duration(s * float64(time.Second))))
		out = append(out, reading{s, n[0], n[1], n[2]})
	}
	return out
}

// rPeaks are the times, in seconds, of the R peaks of a clean electrocardiogram: slopes that exceed
// a share of the steepest seen in the two seconds around.
func rPeaks(ecg []float64, rate float64) []float64 {
	d := make([]float64, len(ecg))
	k := int(0.02 * rate)
	for i := k; i < len(ecg)-k; i++ {
		d[i] = math.Abs(ecg[i+k] - ecg[i-k])
	}
	half := int(rate)
	var out []float64
	last := -1000
	for i := range d {
		from, to := max(0, i-half), min(len(d), i+half)
		top := 0.0
		for _, v := range d[from:to] {
			top = math.Max(top, v)
		}
		if d[i] >= 0.6*top && top > 0 && i-last > int(0.3*rate) {
			out = append(out, float64(i)/rate)
			last = i
		}
	}
	return out
}

func meanRate(peaks []float64, from, to float64) float64 {
	var first, last float64
	n := 0
	for _, p := range peaks {
		if p >= from && p <= to {
			if n == 0 {
				first = p
			}
			last = p
			n++
		}
	}
	if n < 2 {
		return math.NaN()
	}
	return 60 * float64(n-1) / (last - first)
}

func TestIntensiveCare(t *testing.T) {
	var pleth, ecg []float64
	for _, name := range glob(t, dataDir(t, "icu-bidmc"), "*.csv.gz")[:1] {
		rows(t, name, ",", func(f []string) {
			p, ok1 := number(f[3])
			e, ok2 := number(f[6])
			if ok1 && ok2 {
				pleth, ecg = append(pleth, -p), append(ecg, e)
			}
		})
	}
	peaks := rPeaks(ecg, 125)
	infrared := codes(pleth)
	dark := make([]uint16, len(infrared))
	for i := range dark {
		dark[i] = uint16(90 + i%7)
	}
	readings := run(t, 125, signal.Options{}, infrared, dark)
	worst, answered := 0.0, 0
	for minute := 0; minute*60 < int(float64(len(pleth))/125); minute++ {
		sum, n := 0.0, 0
		for _, r := range readings {
			if r.at > float64(minute)*60+8 && r.at <= float64(minute+1)*60 && r.heart.Quality.HasValue() {
				sum += r.heart.Value
				n++
			}
		}
		if n == 0 {
			t.Errorf("minute %d: no heart rate at all", minute)
			continue
		}
		truth := meanRate(peaks, float64(minute)*60, float64(minute+1)*60)
		worst = math.Max(worst, math.Abs(sum/float64(n)-truth))
	}
	for _, r := range readings {
		if r.heart.Quality.HasValue() {
			answered++
		}
		if r.oxygen.Quality.HasValue() {
			t.Fatalf("SpO2 %v from one wavelength at %g s", r.oxygen, r.at)
		}
		if r.at > 10 && r.heart.Quality.HasValue() && r.oxygen.Quality != vitals.Unavailable {
			t.Fatalf("SpO2 is %v at %g s, want unavailable", r.oxygen.Quality, r.at)
		}
	}
	t.Logf("%d minutes, worst error %.2f bpm, answered %d of %d s", len(readings)/60, worst, answered, len(readings))
	if worst > 2 || float64(answered) < 0.9*float64(len(readings)) {
		t.Errorf("worst minute off by %.2f bpm, want <= 2; answered %d of %d", worst, answered, len(readings))
	}
}

// TestIntensiveCareThroughChip replays the same recording through the simulated MAX30100 and its
// driver.
func TestIntensiveCareThroughChip(t *testing.T) {
	name, err := filepath.Abs(glob(t, dataDir(t, "icu-bidmc"), "*.csv.gz")[0])
	if err != nil {
		t.Fatal(err)
	}
	ward := bench.Ward(bench.Profile{Start: testStart})
	ward.Patients[0].Replay = name
	f := newFingerOf(t, ward)
	answered := 0
	for s := 1; s <= 240; s++ {
		n := f.second(50 * time.Millisecond)
		if !n[0].Quality.HasValue() {
			continue
		}
		answered++
		if n[0].Value < 80 || n[0].Value > 100 { // the electrocardiogram: 88 to 95 all the time
			t.Errorf("heart rate %v after %d s", n[0], s)
		}
		if n[1].Quality != vitals.Unavailable {
			t.Errorf("SpO2 is %v from one wavelength after %d s, want unavailable", n[1], s)
		}
	}
	if answered < 200 { // there is a disturbance at a minute and a half
		t.Errorf("heart rate in %d of 240 s", answered)
	}
}

func TestCameraPulse(t *testing.T) {
	const rate = 30
	total, n, seconds, answered := 0.0, 0, 0, 0
	for _, name := range glob(t, dataDir(t, "camera-ppg"), "subject_*/PPG.csv") {
		var when, value []float64
		rows(t, name, ",", func(f []string) {
			if ms, ok := number(f[0]); ok {
				r, _ := number(f[1])
				when, value = append(when, ms/1000), append(value, r)
			}
		})
		var even []float64
		for i, j := 0, 0; ; i++ {
			at := when[0] + float64(i)/rate
			for j+1 < len(when) && when[j+1] < at {
				j++
			}
			if j+1 >= len(when) {
				break
			}
			share := (at - when[j]) / (when[j+1] - when[j])
			even = append(even, value[j]+share*(value[j+1]-value[j]))
		}
		even = even[3*rate:]
		beats, span := 0.0, 0.0
		rows(t, filepath.Join(filepath.Dir(name), "RR.txt"), " ", func(f []string) {
			for _, s := range f {
				if ms, ok := number(s); ok {
					beats++
					span += ms / 1000
				}
			}
		})
		truth := 60 * beats / span
		sum, k := 0.0, 0
		readings := run(t, rate, signal.Options{}, codes(even), nil)
		for _, r := range readings {
			if r.heart.Quality.HasValue() {
				sum += r.heart.Value
				k++
			}
		}
		seconds += len(readings)
		answered += k
		if k == 0 {
			t.Logf("%s: no value", filepath.Base(filepath.Dir(name)))
			continue
		}
		// The chest strap's intervals have no common clock with the camera: only means over the
		// recording compare.
		e := math.Abs(sum/float64(k) - truth)
		t.Logf("%s: %.1f, chest strap %.1f, answered %d of %d s", filepath.Base(filepath.Dir(name)), sum/float64(k), truth, k, len(readings))
		total += e
		n++
	}
	t.Logf("%d subjects, mean absolute error %.2f bpm, answered %d of %d s", n, total/float64(n), answered, seconds)
	if total/float64(n) > 2 {
		t.Errorf("mean absolute error %.2f bpm, want <= 2", total/float64(n))
	}
}

// oximeterFile reads a red + infrared recording of either form; 18 and 19 bits become 16 by
// dividing.
func oximeterFile(t *testing.T, name string) (infrared, red []uint16) {
	t.Helper()
	i, r, divide, skip := 5, 6, 4.0, 8
	if strings.HasPrefix(filepath.Base(name), "proto2") {
		i, r, divide = 2, 0, 8
	}
	rows(t, name, ",", func(f []string) {
		if len(f) <= max(i, r) || f[0] == "" || f[0] == "1" {
			return
		}
		if i == 5 && len(f[0]) < 13 { // registers
			return
		}
		a, ok1 := number(f[i])
		b, ok2 := number(f[r])
		if !ok1 || !ok2 {
			return
		}
		if skip--; skip >= 0 {
			return
		}
		infrared = append(infrared, uint16(min(65535, max(0, a/divide))))
		red = append(red, uint16(min(65535, max(0, b/divide))))
	})
	return infrared, red
}

// TestFinger looks at recordings of 3 to 7 s, most of them too short to say anything: what is said
// has to be near.
func TestFinger(t *testing.T) {
	answered, n := 0, 0
	sum, squares := 0.0, 0.0
	for _, name := range glob(t, dataDir(t, "oximeter"), "proto1_*.csv") {
		infrared, red := oximeterFile(t, name)
		parts := strings.Split(strings.TrimRight(strings.TrimSuffix(filepath.Base(name), ".csv"), "-_"), "-")
		heart, _ := number(parts[2])
		oxygen, _ := number(parts[1])
		n++
		readings := run(t, 64, signal.Options{Calibration: "linear-110-25"}, infrared, red)
		for i := len(readings) - 1; i >= 0; i-- {
			if r := readings[i]; r.heart.Quality.HasValue() {
				answered++
				sum += math.Abs(r.heart.Value - heart)
				if r.oxygen.Quality.HasValue() {
					squares += (r.oxygen.Value - oxygen) * (r.oxygen.Value - oxygen)
				}
				break
			}
		}
	}
	t.Logf("heart rate off by %.1f bpm on average, SpO2 by %.1f %% (root mean square, textbook line), answered %d of %d", sum/float64(answered), math.Sqrt(squares/float64(answered)), answered, n)
	if answered == 0 || sum/float64(answered) > 6 {
		t.Errorf("heart rate off by %.1f bpm on average in %d answers", sum/float64(answered), answered)
	}
}

func TestNobodyAttached(t *testing.T) {
	infrared, red := oximeterFile(t, glob(t, dataDir(t, "oximeter"), "*unattached*.csv")[0])
	for _, swap := range []bool{false, true} {
		if swap {
			infrared, red = red, infrared
		}
		readings := run(t, 25, signal.Options{}, infrared, red)
		if len(readings) == 0 {
			t.Fatalf("%d samples", len(infrared))
		}
		for _, r := range readings {
			if r.heart.Quality.HasValue() || r.oxygen.Quality.HasValue() || r.perfuse.Quality.HasValue() {
				t.Errorf("values without a finger: %v %v %v", r.heart, r.oxygen, r.perfuse)
			}
		}
	}
}

// TestRunningReference compares with another oximeter's readings during eleven minutes of sitting
// and standing. The curve is not that sensor's, so only coverage and heart rate of a plausible size
// are judged; SpO2 is logged.
func TestRunningReference(t *testing.T) {
	var infrared, red []uint16
	var reference []float64
	var at []int
	for _, name := range glob(t, dataDir(t, "emotibit"), "*.csv.gz")[:1] {
		rows(t, name, ",", func(f []string) {
			if len(f) < 7 {
				return
			}
			switch f[3] {
			case "PI", "PR":
				for _, s := range f[6:] {
					if v, ok := number(s); ok {
						c := uint16(min(65535, max(0, v/4)))
						if f[3] == "PI" {
							infrared = append(infrared, c)
						} else {
							red = append(red, c)
						}
					}
				}
			case "UN":
				if v, ok := number(f[len(f)-1]); ok {
					reference, at = append(reference, v), append(at, len(infrared)/25)
				}
			}
		})
	}
	n := min(len(infrared), len(red))
	readings := run(t, 25, signal.Options{}, infrared[:n], red[:n])
	hearts, squares, k := 0, 0.0, 0
	for i, r := range readings {
		if r.heart.Quality.HasValue() {
			hearts++
		}
		if !r.oxygen.Quality.HasValue() {
			continue
		}
		for j, s := range at {
			if s == i+1 {
				squares += (r.oxygen.Value - reference[j]) * (r.oxygen.Value - reference[j])
				k++
				break
			}
		}
	}
	t.Logf("heart rate in %d of %d s; SpO2 compared %d times, off by %.1f %% (root mean square)", hearts, len(readings), k, math.Sqrt(squares/float64(k)))
	if hearts < len(readings)/2 {
		t.Errorf("heart rate in only %d of %d s", hearts, len(readings))
	}
}

// TestCuffOnPeople replays real deflations, whose recordings end before the cuff is empty: the test
// opens the valve.
func TestCuffOnPeople(t *testing.T) {
	var systolic, diastolic []float64
	names := glob(t, dataDir(t, "cuff"), "*.dat.gz")
	for _, name := range names {
		var p []vitals.MMHg
		sum, k := 0.0, 0
		rows(t, name, " ", func(f []string) {
			if len(f) < 3 {
				return
			}
			v, ok := number(f[2])
			if !ok {
				return
			}
			sum += (v + 0.1) / 0.0025
			if k++; k == 10 {
				p = append(p, vitals.MMHg(sum/10))
				sum, k = 0, 0
			}
		})
		for v := p[len(p)-1]; v > 0.1; v *= 0.98 {
			p = append(p, v)
		}
		p = append(p, make([]vitals.MMHg, 300)...)
		ref := strings.Split(strings.TrimSuffix(strings.SplitN(filepath.Base(name), "_", 2)[1], ".dat.gz"), "-")
		s, _ := number(ref[0])
		d, _ := number(ref[1])
		cuff := signal.NewCuff(100)
		results := 0
		for i := 0; i < len(p); i += 25 {
			bp, done := cuff.Push(p[i:min(len(p), i+25)])
			if !done {
				continue
			}
			results++
			t.Logf("%s: %.0f/%.0f (%.0f) %.0f bpm %v %s", filepath.Base(name), bp.Systolic, bp.Diastolic, bp.Mean, bp.HeartRate, bp.Quality, bp.Reason)
			if bp.Quality.HasValue() {
				systolic, diastolic = append(systolic, float64(bp.Systolic)-s), append(diastolic, float64(bp.Diastolic)-d)
			}
		}
		if results != 1 {
			t.Errorf("%s: %d measurements, want 1", filepath.Base(name), results)
		}
	}
	if 10*len(systolic) < 9*len(names) {
		t.Errorf("refused %d of %d", len(names)-len(systolic), len(names))
	}
	judgeCuff(t, systolic, diastolic)
}
