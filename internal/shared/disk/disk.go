// Package disk says in words what is wrong with the disk below a folder, and what to do: "no space
// left on device" and "disk I/O error" name neither.
//
// It hides how a system tells its free space. It guarantees that the original error is still found
// in what it returns. It repairs nothing.
package disk

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrFull means the disk below a folder has no room left.
var ErrFull = errors.New("the disk is full")

// nearlyNone is so little free space that a database or a log cannot write its next pages.
const nearlyNone = 1 << 20

// Explain adds to an error of writing below dir what the disk's state says about it: that it is
// full, read-only or failing. trouble says that the caller knows err for an error of the disk that
// does not tell which, as SQLite's are. Other errors come back as they are.
func Explain(err error, dir string, trouble bool) error {
	if err == nil {
		return nil
	}
	free, known := free(dir)
	switch {
	case errors.Is(err, ErrFull):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), trouble && known && free < nearlyNone:
		room := ""
		if known {
			room = fmt.Sprintf(", %d KiB are free", free>>10)
		}
		return fmt.Errorf("%w: the disk of the folder %s%s; delete what does not belong there, or give it a larger disk: %w", ErrFull, dir, room, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the disk of the folder %s is read-only; a failing disk becomes so: look at the system's log: %w", dir, err)
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("the disk of the folder %s fails; replace it: %w", dir, err)
	}
	return err
}

// Free is how many bytes may still be written below dir; ok is false if the system does not tell.
func Free(dir string) (bytes int64, ok bool) { return free(dir) }
