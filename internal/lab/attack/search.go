package attack

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Search looks for any of the needles in all files below a folder, and says where the first was.
func Search(dir string, needles ...string) (found string, looked int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running part has replaced it
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path) // #nosec G304 G122 -- below our own folder
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		looked++
		for _, n := range needles {
			if n != "" && found == "" && bytes.Contains(b, []byte(n)) {
				found = "; found in " + strings.TrimPrefix(path, dir)
			}
		}
		return nil
	})
	return found, looked, err
}
