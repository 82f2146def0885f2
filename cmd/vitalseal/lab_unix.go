//go:build unix

package main

import (
	"os"
	"syscall"
)

// become runs another program in this process's place: the process's number, streams and environment stay, so signals and exit code
// are the program's own. It returns only an error.
func become(path string, argv []string) error {
	return syscall.Exec(path, argv, os.Environ()) // #nosec G204 -- the laboratory, with the user's own arguments
}
