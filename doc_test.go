package vitalseal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThingSpeakPageNamesRealTests: what doc/thingspeak.md says of the face is tested by tests that exist, every row of its
// tables by one at least.
func TestThingSpeakPageNamesRealTests(t *testing.T) {
	page, err := os.ReadFile("doc/thingspeak.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	test := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	rows := 0
	for i, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasSuffix(line, "| test |") {
			continue
		}
		rows++
		named := test.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("doc/thingspeak.md:%d names no test", i+1)
		}
		for _, m := range named {
			if !known[m[1]] {
				t.Errorf("doc/thingspeak.md:%d names %s, which does not exist", i+1, m[1])
			}
		}
	}
	if rows < 60 {
		t.Fatalf("the page has %d rows; that is not the page", rows)
	}
}

// TestThreatModelNamesAThreatOnce: of two rows about one threat within a boundary, one is out of date.
func TestThreatModelNamesAThreatOnce(t *testing.T) {
	page, err := os.ReadFile("doc/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	seen, rows := map[string]int{}, 0
	for i, line := range strings.Split(string(page), "\n") {
		if strings.HasPrefix(line, "## ") {
			clear(seen)
		}
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 5 {
			continue
		}
		rows++
		if before := seen[cells[1]]; before != 0 && cells[1] != "threat" {
			t.Errorf("doc/threat-model.md:%d: %q stands at line %d already", i+1, cells[1], before)
		}
		seen[cells[1]] = i + 1
	}
	if rows < 40 {
		t.Fatalf("the page has %d rows; that is not the page", rows)
	}
}
