package accuracy_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"vitalseal/internal/lab/accuracy"
)

func TestReplayLook(t *testing.T) {
	out := os.Getenv("VITALSEAL_PLOTS")
	if out == "" {
		t.Skip("no folder for plots in VITALSEAL_PLOTS")
	}
	dir := dataDir(t)
	for _, name := range []string{"cuff/11_110-60.dat.gz", "emotibit/sit-stand-sit.csv.gz", "icu-bidmc/bidmc_01_125hz.csv.gz", "troika/01_TYPE01.csv.gz",
		"oximeter/proto1_1516-95-73.csv", "camera-ppg/subject_02/PPG.csv"} {
		tr, err := accuracy.Replay(context.Background(), filepath.Join(dir, name), accuracy.ReplayOptions{})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, format := range []string{"png", "svg"} {
			f, err := os.Create(filepath.Join(out, filepath.Base(filepath.Dir(name))+"."+format))
			if err != nil {
				t.Fatal(err)
			}
			if err := tr.Plot(f, format); err != nil {
				t.Error(err)
			}
			f.Close()
		}
		t.Log(name, tr.Summary())
	}
}
