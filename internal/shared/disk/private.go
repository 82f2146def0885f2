package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrShared means that a file that must be its owner's alone may be read or written by others.
var ErrShared = errors.New("others may read it")

// ReadPrivate reads a file that holds a secret: at most limit bytes, and only if its permissions
// give no right to other users. The permissions are those of the file that is read, not of what
// lies at path a moment before. Errors: [fs.ErrNotExist], [ErrShared], one that names the limit.
func ReadPrivate(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK the opening of a named pipe waits until a program writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: %w; chmod 600 it, and replace the secret if they have", path, mode, ErrShared)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}
