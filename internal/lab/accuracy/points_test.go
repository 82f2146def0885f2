package accuracy_test

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/patient/sensor/bench"
)

// TestReadPoints: a recording's ratio is the one its light was made with, whatever the form.
func TestReadPoints(t *testing.T) {
	dir := folder(t)
	want := bench.RatioOfRatios(95)
	for _, name := range []string{"oximeter/proto1_0101-95-80_.csv", "emotibit/walk.csv.gz"} {
		points, _, err := recording.ReadPoints(filepath.Join(dir, name))
		if err != nil || len(points) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, truth := want, 95.0
		if strings.HasPrefix(name, "emotibit") {
			want, truth = bench.RatioOfRatios(97), 97
		}
		for _, p := range points {
			if math.Abs(p.Ratio-want) > 0.1 || float64(p.SpO2) != truth || p.Source != filepath.Base(name) {
				t.Errorf("%s: %+v, want a ratio of %.2f", name, p, want)
			}
		}
	}
	put(t, filepath.Join(dir, "oximeter", "x_unattached.csv"), "1,2,3,4,5,6\n1,2,3\n")
	points, skipped, err := recording.ReadPoints(filepath.Join(dir, "oximeter"))
	if err != nil || len(points) != 2 || len(skipped) != 1 || !strings.Contains(skipped[0], "no finger was attached") {
		t.Errorf("%v, %q, %v", points, skipped, err)
	}
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"good":      {"ratio,spo2_percent\n0.5,97\n,95\n0.7,-\n0.8,90\n", ""},
		"holes":     {"ratio,spo2_percent\n,97\n", "no pair"},
		"ratio":     {"ratio,spo2_percent\n0.5,97\n7,90\n", "pairs.csv:3: a ratio of 7"},
		"reference": {"ratio,spo2_percent\n0.5,101\n", "pairs.csv:2: an SpO2 of 101"},
		"columns":   {"ratio,oxygen\n0.5,97\n", "no column spo2_percent"},
		"text":      {"ratio,spo2_percent\n0.5,good\n", "pairs.csv:2: column 2"},
		"empty":     {"", "empty"},
	} {
		path := filepath.Join(t.TempDir(), "pairs.csv")
		put(t, path, c.text)
		points, _, err := recording.ReadPoints(path)
		if c.want == "" {
			if err != nil || len(points) != 2 || points[1].Ratio != 0.8 || points[1].Source != "pairs.csv:5" {
				t.Errorf("%s: %v, %v", name, points, err)
			}
			continue
		}
		if !errors.Is(err, recording.ErrRecording) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, path := range []string{filepath.Join(dir, "absent"), t.TempDir()} {
		if _, _, err := recording.ReadPoints(path); !errors.Is(err, recording.ErrRecording) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
