package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Sibling finds the other of the two binaries: the program `to` for a process that runs the program `from`. It is the file beside
// this process's own, with the same ending of its name (beside vitalseal-weakened lies vitalseal-lab-weakened), or else what $PATH
// has under that name. The error says where it was looked for.
func Sibling(from, to string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	name := siblingName(filepath.Base(own), from, to)
	beside := filepath.Join(filepath.Dir(own), name)
	if at, err := exec.LookPath(beside); err == nil {
		return at, nil
	}
	at, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the program %s is neither in %s nor in $PATH: %w", name, filepath.Dir(own), err)
	}
	return filepath.Abs(at)
}

// siblingName puts `to` in the place of `from` at the beginning of a file's name, and keeps its ending.
func siblingName(own, from, to string) string {
	ending, ok := strings.CutPrefix(own, from)
	if !ok {
		return to // this file was renamed
	}
	return to + ending
}
