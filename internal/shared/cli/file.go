package cli

import (
	"io"
	"os"
	"path/filepath"
)

// WriteFile writes a whole file or none. Where no file can be made in path's folder the error is a [UsageError].
func WriteFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return Usage(err, "name a file in a folder that you may write to")
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
