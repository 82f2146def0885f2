package recording

import (
	"os"
	"path/filepath"
	"strings"
)

// Stem is a file's name without its folder, ".gz" and extension; ok says whether it has the extension.
func Stem(path, extension string) (string, bool) {
	return strings.CutSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), extension)
}

// FilesOf finds the files with an extension, plain or gzipped, sorted by name.
func FilesOf(extension string) func(dir string) ([]string, error) {
	return func(dir string) ([]string, error) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		var found []string
		for _, e := range entries {
			if _, ok := Stem(e.Name(), extension); ok && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
		return found, nil
	}
}
