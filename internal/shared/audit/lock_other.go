//go:build !unix

package audit

import (
	"os"
	"path/filepath"
)

// lockDir only marks the directory where the system has no advisory locks: a hub runs on Unix.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
