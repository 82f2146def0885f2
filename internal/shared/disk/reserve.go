package disk

import (
	"errors"
	"os"
)

// Size is how many bytes the disk below dir has in all; ok is false if the system does not tell.
func Size(dir string) (bytes int64, ok bool) { return size(dir) }

// Reserve makes a file that occupies n bytes of its disk and says nothing: removed, it gives them
// back. After an error there is none.
func Reserve(path string, n int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- the caller's own folder
	if err != nil {
		return err
	}
	if err := errors.Join(allocate(f, n), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// fill writes zeros where a file system cannot allocate.
func fill(f *os.File, n int64) error {
	zeros := make([]byte, 1<<20)
	for n > 0 {
		m, err := f.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return f.Sync()
}
