package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, durable := range []bool{false, true} {
		for _, text := range []string{"a longer text", "short"} {
			if err := Replace(path, []byte(text), durable); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != text {
				t.Errorf("durable %t: %q, %v; want %q", durable, b, err, text)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(path + ".new"); !os.IsNotExist(err) {
		t.Errorf("what it was written to is still there: %v", err)
	}
	if err := Replace(filepath.Join(path, "below"), nil, true); err == nil {
		t.Error("a path below a file: no error")
	}
}
