package cli

import (
	"fmt"
	"os"
)

// Progress says on stderr, indented, what a command does now.
func Progress(what string) { fmt.Fprintln(os.Stderr, "  "+what) }
