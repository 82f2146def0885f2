package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vitalseal/internal/demo"
	"vitalseal/internal/shared/cli"
)

func demoCommand() *cobra.Command {
	cfg := demo.Config{Listen: "127.0.0.1:8420"}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole deployment on this machine, with simulated patients",
		Long: `Demo starts the real OpenZiti controller and router, a hub, two gateways and a workstation's connect proxy, each its own
process as in a deployment, and simulated patients on two wards: simulated chips answer the gateways' drivers register by
register. No root, no hardware, no internet, no configuration. On the first start it makes sign-ins for a doctor, a nurse, a
patient, an auditor and the administrator, with random passwords, which it prints at every start (they are in demo.json in its folder). Ctrl-C stops it all; the
next start finds its data again. Delete the folder to start afresh.`,
		Example: `  vitalseal demo
  vitalseal demo --replay bidmc_01_125hz.csv.gz        a real recording drives the first patient's chip
  vitalseal demo --display 127.0.0.1:8421              a wall screen as well, at /display
  vitalseal demo --hubs 3 --database postgres:///vitalseal?host=/run/postgresql
  vitalseal demo --for 60s --json                      ends by itself with one JSON object on stdout`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			if cfg.Data == "" {
				if cfg.Data, err = defaultDemoData(); err != nil {
					return err
				}
			}
			if cfg.Patients < 0 || c.Flags().Changed("patients") && cfg.Patients == 0 || cfg.Patients > demo.MaxPatients {
				return cli.Usage(fmt.Errorf("--patients %d: out of range", cfg.Patients), fmt.Sprintf("1 to %d", demo.MaxPatients))
			}
			if cfg.Hubs < 1 || cfg.Hubs > demo.MaxHubs {
				return cli.Usage(fmt.Errorf("--hubs %d: out of range", cfg.Hubs), fmt.Sprintf("1 to %d", demo.MaxHubs))
			}
			if cfg.Hubs > 1 && cfg.Database == "" {
				return cli.Usage(errors.New("--hubs without --database"), "several hubs share a PostgreSQL database; for instance --database postgres:///vitalseal?host=/run/postgresql")
			}
			if cfg.For < 0 {
				return cli.Usage(fmt.Errorf("--for %v: negative", cfg.For), "for instance --for 60s")
			}
			if cfg.Replay != "" {
				if cfg.Replay, err = filepath.Abs(cfg.Replay); err != nil {
					return err
				}
			}
			// Now, not after everything else has started. Port 0 becomes the port that was free.
			for _, address := range []*string{&cfg.Listen, &cfg.Display} {
				if *address == "" {
					continue
				}
				ln, err := listenLoopback(*address)
				if err != nil {
					return err
				}
				*address = ln.Addr().String()
				if err := ln.Close(); err != nil {
					return err
				}
			}
			cfg.Exe, cfg.Progress, cfg.Result = exe, os.Stderr, os.Stdout
			err = demo.Run(c.Context(), cfg)
			if errors.Is(err, demo.ErrOtherWard) || errors.Is(err, demo.ErrForeign) {
				return cli.Usage(err, "choose another folder with --data, or delete that one")
			}
			if errors.Is(err, demo.ErrReplay) {
				return cli.Usage(err, "name one recording; doc/formats/bench.md lists the formats")
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Data, "data", "", "folder for everything the demo keeps (default: a folder of its own in your state directory)")
	f.IntVar(&cfg.Patients, "patients", 0, "how many patients (default 4, or as many as the data folder was made for)")
	f.StringVar(&cfg.Replay, "replay", "", "recording of a real patient that drives the first patient's simulated chip (CSV forms: doc/formats/bench.md)")
	f.DurationVar(&cfg.For, "for", 0, "stop after this long on the screen (default: until Ctrl-C)")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "loopback address of the dashboard")
	f.IntVar(&cfg.Hubs, "hubs", 1, "how many hubs, on one database; kill one and see")
	f.StringVar(&cfg.Database, "database", "", "PostgreSQL connection string for the hubs, or file:PATH of a file that holds it (default: files, one hub)")
	f.StringVar(&cfg.Display, "display", "", "loopback address of a wall screen, a second workstation (default: none)")
	f.BoolVar(&cfg.JSON, "json", false, "end with one JSON object on stdout (everything else is on stderr)")
	return c
}

// defaultDemoData follows the XDG base directory specification.
func defaultDemoData() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "vitalseal", "demo"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", cli.Usage(fmt.Errorf("no home directory: %w", err), "give a folder with --data")
	}
	return filepath.Join(home, ".local", "state", "vitalseal", "demo"), nil
}
