package accuracy

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"vitalseal/internal/measurement/recording"
)

// TestLeadsAgree: on a real electrocardiogram, each lead must give the same rate every minute, and breaths counted with holes in
// the wave about the same as without. Skips without the recordings of people.
func TestLeadsAgree(t *testing.T) {
	root := os.Getenv("VITALSEAL_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	for _, set := range []struct {
		name  string
		rate  float64
		leads []string
	}{{"icu-bidmc", 125, []string{"ii", "v", "avr"}}, {"false-alarm", 250, []string{"ecg_ii", "ecg_v"}}} {
		paths, err := recording.FilesOf(".csv")(filepath.Join(root, set.name))
		if err != nil || len(paths) == 0 {
			t.Skipf("no recordings of real people: %v (set VITALSEAL_DATA)", err)
		}
		tab, err := recording.Load(paths[0], recording.ReadTable)
		if err != nil {
			t.Fatal(err)
		}
		var first []float64
		for _, lead := range set.leads {
			beats := rPeaks(tab.Column(lead), set.rate)
			for m := 0.0; (m+1)*60 <= float64(len(tab.Columns[0]))/set.rate; m++ {
				bpm := meanRate(beats, m*60, m*60+60)
				if lead == set.leads[0] {
					first = append(first, bpm)
				} else if d := math.Abs(bpm - first[int(m)]); d > 0.7 {
					t.Logf("%s: minute %.0f: %.2f bpm in lead %s, %.2f in %s", set.name, m, bpm, lead, first[int(m)], set.leads[0])
					if set.name == "icu-bidmc" { // the alarm was false because a lead was bad
						t.Fail()
					}
				}
			}
		}
		t.Logf("%s: %.1f bpm a minute", set.name, first)
	}
}
