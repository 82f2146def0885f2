package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/shared/yamlfile"
)

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 1 << 20

// loadConfig reads a YAML file into cfg, which holds the defaults. A key that does not exist is an error that shows
// the line, as is a second document.
func loadConfig(path string, cfg any) error {
	f, err := os.Open(path) // #nosec G304 -- the administrator names the file
	if err != nil {
		return cli.Usage(fmt.Errorf("configuration: %w", err), "give a readable file with --config; --print-config shows every key")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if len(b) > maxConfigBytes {
		return cli.Usage(fmt.Errorf("configuration %s: over %d bytes", path, maxConfigBytes), "is this the right file?")
	}
	if err := yamlfile.Decode(b, cfg); err != nil && !errors.Is(err, io.EOF) {
		return cli.Usage(fmt.Errorf("configuration %s: %w", path, err), "--print-config shows every key with its meaning")
	}
	return nil
}
