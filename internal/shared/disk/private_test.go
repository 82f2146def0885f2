package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadPrivate(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("s", n)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		return path
	}
	for name, mode := range map[string]os.FileMode{"owner": 0o600, "read only": 0o400} {
		if b, err := ReadPrivate(write(name, 8, mode), 8); err != nil || string(b) != "ssssssss" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for name, mode := range map[string]os.FileMode{"group reads": 0o640, "group writes": 0o620, "others read": 0o604, "others write": 0o602} {
		b, err := ReadPrivate(write(name, 8, mode), 8)
		if b != nil || !errors.Is(err, ErrShared) || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "ss") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if b, err := ReadPrivate(write("long", 9, 0o600), 8); b != nil || err == nil || !strings.Contains(err.Error(), "longer than 8 bytes") {
		t.Errorf("longer than the limit: %q, %v", b, err)
	}
	if _, err := ReadPrivate(filepath.Join(dir, "absent"), 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := ReadPrivate(dir, 8); err == nil {
		t.Error("a folder: no error")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	if _, err := ReadPrivate(pipe, 8); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a named pipe: %v", err)
	}
}
