package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// holdFolder keeps a second process from serving the same thing of a folder: two would overwrite each other's connect.json and keys,
// and the command line would speak to the wrong one. The lock ends with the process, however it ends.
func holdFolder(data, what string) (release func(), err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(data, what+".lock"), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- the user's folder
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { // #nosec G115 -- a descriptor fits
		return nil, errors.Join(&hinted{fmt.Errorf("another `vitalseal connect` serves %s from the folder %s", what, data),
			"stop that one, or enrol this workstation into a folder of its own and name it with --data"}, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
