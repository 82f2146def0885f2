package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace writes b in the place of the file at path, whole or not at all: it writes path with
// ".new" behind it and renames that. Durable makes it survive a power cut. The file can be read by
// its owner only. One path has one writer at a time.
func Replace(path string, b []byte, durable bool) error {
	// A file that is left from before, perhaps by another user and with other permissions, must not
	// be written into.
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the caller's own path
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if !durable {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable. Some file systems cannot sync a folder, which costs no integrity:
// after a power cut the old file may be there again.
func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the folder of the caller's own path
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
