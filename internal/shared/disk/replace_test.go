package disk

import (
	"io"
	"os"
	"path/filepath"
	"strings"
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
	if _, err := os.Stat(filepath.Join(path, "below") + ".new"); err == nil {
		t.Error("a failed replacement leaves its own file")
	}
}

// TestReplaceLeftBehind: what an interrupted replacement left, or another user put there, is not
// written into.
func TestReplaceLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".new", []byte("half of an earlier, longer secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path+".new", 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path + ".new")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := Replace(path, []byte("new secret"), true); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if b, err := io.ReadAll(reader); err != nil || strings.Contains(string(b), "new secret") {
		t.Errorf("the reader of the old file has %q, %v", b, err)
	}
}
