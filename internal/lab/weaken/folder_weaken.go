//go:build weaken

package weaken

import (
	"os"
	"path/filepath"
	"strings"
)

// Folder is where the shared file lies (see Share), for what weakened processes have to tell each other; empty without one.
func Folder() string {
	file, ok := strings.CutPrefix(os.Getenv(variable), "@")
	if !ok {
		return ""
	}
	return filepath.Dir(file)
}
