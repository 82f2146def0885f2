// Command vitalseal-lab is the laboratory: it attacks a deployment, measures it, and judges the algorithms on recordings of people.
// It is a binary of its own, so that a hospital's vitalseal holds no attack tool and nothing to compare with. `vitalseal attack`,
// `bench`, `accuracy` and `replay` start it in their own place. This package holds flags and wiring; nothing imports it.
//
// It hides where the product's binary lies (beside this one, or in $PATH), which it starts for every part of a deployment, and
// guarantees the exit codes of `vitalseal --help`. It is for a machine without patients; it protects nothing.
package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
)

// version is set at link time (-X main.version=...).
var version = "dev"

func main() { cli.Main(newRoot) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   calledAs(os.Args[0]),
		Short: "The laboratory of Vitalseal: attacks, measurements, recordings of people",
		Long: `Vitalseal-lab attacks a deployment of its own, measures the system on this machine, and judges the algorithms on recordings of
people. It starts the product's binary, vitalseal, which must lie beside it or in $PATH; "vitalseal attack" and the others start it.
Not for a machine with patients.

Exit codes: 0 done; 1 tried and failed; 2 wrong command line or configuration, nothing was tried; 3 refused.`,
	}
	cli.Prepare(root, version)
	root.AddCommand(attackCommand(), benchCommand(), replayCommand(), accuracyCommand())
	return root
}

// calledAs is the name that help and errors use: the product's where its alias started this process.
func calledAs(arg string) string {
	if filepath.Base(arg) == "vitalseal" {
		return "vitalseal"
	}
	return "vitalseal-lab"
}

// product is the binary of the deployments that are attacked and measured.
func product() (string, error) {
	at, err := cli.Sibling("vitalseal-lab", "vitalseal")
	if err != nil {
		return "", cli.Usage(err, "`make build` makes bin/vitalseal, which is attacked and measured: put it beside this binary or in $PATH")
	}
	return at, nil
}
