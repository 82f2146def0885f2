package disk

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes b in the place of the file at path, whole or not at all: it writes path with
// ".new" behind it and renames that. Durable makes it survive a power cut. The file can be read by
// its owner only.
func Replace(path string, b []byte, durable bool) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // #nosec G304 -- a folder of our own
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path)) // #nosec G304 -- a folder of our own
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
