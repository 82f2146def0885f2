package accuracy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/lab/accuracy"
	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
)

// The tests make folders laid out like the recordings' from simulated patients, whose truth is known.

var t0 = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

func patient(t *testing.T, p bench.Profile) *bench.Patient {
	t.Helper()
	p.Start = t0
	pa, err := bench.NewPatient(p)
	if err != nil {
		t.Fatal(err)
	}
	return pa
}

func put(t *testing.T, path string, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	b := []byte(text)
	if strings.HasSuffix(path, ".gz") {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b = z.Bytes()
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// optical is a patient's light at a rate.
func optical(pa *bench.Patient, rate float64, n int) (infrared, red []uint16) {
	infrared, red = make([]uint16, n), make([]uint16, n)
	pa.Optical(t0, vitals.Hertz(rate), infrared, red)
	return infrared, red
}

func cuffFile(t *testing.T, dir, name string, systolic, diastolic float64) {
	pa := patient(t, bench.Profile{Seed: uint64(systolic), Systolic: vitals.MMHg(systolic), Diastolic: vitals.MMHg(diastolic), PressureDrift: bench.Off})
	var b strings.Builder
	for i := range 75_000 {
		at := t0.Add(15*time.Second + time.Duration(i)*time.Millisecond)
		p := float64(pa.Pressure(at))
		if i > 1000 && p < 15 {
			break
		}
		fmt.Fprintf(&b, "%.6f %.6f %.6f\n", float64(i)/1000, 0.0, p*0.0025-0.1)
	}
	put(t, filepath.Join(dir, "cuff", name), b.String())
}

func fingerFile(t *testing.T, dir, name string, p bench.Profile) {
	infrared, red := optical(patient(t, p), 64, 64*8)
	var b strings.Builder
	b.WriteString("MAXM86161reg0x0D,x,\n0x02,0x00,\nstart time,1\ntimestamp,sampleNum,tagLEDC1,tagLEDC2,tagLEDC3,LEDC1,LEDC2,LEDC3,ACCX,\n")
	for i := range infrared {
		fmt.Fprintf(&b, "15967437%05d.5,%d,0,0,0,%d.000000,%d.000000,1240.0,1,\n", i, i+1, 2*int(infrared[i]), 2*int(red[i]))
	}
	b.WriteString("stop time,2\n")
	put(t, filepath.Join(dir, "oximeter", name), b.String())
}

// folder writes one or two recordings of each form, under names that the real ones do not have.
func folder(t *testing.T) string {
	dir := t.TempDir()
	cuffFile(t, dir, "x_131-82.dat.gz", 131, 82)
	cuffFile(t, dir, "another person 108-66.dat", 108, 66)
	fingerFile(t, dir, "proto1_0101-95-80_.csv", bench.Profile{Seed: 3, HeartRate: 80, HeartRateDrift: bench.Off, SpO2: 95})
	fingerFile(t, dir, "new_0102-9596-6062.csv", bench.Profile{Seed: 4, HeartRate: 61, HeartRateDrift: bench.Off, SpO2: 95})

	infrared, red := optical(patient(t, bench.Profile{Seed: 5, SpO2: 97, SpO2Drift: bench.Off}), 24.95, 25*60)
	var b strings.Builder
	for i := 0; i+3 <= len(infrared); i += 3 {
		ms := 1000 + i*40
		fmt.Fprintf(&b, "%d,%d,3,PI,1,100,%d,%d,%d\n", ms, i, 4*int(infrared[i]), 4*int(infrared[i+1]), 4*int(infrared[i+2]))
		fmt.Fprintf(&b, "%d,%d,3,PR,1,100,%d,%d,%d\n", ms, i, 4*int(red[i]), 4*int(red[i+1]), 4*int(red[i+2]))
		fmt.Fprintf(&b, "%d,%d,1,AX,1,100,0.1\n", ms, i)
		if i%60 == 0 && i > 300 {
			fmt.Fprintf(&b, "%d,%d,2,UN,1,100,2025-06-26_15-08-03-633090,97\n%d,%d,1,UN,1,100,coughs\n", ms, i, ms, i)
		}
	}
	put(t, filepath.Join(dir, "emotibit", "walk.csv.gz"), b.String())

	steady := bench.Profile{Seed: 6, HeartRate: 72, HeartRateDrift: bench.Off, Variability: bench.Off}
	infrared, _ = optical(patient(t, steady), 30, 30*60)
	b.Reset()
	b.WriteString("time,R,G,B\n")
	for i, v := range infrared {
		fmt.Fprintf(&b, "%d,%.4f,0,0.012\n", i*33+i/3, 200+50*float64(v)/65536)
	}
	put(t, filepath.Join(dir, "camera-ppg", "somebody", "PPG.csv"), b.String())
	put(t, filepath.Join(dir, "camera-ppg", "somebody", "RR.txt"), strings.Repeat("833 834 ", 36))
	put(t, filepath.Join(dir, "camera-ppg", "LICENSE"), "none")

	infrared, _ = optical(patient(t, steady), 125, 125*60)
	b.Reset()
	b.WriteString("ecg,ppg1,ppg2,acc_x,acc_y,acc_z\n")
	for _, v := range infrared {
		fmt.Fprintf(&b, "0,%d,%d,0.01,0.02,1.0\n", -int(v), -int(v))
	}
	put(t, filepath.Join(dir, "troika", "run7.csv"), b.String())
	b.Reset()
	b.WriteString("window_start_s,bpm\n")
	for s := 0; s+8 <= 60; s += 2 {
		fmt.Fprintf(&b, "%d,72\n", s)
	}
	put(t, filepath.Join(dir, "troika", "run7_bpm.csv.gz"), b.String())

	infrared, _ = optical(patient(t, steady), 125, 125*120)
	b.Reset()
	b.WriteString("Sampling Freq,Time [s], RESP, PLETH, V, AVR, II\n")
	for i, v := range infrared {
		s := float64(i) / 125
		first := ""
		if i == 0 {
			first = "125"
		}
		fmt.Fprintf(&b, "%s,%.3f,%.5f,%.5f,0.5,0.3,%.5f\n", first, s, 0.4+0.1*math.Sin(2*math.Pi*s/4), -float64(v)/65536, ecg(s, 72))
	}
	put(t, filepath.Join(dir, "icu-bidmc", "p2.csv.gz"), b.String())

	infrared, _ = optical(patient(t, steady), 250, 250*60)
	b.Reset()
	b.WriteString("ecg_ii,ecg_v,pleth\n")
	for i, v := range infrared {
		fmt.Fprintf(&b, "%d,0,%d\n", int(1000*ecg(float64(i)/250, 72)), -int(v))
	}
	put(t, filepath.Join(dir, "false-alarm", "b5_false.csv"), b.String())
	return dir
}

// ecg is a plain electrocardiogram: R waves at a rate, T waves, baseline wander.
func ecg(s, bpm float64) float64 {
	phase := math.Mod(s*bpm/60, 1)
	bump := func(at, width, height float64) float64 { d := (phase - at) / width; return height * math.Exp(-d*d/2) }
	return bump(0.5, 0.012, 1) - bump(0.53, 0.012, 0.2) + bump(0.8, 0.05, 0.25) + bump(0.36, 0.025, 0.1) + 0.2*math.Sin(s)
}

func TestAnyFolder(t *testing.T) {
	dir := folder(t)
	report, err := accuracy.Run(context.Background(), dir, accuracy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]accuracy.Set{}
	for _, s := range report.Sets {
		sets[s.Name] = s
		if s.Unreadable > 0 {
			t.Errorf("%s: %d unreadable: %v", s.Name, s.Unreadable, s.Rows)
		}
	}
	for _, c := range []struct {
		set    string
		files  int
		figure string
		low    float64
		high   float64
	}{
		{"cuff", 2, "sbp_mean_error_mmhg", -10, 10}, {"cuff", 2, "sbp_sd_mmhg", 0, 10}, {"cuff", 2, "dbp_mean_error_mmhg", -10, 10},
		{"cuff", 2, "dbp_sd_mmhg", 0, 10}, {"cuff", 2, "refused_percent", 0, 0},
		{"oximeter", 2, "refused_percent", 0, 0}, {"oximeter", 2, "heart_rate_mae_bpm", 0, 3}, {"oximeter", 2, "finger_files", 2, 2},
		{"emotibit", 1, "refused_percent", 0, 20}, {"emotibit", 1, "references", 15, 30},
		{"camera-ppg", 1, "heart_rate_mae_bpm", 0, 0.5}, {"camera-ppg", 1, "answered_percent", 80, 100},
		{"troika", 1, "heart_rate_mae_bpm", 0, 0.5}, {"troika", 1, "answered_percent", 85, 100}, {"troika", 1, "windows", 27, 27},
		{"icu-bidmc", 1, "heart_rate_max_error_bpm", 0, 0.5}, {"icu-bidmc", 1, "minutes", 2, 2}, {"icu-bidmc", 1, "minutes_with_breaths", 2, 2},
		{"false-alarm", 1, "asystole_called", 0, 0},
	} {
		s, ok := sets[c.set]
		if !ok || s.Files != c.files {
			t.Errorf("%s: %d files, want %d", c.set, s.Files, c.files)
			continue
		}
		if v := s.Figure(c.figure); !(v >= c.low && v <= c.high) {
			t.Errorf("%s: %s is %v, want %v to %v; %v", c.set, c.figure, v, c.low, c.high, s.Rows)
		}
	}
}

// TestJSON pins the names that others rely on.
func TestJSON(t *testing.T) {
	dir := folder(t)
	put(t, filepath.Join(dir, "cuff", "broken_120-80.dat.gz"), "0.0 1 2\n0.001 1 x\n")
	report, err := accuracy.Run(context.Background(), dir, accuracy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	for set, keys := range map[string]string{
		"cuff":     "sbp_mean_error_mmhg sbp_sd_mmhg dbp_mean_error_mmhg dbp_sd_mmhg refused_percent",
		"oximeter": "arms_percent refused_percent", "emotibit": "arms_percent refused_percent", "camera-ppg": "heart_rate_mae_bpm beat_f1_percent",
		"troika": "heart_rate_mae_bpm answered_percent", "icu-bidmc": "heart_rate_max_error_bpm respiratory_rate_mae_per_min", "false-alarm": "asystole_called",
	} {
		for _, k := range strings.Fields(keys + " files seconds_cpu unreadable per_file") {
			if _, ok := got[set][k]; !ok {
				t.Errorf("%s has no %s", set, k)
			}
		}
		files := len(got[set]["per_file"].([]any))
		if float64(files) != got[set]["files"] {
			t.Errorf("%s: %v files, %d in per_file", set, got[set]["files"], files)
		}
	}
	if len(got) != 7 || got["cuff"]["files"] != 3.0 || got["cuff"]["unreadable"] != 1.0 {
		t.Errorf("%d sets, cuff %v files, %v unreadable", len(got), got["cuff"]["files"], got["cuff"]["unreadable"])
	}
	for _, f := range got["cuff"]["per_file"].([]any) {
		row := f.(map[string]any)
		if row["file"] == "cuff/broken_120-80.dat.gz" {
			if e, _ := row["error"].(string); !strings.Contains(e, "broken_120-80.dat.gz:2: column 3: \"x\" is not a number") {
				t.Errorf("error %q", e)
			}
			return
		}
	}
	t.Error("the broken file is not listed")
}

// TestWhatCannotBeRead goes through everything that can be wrong with a file: it must be named and nothing else suffer.
func TestWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	good := strings.Repeat("0,1,2\n", 10)
	for name, text := range map[string]string{
		"cuff/no reference.dat":             "0 1 2\n0.001 1 2\n",
		"cuff/upside_80-120.dat":            "0 1 2\n0.001 1 2\n",
		"cuff/short_120-80.dat":             "0 1 2\n",
		"cuff/empty_120-80.dat.gz":          "",
		"cuff/columns_120-80.dat":           "0 1\n",
		"cuff/back_120-80.dat":              "0 1 2\n0 1 2\n",
		"cuff/high_120-80.dat":              strings.Repeat("x", 1) + "\n",
		"cuff/line_120-80.dat":              strings.Repeat("1 ", 100_000),
		"oximeter/a_1-95-70.csv":            good,
		"oximeter/b.csv":                    good,
		"oximeter/c_1-95-70.csv":            "timestamp,LEDC1\n1,2\n",
		"oximeter/d_1-95-70.csv":            "timestamp,sampleNum,LEDC1,LEDC2\n1,5,1,1\n1,4,1,1\n",
		"oximeter/e_1-95-70.csv":            "1,2,3,4,5,6\n1,2\n",
		"emotibit/a.csv":                    good,
		"emotibit/b.csv":                    "x\n",
		"camera-ppg/a/PPG.csv":              "time,R,G,B\n0,1,1,1\n5000,1,1,1\n",
		"camera-ppg/b/PPG.csv":              "time,G\n0,1\n",
		"camera-ppg/b/RR.txt":               "800 800 800 800 800",
		"camera-ppg/c/PPG.csv":              "time,R\n0,1\n1000,1\n900,2\n3000,2\n",
		"camera-ppg/c/RR.txt":               "800 800 800 800 800",
		"camera-ppg/d/PPG.csv":              "time,R\n0,1\n1000,1\n3000,2\n",
		"camera-ppg/d/RR.txt":               "800 seven",
		"troika/a.csv":                      "ecg,ppg1,ppg2\n1,2,3\n",
		"troika/b.csv":                      "ecg,ppg1,ppg2\n1,2,3\n",
		"troika/b_bpm.csv":                  "window_start_s,bpm\n0,70\n",
		"troika/c.csv":                      "ecg,ppg1,ppg2\n1,2,3\n",
		"troika/c_bpm.csv":                  "window_start_s,bpm\n0,-70\n",
		"icu-bidmc/a.csv":                   "a,b\n1,2\n",
		"icu-bidmc/b.csv":                   "pleth,ii\n1,2\n",
		"icu-bidmc/c.csv":                   "pleth,x\n" + strings.Repeat("1,2\n", 3000),
		"false-alarm/a.csv":                 "1,2,3\n",
		"false-alarm/b.csv":                 "ecg_ii,pleth\n1\n",
		"false-alarm/.hidden.csv":           "not looked at",
		"false-alarm/README.md":             "not looked at",
		"somewhere-else/nobody/cares/a.csv": "1",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	if err := os.WriteFile(filepath.Join(dir, "cuff", "nogzip_120-80.dat.gz"), []byte{0x1f, 0x8b, 1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := accuracy.Run(context.Background(), dir, accuracy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"cuff": 9, "oximeter": 5, "emotibit": 2, "camera-ppg": 4, "troika": 3, "icu-bidmc": 3, "false-alarm": 2}
	for _, s := range report.Sets {
		if s.Files != want[s.Name] || s.Unreadable != s.Files {
			t.Errorf("%s: %d files, %d unreadable, want all of %d", s.Name, s.Files, s.Unreadable, want[s.Name])
		}
		for _, r := range s.Rows {
			if !errors.Is(r.Err, recording.ErrRecording) || !strings.Contains(r.Err.Error(), filepath.Base(filepath.Dir(r.File))) {
				t.Errorf("%s: %v", r.File, r.Err)
			}
		}
	}
	var b strings.Builder
	if err := report.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "unreadable"); n < 28 {
		t.Errorf("%d times unreadable in\n%s", n, b.String())
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	put(t, file, "x")
	for _, c := range []struct {
		dir string
		o   accuracy.Options
	}{{empty, accuracy.Options{}}, {file, accuracy.Options{}}, {filepath.Join(empty, "absent"), accuracy.Options{}},
		{empty, accuracy.Options{Half: "left"}}, {empty, accuracy.Options{Sets: []string{"cuffs"}}}} {
		if _, err := accuracy.Run(context.Background(), c.dir, c.o); !errors.Is(err, accuracy.ErrFolder) {
			t.Errorf("%v: %v", c, err)
		}
	}
	dir := folder(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := accuracy.Run(ctx, dir, accuracy.Options{Progress: func(string, int, int) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestHalvesAndSets(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		put(t, filepath.Join(dir, "cuff", fmt.Sprintf("%c_120-80.dat", 'a'+i)), "broken")
	}
	put(t, filepath.Join(dir, "emotibit", "x.csv"), "broken")
	names := func(half string) (out []string) {
		r, err := accuracy.Run(context.Background(), dir, accuracy.Options{Half: half, Sets: []string{"cuff"}})
		if err != nil || len(r.Sets) != 1 {
			t.Fatal(r, err)
		}
		for _, row := range r.Sets[0].Rows {
			out = append(out, row.File[5:6])
		}
		return out
	}
	if got := names("even"); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("even: %v", got)
	}
	if got := names("odd"); !slices.Equal(got, []string{"a", "c", "e"}) {
		t.Errorf("odd: %v", got)
	}
	if got := names(""); len(got) != 5 {
		t.Errorf("all: %v", got)
	}
}

// TestReplays plays each form through the simulated chip.
func TestReplays(t *testing.T) {
	dir := folder(t)
	for name, want := range map[string]map[string][2]float64{
		"cuff/x_131-82.dat.gz":            {"systolic_mmhg": {121, 141}, "diastolic_mmhg": {72, 92}, "reference_systolic_mmhg": {131, 131}},
		"oximeter/proto1_0101-95-80_.csv": {"seconds": {5, 8}, "heart_rate_mae_bpm": {0, 3}, "lost_samples": {0, 0}},
		"emotibit/walk.csv.gz":            {"heart_rate_answered_percent": {80, 100}},
		"camera-ppg/somebody/PPG.csv":     {"heart_rate_answered_percent": {80, 100}, "heart_rate_mae_bpm": {0, 1.5}},
		"troika/run7.csv":                 {"heart_rate_answered_percent": {80, 100}, "heart_rate_mae_bpm": {0, 1.5}},
		"icu-bidmc/p2.csv.gz":             {"heart_rate_answered_percent": {80, 100}, "heart_rate_mae_bpm": {0, 1.5}, "led_current_changes": {0, 0}},
		"false-alarm/b5_false.csv":        {"heart_rate_answered_percent": {80, 100}, "heart_rate_mae_bpm": {0, 1.5}},
	} {
		tr, err := accuracy.Replay(context.Background(), filepath.Join(dir, name), accuracy.ReplayOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := map[string]float64{}
		for _, f := range tr.Summary() {
			found[f.Name] = f.Value
		}
		for k, r := range want {
			if v, ok := found[k]; !ok || !(v >= r[0] && v <= r[1]) {
				t.Errorf("%s: %s is %v, want %v to %v", name, k, v, r[0], r[1])
			}
		}
		var text, plot bytes.Buffer
		if err := tr.WriteText(&text); err != nil || !strings.Contains(text.String(), "0:03") {
			t.Errorf("%s: %v: %s", name, err, text.String())
		}
		if err := tr.Plot(&plot, "svg"); err != nil || plot.Len() < 2000 {
			t.Errorf("%s: plot of %d bytes, %v", name, plot.Len(), err)
		}
		var m struct {
			Form    string
			Summary map[string]any
			Seconds []map[string]any
		}
		b, err := json.Marshal(tr)
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil || m.Form == "" || len(m.Seconds) != len(tr.Moments) || len(m.Summary) == 0 {
			t.Errorf("%s: %v in %.200s", name, err, b)
		}
	}
	for _, name := range []string{"absent.csv", "cuff", "troika/run7_bpm.csv.gz"} {
		if _, err := accuracy.Replay(context.Background(), filepath.Join(dir, name), accuracy.ReplayOptions{}); err == nil {
			t.Errorf("%s was replayed", name)
		}
	}
	short, err := accuracy.Replay(context.Background(), filepath.Join(dir, "icu-bidmc/p2.csv.gz"), accuracy.ReplayOptions{Limit: 20 * time.Second})
	if err != nil || len(short.Moments) != 20 {
		t.Errorf("20 s of it: %v", err)
	}
}
