// Command vitalseal is the whole system in one binary: `vitalseal demo` runs all of it on one machine; the other
// subcommands are its parts. This package holds flags and wiring, one file a subcommand; nothing imports it.
//
// It hides nothing and guarantees only the exit codes in `vitalseal --help`. It holds nothing of the laboratory: attack, bench,
// accuracy and replay are commands of vitalseal-lab, which it starts in its own place. Protection is the packages' matter.
package main

import (
	"github.com/spf13/cobra"

	"vitalseal/internal/workstation/administer"

	"vitalseal/internal/shared/cli"
)

// version is set at link time (-X main.version=...).
var version = "dev"

func main() { cli.Main(newRoot) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "vitalseal",
		Short: "Every vital sign sealed at the sensor; every access proven",
		Long: `Vitalseal watches patients with cheap medical sensors and trusts neither the network nor the gateway,
the cloud or the user inside the building. Research use, not a cleared medical device.

Start with "vitalseal demo": everything on this machine, no hardware, no configuration.

A deployment is four long-running commands, each its own process:
  overlay   the OpenZiti controller and edge router          on premises
  hub       takes in, stores and shows sealed readings       on premises or cloud; opens no port
  gateway   turns sensors' registers into sealed chunks      a Raspberry Pi 5; dials out only
  connect   a loopback address that leads to the dashboard   an enrolled workstation

Exit codes: 0 done; 1 tried and failed; 2 wrong command line or configuration, nothing was tried; 3 refused.`,
	}
	cli.Prepare(root, version)
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "admin", Title: "Administer (through a workstation):"},
		&cobra.Group{ID: "keep", Title: "Keep and prove (on the hub's machine):"},
		&cobra.Group{ID: "signals", Title: "Judge the signals (offline, on recordings):"},
		&cobra.Group{ID: "lab", Title: "Attack and measure (of the laboratory: the binary vitalseal-lab, which must lie beside this one):"})
	for _, c := range []*cobra.Command{demoCommand(), overlayCommand(), routerCommand(), hubCommand(), gatewayCommand(), connectCommand(), egressCommand(), enrolCommand()} {
		c.GroupID = "run"
		root.AddCommand(c)
	}
	for _, c := range administer.Commands() {
		c.GroupID = "admin"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{backupCommand(), restoreCommand(), checkCommand(), auditCommand(), administer.Policy()} {
		c.GroupID = "keep"
		root.AddCommand(c)
	}
	signals := calibrateCommand()
	signals.GroupID = "signals"
	root.AddCommand(signals)
	for _, c := range labCommands() {
		c.GroupID = "lab"
		root.AddCommand(c)
	}
	return root
}
