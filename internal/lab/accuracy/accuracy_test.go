package accuracy_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/lab/accuracy"
)

// dataDir is the folder of the recordings of real people, which are not part of the project. The test skips without it.
func dataDir(t *testing.T) string {
	t.Helper()
	root := os.Getenv("VITALSEAL_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no recordings of real people: %v (set VITALSEAL_DATA)", err)
	}
	return root
}

// TestRecordings prints the table. VITALSEAL_SETS=cuff,troika measures only these, VITALSEAL_HALF=even or odd only one half.
func TestRecordings(t *testing.T) {
	dir := dataDir(t)
	o := accuracy.Options{Half: os.Getenv("VITALSEAL_HALF")}
	if s := os.Getenv("VITALSEAL_SETS"); s != "" {
		o.Sets = strings.Split(s, ",")
	}
	report, err := accuracy.Run(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", b.String())
	for _, s := range report.Sets {
		if s.Files == 0 || s.Unreadable > 0 {
			t.Errorf("%s: %d files, %d of them unreadable", s.Name, s.Files, s.Unreadable)
		}
	}
}
