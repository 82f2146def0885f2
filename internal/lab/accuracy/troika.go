package accuracy

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"

	"vitalseal/internal/measurement/recording"
)

// Treadmill recordings (IEEE Signal Processing Cup 2015, TROIKA): 125 Hz, windows of 8 s.
const (
	troikaRate   = 125.0
	troikaWindow = 8.0
)

// treadmills are the recordings but not their references.
func treadmills(dir string) ([]string, error) {
	all, err := recording.FilesOf(".csv")(dir)
	var found []string
	for _, path := range all {
		if name, _ := recording.Stem(path, ".csv"); !strings.HasSuffix(name, "_bpm") {
			found = append(found, path)
		}
	}
	return found, err
}

// window is a reference: the mean heart rate over 8 s.
type window struct{ start, bpm float64 }

func readWindows(name string, r io.Reader) ([]window, error) {
	tab, err := recording.ReadTable(name, r)
	if err != nil {
		return nil, err
	}
	starts, err := tab.Need(name, "window_start_s")
	if err != nil {
		return nil, err
	}
	bpm, err := tab.Need(name, "bpm")
	if err != nil {
		return nil, err
	}
	out := make([]window, len(bpm))
	for i := range bpm {
		if !(bpm[i] >= 20 && bpm[i] <= 300) || !(starts[i] >= 0) || i > 0 && !(starts[i] > starts[i-1]) {
			return nil, fmt.Errorf("%w: %s:%d: a window at %g s with %g bpm", recording.ErrRecording, name, i+2, starts[i], bpm[i])
		}
		out[i] = window{starts[i], bpm[i]}
	}
	return out, nil
}

// readTreadmill reads two lights and, where there is one, the acceleration.
func readTreadmill(name string, r io.Reader) (recording.Wave, error) {
	tab, err := recording.ReadTable(name, r)
	if err != nil {
		return recording.Wave{}, err
	}
	a, err := tab.Need(name, "ppg1", "ppg")
	if err != nil {
		return recording.Wave{}, err
	}
	w := recording.Wave{Rate: troikaRate, A: relit(a, troikaRate, true)}
	if b := tab.Column("ppg2"); b != nil {
		w.B = relit(b, troikaRate, true)
	}
	x, y, z := tab.Column("acc_x"), tab.Column("acc_y"), tab.Column("acc_z")
	if x != nil && y != nil && z != nil {
		w.Motion = [3][]float64{x, y, z}
	}
	return w, nil
}

type oneTroika struct {
	errors  errorsOf
	windows int
}

func judgeTroika(path string) (judged, error) {
	name, _ := recording.Stem(path, ".csv")
	truth, ok := beside(filepath.Join(filepath.Dir(path), name+"_bpm.csv"))
	if !ok {
		return nil, fmt.Errorf("%w: %s: no %s_bpm.csv beside it", recording.ErrRecording, path, name)
	}
	w, err := recording.Load(path, readTreadmill)
	if err != nil {
		return nil, err
	}
	windows, err := recording.Load(truth, readWindows)
	if err != nil {
		return nil, err
	}
	m, err := newMoving(troikaRate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	// Once a second like a gateway; windows end at even seconds. Where they do not, their ends are moments of their own.
	ends, moments := make([]int, len(windows)), w.Seconds()
	length := float64(len(w.A)) / w.Rate
	for i, win := range windows {
		end := win.start + troikaWindow
		if end > length+0.5 {
			return nil, fmt.Errorf("%w: %s:%d: a window at %g s, the recording lasts %.1f s", recording.ErrRecording, truth, i+2, win.start, length)
		}
		ends[i] = nearest(moments, math.Min(end, length))
	}
	out := feed(m, w, moments)
	v := oneTroika{windows: len(windows)}
	for i, win := range windows {
		if r := out.readings[ends[i]]; r.heart.Quality.HasValue() {
			v.errors.add(r.heart.Value, win.bpm)
		}
	}
	return v, nil
}

// nearest is the index of the moment nearest to t.
func nearest(moments []float64, t float64) int {
	best := 0
	for i, m := range moments {
		if math.Abs(m-t) < math.Abs(moments[best]-t) {
			best = i
		}
	}
	return best
}

func (v oneTroika) figures() []Figure {
	return []Figure{{"heart_rate_mae_bpm", v.errors.mae()}, {"answered_percent", percent(len(v.errors), v.windows)}, {"windows", float64(v.windows)},
		{"worst_error_bpm", v.errors.worst()}}
}

func (v oneTroika) note() string { return "" }

func sumTroikas(all []judged) []Figure {
	var sum oneTroika
	for _, j := range all {
		v := j.(oneTroika)
		sum.errors = append(sum.errors, v.errors...)
		sum.windows += v.windows
	}
	return sum.figures()
}
