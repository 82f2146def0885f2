// Command cmd writes the sources of the weakened build: `go run ./internal/lab/mutate/cmd FOLDER`,
// in the folder of go.mod. FOLDER/overlay.json is then for `go build -overlay`. It prints nothing;
// what is wrong with the marks goes to stderr with file and line, and the exit code is 1.
package main

import (
	"fmt"
	"os"

	"vitalseal/internal/lab/mutate"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/lab/mutate/cmd FOLDER")
		os.Exit(2)
	}
	if err := mutate.Write(mutate.Vitalseal("."), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
