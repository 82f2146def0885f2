//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
)

// become runs another program as a child with this process's streams, and exits with its exit code. It returns only if the program
// does not start. An interrupt at the terminal reaches the child as well, which then ends both.
func become(path string, argv []string) error {
	c := exec.Command(path, argv[1:]...) // #nosec G204 -- the laboratory, with the user's own arguments
	c.Args, c.Stdin, c.Stdout, c.Stderr = argv, os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err == nil {
		os.Exit(0)
	}
	return err
}
