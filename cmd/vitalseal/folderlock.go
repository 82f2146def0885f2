package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"vitalseal/internal/shared/cli"
)

// holdFolder keeps a second process from serving the same thing of a folder: two would overwrite each other's connect.json and keys,
// and the command line would speak to the wrong one. The lock ends with the process, however it ends.
func holdFolder(data, what string) (release func(), err error) {
	return lockFolder(data, what, cli.Hinted(fmt.Errorf("another `vitalseal connect` serves %s from the folder %s", what, data),
		"stop that one, or enrol this workstation into a folder of its own and name it with --data"))
}

// holdNode does the same for a command whose child keeps its keys and its addresses in a folder: a second child would die at once of the
// addresses that the first listens on, and be started again for ever.
func holdNode(data, command string) (release func(), err error) {
	return lockFolder(data, command, cli.Hinted(fmt.Errorf("another `vitalseal %s` runs on the folder %s", command, data),
		"stop the other one first, or give this one a folder of its own with --data"))
}

// lockFolder locks what of the folder data; the error is taken where another process has it locked.
func lockFolder(data, what string, taken error) (release func(), err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(data, what+".lock"), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- the user's folder
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // #nosec G115 -- a descriptor fits
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			taken = fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, errors.Join(taken, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
