package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/goccy/go-yaml"
)

// lock keeps a second demo out of the same folder until unlock is called or the process ends.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- our own name
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // #nosec G115 -- a descriptor fits
		_ = f.Close()
		return nil, fmt.Errorf("demo: %s is in use by another demo; stop it or choose another folder with --data", dir)
	}
	return func() { _ = f.Close() }, nil
}

// writeFile writes a file so that it is there whole or not at all. All the demo's files may hold secrets: 0600.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil { // #nosec G703 -- below the demo's own folder
		return fmt.Errorf("demo: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("demo: %s: %w", path, err)
	}
	return writeFile(path, append(b, '\n'))
}

func writeYAML(path string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("demo: %s: %w", path, err)
	}
	return writeFile(path, b)
}

// readJSON leaves v alone when the file does not exist (the error says so).
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path) // #nosec G304 -- below the demo's own folder
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("demo: %s is damaged: %w (delete the folder to start afresh)", path, err)
	}
	return nil
}

// checkReplay finds a missing recording before anything is started.
func checkReplay(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplay, err)
	}
	if info.IsDir() {
		return fmt.Errorf("%w: %s is a folder", ErrReplay, path)
	}
	return nil
}
